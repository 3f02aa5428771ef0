# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a token and the vaults have now, as files that runs wrote: data to compare receipts with;
pure.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    from_pem,
    thumbprint,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    KeyVersions,
    VaultVersions,
)


@dataclass(frozen=True)
class InToken:
    """The generations of one key.

    :ivar listed_at: when the latest listing was made that has the key
    """

    generations: frozenset[str]
    thumbprints: frozenset[str]
    listed_at: datetime


@dataclass(frozen=True)
class InVault:
    """A key with all its versions.

    :ivar read_at: when they were read
    """

    key: KeyVersions
    read_at: datetime


@dataclass(frozen=True)
class Observed:
    """What was there, where somebody looked.

    :ivar tokens: by the key's name in lower case; None where there is no listing
    :ivar vaults: by the vault's host and the key's name, both in lower case
    """

    tokens: Mapping[str, InToken] | None = None
    vaults: Mapping[str, Mapping[str, InVault]] = field(default_factory=dict)


def observed(listings: Mapping[str, str], vaults: Mapping[str, str]) -> Observed:
    """Read listings of tokens and exports of vaults.

    :param listings: texts by their files' names, as playbooks/list.yml writes them
    :param vaults: texts by their files' names: what the role's entry point ``show`` sets as
        ``byok_shown``, or its ``versions`` alone; one of them or a list
    :raises ByokError: for anything else
    """
    tokens: dict[str, InToken] = {}
    for file, text in listings.items():
        for name, key in _listing(file, text):
            tokens[name] = _united(tokens.get(name), key)
    hosts: dict[str, dict[str, InVault]] = {}
    for file, text in vaults.items():
        for versions in _exports(file, text):
            host = comparable_url(versions.vault_url).removeprefix("https://")
            keys = hosts.setdefault(host, {})
            for found in versions.target_keys:
                keys[found.name.lower()] = InVault(found, versions.read_at)
    return Observed(tokens if listings else None, hosts)


def _united(known: InToken | None, key: InToken) -> InToken:
    if known is None:
        return key
    return InToken(
        known.generations | key.generations,
        known.thumbprints | key.thumbprints,
        max(known.listed_at, key.listed_at),
    )


def _listing(file: str, text: str) -> Iterable[tuple[str, InToken]]:
    """Return the keys of a listing, which has the format of ``_token/listing.py``."""
    document = _json(file, text)
    try:
        if (document["format"], document["version"]) != ("keyferry-listing", 1):
            raise ValueError(document["format"])
        listed_at = parse_moment(document["listed_at"])
        return [
            (key["name"].lower(), _in_token(key["generations"], listed_at))
            for key in document["target_keys"]
        ]
    except (AttributeError, ByokError, KeyError, TypeError, ValueError):
        raise ByokError(
            f"The file {file} is no listing of a token",
            "Make one with playbooks/list.yml (format: keyferry-listing, version: 1)",
        ) from None


def _in_token(generations: t.Any, listed_at: datetime) -> InToken:
    """:raises ValueError: for a thumbprint that is not that of its public key"""
    for each in generations:
        key = from_pem(each["public_key"]) if each["public_key"] else None
        if key and thumbprint(key) != each["thumbprint"]:
            raise ValueError(each["thumbprint"])
    return InToken(
        frozenset(each["generation"] for each in generations),
        frozenset(each["thumbprint"] for each in generations if each["thumbprint"]),
        listed_at,
    )


def _exports(file: str, text: str) -> Iterable[VaultVersions]:
    document = _json(file, text)
    exports = document if isinstance(document, list) else [document]
    try:
        return [VaultVersions.from_dict(each.get("versions", each)) for each in exports]
    except (AttributeError, ByokError) as error:
        raise ByokError(
            f"The file {file} is no export of vaults ({error})",
            "Write what the role's entry point show sets as byok_shown, see docs/verify.md",
        ) from None


def _json(file: str, text: str) -> t.Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ByokError(f"The file {file} is no JSON ({error})", "Make it anew") from None
