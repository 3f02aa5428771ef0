# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unwrap key transfer packages by the openssl command line alone, and tell what is in them.

usage: unwrap.py PRIVATE_KEK BITS, with byok_wrap's packages as JSON on stdin
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def openssl(*arguments: str, stdin: bytes) -> bytes:
    return subprocess.run(
        ["openssl", *arguments], input=stdin, capture_output=True, check=True
    ).stdout


def unwrap(kek: str, ciphertext: bytes, kek_bytes: int) -> bytes:
    """RSA-OAEP with SHA-1 of an AES-256 key, then RFC 5649 of the target key."""
    oaep = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1")
    options = [part for option in oaep for part in ("-pkeyopt", option)]
    aes_key = openssl("pkeyutl", "-decrypt", "-inkey", kek, *options, stdin=ciphertext[:kek_bytes])
    assert len(aes_key) == 32
    return openssl(
        "enc",
        "-d",
        "-id-aes256-wrap-pad",
        "-iv",
        "A65959A6",
        "-K",
        aes_key.hex(),
        stdin=ciphertext[kek_bytes:],
    )


def answer(key: bytes, challenge: dict[str, str]) -> str:
    """Decrypt a challenge, and return the SHA-256 of what was in it."""
    bits = 8 * len(key)
    if challenge["algorithm"] == f"A{bits}KW":
        options = [f"-id-aes{bits}-wrap", "-iv", "A6" * 8]
    else:
        assert challenge["algorithm"] == f"A{bits}CBCPAD"
        options = [f"-aes-{bits}-cbc", "-iv", challenge["iv"]]
    plain = openssl(
        "enc", "-d", *options, "-K", key.hex(), stdin=bytes.fromhex(challenge["ciphertext"])
    )
    return hashlib.sha256(plain).hexdigest()


def der_length(der: bytes) -> int:
    """The length of the DER value at the beginning, so that zeros behind it show."""
    octets = der[1] & 0x7F if der[1] & 0x80 else 0
    return 2 + octets + (int.from_bytes(der[2 : 2 + octets], "big") if octets else der[1])


def describe(kek: str, kek_bytes: int, package: dict[str, Any]) -> dict[str, Any]:
    document = json.loads(Path(package["path"]).read_text())
    plain = unwrap(kek, base64.urlsafe_b64decode(document.pop("ciphertext") + "=="), kek_bytes)
    told = {"name": package["name"], "document": document}
    if package["thumbprint"] is None:
        challenge = package["challenge"]
        return {**told, "bits": 8 * len(plain), "answer": challenge and answer(plain, challenge)}
    length = der_length(plain)
    pem = openssl("pkey", "-inform", "DER", "-pubout", stdin=plain[:length])
    spki = openssl("pkey", "-pubin", "-outform", "DER", stdin=pem)
    zeros_only = plain[length:] == bytes(len(plain) - length) and len(plain) - length < 8
    return {
        **told,
        "public_key": pem.decode(),
        "spki_sha256": hashlib.sha256(spki).hexdigest(),
        "zeros_only": zeros_only,
    }


def main() -> None:
    kek, kek_bytes = sys.argv[1], int(sys.argv[2]) // 8
    print(json.dumps([describe(kek, kek_bytes, package) for package in json.load(sys.stdin)]))


if __name__ == "__main__":
    main()
