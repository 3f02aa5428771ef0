# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrap a new RSA, EC or oct key into a package, and print its public key.

usage: package.py TYPE KID KEK.pem FILE
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)


def make(kty: str) -> tuple[bytes, str]:
    """Return a target key as the specification wants it, and its public key as PEM."""
    if kty == "oct":
        return secrets.token_bytes(32), ""
    key = (
        rsa.generate_private_key(65537, 2048)
        if kty == "RSA"
        else ec.generate_private_key(ec.SECP256R1())
    )
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), public.decode()


def main(kty: str, kid: str, kek_file: str, package_file: str) -> None:
    kek = load_pem_public_key(Path(kek_file).read_bytes())
    assert isinstance(kek, rsa.RSAPublicKey)
    plaintext, public = make(kty)
    temporary = os.urandom(32)
    ciphertext = kek.encrypt(temporary, OAEP(MGF1(SHA1()), SHA1(), None))
    ciphertext += aes_key_wrap_with_padding(temporary, plaintext)
    header = {"kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    text = base64.urlsafe_b64encode(ciphertext).rstrip(b"=").decode()
    package = {
        "schema_version": "1.0.0",
        "header": header,
        "ciphertext": text,
        "generator": "tests/az",
    }
    Path(package_file).write_text(json.dumps(package))
    print(public, end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
