# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Several vaults with the same keys, side by side: what each has, and which are behind; pure."""

from __future__ import annotations

import typing as t
from collections import defaultdict

Host = t.Mapping[str, t.Any]


def side_by_side(shown: t.Iterable[Host]) -> list[str]:
    """Return lines that show, per key, its generations in the token and its versions in each vault.

    :param shown: what the role's entry point ``show`` saw for one vault each: ``token``, ``target_keys``, ``plan``, ``versions``
    """
    keys: dict[tuple[str, str], list[tuple[str, Host, Host]]] = defaultdict(
        list
    )  # (name, token) -> vault, key in token, key there
    plans: dict[tuple[str, str], Host] = {}
    for vault in shown:
        url, token = (
            vault["versions"]["vault_url"],
            f"{vault['token']['label']} ({vault['token']['serial']})",
        )
        in_vault = {key["name"]: key for key in vault["versions"]["target_keys"]}
        plans.update({(url, entry["name"]): entry for entry in vault["plan"]})
        for in_token in vault["target_keys"]:
            if in_token["name"] in in_vault:
                keys[in_token["name"], token].append((url, in_token, in_vault[in_token["name"]]))
    lines = []
    for (name, token), vaults in sorted(keys.items()):
        lines.append(f"{name}, token {token}")
        generations = {
            each["generation"]: each
            for _url, in_token, _there in vaults
            for each in in_token["generations"]
        }
        for generation in generations.values():
            lines.append(f"  generation {_generation(generation)}")
            for url, _in_token, there in vaults:
                held = [
                    each
                    for each in there["versions"]
                    if each["generation"] == generation["generation"]
                ]
                lines += [f"    {url}: {_version(each)}" for each in held] or [f"    {url}: -"]
        for url, _in_token, there in vaults:
            lines += [
                f"  foreign, {url}: {_version(each)}"
                for each in there["versions"]
                if not each["ours"]
            ]
            state = {True: "a deleted key holds the name", None: "deleted keys cannot be seen"}.get(
                there["deleted"]
            )
            plan = plans.get((url, name))
            facts = [
                f"last rotated {there['last_rotated'] or 'never'}",
                f"next due {there['next_due'] or 'never'}",
                *([state] if state and not there["versions"] else []),
                *([f"{plan['action']}: {plan['reason']}"] if plan else []),
            ]
            lines.append(f"  {url}: {'; '.join(facts)}")
    return lines


def not_in_place(hosts: t.Iterable[Host], primary: str) -> list[str]:
    """Return the names of a primary vault's keys that another vault could not take: they wait there.

    :param hosts: the variables of all hosts of the run
    :param primary: the inventory name of the primary vault
    """
    known = list(hosts)
    token = next(_token(host) for host in known if host["inventory_hostname"] == primary)
    others = [
        host
        for host in known
        if _is_vault(host) and not _is_true(host.get("byok_primary")) and _token(host) == token
    ]
    return sorted(
        {
            key["name"]
            for host in others
            for key in _keys(host)
            if key["name"] not in _standing(host)
        }
    )


def awaited_elsewhere(
    hosts: t.Iterable[Host], vault: str, arrived: t.Mapping[str, t.Any]
) -> dict[str, str]:
    """Return the keys that must not be locked in the token yet, because another vault is to have them.

    A vault that did not run, that another slice has, or of which the variables cannot be read, counts as one that does not. Where
    a play declares the keys, what other hosts are to have is not known.

    :param hosts: the variables of all hosts of the inventory
    :param vault: the inventory name of the vault that asks
    :param arrived: the generations that have certainly arrived there, by the names of their keys
    :returns: by names of keys, the hosts that are awaited
    """
    known = {host["inventory_hostname"]: host for host in hosts}
    mine = known.pop(vault, {})
    waiting: dict[str, list[str]] = {name: [] for name in arrived}
    if mine and known and not (mine.get("byok_vault_url") and mine.get("byok_keys")):
        return dict.fromkeys(arrived, "any host, because a play declares the keys")
    for name, others in (mine.get("byok_keys_also_on") or {}).items():
        if name in waiting:
            waiting[name] += [other for other in others if other not in known]
    for other, host in known.items():
        try:
            wanted = (
                {key["name"] for key in _keys(host)}
                if _is_vault(host) and _token(host) == _token(mine)
                else set()
            )
            has = host.get("byok_arrived") or {}
        except Exception:  # of a template that cannot be rendered: which one, each version of ansible-core tells by another class
            wanted, has = set(arrived), {}
        for name in wanted.intersection(arrived):
            if name not in has or has[name] != arrived[name]:
                waiting[name].append(other)
    return {name: ", ".join(others) for name, others in waiting.items() if others}


def vaults_behind(hosts: t.Iterable[Host]) -> list[str]:
    """Return sentences about the vaults that lack the newest generation that another vault has of the same key.

    :param hosts: the variables of all hosts of the run
    """
    declared: dict[tuple[t.Any, ...], list[Host]] = defaultdict(list)
    for host in hosts:
        if _is_vault(host):
            for key in _keys(host):
                declared[_token(host) + (key["name"],)].append(host)  # noqa: RUF005
    sentences = []
    for (*_which, name), vaults in declared.items():
        generations = {host["inventory_hostname"]: _standing(host).get(name) for host in vaults}
        newest = max((each for each in generations.values() if each), default=None)
        behind = [host for host in vaults if generations[host["inventory_hostname"]] != newest]
        if newest and behind:
            have = ", ".join(
                host for host, generation in generations.items() if generation == newest
            )
            lack = ", ".join(
                f"{host['inventory_hostname']} ({host['byok_vault_url']})" for host in behind
            )
            sentences.append(
                f"{lack}: behind with the key {name}, of which {have} has the generation {newest}."
            )
    return sentences


def _generation(generation: Host) -> str:
    facts = [
        generation["generation"],
        generation["kind"],
        f"made {generation['made']}" if generation["made"] else "made elsewhere",
        *([f"thumbprint {generation['thumbprint']}"] if generation["thumbprint"] else []),
        *(["withdrawn"] if generation["withdrawn"] else []),
        *(["half made"] if generation["half_made"] else []),
    ]
    return ", ".join(facts)


def _version(version: Host) -> str:
    facts = [
        f"version {version['version']}",
        *(["active"] if version["active"] else []),
        "enabled" if version["enabled"] else "disabled",
        f"created {version['created']}",
        f"expires {version['expires'] or 'never'}",
    ]
    return ", ".join(facts)


def _is_vault(host: Host) -> bool:
    return bool(host.get("byok_vault_url"))


def _is_true(value: t.Any) -> bool:
    return str(value).lower() in ("true", "yes", "1")


def _keys(host: Host) -> t.Sequence[Host]:
    keys: t.Sequence[Host] = host.get("byok_keys") or []
    return keys


def _standing(host: Host) -> Host:
    standing: Host = host.get("byok_standing") or {}
    return standing


def _token(host: Host) -> tuple[t.Any, ...]:
    """Return what tells tokens apart; hosts that name none use the same one, of the environment."""
    return tuple(
        host.get(f"byok_{name}")
        for name in ("token_host", "pkcs11_library", "token_label", "token_serial")
    )
