# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Doing the same with many keys of one vault, several at a time."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import WrongClock
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import VaultUnavailable

Item = t.Mapping[str, t.Any]


def each_key(
    vault: Vault,
    items: t.Sequence[Item],
    outcome: Outcome,
    work: t.Callable[[Item, Outcome], None],
    prepare: t.Callable[[], None] | None = None,
) -> None:
    """Do ``work`` with each key; what fails for one key is in the outcome's failures.

    When the vault does not serve this run now, or a clock is wrong, what was not begun is left to
    the next one. The first key goes alone: it fetches the token for Azure, and finds out whether
    the vault serves this run at all.

    :param items: the options of one key each
    :param outcome: takes the results in the order of the items
    :param work: is given the options of a key, and an outcome of its own with the same lists as
        results
    :param prepare: is called once between the first key and the others, if there are any and the
        vault serves this run
    """
    lists = [name for name, value in outcome.result.items() if isinstance(value, list)]
    unavailable = False

    def attempt(item: Item) -> Outcome | None:
        nonlocal unavailable
        if unavailable:
            return None
        part = Outcome({name: [] for name in lists})
        try:
            work(item, part)
        except Exception as error:
            part.failures.add(item["name"], error)
            unavailable = unavailable or isinstance(error, VaultUnavailable | WrongClock)
        return part

    parts = [attempt(item) for item in items[:1]]
    if prepare and len(items) > 1 and not unavailable:
        prepare()
    if len(items) > 1:
        with ThreadPoolExecutor(vault.pace.concurrency) as pool:
            parts += pool.map(attempt, items[1:])
    for part in parts:
        if part:
            outcome.absorb(part)
            for name in lists:
                outcome.result[name] += part.result[name]
    left = [item["name"] for item, part in zip(items, parts, strict=True) if part is None]
    if left:
        outcome.warnings.append(
            f"Not tried, because the vault does not serve this run now: {', '.join(left)}"
        )
