# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Approvals: what people sign by ``ssh-keygen -Y sign``, and how they are counted; pure.

A signature counts once for a person, whatever keys that person has. What is signed is one line,
``KIND DIGEST`` (of a KEK also the vault's URL), so that the approval of one thing never counts for
another. Formats are
PROTOCOL.sshsig and ssh-keygen(1) of OpenSSH; what ssh-keygen says was seen with OpenSSH 9.2.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import NAMESPACE, Kind
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Approval

#: One signature by RSA-16384 has less than 8 KiB in base64
_MOST_CHARACTERS = 16 * 1024

#: More than that are not tried: each takes two processes
MOST_APPROVALS = 1000

_MAGIC = b"SSHSIG"
_VERSION = 1
_ARMOR = re.compile(
    r"\s*-----BEGIN SSH SIGNATURE-----\s([A-Za-z0-9+/=\s]+)-----END SSH SIGNATURE-----\s*"
)

#: What names one person in allowed_signers: no list, no pattern
_PERSON = re.compile(r"[^\s*?!,-][^\s*?!,]*")

_OF_CERTIFICATE = "-cert-v01@openssh.com"


@dataclass(frozen=True)
class Subject:
    """What is approved.

    :ivar digest: SHA-256 in 64 hexadecimal digits, lower case
    :ivar vault: whose KEK it is, as comparable_url() returns it: otherwise the approved KEK of one
        vault could be given as that of another
    """

    kind: Kind
    digest: str
    vault: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.digest, self.vault)))

    @property
    def message(self) -> bytes:
        """What is signed."""
        return f"{self}\n".encode()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, for subjects that are named by one."""
    return hashlib.sha256(text.encode()).hexdigest()


class Answer(t.Protocol):
    """What a call of ssh-keygen gave."""

    @property
    def succeeded(self) -> bool:
        """Whether it ended with 0."""

    @property
    def output(self) -> str:
        """Its standard output."""

    @property
    def told(self) -> str:
        """What it says of itself, on its standard error."""


class Verifier(t.Protocol):
    """ssh-keygen, with one file allowed_signers and one time that counts."""

    def check(self, signature: str, message: bytes) -> Answer:
        """Tell whether a signature is of this message, by whomever."""

    def find_principals(self, signature: str) -> Answer:
        """Tell who signed."""

    def verify(self, signature: str, message: bytes, principal: str) -> Answer:
        """Tell whether this person may sign, and signed this message."""


class Refused(Exception):
    """A signature that does not count.

    :ivar code: of ``_core/reasons.py``
    """

    def __init__(self, code: str, told: str) -> None:
        self.code = code
        super().__init__(printable(told))


@dataclass(frozen=True)
class Signed:
    """A signature, as far as it can be read without keys (PROTOCOL.sshsig, "Blob format").

    :ivar key: the fingerprint of the key that it claims, as ``ssh-keygen -l`` shows it
    """

    text: str
    key: str
    namespace: str


def read_signature(text: str) -> Signed:
    """Read a signature strictly: one, and nothing around it.

    :raises Refused: for what is none
    """
    match = _ARMOR.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if match is None:
        raise _damaged("it is no text of ssh-keygen -Y sign, or holds more than that")
    try:
        blob = base64.b64decode("".join(match[1].split()), validate=True)
    except ValueError:
        raise _damaged("it is no base64") from None
    version = blob[len(_MAGIC) : len(_MAGIC) + 4]
    if not blob.startswith(_MAGIC) or version != _VERSION.to_bytes(4, "big"):
        raise _damaged("it is no SSHSIG of version 1")
    fields, rest = [], blob[len(_MAGIC) + 4 :]
    for _field in ("publickey", "namespace", "reserved", "hash_algorithm", "signature"):
        field, rest = _string(rest)
        fields.append(field)
    if rest:
        raise _damaged("something follows it")
    public_key, namespace = fields[:2]
    algorithm, _parts = _string(public_key)
    digest = base64.b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")
    if algorithm.endswith(_OF_CERTIFICATE.encode()):
        raise Refused(
            "approval_unknown_signer",
            f"a signature was made with an OpenSSH certificate (SHA256:{digest}), which is not "
            "counted: the file of allowed signers has to list the key itself",
        )
    return Signed(_armored(blob), f"SHA256:{digest}", namespace.decode("utf-8", "replace"))


def _armored(blob: bytes) -> str:
    """Return the text of a signature as ssh-keygen writes it, so that it reads what was read."""
    lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
    begin, end = (f"-----{part} SSH SIGNATURE-----" for part in ("BEGIN", "END"))
    return "\n".join((begin, *lines, end, ""))


def _string(octets: bytes) -> tuple[bytes, bytes]:
    """Take a ``string`` (RFC 4251, section 5) off; returns it, and what follows."""
    length = int.from_bytes(octets[:4], "big")
    if len(octets) < 4 + length or len(octets) < 4:
        raise _damaged("it ends too early")
    return octets[4 : 4 + length], octets[4 + length :]


def _damaged(why: str) -> Refused:
    return Refused("approval_damaged", f"a signature is damaged: {why}")


def signer_of(signed: Signed, subject: Subject, namespace: str, verifier: Verifier) -> str:
    """Return the person who approved this subject by this signature.

    :raises Refused: for a signature that does not count
    """
    by = f"the signature by the key {signed.key}"
    if signed.namespace != namespace:
        raise Refused(
            "approval_wrong_namespace",
            f"{by} has the namespace {signed.namespace}, and approvals have {namespace}",
        )
    if not verifier.check(signed.text, subject.message).succeeded:
        raise Refused(
            "approval_other_subject",
            f"{by} is not of the line {subject}: it approves something else, or was changed",
        )
    found = verifier.find_principals(signed.text)
    names = found.output.split("\n")[:-1] if found.succeeded else []
    if not names:
        raise _not_allowed(by, found.told)
    if len(names) > 1 or not _PERSON.fullmatch(names[0]):
        raise Refused(
            "approval_ambiguous_signer",
            f"{by} belongs to {', '.join(names)} in the file of allowed signers, which is no one "
            "person: its line has to begin with one name, and no pattern",
        )
    verified = verifier.verify(signed.text, subject.message, names[0])
    if not verified.succeeded:
        raise _not_allowed(f"{by} ({names[0]})", verified.told)
    return names[0]


#: What ssh-keygen says of a key in allowed_signers that does not count: its code, and in words
_NOT_ALLOWED = (
    ("has expired", "approval_expired", "does not count, because the key has expired"),
    ("not yet valid", "approval_not_yet_valid", "does not count, because the key is not valid yet"),
    (
        "not permitted for use in signature namespace",
        "approval_wrong_namespace",
        "does not count, because the file of allowed signers does not allow the key this namespace",
    ),
)


def _not_allowed(by: str, told: str) -> Refused:
    """Return why allowed_signers does not let somebody approve.

    :param told: what ssh-keygen says
    """
    for words, code, meaning in _NOT_ALLOWED:
        if words in told:
            return Refused(code, f"{by} {meaning} ({told})")
    return Refused(
        "approval_unknown_signer",
        f"{by} is by nobody in the file of allowed signers, or by somebody who was taken out of it",
    )


@dataclass(frozen=True)
class Counted:
    """Who approved a subject.

    :ivar principals: each person once, in the order of their names
    :ivar again: people of whom more than one signature was given
    :ivar refused: why other signatures do not count; those of other subjects are left out
    :ivar others: how many approve something else, or were changed
    """

    subject: Subject
    principals: tuple[str, ...]
    again: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()
    others: int = 0

    def approval(self) -> Approval:
        """Return what results and run manifests tell."""
        return Approval(self.subject.kind, self.subject.digest, self.principals)

    def demand(self, least: int, what: str, namespace: str = NAMESPACE) -> None:
        """Check that enough people approved.

        :param least: how many
        :param what: names the subject, to begin a sentence
        :raises ByokError: naming who did, and why other signatures do not count
        """
        if len(self.principals) >= least:
            return
        told = [f"{what} has {len(self.principals)} of {least} approvals"]
        told.append(f"approved by {', '.join(self.principals) or 'nobody'}")
        told += map(str, self.refused)
        told += [f"{self.once(name)}" for name in self.again]
        if self.others:
            told.append(f"signatures of something else, or changed: {self.others}")
        codes = {each.code for each in self.refused}
        # Where some count, the others are those of earlier subjects, which may lie there for ever.
        if self.others and not self.principals:
            codes.add("approval_other_subject")
        raise ByokError(
            "; ".join(told),
            f"Let {'one person' if least == 1 else f'{least} people'} check it and sign this line: "
            f"echo '{self.subject}' | "
            f"ssh-keygen -Y sign -n {namespace} -f KEY. Then give the "
            "signatures by the option approvals",
            code=codes.pop() if len(codes) == 1 else "approvals_missing",
        )

    @staticmethod
    def once(name: str) -> str:
        """Return the sentence about a person who signed more than once."""
        return f"{name} signed more than once, which counts once"


def count(subject: Subject, texts: t.Iterable[str], namespace: str, verifier: Verifier) -> Counted:
    """Count the people who approved a subject.

    :param texts: signatures, of this subject and of others
    :raises ByokError: for more signatures than can be tried
    """
    # People may be written with capital letters in one line of allowed_signers alone.
    people: dict[str, list[str]] = {}
    refused: list[Refused] = []
    others = 0
    for text in _each_once(texts):
        try:
            name = signer_of(read_signature(text), subject, namespace, verifier)
        except Refused as error:
            if error.code == "approval_other_subject":
                others += 1
            else:
                refused.append(error)
        else:
            people.setdefault(name.casefold(), []).append(name)
    names = sorted(min(spelt) for spelt in people.values())
    again = sorted(min(spelt) for spelt in people.values() if len(spelt) > 1)
    return Counted(subject, tuple(names), tuple(again), tuple(refused), others)


def _each_once(texts: t.Iterable[str]) -> list[str]:
    """Return the signatures without those that are there twice."""
    once = list({"".join(text.split()): text for text in texts}.values())
    if len(once) > MOST_APPROVALS:
        raise ByokError(
            f"{len(once)} approvals are given, and at most {MOST_APPROVALS} are tried",
            "Give those of this run only; remove the files of earlier ones",
        )
    return once
