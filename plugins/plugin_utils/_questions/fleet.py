# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions about many vaults, and about what a vault or a run reported."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import Item, Result
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.discovery import discover
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.orders import named_nowhere
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    not_in_place,
    vaults_behind,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import (
    read_inventory,
    summarise,
    to_markdown,
    unchecked,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.side_by_side import side_by_side


def _kept(result: Result) -> dict[str, t.Any]:
    """Return, by names of keys, which older versions stay enabled and why."""
    return {key["name"]: key["kept"] for key in result["rotations"] if key["kept"]}


def _unmanaged(
    plan: Result, kek_prefix: str, kek_name: str | None = None, elsewhere: Sequence[str] = ()
) -> list[Item]:
    """Return the keys of the vault that nobody declared, but for the KEKs of runs."""
    left_out = {kek_name, *elsewhere}
    return [
        key
        for key in plan.get("unmanaged") or []
        if key["name"] not in left_out and not key["name"].lower().startswith(kek_prefix.lower())
    ]


def _summarise(
    hosts: Sequence[Item], made_at: str, base: str = "", inventory: Sequence[str] = ()
) -> dict[str, t.Any]:
    """Return the verdict on the plans of a run.

    :param base: the inventory before a change, as ``ansible-inventory --list`` writes it, or
        nothing
    """
    return summarise(hosts, made_at, read_inventory(base) if base else None, inventory)


def _discovered(vault_info: Result, *arguments: t.Any, **named: t.Any) -> str:
    if not isinstance(vault_info, Mapping) or vault_info.get("vault_keys") is None:
        raise ByokError(
            "The keys of the vault were not listed", "Give byok_vault_info list_keys: true"
        )
    return discover(vault_info, *arguments, **named)


QUESTIONS: Mapping[str, t.Callable[..., t.Any]] = {
    "kept": _kept,
    "unmanaged": _unmanaged,
    "discovered": _discovered,
    "named_nowhere": named_nowhere,
    "not_in_place": not_in_place,
    "vaults_behind": vaults_behind,
    "side_by_side": side_by_side,
    "plan_summary": _summarise,
    "plan_markdown": to_markdown,
    "unchecked": unchecked,
}
