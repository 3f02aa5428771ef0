# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_rotate does with ``stage: retire``: disable older versions that are not needed any
more.
"""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import items_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    KnownGeneration,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    KeptVersion,
    RetiredKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.retirement import plan_retirement
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._steps.target_key import find_or_make
from ansible_collections.keyferry.azure.plugins.module_utils._token import (
    generations as _generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.challenge import make_challenge
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.proof import NotOurKey, prove
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_versions,
    read_version,
    update,
)

Item = t.Mapping[str, t.Any]


def retire_versions(
    vault: Vault, token: Token | None, params: Item, check_mode: bool, outcome: Outcome
) -> None:
    """Disable the older versions of the keys that say ``retire: disable``, after the overlap.

    :param token: None where ``target_keys`` tells what it holds
    :param params: ``rotations``, ``target_keys`` and the lock's options
    """
    items = items_of(params, "declarations")
    declarations = {item["name"]: parse_declaration(item) for item in items}
    in_token = params["target_keys"]
    if token and in_token is None:
        seen = find_or_make(token, list(declarations.values()), params, check_mode=True)
        outcome.absorb(seen, with_changes=False)
        in_token = seen.result["target_keys"]
    observed = {key["name"]: key for key in in_token}
    retiring = _Retiring(vault, token, check_mode)

    def retire(item: Item, part: Outcome) -> None:
        name = item["name"]
        reencrypted = item["data_reencrypted"]
        retiring.retire(declarations[name], observed.get(name), reencrypted, part)

    seen_items = [item for item in items if item["name"] in observed or not token]
    each_key(vault, seen_items, outcome, retire)


class _Retiring:
    """One run that disables older versions."""

    def __init__(self, vault: Vault, token: Token | None, check_mode: bool) -> None:
        self.vault = vault
        self.token = token
        self.check_mode = check_mode
        self._token_in_use = threading.Lock()  # one session; keys are handled several at a time

    def retire(
        self,
        declaration: Declaration,
        observed: Item | None,
        data_reencrypted: bool,
        outcome: Outcome,
    ) -> None:
        """Disable the older versions of one key, and report it whatever comes in between."""
        vault, name = self.vault, declaration.name
        in_token = in_the_token(declaration, observed)
        if declaration.rotation is None or declaration.rotation.retire != "disable":
            reason = "its rotation does not declare retire: disable"
            outcome.add("rotations", RetiredKey(name, "none", reason, "retire_not_declared"))
            return
        versions = self._enabled_versions(name)

        def is_proved(version: Version) -> bool:
            generation = in_token.holder_of(version)
            return generation is not None and self._is_proved(declaration, version, generation)

        retirement = plan_retirement(
            declaration, in_token, versions, vault.now, data_reencrypted, is_proved
        )
        kept = tuple(KeptVersion(version, why) for version, why in retirement.kept.items())
        retired: list[str] = []
        try:
            for version in retirement.disabled:
                if not self.check_mode:
                    update(vault, name, version, {"enabled": False})
                where = f"version {version.version} of the key {name} in the {vault}"
                outcome.changes.append(Change(where, {"enabled": True}, {"enabled": False}))
                retired.append(version.version)
        finally:
            outcome.add("rotations", _report(name, retired, kept, vault.request_id))

    def _enabled_versions(self, name: str) -> list[Version]:
        """Return the newest version, and the others that are enabled, newest first."""
        # Which one is the newest, a list does not tell: two may be of the same second.
        newest = read_version(self.vault, name)
        if newest is None:
            return []
        versions = [newest]
        for properties in list_versions(self.vault, name):
            if properties.version != newest.version and properties.enabled is not False:
                version = read_version(self.vault, name, properties.version)
                if version:
                    versions.append(version)
        return versions

    def _is_proved(
        self, declaration: Declaration, version: Version, generation: KnownGeneration
    ) -> bool:
        """Have the vault answer a challenge of the token, where the token is at hand."""
        if self.token is None:
            return False
        with self._token_in_use:
            name = declaration.name
            in_token = _generations.list_declared(self.token, [declaration])[name].generations
            held = next(each for each in in_token if each.hex_id == generation.generation)
            challenge = make_challenge(self.token, name, held)
        try:
            return "operation" in prove(self.vault, name, version, challenge)
        except NotOurKey:
            return False


def _report(
    name: str, retired: t.Sequence[str], kept: tuple[KeptVersion, ...], request_id: str | None
) -> RetiredKey:
    if not retired:
        reason = "no older version is to be disabled"
        return RetiredKey(name, "none", reason, "nothing_to_retire", kept=kept)
    reason = "a newer version has existed for the overlap"
    return RetiredKey(name, "retire", reason, "retired", tuple(retired), kept, request_id)
