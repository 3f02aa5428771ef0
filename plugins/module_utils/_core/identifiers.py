# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""URLs of vaults and identifiers of keys as people write them; pure."""

from __future__ import annotations

import re
import typing as t

_IDENTIFIER = re.compile(r"(?P<vault>https://[^/]+)/keys/(?P<name>[^/]+)/", re.IGNORECASE)


def comparable_url(url: str) -> str:
    """Return a vault's URL so that two spellings of one vault are equal."""
    return url.strip().lower().rstrip("/")


def in_vault(identifiers: t.Iterable[str], vault_url: str) -> dict[str, str]:
    """Return those identifiers that name a version of a key of this vault, by the key's name.

    :param identifiers: ``https://VAULT/keys/NAME/VERSION``; those of other vaults are left out
    """
    named = {}
    for identifier in identifiers:
        match = _IDENTIFIER.match(identifier)
        if match and comparable_url(match["vault"]) == comparable_url(vault_url):
            named[match["name"]] = identifier
    return named
