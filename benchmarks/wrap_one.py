# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a vendor's tool does with one key, in the environment of a lab.

usage: wrap_one.py EC|RSA NAME [make] [wrap KEK.pem KID FILE]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from floor import make, wrap
from pkcs11 import Attribute, KeyType, ObjectClass


def main(kind: str, name: str, *steps: str) -> None:
    """Take the steps with one key."""
    token = pkcs11.lib(os.environ["BYOK_PKCS11_LIBRARY"]).get_token(
        token_label=os.environ["BYOK_TOKEN_LABEL"]
    )
    with token.open(rw=True, user_pin=Path(os.environ["BYOK_PIN_FILE"]).read_text()) as session:
        if steps[0] == "make":
            pair = make(session, [name])[name] if kind == "EC" else make_rsa(session, name)
        else:
            pair = (None, session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=name))
        if "wrap" in steps:
            kek_file, kid, package_file = steps[-3:]
            kek = load_pem_public_key(Path(kek_file).read_bytes())
            if not isinstance(kek, RSAPublicKey):
                raise TypeError("the KEK is no RSA key")
            n, e = (
                number.to_bytes((number.bit_length() + 7) // 8, "big") for number in vars_of(kek)
            )
            for _name, package in wrap(session, kid, n, e, {name: pair}):
                Path(package_file).write_bytes(package)


def vars_of(kek: RSAPublicKey) -> tuple[int, int]:
    """Return modulus and exponent."""
    numbers = kek.public_numbers()
    return numbers.n, numbers.e


def make_rsa(session: Any, name: str) -> tuple[Any, Any]:
    """Make an RSA-2048 pair."""
    private = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}
    pair: tuple[Any, Any] = session.generate_keypair(
        KeyType.RSA, 2048, store=True, label=name, private_template=private
    )
    return pair


if __name__ == "__main__":
    main(*sys.argv[1:])
