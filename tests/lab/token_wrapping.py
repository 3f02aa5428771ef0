# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Key transfer packages wrapped by the lab's token, in another process.

SoftHSM disturbs the OpenSSL of this one.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from wrapping import number, package


def wrap_in_token(token: dict[str, str], kek: dict[str, Any], curve: str) -> tuple[bytes, int]:
    """Make an EC key in the token and wrap it there under a KEK.

    Returns the package's file and the x of the key.
    """
    pytest.importorskip("pkcs11")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        wrapped, point = process.submit(
            _wrap, token, number(kek["n"]), number(kek["e"]), curve
        ).result()
    length = (len(point) - 3) // 2  # an OCTET STRING of 04 || x || y
    return package(kek["kid"], wrapped), int.from_bytes(point[-2 * length : -length], "big")


def _wrap(token: dict[str, str], modulus: int, exponent: int, curve: str) -> tuple[bytes, bytes]:
    from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass, lib
    from pkcs11.util.ec import encode_named_curve_parameters

    os.environ["SOFTHSM2_CONF"] = token["softhsm2_conf"]
    opened = lib(token["library"]).get_token(token_label=token["label"])
    with opened.open(rw=True, user_pin=Path(token["pin_file"]).read_text()) as session:
        parameters = session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
        )
        exportable = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True}
        public, private = parameters.generate_keypair(store=False, private_template=exportable)
        kek: Any = session.create_object(
            {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.RSA,
                Attribute.TOKEN: False,
                Attribute.WRAP: True,
                Attribute.MODULUS: modulus.to_bytes((modulus.bit_length() + 7) // 8, "big"),
                Attribute.PUBLIC_EXPONENT: exponent.to_bytes(3, "big"),
            }
        )
        temporary: Any = session.generate_key(
            KeyType.AES,
            256,
            store=False,
            template={Attribute.EXTRACTABLE: True, Attribute.WRAP: True},
        )
        oaep = (Mechanism.SHA_1, MGF.SHA1, None)
        first = kek.wrap_key(temporary, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=oaep)
        return first + temporary.wrap_key(private, mechanism=Mechanism.AES_KEY_WRAP_PAD), bytes(
            public[Attribute.EC_POINT]
        )
