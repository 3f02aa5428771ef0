# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make KEKs in software, so that their private keys are at hand.

argv[1] is the folder for them; stdout tells of each by its name.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def main() -> None:
    folder = Path(sys.argv[1])
    keks: dict[str, Any] = {
        str(size): rsa.generate_private_key(65537, size) for size in (1024, 2048, 3072, 4096)
    }
    keks |= {
        "other": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
    }
    told = {}
    for name, key in keks.items():
        (folder / f"kek-{name}.pem").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        public = key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        told[name] = {
            "kek_id": f"https://contoso.vault.azure.net/keys/kek-{name}/{hashlib.md5(der).hexdigest()}",
            "kek_public_key": public.public_bytes(
                Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
            ).decode(),
            "kek_fingerprint": hashlib.sha256(der).hexdigest(),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
