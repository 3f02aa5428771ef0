# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""URLs of vaults and identifiers of keys as people and tools write them; pure.

PowerShell prints them with ``:443``, the portal and the SDKs without it, and a slash may follow.
All are the same vault and the same key.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

#: The parts of ``https://VAULT/keys/NAME/VERSION``; what they may be, is up to who asks
_IDENTIFIER = re.compile(
    r"(?P<vault>https://[^/\s]+)/keys/(?P<name>[^/\s]+)/(?P<version>.*?)/?", re.IGNORECASE
)

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION = re.compile(r"[0-9a-fA-F]{32}")
_HOST = re.compile(r"https://[a-z0-9.-]+")


@dataclass(frozen=True)
class KeyId:
    """A versioned key identifier, ``https://VAULT/keys/NAME/VERSION``, without what does not count.

    :ivar vault: the vault's URL, as comparable_url() returns it
    :ivar name: as it was written; Azure ignores its case
    :ivar version: in lower case
    """

    vault: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.vault}/keys/{self.name}/{self.version}"

    def is_key(self, other: KeyId) -> bool:
        """Tell whether both are the same version of the same key."""
        return str(self).lower() == str(other).lower()


def comparable_url(url: str) -> str:
    """Return a vault's URL so that two spellings of one vault are equal."""
    return url.strip().lower().rstrip("/").removesuffix(":443")


def parse_key_id(identifier: str) -> KeyId | None:
    """Take a key identifier apart; None for what does not name one version of a key."""
    match = _IDENTIFIER.fullmatch(identifier)
    if not match or not _NAME.fullmatch(match["name"]) or not _VERSION.fullmatch(match["version"]):
        return None
    vault = comparable_url(match["vault"])
    return KeyId(vault, match["name"], match["version"].lower()) if _HOST.fullmatch(vault) else None


def in_vault(identifiers: t.Iterable[str], vault_url: str) -> dict[str, str]:
    """Return those identifiers that name a version of a key of this vault, by the key's name.

    Whether there is such a version, is seen later, so that a wrong one is told.

    :param identifiers: ``https://VAULT/keys/NAME/VERSION``; those of other vaults are left out
    :returns: each identifier without what does not count
    """
    named = {}
    for identifier in identifiers:
        match = _IDENTIFIER.fullmatch(identifier.strip())
        if match and comparable_url(match["vault"]) == comparable_url(vault_url):
            key_id = KeyId(comparable_url(vault_url), match["name"], match["version"].lower())
            named[key_id.name] = str(key_id)
    return named


def version_named(text: str) -> str:
    """Return the version that somebody named, by its identifier or alone, in lower case."""
    return text.strip().lower().rstrip("/").rpartition("/")[2]
