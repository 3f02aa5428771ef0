# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""CKA_ID of the generations that Keyferry makes; pure.

It is a UUIDv7 (RFC 9562, 5.7): unique and sorted by time.
"""

from __future__ import annotations

#: A random CKA_ID of 16 bytes passes for version 7 once in 64 times; a time in these years makes
#: that once in 7,000
_EARLIEST_MS = 1_735_689_600_000  # 2025-01-01
_LATEST_MS = 4_102_444_800_000  # 2100-01-01

#: Behind the CKA_ID of the private or secret key: one attribute, set at once, that tokens let their
#: users change. CKA_END_DATE would say it in PKCS#11's own words, but SoftHSM 2.6.1 cannot read
#: that of a private key any more.
_WITHDRAWN = b"\xff"


def make_id(now_ms: int, random: bytes, existing: list[bytes]) -> bytes:
    """Return a new CKA_ID that sorts after all of ours in ``existing``, whatever the clock says.

    :param now_ms: milliseconds since 1970
    :param random: 10 random bytes
    """
    latest = max((_milliseconds(other) for other in existing if is_ours(other)), default=0)
    octets = bytearray(max(now_ms, latest + 1).to_bytes(6, "big") + random)
    octets[6] = octets[6] & 0x0F | 0x70
    octets[8] = octets[8] & 0x3F | 0x80
    return bytes(octets)


def split_mark(identifier: bytes) -> tuple[bytes, bool]:
    """Return a generation's id, and whether its CKA_ID says that it was withdrawn."""
    identifier_of_ours = identifier[: -len(_WITHDRAWN)]
    if identifier.endswith(_WITHDRAWN) and is_ours(identifier_of_ours):
        return identifier_of_ours, True
    return identifier, False


def mark_withdrawn(identifier: bytes) -> bytes:
    """Return the CKA_ID of one of ours that is withdrawn."""
    return identifier + _WITHDRAWN


def is_ours(identifier: bytes) -> bool:
    """Tell whether a CKA_ID has the form of ours; any other belongs to a key made elsewhere."""
    return (
        len(identifier) == 16
        and identifier[6] >> 4 == 7
        and identifier[8] >> 6 == 2
        and _EARLIEST_MS <= _milliseconds(identifier) < _LATEST_MS
    )


def made_at(identifier: bytes) -> float:
    """Return when one of ours was made, in seconds since 1970."""
    return _milliseconds(identifier) / 1000


def _milliseconds(identifier: bytes) -> int:
    return int.from_bytes(identifier[:6], "big")
