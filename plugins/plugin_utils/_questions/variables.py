# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions about what people set: options, and names of keys."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import in_vault

Item = Mapping[str, t.Any]


def _given(options: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options that are set; ansible-core before 2.19 makes '' of none."""
    return {name: value for name, value in options.items() if value not in (None, "")}


def _named(value: t.Any, variable: str, vault_url: str) -> list[Item]:
    """Return the keys of one vault that a person named by identifiers, for byok_import."""
    identifiers = in_vault(names(value, variable), vault_url)
    return [{"name": name, "confirm": identifier} for name, identifier in identifiers.items()]


def _recover(value: t.Any) -> list[Item]:
    return [{"name": name} for name in dict.fromkeys(names(value, "byok_recover"))]


def _unknown_variables(variables: list[str], own: t.Any = None) -> list[str]:
    # Other tasks do not need what this imports
    from ansible_collections.keyferry.azure.plugins.plugin_utils._variables import (
        unknown_variables,
    )

    return unknown_variables(variables, own)


def _listing_path(
    listing: Item, directory: str, token_host: str, hosts: t.Iterable[t.Any] = ()
) -> str:
    """Return where a token's listing is written; never over that of another token.

    :param token_host: that reaches the token
    :param hosts: the variables of all hosts of the run, which write theirs at the same time
    """
    # Other tasks do not need what this imports
    from ansible_collections.keyferry.azure.plugins.plugin_utils._listings import listing_path

    return listing_path(listing, directory, token_host, hosts)


def _approvals(given: t.Any, directory: str | None = None) -> list[str]:
    """Return the signatures of people who approve, also those in a directory."""
    # Other tasks do not need what this imports
    from ansible_collections.keyferry.azure.plugins.plugin_utils._approvals import approvals

    return approvals(given, directory)


QUESTIONS: Mapping[str, t.Callable[..., t.Any]] = {
    "given": _given,
    "names": names,
    "named": _named,
    "recover": _recover,
    "unknown_variables": _unknown_variables,
    "listing_path": _listing_path,
    "approvals": _approvals,
}
