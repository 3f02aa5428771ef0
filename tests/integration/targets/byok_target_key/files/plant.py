# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put keys into the token that byok_target_key would never make."""

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

OURS = "019a0000-0000-7000-8000-000000000001".replace("-", "")  # a UUIDv7 of 2025


def templates(label: str, identifier: str, **private: bool) -> dict[str, dict[Any, Any]]:
    common = {
        Attribute.TOKEN: True,
        Attribute.LABEL: label,
        Attribute.ID: bytes.fromhex(identifier),
    }
    flags = {"PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": True, "SIGN": True, **private}
    return {
        "public_template": {**common, Attribute.PRIVATE: False, Attribute.VERIFY: True},
        "private_template": {**common, **{Attribute[name]: value for name, value in flags.items()}},
    }


def make_ec(
    session: Any, label: str, identifier: str, curve: str = "secp256r1", **private: bool
) -> Any:
    parameters = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
    )
    return parameters.generate_keypair(capabilities=0, **templates(label, identifier, **private))


def import_rsa(session: Any, label: str, exponent: int) -> None:
    key = rsa.generate_private_key(exponent, 2048)
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    made = templates(label, "0b")
    private = decode_rsa_private_key(der, capabilities=0)
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
        make_ec(session, "adopted", "01")
        make_ec(session, "several", "02")
        make_ec(session, "several", "03")
        make_ec(session, "ours-wins", "ff")
        make_ec(session, "ours-wins", OURS)
        make_ec(session, "odd-curve", "05", "secp224r1")
        make_ec(session, "not-extractable", "06", EXTRACTABLE=False)
        make_ec(session, "readable", "07", SENSITIVE=False)
        public_key, _private_key = make_ec(session, "no-public-key", "08")
        public_key.destroy()
        session.generate_keypair(
            KeyType.RSA, 2048, capabilities=0, **templates("adopted-rsa", "09")
        )
        import_rsa(session, "planted", 65537)
        import_rsa(session, "exponent-3", 3)


if __name__ == "__main__":
    main()
