# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the objects of the token as JSON, read by python-pkcs11 alone.

PEM and thumbprint are made by cryptography.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.util.ec import encode_ec_public_key
from pkcs11.util.rsa import encode_rsa_public_key

USAGES = (
    "ENCRYPT",
    "DECRYPT",
    "SIGN",
    "VERIFY",
    "WRAP",
    "UNWRAP",
    "DERIVE",
)  # SoftHSM sets those with RECOVER by itself
FLAGS = (
    "TOKEN",
    "PRIVATE",
    "SENSITIVE",
    "EXTRACTABLE",
    "LOCAL",
    "ALWAYS_SENSITIVE",
    "NEVER_EXTRACTABLE",
)
COORDINATE_BYTES = {"secp256r1": 32, "secp384r1": 48, "secp521r1": 66, "secp256k1": 32}
CURVES = {
    "secp256r1": "P-256",
    "secp384r1": "P-384",
    "secp521r1": "P-521",
    "secp256k1": "secp256k1",
}


def true_attributes(item: Any, names: tuple[str, ...]) -> list[str]:
    values = item.get_attributes([Attribute[name] for name in names])
    return [name for name in names if values.get(Attribute[name])]


def public_key(item: Any) -> Any:
    encode = encode_rsa_public_key if item.key_type is KeyType.RSA else encode_ec_public_key
    return load_der_public_key(encode(item))


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def thumbprint(key: Any) -> str:
    """RFC 7638, 3: the required members in lexicographic order, without white space."""
    numbers = key.public_numbers()
    if isinstance(key, rsa.RSAPublicKey):
        e, n = (
            base64url(number.to_bytes(-(-number.bit_length() // 8), "big"))
            for number in (numbers.e, numbers.n)
        )
        text = f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'
    else:
        size = COORDINATE_BYTES[numbers.curve.name]
        x, y = (base64url(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
        text = f'{{"crv":"{CURVES[numbers.curve.name]}","kty":"EC","x":"{x}","y":"{y}"}}'
    return base64url(hashlib.sha256(text.encode()).digest())


def describe(item: Any) -> dict[str, Any]:
    described = {
        "label": item.label,
        "id": item[Attribute.ID].hex(),
        "class": item.object_class.name,
        "usage": true_attributes(item, USAGES),
        "flags": true_attributes(item, FLAGS),
    }
    if item.object_class is ObjectClass.PUBLIC_KEY and item.label != "odd-curve":
        key = public_key(item)
        described["pem"] = key.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode()
        described["thumbprint"] = thumbprint(key)
    return described


def main() -> None:
    token = pkcs11.lib(os.environ["BYOK_PKCS11_LIBRARY"]).get_token(
        token_label=os.environ["BYOK_TOKEN_LABEL"]
    )
    with token.open(user_pin=Path(os.environ["BYOK_PIN_FILE"]).read_text().strip()) as session:
        print(json.dumps([describe(item) for item in session.get_objects()]))


if __name__ == "__main__":
    main()
