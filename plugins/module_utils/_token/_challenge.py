# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A challenge that only a vault holding the same secret key can answer: for keys that have no public part."""

from __future__ import annotations

import hashlib
import os

from ansible_collections.keyferry.azure.plugins.module_utils._token._errors import calling
from ansible_collections.keyferry.azure.plugins.module_utils._token._generations import Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token

_NONCE_BYTES = 32


def make_challenge(token: Token, name: str, generation: Generation) -> dict[str, str] | None:
    """Encrypt a random nonce in the token, or wrap it where the key may only wrap; None where it may do neither.

    :returns: ``algorithm`` (Azure's name), ``ciphertext`` and for CBC ``iv`` as hexadecimal digits, and ``sha256`` of
        the nonce, which the vault's answer must have
    :raises ByokError: when the token refuses
    """
    from pkcs11 import Attribute, KeyType, Mechanism

    key, bits = generation.handle, generation.spec and generation.spec.size
    what = f"Making a challenge with the key {name} in the {token.info}"
    if hasattr(key, "encrypt"):
        nonce, iv = os.urandom(_NONCE_BYTES), os.urandom(16)
        with calling("C_Encrypt", what):
            ciphertext = key.encrypt(nonce, mechanism=Mechanism.AES_CBC_PAD, mechanism_param=iv)
        return {
            "algorithm": f"A{bits}CBCPAD",
            "iv": iv.hex(),
            "ciphertext": ciphertext.hex(),
            "sha256": hashlib.sha256(nonce).hexdigest(),
        }
    if hasattr(key, "wrap_key"):
        template = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
        with calling("C_WrapKey", what):
            # The nonce is a key only in form, so that it can be wrapped; it protects nothing.
            carrier = token.session.generate_key(KeyType.AES, 8 * _NONCE_BYTES, capabilities=0, template=template)
            try:
                nonce = carrier[Attribute.VALUE]
                ciphertext = key.wrap_key(carrier, mechanism=Mechanism.AES_KEY_WRAP)
            finally:
                carrier.destroy()
        return {
            "algorithm": f"A{bits}KW",
            "ciphertext": ciphertext.hex(),
            "sha256": hashlib.sha256(nonce).hexdigest(),
        }
    return None
