# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The mechanisms of PKCS#11 in use, by name and number; data.

What a vendor numbers for itself stands in that vendor's file alone, because the same number means
another thing elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

#: PKCS#11 v3.1, pkcs11t.h
CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0
CKM_RSA_PKCS_OAEP = 0x9
CKM_RSA_X9_31_KEY_PAIR_GEN = 0xA
CKM_EC_KEY_PAIR_GEN = 0x1040
CKM_ECDSA = 0x1041
CKM_RSA_AES_KEY_WRAP = 0x1054
CKM_AES_KEY_GEN = 0x1080
CKM_AES_KEY_WRAP = 0x2109
CKM_AES_KEY_WRAP_PAD = 0x210A
CKM_AES_KEY_WRAP_KWP = 0x210B


@dataclass(frozen=True)
class Mechanism:
    """A mechanism with the parameter that it wants; None is a NULL parameter."""

    name: str
    number: int
    parameter: bytes | None = None


RSA_PKCS_KEY_PAIR_GEN = Mechanism("CKM_RSA_PKCS_KEY_PAIR_GEN", CKM_RSA_PKCS_KEY_PAIR_GEN)
RSA_AES_KEY_WRAP = Mechanism("CKM_RSA_AES_KEY_WRAP", CKM_RSA_AES_KEY_WRAP)
AES_KEY_WRAP_KWP = Mechanism("CKM_AES_KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP)
AES_KEY_WRAP_PAD = Mechanism("CKM_AES_KEY_WRAP_PAD", CKM_AES_KEY_WRAP_PAD)

#: What may make RFC 5649 over PKCS#8 by the standard, best first. 0x210A is that on some tokens,
#: and RFC 3394 over PKCS#7 on others.
STANDARD_WRAPPING = (RSA_AES_KEY_WRAP, AES_KEY_WRAP_KWP, AES_KEY_WRAP_PAD)
