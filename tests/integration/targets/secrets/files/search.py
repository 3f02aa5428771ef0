# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search files and folders for secrets in every spelling, and print what was found where.

usage: search.py SECRETS VAULTS PATH...; each file of the folder SECRETS is one, and so is every
private key of the lab's database VAULTS whose name begins with "ferried"
"""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_der_private_key

PATTERNS = {
    "token": rb"eyJ[0-9A-Za-z_-]{10,}\.eyJ|[Bb]earer [0-9A-Za-z]",
    "PEM": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
}


def private_part(private: bytes) -> bytes:
    """The secret number of a PKCS#8, or an AES key as it is."""
    if len(private) == 32:
        return private
    key: Any = load_der_private_key(private, None)
    numbers = key.private_numbers()
    number: int = numbers.d if hasattr(numbers, "d") else numbers.private_value
    return number.to_bytes(-(-number.bit_length() // 8), "big")


def spellings(octets: bytes) -> Iterator[bytes]:
    """As it is, in hexadecimal digits, and in base64 at any of its three alignments."""
    yield octets
    yield octets.hex().encode()
    yield octets.hex().upper().encode()
    for skipped in range(3):
        whole = octets[skipped : skipped + (len(octets) - skipped) // 3 * 3]
        yield base64.b64encode(whole)
        yield base64.urlsafe_b64encode(whole)


def searched(secrets: Path, vaults: Path) -> dict[str, re.Pattern[bytes]]:
    known = {path.name: path.read_bytes().strip() for path in secrets.iterdir()}
    with sqlite3.connect(vaults) as database:
        for name, private in database.execute(
            "SELECT name, private FROM versions WHERE name LIKE 'ferried%'"
        ):
            known[name] = private_part(private)[:30]  # a part of it is too much already
    patterns = {
        name: b"|".join(map(re.escape, spellings(secret))) for name, secret in known.items()
    }
    return {name: re.compile(pattern) for name, pattern in {**patterns, **PATTERNS}.items()}


def main() -> None:
    secrets, vaults, *paths = map(Path, sys.argv[1:])
    wanted = searched(secrets, vaults)
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    found = [
        f"{name} in {file}"
        for file in files
        for name, pattern in wanted.items()
        if pattern.search(file.read_bytes())
    ]
    print(
        json.dumps({"searched_for": sorted(wanted), "files": list(map(str, files)), "found": found})
    )


if __name__ == "__main__":
    main()
