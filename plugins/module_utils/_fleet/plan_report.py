# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The plans of many vaults as one: the verdict for programs, and a few lines for people; pure."""

from __future__ import annotations

import typing as t
from collections import Counter, defaultdict

from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    vaults_behind,
)

Item = t.Mapping[str, t.Any]

#: Rows of a table or list, and items of a sentence: a comment on a pull request can hold a few
#: hundred
_MOST_ROWS = 100
_MOST_NAMED = 10


def summarise(hosts: t.Iterable[Item], made_at: str) -> dict[str, t.Any]:
    """Return the verdict on the plans of a run.

    :param hosts: the variables of its hosts, after the role's entry point ``plan``:
        ``byok_planned`` is the plan of one, with ``vault_url``, ``plan`` and ``unmanaged``
    :param made_at: when the plans were made, for the record
    :returns: ``status`` is ``clean`` where nothing is to be done nor decided, else ``changes``
    """
    planned = {host["inventory_hostname"]: host for host in hosts if host.get("byok_planned")}
    # By vault, what any host declares for it: two may bring keys there, of two tokens
    declared: dict[str, set[str]] = defaultdict(set)
    for host in planned.values():
        declared[_url(host)].update(key["name"].lower() for key in host.get("byok_keys") or [])
    summary: dict[str, t.Any] = {}
    actions: Counter[str] = Counter()
    for name, host in sorted(planned.items()):
        summary[name] = _of_host(host["byok_planned"], declared[_url(host)])
        actions.update(summary[name]["actions"])
    return {
        "status": "changes" if set(actions) - {"none"} else "clean",
        "made_at": made_at,
        "actions": dict(actions),
        "behind": vaults_behind(planned.values()),
        "hosts": summary,
    }


def to_markdown(summary: Item) -> str:
    """Return the summary for a pull request, as Markdown.

    :param summary: as :func:`summarise` returns it
    """
    changes: list[tuple[str, ...]] = []
    due: list[tuple[str, str, str]] = []
    unmanaged: list[str] = []
    for host, of_host in summary["hosts"].items():
        for entry in of_host["plan"]:
            if entry["action"] != "none":
                facts = (entry[fact] for fact in ("name", "kind", "action", "reason"))
                changes.append((host, *facts))
            if entry["next_due"]:
                due.append((entry["next_due"], host, entry["name"]))
        unmanaged += [f"{key['name']} ({host})" for key in of_host["unmanaged"]]
    counts = [f"{count} {action}" for action, count in sorted(summary["actions"].items())]
    actions = ", ".join(counts) or "no keys declared"
    vaults = len(
        {comparable_url(str(of_host["vault_url"])) for of_host in summary["hosts"].values()}
    )
    counted = f"{vaults} vault{'' if vaults == 1 else 's'}"
    parts = [f"### Keys: {summary['status']}", f"{counted}, {summary['made_at']}: {actions}."]
    if changes:
        parts.append(_table(("vault", "key", "kind", "action", "why"), changes))
    if summary["behind"]:
        sentences = [f"- {_cell(sentence)}" for sentence in summary["behind"][:_MOST_ROWS]]
        parts.append("Behind another vault:\n\n" + "\n".join(sentences) + _more(summary["behind"]))
    if unmanaged:
        parts.append(f"Not declared: {_some(unmanaged)}.")
    if due:
        rotations = [f"{name} ({host}) {moment}" for moment, host, name in sorted(due)]
        parts.append(f"Due next: {_some(rotations)}.")
    return "\n\n".join(parts) + "\n"


def _url(host: Item) -> str:
    return comparable_url(str(host["byok_planned"]["vault_url"]))


def _of_host(planned: Item, declared: t.Container[str]) -> dict[str, t.Any]:
    """Return what a summary tells of one host.

    :param planned: the plan: ``vault_url``, ``plan`` and ``unmanaged``
    :param declared: names in lower case that any host declares for its vault
    """
    return {
        "vault_url": planned["vault_url"],
        "actions": dict(Counter(entry["action"] for entry in planned["plan"])),
        "plan": list(planned["plan"]),
        "unmanaged": [key for key in planned["unmanaged"] if key["name"].lower() not in declared],
    }


def _table(heads: t.Sequence[str], rows: t.Sequence[t.Sequence[t.Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows[:_MOST_ROWS]]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + _more(rows)


def _more(rows: t.Sequence[t.Any]) -> str:
    return f"\n\nand {len(rows) - _MOST_ROWS} more in plan.json" if len(rows) > _MOST_ROWS else ""


def _some(texts: t.Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(map(_cell, texts[:_MOST_NAMED])) + more


def _cell(value: t.Any) -> str:
    """Return text that is one cell, and neither markup nor a mention of somebody."""
    text = printable(value)
    for character in "\\`*_<>[]|@#":
        text = text.replace(character, f"\\{character}")
    return text
