# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put keys into a token as other tools leave them, described as JSON on standard input.

    python plant_others.py OPTIONS.json < [{"type": "EC", "label": "x", "id": "13"}]

A pair's ``public_label`` may be another one; ``without_public`` takes the public key away. This is
python-pkcs11 alone, without the collection.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters

PRIVATE = {Attribute.TOKEN: True, Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True}


def plant(session: Any, key: dict[str, Any]) -> None:
    """Make one key (pair)."""
    identifier = bytes.fromhex(key["id"])
    names = {Attribute.LABEL: key["label"], Attribute.ID: identifier}
    if key["type"] == "oct":
        session.generate_key(KeyType.AES, 256, template={**PRIVATE, **names})
        return
    templates = {
        "private_template": {**PRIVATE, **names},
        "public_template": {
            Attribute.TOKEN: True,
            Attribute.ID: identifier,
            Attribute.LABEL: key.get("public_label", key["label"]),
        },
    }
    if key["type"] == "RSA":
        public, _private = session.generate_keypair(KeyType.RSA, 2048, store=True, **templates)
    else:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        public, _private = parameters.generate_keypair(store=True, **templates)
    if key.get("without_public"):
        public.destroy()


def main() -> None:
    """Make all of them with one login."""
    options = json.loads(Path(sys.argv[1]).read_text())
    os.environ.update(options["library_environment"])
    token = pkcs11.lib(options["pkcs11_library"]).get_token(token_label=options["token_label"])
    with token.open(rw=True, user_pin=Path(options["pin_file"]).read_text()) as session:
        for key in json.load(sys.stdin):
            plant(session, key)


if __name__ == "__main__":
    main()
