# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Wrapping keys for Azure: RSA-OAEP (SHA-1) of an AES-256 key, then its KWP of the target."""

from __future__ import annotations

import ctypes
import typing as t
from contextlib import contextmanager, suppress

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Key, Session
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_RSA_AES_KEY_WRAP,
    CKM_RSA_PKCS_OAEP,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token

_AES_BITS = 256


@contextmanager
def kek_object(token: Token, kek: RsaPublicKey) -> t.Iterator[Key]:
    """Put the KEK's public key into the token as a session object, and take it out again."""
    with token.calling("Loading the KEK's public key"):
        key = token.session.create_public_rsa(
            TOKEN=False,
            WRAP=True,
            MODULUS=_octets(kek.n),
            PUBLIC_EXPONENT=_octets(kek.e),
        )
    with destroyed_at_the_end(token, token.session, key):
        yield key


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def wrap(
    token: Token, session: Session, kek: Key, target: Key, mechanism: Mechanism, name: str
) -> bytes:
    """Wrap ``target`` under ``kek``: by one mechanism that does it all, or in two steps.

    :param kek: what kek_object() yielded
    :param name: what to call the target in an error
    :returns: RSA-OAEP of an AES-256 key, then that key's wrapping of the target
    :raises ByokError: when the token refuses
    """
    what = f"Wrapping {name} by {mechanism.name}"
    if mechanism.number == CKM_RSA_AES_KEY_WRAP:
        oaep = _oaep_parameters()
        parameter = bytes(_RsaAesParameters(aes_bits=_AES_BITS, oaep=ctypes.addressof(oaep)))
        with token.calling(what):
            return session.wrap(mechanism.number, parameter, kek, target)
    with temporary_aes_key(token, session) as aes_key:
        with token.calling("Wrapping the temporary AES key by CKM_RSA_PKCS_OAEP"):
            oaep_part = session.wrap(CKM_RSA_PKCS_OAEP, bytes(_oaep_parameters()), kek, aes_key)
        with token.calling(what):
            kwp_part = session.wrap(mechanism.number, mechanism.parameter, aes_key, target)
    return oaep_part + kwp_part


@contextmanager
def temporary_aes_key(token: Token, session: Session) -> t.Iterator[Key]:
    """Make the one secret that could wrap the target again; it lives for two calls."""
    template = {
        "TOKEN": False,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "WRAP": True,
    }
    with token.calling("Making the temporary AES key"):
        key = session.generate_secret(_AES_BITS, template)
    with destroyed_at_the_end(token, session, key):
        yield key


@contextmanager
def destroyed_at_the_end(token: Token, session: Session, key: Key) -> t.Iterator[None]:
    """Destroy a temporary key at the end, whatever happens."""

    def destroy() -> None:
        with token.calling("Removing a temporary key"):
            session.destroy(key)

    try:
        yield
    except BaseException:
        with suppress(ByokError):  # what failed first is what the user has to know
            destroy()
        raise
    destroy()


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


def _oaep_parameters() -> _OaepParameters:
    """Return OAEP as Azure wants it: CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED without data."""
    return _OaepParameters(hash=0x220, mgf=1, source=1, source_data=None, source_length=0)
