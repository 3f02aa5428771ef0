# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is known of tokens: how to recognise them, and which mechanisms may wrap for Azure; data.

0x210A means RFC 5649 on some tokens and RFC 3394 over PKCS#7 on others, so every candidate is rehearsed before it is
used. Never candidates: 0x2109 and 0x210C (no RFC 5649), 0x80000965 (ProtectToolkit's own format), CBC.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

CKM_RSA_AES_KEY_WRAP = 0x1054
CKM_AES_KEY_WRAP_PAD = 0x210A
CKM_AES_KEY_WRAP_KWP = 0x210B
LUNA_CKM_AES_KWP = 0x80000171

#: RFC 5649, section 3: the constant half of the alternative initial value
_AIV = bytes.fromhex("a65959a6")


@dataclass(frozen=True)
class WrapMechanism:
    """A mechanism with the parameter that it wants; None is a NULL parameter."""

    name: str
    number: int
    parameter: bytes | None = None


@dataclass(frozen=True)
class Profile:
    """One kind of token.

    :ivar manufacturers: beginnings of CK_TOKEN_INFO.manufacturerID, in lower case
    :ivar wrap_mechanisms: candidates, best first
    """

    manufacturers: tuple[str, ...]
    wrap_mechanisms: tuple[WrapMechanism, ...]


_STANDARD = (
    WrapMechanism("CKM_RSA_AES_KEY_WRAP", CKM_RSA_AES_KEY_WRAP),
    WrapMechanism("CKM_AES_KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP),
    WrapMechanism("CKM_AES_KEY_WRAP_PAD", CKM_AES_KEY_WRAP_PAD),
)

PROFILES: t.Mapping[str, Profile] = {
    "generic": Profile((), _STANDARD),
    "softhsm": Profile(("softhsm",), _STANDARD),
    # Source: ThalesGroup/pycryptoki defines.py for the number. With NULL a Luna may append the IV to its output.
    # The vendor's number means other things elsewhere, so only this profile has it.
    "luna": Profile(
        ("safenet", "thales", "gemalto"),
        (*_STANDARD[:2], WrapMechanism("CKM_AES_KWP (Luna)", LUNA_CKM_AES_KWP, _AIV), _STANDARD[2]),
    ),
}


def choose_profile(name: str, manufacturer: str) -> str:
    """Return ``name``, or for ``auto`` the profile that the manufacturer's name tells."""
    if name != "auto":
        return name
    return next(
        (known for known, profile in PROFILES.items() if manufacturer.lower().startswith(profile.manufacturers)),
        "generic",
    )
