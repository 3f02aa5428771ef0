# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put keys into a token as other runs and hosts leave them.

Run as ``python plant.py OPTIONS.json NAME AGE [both|private|public]``. AGE is how old CKA_ID says
the key is, in seconds. Prints CKA_ID. This is python-pkcs11 alone, without the collection.
"""

from __future__ import annotations

import json
import os
import sys
import time

import pkcs11
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters


def main() -> None:
    """Make an EC key pair with a CKA_ID of that age, and take away what is not wanted of it."""
    path, name, age, *rest = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        options = json.load(file)
    os.environ.update(options["library_environment"])
    with open(options["pin_file"], encoding="utf-8") as file:
        pin = file.read()
    octets = bytearray(int((time.time() - float(age)) * 1000).to_bytes(6, "big") + os.urandom(10))
    octets[6], octets[8] = octets[6] & 0x0F | 0x70, octets[8] & 0x3F | 0x80  # UUIDv7
    token = pkcs11.lib(options["pkcs11_library"]).get_token(token_label=options["token_label"])
    with token.open(rw=True, user_pin=pin) as session:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        public, private = parameters.generate_keypair(
            id=bytes(octets),
            label=name,
            store=True,
            private_template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True},
        )
        if rest == ["private"]:
            public.destroy()
        elif rest == ["public"]:
            private.destroy()
    print(octets.hex())


if __name__ == "__main__":
    main()
