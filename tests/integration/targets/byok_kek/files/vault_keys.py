# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print what the SDK itself sees of a vault's keys as JSON.

argv is the vault's URL; AZURE_SECRET_FILE has the secret.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient, KeyProperties
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def describe(client: KeyClient, properties: KeyProperties) -> dict[str, Any]:
    bundle = client.get_key(properties.name, properties.version)
    told = {
        "id": bundle.id,
        "type": str(getattr(bundle.key_type, "value", bundle.key_type)),
        "operations": [
            str(getattr(operation, "value", operation)) for operation in bundle.key_operations
        ],
        "expires": properties.expires_on and properties.expires_on.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tags": properties.tags or {},
    }
    jwk: Any = bundle.key
    if not jwk.n:
        return told
    key = RSAPublicNumbers(int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big")).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {**told, "bits": key.key_size, "fingerprint": hashlib.sha256(der).hexdigest()}


def main() -> None:
    secret = Path(os.environ["AZURE_SECRET_FILE"]).read_text()
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT"], os.environ["AZURE_CLIENT_ID"], secret
    )
    client = KeyClient(sys.argv[1], credential)
    there = {
        key.name: [
            describe(client, version)
            for version in client.list_properties_of_key_versions(key.name)
        ]
        for key in client.list_properties_of_keys()
    }
    print(
        json.dumps(
            {"keys": there, "deleted": sorted(key.name for key in client.list_deleted_keys())}
        )
    )


if __name__ == "__main__":
    main()
