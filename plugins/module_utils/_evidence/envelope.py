# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Envelopes of DSSE 1.0, which hold a statement with its signatures; pure.

What is signed is not the payload but its pre-authentication encoding, which names the payload's
type too. Statements refer to each other by the digest of the payload, because a signature can be
added later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_shape import (
    SHA256,
    TEXT,
    difference,
    one_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import (
    der_of,
    keyid_of,
    verifies,
)

PAYLOAD_TYPE = "application/vnd.in-toto+json"

#: What a line of a file may have, in characters: the manifest of 5,000 keys has 4 MiB
MOST_CHARACTERS = 1 << 24

#: More than there are people and keys that would sign a statement
MOST_SIGNATURES = 16

_ENVELOPE: t.Final = {
    "payload": TEXT,
    "payloadType": one_of(PAYLOAD_TYPE),
    "signatures": [{"keyid": SHA256, "sig": TEXT}],
}

_REMEDY = (
    "Compare it with a copy that was kept elsewhere: whatever changed it, what it said is lost here"
)


class Malformed(ByokError):
    """An envelope or a statement is not what Keyferry writes."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} is no evidence: {why}", _REMEDY, code="evidence_malformed")


class Signer(t.Protocol):
    """Who can sign with an evidence key.

    :ivar keyid: SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal digits
    """

    @property
    def keyid(self) -> str:
        """Return the key's identifier."""

    def sign(self, digest: bytes) -> bytes:
        """Return r and s side by side, 32 octets each.

        :param digest: SHA-256 of what is signed
        """


@dataclass(frozen=True)
class Signature:
    """One signature; the keyid only says where to look, and is not signed itself.

    :ivar keyid: SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal digits
    :ivar sig: DER
    """

    keyid: str
    sig: bytes


@dataclass(frozen=True)
class Envelope:
    """A statement with its signatures.

    :ivar payload: the statement as it is signed: exactly these bytes
    """

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the payload in hexadecimal digits, by which others refer to it."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def to_be_signed(self) -> bytes:
        """The pre-authentication encoding (PAE) of DSSE 1.0; lengths are in bytes."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)

    def statement(self) -> dict[str, t.Any]:
        """Return what the payload says.

        :raises Malformed: for what is no JSON object, or has a name twice
        """
        where = f"The statement {self.digest}"
        try:
            statement = parse_json(self.payload.decode())
        except ValueError as error:
            raise Malformed(where, f"it is no JSON ({error})") from None
        if not isinstance(statement, dict):
            raise Malformed(where, "it is no JSON object")
        return statement

    def with_signature(self, signature: Signature) -> Envelope:
        """Return it with one signature more, unless it has that very one."""
        if signature in self.signatures:
            return self
        return replace(self, signatures=(*self.signatures, signature))

    def to_line(self) -> str:
        """Return it as a line of a file, without its end."""
        signatures = [{"keyid": each.keyid, "sig": _base64(each.sig)} for each in self.signatures]
        envelope = {
            "payload": _base64(self.payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": signatures,
        }
        return json.dumps(envelope, separators=(",", ":"))

    def signers(self, keys: Mapping[str, str]) -> frozenset[str]:
        """Return which keys truly signed it.

        :param keys: by their keyids: PEM texts of those that count
        :raises ByokError: for a PEM that is none of P-256
        """
        return frozenset(
            each.keyid
            for each in self.signatures
            if each.keyid in keys
            and keyid_of(keys[each.keyid]) == each.keyid
            and verifies(keys[each.keyid], each.sig, self.to_be_signed)
        )


def parse_envelope(line: str, where: str) -> Envelope:
    """Read a line of a file.

    :param where: such as "Line 2 of the file a.intoto.jsonl", for the message
    :raises Malformed: for anything else than an envelope of a statement
    """
    if len(line) > MOST_CHARACTERS:
        raise Malformed(where, f"it has more than {MOST_CHARACTERS} characters")
    try:
        envelope = parse_json(line)
    except ValueError as error:
        raise Malformed(where, f"it is no JSON ({error})") from None
    wrong = difference(envelope, _ENVELOPE)
    if wrong is not None:
        raise Malformed(where, f"{wrong} is not as DSSE 1.0 and in-toto have it")
    signatures = tuple(
        Signature(each["keyid"], _octets(each["sig"], where, "a signature"))
        for each in envelope["signatures"]
    )
    if len(set(signatures)) != len(signatures) or len(signatures) > MOST_SIGNATURES:
        raise Malformed(where, f"a signature is there twice, or more than {MOST_SIGNATURES} are")
    return Envelope(_octets(envelope["payload"], where, "its payload"), signatures)


def envelope_of(statement: Mapping[str, t.Any]) -> Envelope:
    """Return a statement in an envelope that nobody has signed.

    :raises Malformed: for a text that no encoding has, such as half of a character
    """
    text = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return Envelope(text.encode())
    except UnicodeEncodeError:
        raise Malformed("A statement", "it has half of a character") from None


def signed(envelope: Envelope, signer: Signer) -> Envelope:
    """Return an envelope with a signature more.

    :raises ByokError: when the signer fails, or gives no signature of P-256
    """
    raw = signer.sign(hashlib.sha256(envelope.to_be_signed).digest())
    return envelope.with_signature(Signature(signer.keyid, der_of(raw)))


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str, where: str, what: str) -> bytes:
    """Read base64 or base64url (RFC 4648, 4 and 5), both of which DSSE allows.

    What another text would encode too is refused, so that no character is without a meaning.
    """
    standard = re.sub("[-_]", lambda char: "+/"["-_".index(char[0])], text)
    try:
        octets = base64.b64decode(standard, validate=True)
    except ValueError:
        octets = b""
    if not text or _base64(octets) != standard:
        raise Malformed(where, f"{what} is no base64")
    return octets
