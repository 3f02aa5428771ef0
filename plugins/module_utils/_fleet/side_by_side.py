# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Generations and versions of keys in several vaults, side by side; pure."""

from __future__ import annotations

import typing as t
from collections import defaultdict
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import BY_TAG
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import WORDS

Host = t.Mapping[str, t.Any]

#: What is said of the deleted key that may hold a name; None where that may not be seen
_DELETED = {True: "a deleted key holds the name", None: "deleted keys cannot be seen"}


@dataclass
class _Key:
    """One key of one token: its generations, and what each vault has of it.

    :ivar generations: by CKA_ID and thumbprint, because other tools give one CKA_ID to several keys
    :ivar vaults: by URL, the key as byok_plan reads it with all versions
    """

    generations: dict[tuple[str, str | None], Host] = field(default_factory=dict)
    vaults: dict[str, Host] = field(default_factory=dict)


def side_by_side(shown: t.Sequence[Host]) -> list[str]:
    """Return lines that show, per key, its generations in the token and its versions in each vault.

    :param shown: what the role's entry point ``show`` saw for one vault each: ``token``,
        ``target_keys``, ``plan``, ``versions``, ``kek``
    :return: printable, because tokens and vaults hold texts of others
    """
    keys: dict[tuple[str, str], _Key] = defaultdict(_Key)
    plans: dict[tuple[str, str], Host] = {}
    for vault in shown:
        url = vault["versions"]["vault_url"]
        token = f"{vault['token']['label']} ({vault['token']['serial']})".removesuffix(" ()")
        in_vault = {key["name"]: key for key in vault["versions"]["target_keys"]}
        for entry in vault["plan"]:
            plans[url, entry["name"]] = entry
        for in_token in vault["target_keys"]:
            name = in_token["name"]
            if name in in_vault:
                key = keys[name, token]
                key.vaults[url] = in_vault[name]
                for generation in in_token["generations"]:
                    which = generation["generation"], generation["thumbprint"]
                    key.generations[which] = generation
    lines = []
    for vault in shown:
        if vault.get("kek"):
            lines.append(f"{vault['versions']['vault_url']}: {_kek(vault['kek'])}")
    for (name, token), key in sorted(keys.items(), key=lambda named: named[0]):
        lines.append(f"{name}, token {token}")
        for generation in key.generations.values():
            lines += _of_generation(generation, key.vaults)
        for url, there in key.vaults.items():
            lines += _of_vault(url, there, plans.get((url, name)))
    return [printable(line) for line in lines]


def _of_generation(generation: Host, vaults: t.Mapping[str, Host]) -> list[str]:
    """Return the lines of one generation: which version each vault has of it."""
    lines = [f"  generation {_generation(generation)}"]
    for url, there in vaults.items():
        versions = [
            _version(version) + ("" if version["thumbprint"] else f", {BY_TAG}")
            for version in there["versions"]
            if _is_of(version, generation)
        ]
        lines += [f"    {url}: {version}" for version in versions or ["-"]]
    return lines


def _is_of(version: Host, generation: Host) -> bool:
    """Tell whether a version is a generation: by thumbprint, for oct keys by what a tag says."""
    if version["thumbprint"] or generation["thumbprint"]:
        return bool(version["thumbprint"] == generation["thumbprint"])
    return bool(version["generation"] == generation["generation"])


def _of_vault(url: str, there: Host, plan: Host | None) -> list[str]:
    """Return the lines of one vault: foreign versions, when it rotates, and what is planned."""
    lines = []
    for version in there["versions"]:
        if not version["ours"]:
            lines.append(f"  foreign, {url}: {_version(version)}")
    rotated, due = there["last_rotated"], there["next_due"]
    facts = [
        f"last rotated {rotated}" if rotated else "never rotated",
        f"next due {due}" if due else "no rotation due",
    ]
    if there["deleted"] in _DELETED and not there["versions"]:
        facts.append(_DELETED[there["deleted"]])
    if plan:
        facts.append(f"{plan['action']}: {plan['reason']}")
    lines.append(f"  {url}: {'; '.join(facts)}")
    return lines


def _generation(generation: Host) -> str:
    facts = [
        generation["generation"],
        generation["kind"],
        f"made {generation['made']}" if generation["made"] else "made elsewhere",
    ]
    if generation["thumbprint"]:
        facts.append(f"thumbprint {generation['thumbprint']}")
    if generation["withdrawn"]:
        facts.append("withdrawn")
    if generation["half_made"]:
        facts.append("half made")
    return ", ".join(facts)


def _version(version: Host) -> str:
    facts, state = [f"version {version['version']}"], version.get("state")
    if version["active"]:
        # Azure names it as the newest, but nobody can use it
        facts.append("newest" if state in ("expired", "not_yet_valid") else "active")
    if state:
        facts.append(WORDS[state])
    facts += [
        "enabled" if version["enabled"] else "disabled",
        f"created {version['created']}",
        f"expires {version['expires'] or 'never'}",
    ]
    return ", ".join(facts)


def _kek(kek: Host) -> str:
    state = f", {WORDS[kek['state']]}" if kek["state"] else ""
    return f"KEK {kek['name']}{state}, expires {kek['expires'] or 'never'}"
