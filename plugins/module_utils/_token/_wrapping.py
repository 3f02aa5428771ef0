# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Wrapping keys for Azure, after a rehearsal that shows what the token's mechanism really produces."""

from __future__ import annotations

import ctypes
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError, MissingLibrary
from ansible_collections.keyferry.azure.plugins.module_utils._public_key import RsaPublicKey, curve_parameters
from ansible_collections.keyferry.azure.plugins.module_utils._token._errors import calling
from ansible_collections.keyferry.azure.plugins.module_utils._token._profiles import (
    CKM_RSA_AES_KEY_WRAP,
    PROFILES,
    WrapMechanism,
    choose_profile,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token

#: What a rehearsal finds when the mechanism makes what Azure unwraps
GOOD = "RFC 5649 over PKCS#8"

_REHEARSAL_KEK_BITS = 2048


@dataclass(frozen=True)
class Rehearsal:
    """What a throw-away transfer showed.

    :ivar mechanism: the mechanism to use
    :ivar finding: what it produces, in words
    :ivar profile: the profile whose candidates were tried
    """

    mechanism: WrapMechanism
    finding: str
    profile: str


def rehearse(token: Token, profile: str, allow_trailing_zeros: bool) -> Rehearsal:
    """Wrap a throw-away key under a software KEK by each candidate, unwrap it here, and choose the first good one.

    Only session objects are made, and no key of any value is ever in the clear.

    :param profile: a name of PROFILES, or ``auto``
    :param allow_trailing_zeros: accept SoftHSM 2.6.1's zero bytes behind the PKCS#8
    :raises ByokError: when no candidate produces what Azure unwraps, naming what each produced
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise MissingLibrary("cryptography", error) from error
    profile = choose_profile(profile, token.info.manufacturer)
    candidates = [each for each in PROFILES[profile].wrap_mechanisms if each.number in token.mechanisms]
    findings: dict[str, str] = {}
    kek = rsa.generate_private_key(65537, _REHEARSAL_KEK_BITS)
    numbers = kek.public_key().public_numbers()
    with kek_object(token, RsaPublicKey(numbers.n, numbers.e)) as wrapping_key, _throw_away_key(token) as target:
        for mechanism in candidates:
            try:
                wrapped = wrap(token, wrapping_key, target, mechanism, "a throw-away key")
                finding = classify(kek, wrapped)
            except ByokError as error:
                finding = str(error)
            if finding == GOOD or (allow_trailing_zeros and finding.startswith(GOOD)):
                return Rehearsal(mechanism, finding, profile)
            findings[mechanism.name] = finding
    raise ByokError(
        f"The {token.info} has no mechanism whose output Azure unwraps ("
        + ("; ".join(f"{name} makes: {finding}" for name, finding in findings.items()) or "none of them is offered")
        + ")",
        "Trailing zero bytes are a flaw of SoftHSM 2.6.1; against a vault that takes them, set allow_trailing_zeros"
        if any(finding.startswith(GOOD) for finding in findings.values())
        else "Update the token's firmware or client, or switch key wrapping on in the token's policies",
    )


def classify(kek: t.Any, wrapped: bytes) -> str:
    """Say what ``wrapped`` is, with the private key of a rehearsal's KEK.

    :param kek: an RSA private key of the library cryptography
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_unwrap_with_padding

    size = kek.key_size // 8
    try:
        aes_key = kek.decrypt(wrapped[:size], padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    except ValueError:
        return "no RSA-OAEP with SHA-1"
    try:
        plain = aes_key_unwrap_with_padding(aes_key, wrapped[size:])
    except InvalidUnwrap:
        try:
            plain = aes_key_unwrap(aes_key, wrapped[size:])
        except InvalidUnwrap:
            return "no AES key wrap that is known, or one with another initial value or an appended one"
        padded = plain[-1:] * plain[-1] == plain[len(plain) - plain[-1] :]
        return "RFC 3394 over PKCS#7 padding instead of RFC 5649" if padded else "RFC 3394 instead of RFC 5649"
    zeros = len(plain) - len(plain.rstrip(b"\0"))
    for trailing in range(zeros + 1):
        try:
            serialization.load_der_private_key(plain[: len(plain) - trailing], None)
        except ValueError:
            continue
        return f"{GOOD}, followed by {trailing} zero bytes" if trailing else GOOD
    return "RFC 5649 over something that is no PKCS#8"


@contextmanager
def kek_object(token: Token, kek: RsaPublicKey) -> t.Iterator[t.Any]:
    """Put the KEK's public key into the token as a session object, and take it out again."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    def octets(number: int) -> bytes:
        return number.to_bytes((number.bit_length() + 7) // 8, "big")

    template = {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.TOKEN: False,
        Attribute.PRIVATE: False,
        Attribute.WRAP: True,
        Attribute.ENCRYPT: True,
        Attribute.MODULUS: octets(kek.n),
        Attribute.PUBLIC_EXPONENT: octets(kek.e),
    }
    with calling("C_CreateObject", f"Bringing the KEK's public key into the {token.info}"):
        key = token.session.create_object(template)
    with _destroyed_at_the_end(token, key):
        yield key


def wrap(token: Token, kek: t.Any, target: t.Any, mechanism: WrapMechanism, name: str) -> bytes:
    """Wrap ``target`` under ``kek``: RSA-OAEP with SHA-1 of an AES-256 key, then that key's KWP of the target.

    :param kek: what kek_object() yielded
    :param target: python-pkcs11's object of the key to wrap
    :param name: what to call the target in an error
    :raises ByokError: when the token refuses
    """
    from pkcs11 import MGF, Attribute, KeyType, Mechanism

    what = f"Wrapping {name} in the {token.info} by {mechanism.name}"
    if mechanism.number == CKM_RSA_AES_KEY_WRAP:
        parameter, _kept_alive = _rsa_aes_parameter()
        with calling("C_WrapKey", what):
            return bytes(kek.wrap_key(target, mechanism=_mechanism(mechanism), mechanism_param=parameter))
    # No library in between, so this key is the one secret that could wrap the target again: it lives for two calls.
    template = {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.WRAP: True,
    }
    with calling("C_GenerateKey", f"Making the temporary AES key in the {token.info}"):
        aes_key = token.session.generate_key(KeyType.AES, 256, capabilities=0, template=template)
    with _destroyed_at_the_end(token, aes_key), calling("C_WrapKey", what):
        oaep = (Mechanism.SHA_1, MGF.SHA1, None)
        wrapped_aes_key = kek.wrap_key(aes_key, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=oaep)
        return bytes(
            wrapped_aes_key + aes_key.wrap_key(target, mechanism=_mechanism(mechanism), mechanism_param=mechanism.parameter)
        )


@contextmanager
def _throw_away_key(token: Token) -> t.Iterator[t.Any]:
    """Make a P-256 key pair (its PKCS#8 is never a multiple of 8 bytes, so padding shows), or RSA-2048 without EC."""
    from pkcs11 import Attribute, KeyType, Mechanism

    private = {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.SIGN: True,
    }
    templates = {
        "public_template": {Attribute.TOKEN: False, Attribute.PRIVATE: False, Attribute.VERIFY: True},
        "private_template": private,
    }
    with calling("C_GenerateKeyPair", f"Making a throw-away key in the {token.info}"):
        if Mechanism.EC_KEY_PAIR_GEN in token.mechanisms:
            parameters = token.session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: curve_parameters("P-256")}, local=True
            )
            public_key, private_key = parameters.generate_keypair(capabilities=0, **templates)
        else:
            public_key, private_key = token.session.generate_keypair(KeyType.RSA, 2048, capabilities=0, **templates)
    with _destroyed_at_the_end(token, public_key), _destroyed_at_the_end(token, private_key):
        yield private_key


@contextmanager
def _destroyed_at_the_end(token: Token, key: t.Any) -> t.Iterator[None]:
    def destroy() -> None:
        with calling("C_DestroyObject", f"Removing a temporary key from the {token.info}"):
            key.destroy()

    try:
        yield
    except BaseException:
        with suppress(ByokError):  # what failed first is what the user has to know
            destroy()
        raise
    destroy()


def _mechanism(mechanism: WrapMechanism) -> t.Any:
    """Return a member of python-pkcs11's Mechanism, also for numbers that it does not know (it refuses plain ints)."""
    from pkcs11 import Mechanism

    try:
        return Mechanism(mechanism.number)
    except ValueError:
        member = int.__new__(Mechanism, mechanism.number)
        member._name_, member._value_ = mechanism.name, mechanism.number
        return member


class _OaepParameters(ctypes.Structure):
    """CK_RSA_PKCS_OAEP_PARAMS (PKCS#11 v3.1, 6.1.8)."""

    _fields_ = [
        ("hash", ctypes.c_ulong),
        ("mgf", ctypes.c_ulong),
        ("source", ctypes.c_ulong),
        ("source_data", ctypes.c_void_p),
        ("source_length", ctypes.c_ulong),
    ]


class _RsaAesParameters(ctypes.Structure):
    """CK_RSA_AES_KEY_WRAP_PARAMS (PKCS#11 v3.1, 6.1.26)."""

    _fields_ = [("aes_bits", ctypes.c_ulong), ("oaep", ctypes.c_void_p)]


def _rsa_aes_parameter() -> tuple[bytes, _OaepParameters]:
    """Return the parameter for AES-256 and OAEP with SHA-1, and what it points to, to be kept until the call is back."""
    oaep = _OaepParameters(hash=0x220, mgf=1, source=1, source_data=None, source_length=0)  # CKM_SHA_1, CKG_MGF1_SHA1
    return bytes(_RsaAesParameters(aes_bits=256, oaep=ctypes.addressof(oaep))), oaep
