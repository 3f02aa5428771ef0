# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Rehearsing: wrap a throw-away key to see what a mechanism makes, before a real key is touched.

The same number means different things on different tokens: 0x210A is RFC 5649 on some and RFC 3394
over PKCS#7 on others, a Luna may append the initial value, SoftHSM 2.6.1 leaves zero bytes behind
the key. Azure unwraps RFC 5649 over PKCS#8 alone.
"""

from __future__ import annotations

import typing as t
from contextlib import contextmanager
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    Key,
    TokenError,
    Value,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_EC_KEY_PAIR_GEN,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import NUMBERS
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token
from ansible_collections.keyferry.azure.plugins.module_utils._token.wrapping import (
    destroyed_at_the_end,
    kek_object,
    wrap,
)

_RFC_5649 = "RFC 5649"

#: What a rehearsal finds when the mechanism makes what Azure unwraps
GOOD = f"{_RFC_5649} over PKCS#8"

_KEK_BITS = 2048
_RSA_BITS = 2048

#: RFC 3394, 2.2.3.1 and RFC 5649, 3: initial values
_RFC_3394_IV = bytes.fromhex("a6a6a6a6a6a6a6a6")
_RFC_5649_AIV = bytes.fromhex("a65959a6")

#: How many bytes a token may append to the wrapped key, an initial value or a block
_APPENDED_BYTES = (0, 4, 8, 16)

#: Of a candidate that the token does not have, which says less than what another one met
_NOT_THERE = (NUMBERS["CKR_MECHANISM_INVALID"], NUMBERS["CKR_MECHANISM_PARAM_INVALID"])


@dataclass(frozen=True)
class Rehearsal:
    """What a throw-away transfer showed.

    :ivar mechanism: the mechanism to use
    :ivar finding: what it produces, in words
    :ivar profile: the profile whose candidates were tried
    """

    mechanism: Mechanism
    finding: str
    profile: str

    def as_result(self) -> dict[str, str]:
        """Return the facts that a receipt records."""
        return {
            "profile": self.profile,
            "mechanism": f"{self.mechanism.name} ({self.mechanism.number:#x})",
            "parameter": self.mechanism.parameter.hex() if self.mechanism.parameter else "NULL",
            "finding": self.finding,
        }


def rehearse(token: Token, allow_trailing_zeros: bool) -> Rehearsal:
    """Wrap a throw-away key under a software KEK by each candidate, and choose the first good one.

    It is unwrapped here. Only session objects are made, and no key of any value is ever in the
    clear.

    :param allow_trailing_zeros: accept SoftHSM 2.6.1's zero bytes behind the PKCS#8
    :raises ByokError: when no candidate produces what Azure unwraps, naming what each produced
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise MissingLibrary("cryptography", error) from error
    findings: dict[str, str] = {}
    refusals: list[TokenError] = []
    kek = rsa.generate_private_key(65537, _KEK_BITS)
    numbers = kek.public_key().public_numbers()
    with (
        kek_object(token, RsaPublicKey(numbers.n, numbers.e)) as wrapping_key,
        _throw_away_key(token) as target,
    ):
        for mechanism in token.profile.wrap_mechanisms:
            if mechanism.number not in token.mechanisms:
                continue
            name = "a throw-away key"
            try:
                wrapped = wrap(token, token.session, wrapping_key, target, mechanism, name)
                finding = classify(kek, wrapped)
            except TokenError as error:
                finding = error.what.replace(f" in the {token.info}", "")
                refusals.append(error)
            if finding == GOOD or (allow_trailing_zeros and finding.startswith(GOOD)):
                return Rehearsal(mechanism, finding, token.profile_name)
            findings[_in_words(mechanism)] = finding
    summary = "; ".join(f"{mechanism}: {finding}" for mechanism, finding in findings.items())
    raise ByokError(
        f"The {token.info} has no mechanism whose output Azure unwraps "
        f"({summary or 'it offers none that is known'})",
        _remedy(findings.values(), refusals),
    )


def _in_words(mechanism: Mechanism) -> str:
    text = f"{mechanism.name} ({mechanism.number:#x})"
    if mechanism.parameter:
        text += f" with the parameter {mechanism.parameter.hex()}"
    return text


def _remedy(findings: t.Collection[str], refusals: list[TokenError]) -> str:
    if any(finding.startswith(GOOD) for finding in findings):
        return (
            "Trailing zero bytes are a flaw of SoftHSM 2.6.1; if your vault accepts them, set "
            "allow_trailing_zeros"
        )
    for refusal in refusals:
        if refusal.code not in _NOT_THERE:
            return refusal.remedy
    return (
        "Update the token's firmware or client, or set hsm_profile if the vendor was not recognised"
    )


def classify(kek: t.Any, wrapped: bytes) -> str:
    """Describe ``wrapped``, with the private key of a rehearsal's KEK.

    :param kek: an RSA private key of the library cryptography
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    size = kek.key_size // 8
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    try:
        aes_key = kek.decrypt(wrapped[:size], oaep)
    except ValueError:
        return "no RSA-OAEP with SHA-1"
    body = wrapped[size:]
    for appended in _APPENDED_BYTES:
        kept = body[: len(body) - appended]
        if len(kept) < 16 or len(kept) % 8:
            continue
        initial, plain = unwrap_unchecked(aes_key, kept)
        key_wrap = _key_wrap(initial, plain)
        if key_wrap is None:
            continue
        if appended:
            return f"{key_wrap}, with {appended} bytes appended"
        if key_wrap == _RFC_5649:
            return _contents(plain[: _length(initial)])
        return key_wrap
    return "no AES key wrap that is known"


def _key_wrap(initial: bytes, plain: bytes) -> str | None:
    """Return which key wrap has this initial value; None for none that is known.

    :param initial: 8 bytes, as unwrap_unchecked() returns them
    :param plain: the rest
    """
    if initial == _RFC_3394_IV:
        padded = 0 < plain[-1] <= 16 and plain.endswith(plain[-1:] * plain[-1])
        content = " over PKCS#7 padding" if padded else ""
        return f"RFC 3394{content} instead of {_RFC_5649}"
    length = _length(initial)
    if not len(plain) - 8 < length <= len(plain) or any(plain[length:]):
        return None
    if initial[:4] != _RFC_5649_AIV:
        return (
            f"{_RFC_5649} with the initial value {initial[:4].hex()} "
            f"instead of {_RFC_5649_AIV.hex()}"
        )
    return _RFC_5649


def _length(initial: bytes) -> int:
    """Return how many bytes of the plain text are the key's (RFC 5649, 3), the rest being zeros."""
    return int.from_bytes(initial[4:], "big")


def unwrap_unchecked(aes_key: bytes, wrapped: bytes) -> tuple[bytes, bytes]:
    """Undo AES key wrap and leave the judgement to the caller.

    :returns: the 8 bytes that hold the initial value (RFC 3394, 2.2.2; RFC 5649, 4.2), and the rest
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    decrypt = Cipher(algorithms.AES(aes_key), modes.ECB()).decryptor().update
    if len(wrapped) == 16:
        plain = decrypt(wrapped)
        return plain[:8], plain[8:]
    initial, blocks = wrapped[:8], [wrapped[at : at + 8] for at in range(8, len(wrapped), 8)]
    for step in range(6 * len(blocks), 0, -1):
        at = (step - 1) % len(blocks)
        mixed = (int.from_bytes(initial, "big") ^ step).to_bytes(8, "big")
        plain = decrypt(mixed + blocks[at])
        initial, blocks[at] = plain[:8], plain[8:]
    return initial, b"".join(blocks)


def _contents(plain: bytes) -> str:
    from cryptography.hazmat.primitives import serialization

    zeros = len(plain) - len(plain.rstrip(b"\0"))
    for trailing in range(zeros + 1):
        try:
            serialization.load_der_private_key(plain[: len(plain) - trailing], None)
        except ValueError:
            continue
        return f"{GOOD}, followed by {trailing} zero bytes" if trailing else GOOD
    return f"{_RFC_5649} over something that is no PKCS#8"


@contextmanager
def _throw_away_key(token: Token) -> t.Iterator[Key]:
    """Make a P-256 key pair, or RSA-2048 where there is no EC.

    A PKCS#8 of P-256 is never a multiple of 8 bytes long, so padding shows.
    """
    session = token.session
    public: dict[str, Value] = {"TOKEN": False, "VERIFY": True}
    private: dict[str, Value] = {
        "TOKEN": False,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "SIGN": True,
    }
    with token.calling("Making a throw-away key"):
        if CKM_EC_KEY_PAIR_GEN in token.mechanisms:
            public["EC_PARAMS"] = CURVES["P-256"].parameters
            pair = session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, private)
        else:
            mechanism = token.rsa_generation()[0]
            pair = session.generate_pair(mechanism.number, public, private, _RSA_BITS)
    public_key, private_key = pair
    # The public key goes first: in NSS it goes with the private one.
    with (
        destroyed_at_the_end(token, session, private_key),
        destroyed_at_the_end(token, session, public_key),
    ):
        yield private_key
