# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A challenge for keys without a public part: only a vault with the same secret key answers it."""

from __future__ import annotations

import hashlib
import os

from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Key, TokenError
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_AES_KEY_WRAP,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token
from ansible_collections.keyferry.azure.plugins.module_utils._token.wrapping import (
    destroyed_at_the_end,
)

_NONCE_BYTES = 32
_IV_BYTES = 16


def make_challenge(token: Token, name: str, generation: Generation) -> dict[str, str] | None:
    """Encrypt a random nonce in the token, or wrap it where the key may only wrap.

    :returns: ``algorithm`` (Azure's name), ``ciphertext`` and for CBC ``iv`` as hexadecimal digits,
        and ``sha256`` of the nonce, which the vault's answer must have; None where the key can do
        neither
    :raises ByokError: when the token refuses
    """
    key = generation.handle
    bits = generation.spec and generation.spec.size
    what = f"Making a challenge with the key {name}"
    with token.calling(what):
        allowed = token.session.read(key, "ENCRYPT", "WRAP")
    if allowed["ENCRYPT"]:
        return {"algorithm": f"A{bits}CBCPAD", **_encrypt_nonce(token, what, key)}
    if allowed["WRAP"]:
        challenge = _wrap_nonce(token, what, key)
        return challenge and {"algorithm": f"A{bits}KW", **challenge}
    return None


def _encrypt_nonce(token: Token, what: str, key: Key) -> dict[str, str]:
    nonce, iv = os.urandom(_NONCE_BYTES), os.urandom(_IV_BYTES)
    with token.calling(what):
        ciphertext = token.session.encrypt_cbc(key, iv, nonce)
    return {"iv": iv.hex(), "ciphertext": ciphertext.hex(), "sha256": _sha256(nonce)}


def _wrap_nonce(token: Token, what: str, key: Key) -> dict[str, str] | None:
    """Wrap a nonce that is a key only in form, so that it can be wrapped; it protects nothing."""
    template = {"TOKEN": False, "PRIVATE": True, "SENSITIVE": False, "EXTRACTABLE": True}
    try:
        with token.calling(what):
            carrier = token.session.generate_secret(8 * _NONCE_BYTES, template)
    except TokenError:
        return None  # a Luna makes no key whose value can be read
    with destroyed_at_the_end(token, token.session, carrier), token.calling(what):
        nonce = token.session.read(carrier, "VALUE")["VALUE"]
        ciphertext = token.session.wrap(CKM_AES_KEY_WRAP, None, key, carrier)
    return {"ciphertext": ciphertext.hex(), "sha256": _sha256(nonce)}


def _sha256(nonce: bytes) -> str:
    return hashlib.sha256(nonce).hexdigest()
