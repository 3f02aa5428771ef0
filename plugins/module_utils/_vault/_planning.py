# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_plan does: look at a vault and say what has to be done with every declared key."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._arguments import DECLARATION_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._module import Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._plan import (
    Action,
    InToken,
    KnownGeneration,
    plan_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault._address import refuse_type
from ansible_collections.keyferry.azure.plugins.module_utils._vault._client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault._errors import VaultUnavailable, not_tried
from ansible_collections.keyferry.azure.plugins.module_utils._vault._versions import observe


def plan_keys(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """Return the plan for the declared keys; nothing is changed, in check mode or not.

    :raises ByokError: when the vault cannot be looked at; what fails for one key is in the outcome's failures
    """
    vault = open_vault(params)
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    observed = {result["name"]: result for result in params["target_keys"]}
    outcome = Outcome({"plan": [], "transfers": [], "imports": []})
    for item in items:
        try:
            declaration = parse_declaration(item)
            refuse_type(vault.address, declaration)
            action = _plan(vault, declaration, _in_token(declaration, observed.get(declaration.name)))
        except ByokError as error:
            outcome.failures.add(item["name"], error)
            if isinstance(error, VaultUnavailable):
                outcome.warnings += not_tried(items, item)
                break
            continue
        outcome.result["plan"].append(_result(declaration, action))
        if action.action in ("transfer", "update"):
            outcome.result["imports"].append(_import_of(item, action))
        if action.action == "transfer":
            outcome.result["transfers"].append(_as_declared(item))
    return outcome


def _plan(vault: Vault, declaration: Declaration, in_token: InToken) -> Action:
    wanted = in_token.wanted
    in_vault = observe(vault, declaration.name, lambda version: bool(wanted and wanted.is_in(version)))
    return plan_key(declaration, in_token, in_vault)


def _in_token(declaration: Declaration, observed: t.Mapping[str, t.Any] | None) -> InToken:
    if observed is None:
        raise ByokError(
            f"There is no result of byok_target_key for the key {declaration.name}",
            "Give target_keys as byok_target_key returned them for the same declarations",
        )
    generations = tuple(
        KnownGeneration(generation["generation"], generation["thumbprint"])
        for generation in observed["generations"]
        if not generation.get("half_made")
    )
    wanted = next((known for known in generations if known.generation == observed["generation"]), None)
    return InToken(generations, wanted)


def _result(declaration: Declaration, action: Action) -> dict[str, t.Any]:
    version = action.version
    before = version.attributes() if version else {}
    return {
        "name": declaration.name,
        "action": action.action,
        "reason": action.reason,
        "kind": str(declaration.spec),
        "generation": action.wanted and action.wanted.generation,
        "thumbprint": action.wanted and action.wanted.thumbprint,
        "version": version and version.version,
        "kid": version and version.kid,
        "changes": {at: {"before": before[at], "after": after} for at, after in action.changes.items()},
    }


def _as_declared(item: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {option: value for option, value in item.items() if value is not None and option in DECLARATION_OPTIONS}


def _import_of(item: t.Mapping[str, t.Any], action: Action) -> dict[str, t.Any]:
    """Return what byok_import has to be told of this key: the version that it supersedes, or the key that is there."""
    known: dict[str, t.Any] = {}
    if action.action == "transfer" and action.version:
        known["replaces"] = action.version.version
    if action.wanted:
        known["generation"] = action.wanted.generation
        known["thumbprint"] = action.wanted.thumbprint
    return {**_as_declared(item), **{option: value for option, value in known.items() if value}}
