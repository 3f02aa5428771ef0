# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The other vaults of a key: which lack it, wait for it, or are not in this run; pure."""

from __future__ import annotations

import typing as t
from collections import defaultdict

Host = t.Mapping[str, t.Any]

#: Options that name a token
_TOKEN_NAMES = ("token_label", "token_serial", "token_slot", "token_uri")


def not_in_place(hosts: t.Iterable[Host], primary: str) -> list[str]:
    """Return the names of a primary vault's keys that another vault could not take: they wait.

    :param hosts: the variables of all hosts of the run
    :param primary: the inventory name of the primary vault
    """
    running = list(hosts)
    mine = next(host for host in running if host["inventory_hostname"] == primary)
    token = _token(mine)
    waiting: set[str] = set()
    for host in running:
        if _is_vault(host) and not _is_true(host.get("byok_primary")) and _token(host) == token:
            waiting |= _names(host, mine) - _translated(_standing(host), host, mine).keys()
    return sorted(waiting)


def not_in_this_run(
    hosts: t.Iterable[Host], vault: str, names: t.Collection[str], running: t.Collection[str]
) -> dict[str, list[str]]:
    """Return who else is to have keys, and has no part in this run: a limit or a slice left it out.

    A host whose variables cannot be read counts as one that is to have them all. Where a play
    declares the keys, other hosts do not.

    :param hosts: the variables of all hosts of the inventory
    :param vault: the inventory name of the vault that asks
    :param names: of the keys
    :param running: the inventory names of the hosts of this run
    :returns: by names of keys, hosts
    """
    other_hosts = {host["inventory_hostname"]: host for host in hosts}
    mine = other_hosts.pop(vault, {})
    missing: dict[str, list[str]] = {name: [] for name in names}
    for name, others in (mine.get("byok_keys_also_on") or {}).items():
        if name in missing:
            missing[name] += [other for other in others if other not in running]
    if _is_declared_by_play(mine):
        other_hosts = {}
    for other, host in other_hosts.items():
        if other in running:
            continue
        declared = _declared_for_token(host, mine)
        theirs = names if declared is None else declared.intersection(names)
        for name in theirs:
            if other not in missing[name]:
                missing[name].append(other)
    return {name: others for name, others in missing.items() if others}


def awaited_elsewhere(
    hosts: t.Iterable[Host], vault: str, arrived: t.Mapping[str, t.Any]
) -> dict[str, str]:
    """Return the keys that must not be locked in the token yet, because another vault waits.

    A vault that did not run, that another slice has, or of which the variables cannot be read,
    counts as one that waits. Where a play declares the keys, what other hosts are to have is not
    known.

    :param hosts: the variables of all hosts of the inventory
    :param vault: the inventory name of the vault that asks
    :param arrived: the generations that have certainly arrived there, by the names of their keys
    :returns: by names of keys, the hosts that are awaited
    """
    other_hosts = {host["inventory_hostname"]: host for host in hosts}
    mine = other_hosts.pop(vault, {})
    if mine and other_hosts and _is_declared_by_play(mine):
        return dict.fromkeys(arrived, "any host, because a play declares the keys")
    waiting: dict[str, list[str]] = {name: [] for name in arrived}
    for name, others in (mine.get("byok_keys_also_on") or {}).items():
        if name in waiting:
            waiting[name] += [other for other in others if other not in other_hosts]
    for other, host in other_hosts.items():
        declared = _declared_for_token(host, mine)
        theirs: t.Iterable[str] = arrived
        has: Host = {}
        if declared is not None:
            theirs = declared.intersection(arrived)
            has = _translated(host.get("byok_arrived") or {}, host, mine)
        for name in theirs:
            if name not in has or has[name] != arrived[name]:
                waiting[name].append(other)
    return {name: ", ".join(others) for name, others in waiting.items() if others}


def made_by_another(hosts: t.Iterable[Host], host: str) -> set[str]:
    """Return the names of keys that another host of a run would make before this one.

    In check mode nothing is made, so hosts that share a key would each report to make it.

    :param hosts: the variables of all hosts of the inventory, in its order
    :param host: the inventory name of the host that asks
    """
    before: list[Host] = []
    for other in hosts:
        if other["inventory_hostname"] == host:
            sharing = [each for each in before if _token(each) == _token(other)]
            return set().union(*(each["byok__run"]["to_make"] for each in sharing))
        if other.get("byok__run"):
            before.append(other)
    return set()


def vaults_behind(hosts: t.Iterable[Host]) -> list[str]:
    """Return sentences on the vaults that lack the newest generation that another vault has.

    :param hosts: the variables of all hosts of the run
    """
    declaring: dict[tuple[t.Any, ...], list[tuple[str, Host]]] = defaultdict(list)
    for host in hosts:
        if _is_vault(host):
            for key in _keys(host):
                which = (*_token(host), _label(key))
                declaring[which].append((key["name"], host))
    sentences = []
    for declared in declaring.values():
        vaults = [host for _name, host in declared]
        name = declared[0][0]
        standing = {
            host["inventory_hostname"]: _standing(host).get(each) for each, host in declared
        }
        newest = max(filter(None, standing.values()), default=None)
        behind = [host for host in vaults if standing[host["inventory_hostname"]] != newest]
        if newest and behind:
            have = ", ".join(host for host, generation in standing.items() if generation == newest)
            lack = ", ".join(
                f"{host['inventory_hostname']} ({host['byok_vault_url']})" for host in behind
            )
            sentences.append(
                f"{lack}: behind with the key {name}, of which {have} has the generation {newest}."
            )
    return sentences


def _declared_for_token(host: Host, mine: Host) -> set[str] | None:
    """Return the keys that a host declares for the token of ``mine``, by the names there.

    None where nobody can tell.
    """
    try:
        if _is_vault(host) and _token(host) == _token(mine):
            return _names(host, mine)
        return set()
    except Exception:  # of a template that cannot be rendered; each ansible-core has another class
        return None


def _is_declared_by_play(mine: Host) -> bool:
    """Tell whether not the inventory but a play declares the vault or its keys."""
    return not (mine.get("byok_vault_url") and mine.get("byok_keys"))


def _names(host: Host, mine: Host) -> set[str]:
    """Return the keys that a host declares, by the names that ``mine`` has for them."""
    return set(_translated({key["name"]: None for key in _keys(host)}, host, mine))


def _translated(facts: Host, host: Host, mine: Host) -> dict[str, t.Any]:
    """Return facts by names of a host's keys under the names that ``mine`` has for them.

    One label in the token is one key, whatever the vaults call it. Of keys that ``mine`` does not
    have, nothing is returned; where it declares none, it may be asked for any, by their labels.
    """
    labels = {key["name"]: _label(key) for key in _keys(host)}
    by_label = {labels.get(name, name): fact for name, fact in facts.items()}
    keys = _keys(mine)
    if not keys:
        return by_label
    names = {_label(key): key["name"] for key in keys}
    return {names[label]: fact for label, fact in by_label.items() if label in names}


def _label(key: Host) -> str:
    return str(key.get("label") or key["name"])


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
    """Return what tells tokens apart; hosts that name none use the same one."""
    return tuple(
        host.get(f"byok_{name}") for name in ("token_host", "pkcs11_library", *_TOKEN_NAMES)
    )
