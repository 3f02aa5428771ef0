# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Why a KEK is believed to be the vault's own; pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError


def normalise_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 hexadecimal digits in lower case; colons, as OpenSSL writes them, are dropped.

    :raises ByokError: when it is none
    """
    digits = text.strip().replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ByokError(
            f"{text!r} is no fingerprint of a public key",
            "Give the SHA-256 of its SubjectPublicKeyInfo as 64 hexadecimal digits, as byok_kek returns it",
        )
    return digits


def kek_trust(fingerprint: str, made_by_this_run: bool, approved: t.Iterable[str]) -> str:
    """Return ``created``, ``pinned`` or ``unverified``.

    :param fingerprint: of the KEK's public key
    :param made_by_this_run: and there was no version of that name before
    :param approved: fingerprints that the user pinned; where there are any, no other KEK is trusted, not even a new one
    """
    pinned = {normalise_fingerprint(each) for each in approved}
    if fingerprint in pinned:
        return "pinned"
    return "created" if made_by_this_run and not pinned else "unverified"
