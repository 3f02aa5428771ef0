# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Destroying generations in the token: only named ones, and only when every vault was looked at."""

from __future__ import annotations

import typing as t
from collections import Counter

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import NamedGeneration
from ansible_collections.keyferry.azure.plugins.module_utils._token import (
    generations as _generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    Found,
    Generation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token

#: What byok_plan read is of this run when it is not older, by the clocks of the two hosts
_LONGEST_RUN_SECONDS = 3600


def destroy_generations(
    token: Token,
    declarations: t.Sequence[Declaration],
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    """Destroy the generations that ``destroy`` names by thumbprint, for oct keys by CKA_ID.

    All are judged before the first is destroyed.

    :param params: ``destroy``, ``vaults``, ``versions`` and ``accept_last_copy``
    :raises ByokError: when a vault was not looked at; what fails for one key is in the outcome's
        failures
    """
    read = _read_vaults(params["vaults"] or [], params["versions"] or [])
    names = [declaration.name for declaration in declarations]
    listed = _generations.list_declared(token, declarations)
    doomed: list[tuple[str, Generation]] = []
    _warn_of_unknown(params["destroy"], listed, outcome)
    for name in names:
        named = [each for each in listed[name].generations if each.identity in params["destroy"]]
        times = Counter(generation.identity for generation in named)
        for generation in named:
            with outcome.failures.of(name):
                _refuse_ambiguous(name, generation, times[generation.identity])
                _refuse_last_copy(name, generation, read, params["accept_last_copy"])
                doomed.append((name, generation))
    for name, generation in doomed:
        with outcome.failures.of(name):
            if not check_mode:
                _generations.destroy(token, name, generation)
            listed[name].generations.remove(generation)
            _report(token, name, generation, outcome)
    for name in names:
        left = listed[name].generations
        newest = left[-1] if left else None
        outcome.add("target_keys", _generations.target_key(name, newest, left))


def _warn_of_unknown(
    destroy: t.Iterable[str], listed: t.Mapping[str, Found], outcome: Outcome
) -> None:
    """Say which identities name no generation: whether one was destroyed before, nobody can tell
    from one that is misspelt.
    """
    there = {each.identity for key in listed.values() for each in key.generations}
    unknown = [identity for identity in dict.fromkeys(destroy) if identity not in there]
    if unknown:
        outcome.warnings.append(
            f"Nothing is destroyed for {', '.join(unknown)}: the token has no such generation of "
            "the declared keys. It was destroyed before, or the name is wrong"
        )


def _refuse_ambiguous(name: str, generation: Generation, times: int) -> None:
    """Refuse to destroy what was named by something that several keys have.

    :param times: how many of the key's generations have this identity
    :raises ByokError: for more than one that may differ
    """
    if times > 1:
        raise ByokError(
            f"{times} generations of the key {name} are named {generation.identity}, so none is "
            "destroyed",
            "Destroy the one that you mean with the token's own tool",
        )


def _report(token: Token, name: str, generation: Generation, outcome: Outcome) -> None:
    facts = NamedGeneration(name, generation.hex_id, generation.thumbprint)
    before = {
        "kind": generation.kind,
        "generation": facts.generation,
        "thumbprint": facts.thumbprint,
    }
    outcome.changes.append(Change(f"key {name} in the {token.info}", before, {}))
    outcome.add("destroyed", facts)


def _read_vaults(
    vaults: t.Sequence[str], versions: t.Sequence[t.Mapping[str, t.Any]]
) -> list[t.Mapping[str, t.Any]]:
    """Return what every declared vault holds, as byok_plan read it in this run.

    :param vaults: URLs
    :param versions: of each vault ``vault_url``, ``read_at`` (a moment) and ``target_keys``
    :raises ByokError: when a vault is missing, or was read too long ago
    """
    vaults_read = {comparable_url(vault["vault_url"]): vault for vault in versions}
    missing = sorted({comparable_url(url) for url in vaults} - set(vaults_read))
    if missing or not vaults:
        raise ByokError(
            "Nothing is destroyed, because these vaults were not checked: "
            + (", ".join(missing) or "none is given"),
            "Give vaults as the URLs of all that declare the keys, and versions as byok_plan "
            "returned it for each in this run",
        )
    now = host_clock().timestamp()
    for url, vault in vaults_read.items():
        age = now - parse_moment(vault["read_at"]).timestamp()
        if abs(age) > _LONGEST_RUN_SECONDS:
            raise ByokError(
                f"Nothing is destroyed, because {url} was read at {vault['read_at']}, which "
                "is not in this run",
                "Run byok_plan again, and check the clocks of the hosts",
            )
    return list(vaults_read.values())


def _refuse_last_copy(
    name: str, generation: Generation, read: t.Iterable[t.Mapping[str, t.Any]], accepted: bool
) -> None:
    """Refuse to destroy what a vault still has, or may have: it could never be brought again.

    :param read: what _read_vaults() returned
    :param accepted: take that Azure alone has it
    :raises ByokError: naming the versions
    """
    refused = f"The generation {generation.hex_id} of the key {name} is not destroyed"
    copies: list[str] = []
    for vault in read:
        url = vault["vault_url"]
        keys = {key["name"].lower(): key for key in vault["target_keys"]}
        if name.lower() not in keys:
            raise ByokError(
                f"{refused}: {url} was not looked at for the key",
                "Run byok_plan again, with this key among its declarations",
            )
        copies += _copies(generation, url, keys[name.lower()])
    if copies and not accepted:
        raise ByokError(
            f"{refused}: {'; '.join(copies)}",
            "Keep it: without it the key can go to no other vault, and Azure alone has it; "
            "accept_last_copy accepts that",
            code="last_copy",
        )


def _copies(generation: Generation, url: str, key: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """Yield in words what a vault has of a generation, or may have.

    :param key: ``versions`` of the name there, and whether there is a ``deleted`` one
    """
    for version in key["versions"]:
        if _may_be(generation, version):
            state = "enabled" if version["enabled"] else "disabled"
            yield f"{url} has it as the {state} version {version['version']}"
    if key["deleted"] is None:
        yield f"{url} does not tell whether it has a deleted key of that name"
    elif key["deleted"]:
        yield f"{url} has a deleted key of that name, which can be recovered"


def _may_be(generation: Generation, version: t.Mapping[str, t.Any]) -> bool:
    """Tell whether a version is this generation, or could be.

    Without a public key, here or there, a tag says which one of a type it is; where that says
    nothing, it may be any.
    """
    if generation.public_key and version["thumbprint"]:
        return bool(version["thumbprint"] == generation.thumbprint)
    same_type = generation.spec is not None and version["type"] == generation.spec.azure_type
    return same_type and version["generation"] in (None, generation.hex_id)
