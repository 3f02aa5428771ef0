# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The evidence key in the token: find, judge, make, and sign with it.

It is an EC key on P-256 that only signs and never leaves the token. What is signed is a hash made
on the host, by CKM_ECDSA, because not every token has CKM_ECDSA_SHA256.
"""

from __future__ import annotations

import os
import threading
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import (
    CURVES,
    curve_of_parameters,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import make_id
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    ec_public_key,
    fingerprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Key, Value
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_EC_KEY_PAIR_GEN,
    CKM_ECDSA,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token

CURVE = "P-256"

#: CKK_EC (PKCS#11 v3.1, 4.4)
_EC = 3

#: What is made (PKCS#11 v3.1, 4.9); a private key on P-256 could derive by ECDH as well
_PRIVATE: t.Mapping[str, Value] = {
    "TOKEN": True,
    "PRIVATE": True,
    "SENSITIVE": True,
    "EXTRACTABLE": False,
    "SIGN": True,
    "DECRYPT": False,
    "UNWRAP": False,
    "DERIVE": False,
}

#: CKA_* of the private key as they must be read back. No key that came from outside was never
#: extractable (PKCS#11 v3.1, 4.9).
_MUST_BE: t.Mapping[str, bool] = {
    "TOKEN": True,
    "PRIVATE": True,
    "SENSITIVE": True,
    "EXTRACTABLE": False,
    "NEVER_EXTRACTABLE": True,
    "SIGN": True,
}

#: The same, of which not every token tells
_MUST_BE_IF_TOLD: t.Mapping[str, bool] = {
    "ALWAYS_SENSITIVE": True,
    "DECRYPT": False,
    "UNWRAP": False,
    "DERIVE": False,
}

#: What is told beside: NSS says of each key that it came from outside
_TOLD: t.Final = ("LOCAL",)


@dataclass(frozen=True)
class EvidenceKey:
    """A key that was judged fit; it signs for any thread.

    :ivar label: CKA_LABEL
    :ivar pem: its public key
    :ivar keyid: SHA-256 of the SubjectPublicKeyInfo, in hexadecimal digits
    :ivar attributes: of the private key, by CKA_*; None where the token does not tell
    """

    token: Token
    label: str
    handle: Key
    pem: str
    attributes: t.Mapping[str, bool | None]
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def keyid(self) -> str:
        """The SHA-256 of the public key, by which signatures name it."""
        return fingerprint(self.pem)

    def sign(self, digest: bytes) -> bytes:
        """Return r and s side by side, as CKM_ECDSA gives them (PKCS#11 v3.1, 6.3.1).

        :param digest: SHA-256 of what is signed
        :raises ByokError: when the token refuses
        """
        what = f"Signing with the evidence key {self.label} by CKM_ECDSA"
        with self._one_at_a_time, self.token.calling(what):
            return self.token.session.sign(CKM_ECDSA, self.handle, digest)


def find_evidence_key(token: Token, label: str) -> EvidenceKey | None:
    """Return the evidence key of a label, judged by what the token tells of it.

    :returns: None where no private key has the label
    :raises ByokError: for a key of that label that is not fit to sign evidence, or several
    """
    with token.calling(f"Searching for the evidence key {label}"):
        found = token.session.find("PRIVATE_KEY", LABEL=label)
        handles = [key for key in found if token.session.read(key, "LABEL")["LABEL"] == label]
    if not handles:
        return None
    if len(handles) > 1:
        raise _unfit(token, label, f"{len(handles)} private keys have this label")
    return _described(token, label, handles[0])


def make_evidence_key(token: Token, label: str, now: datetime) -> EvidenceKey:
    """Make the evidence key, and read it back.

    :param label: CKA_LABEL that no private key has
    :param now: the time that its CKA_ID tells
    :raises ByokError: when the token refuses, or did not keep what it was told
    """
    identifier = make_id(int(now.timestamp() * 1000), os.urandom(10), [])
    named: dict[str, Value] = {"LABEL": label, "ID": identifier}
    public = {**named, "TOKEN": True, "VERIFY": True, "EC_PARAMS": CURVES[CURVE].parameters}
    with token.calling(f"Making the evidence key {label}"):
        token.session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, {**_PRIVATE, **named})
    made = find_evidence_key(token, label)
    if made is None:
        raise ByokError(
            f"The {token.info} does not find the evidence key {label} that it made",
            "Give it a label that this token keeps, for example a shorter one",
            code="evidence_key",
        )
    return made


def _described(token: Token, label: str, handle: Key) -> EvidenceKey:
    """Return a private key as an evidence key.

    :raises ByokError: naming the attribute that is not as it must be
    """
    with token.calling(f"Reading the evidence key {label}"):
        read = token.session.read(handle, "KEY_TYPE", "EC_PARAMS", "ID")
        told = token.session.read(handle, *_MUST_BE, *_MUST_BE_IF_TOLD, *_TOLD)
    curve = curve_of_parameters(read["EC_PARAMS"] or b"")
    if read["KEY_TYPE"] != _EC or curve is None or curve.name != CURVE:
        raise _unfit(token, label, f"it is no EC key on {CURVE}")
    for name, wanted in {**_MUST_BE, **_MUST_BE_IF_TOLD}.items():
        value = told[name]
        if value is not wanted and not (value is None and name in _MUST_BE_IF_TOLD):
            state = "not told" if value is None else str(value).lower()
            raise _unfit(token, label, f"its CKA_{name} is {state}")
    pem = _public_pem(token, label, read["ID"] or b"")
    attributes = {f"CKA_{name}": value for name, value in told.items()}
    return EvidenceKey(token, label, handle, pem, attributes)


def _public_pem(token: Token, label: str, identifier: bytes) -> str:
    """Return the public key that belongs to the private one: a private EC key has no point.

    :raises ByokError: where there is none, or several fit
    """
    with token.calling(f"Reading the public key of the evidence key {label}"):
        found = token.session.find("PUBLIC_KEY", LABEL=label, ID=identifier)
        points = {token.session.read(key, "EC_POINT")["EC_POINT"] for key in found}
    if not identifier or len(points) != 1:
        raise _unfit(token, label, f"{len(points)} public keys have its CKA_LABEL and CKA_ID")
    return to_pem(ec_public_key(CURVE, points.pop() or b""))


def _unfit(token: Token, label: str, why: str) -> ByokError:
    return ByokError(
        f"The key {label} in the {token.info} is not fit to sign evidence: {why}",
        "Set evidence_key to another label, and make that key with the module byok_evidence_key",
        code="evidence_key",
    )
