# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put keys into the token that others made, with labels that try to get out of a text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters
from pkcs11.util.rsa import decode_rsa_private_key

LABELS = [
    "dis-adopted",
    "dis-waiting",
    "{{ lookup('pipe', 'touch ' ~ output_dir ~ '/rendered') }}",
    "x\nkeys: [broken out]\n#",
]


def templates(label: str, identifier: bytes) -> dict[str, dict[Any, Any]]:
    common = {Attribute.TOKEN: True, Attribute.LABEL: label, Attribute.ID: identifier}
    secret = {
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: True,
        Attribute.SIGN: True,
    }
    return {
        "public_template": {**common, Attribute.PRIVATE: False, Attribute.VERIFY: True},
        "private_template": {**common, **secret},
    }


def plant(session: Any) -> None:
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    for number, label in enumerate(LABELS):
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        parameters.generate_keypair(capabilities=0, **templates(label, bytes([number])))
    key = rsa.generate_private_key(65537, 2048)
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    private, made = decode_rsa_private_key(der, capabilities=0), templates("dis-outside", b"\xff")
    public = {name: private[name] for name in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT)}
    public |= {Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.RSA}
    session.create_object({**public, **made["public_template"]})
    session.create_object({**private, **made["private_template"]})


def main() -> None:
    token = pkcs11.lib(os.environ["BYOK_PKCS11_LIBRARY"]).get_token(
        token_label=os.environ["BYOK_TOKEN_LABEL"]
    )
    with token.open(
        rw=True, user_pin=Path(os.environ["BYOK_PIN_FILE"]).read_text().strip()
    ) as session:
        plant(session)


if __name__ == "__main__":
    main()
