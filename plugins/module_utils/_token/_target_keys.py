# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_target_key does: see that the declared keys are in the token."""

from __future__ import annotations

import typing as t
from contextlib import nullcontext

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._module import Change, Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._token import _generations
from ansible_collections.keyferry.azure.plugins.module_utils._token._generations import Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token._lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token, open_token


def ensure_target_keys(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """List the declared keys and make those that are missing.

    :raises ByokError: when the token cannot be opened or searched; what fails for one key is in the outcome's failures
    """
    declarations = [parse_declaration(item) for item in items_of(params, "target_keys")]
    check_unique(declaration.name for declaration in declarations)
    transferred = set(params["transferred"])
    outcome = Outcome({"target_keys": [], "token": None})
    with open_token(params) as token:
        outcome.result["token"] = vars(token.info)
        # PKCS#11 has no unique labels: two runs that both miss a key would both make it.
        held = process_lock(f"keys {token.info.serial}", params["lock_directory"], params["lock_timeout"])
        with nullcontext() if check_mode else held:
            listed = _generations.list_generations(token, [declaration.name for declaration in declarations])
            for declaration in declarations:
                try:
                    _ensure(token, declaration, listed[declaration.name], transferred, check_mode, outcome)
                except ByokError as error:
                    outcome.failures.add(declaration.name, error)
    if params["target_keys"] is None and outcome.result["target_keys"]:
        outcome.result["target_key"] = outcome.result["target_keys"][0]
    return outcome


def _ensure(
    token: Token,
    declaration: Declaration,
    generations: list[Generation],
    transferred: set[str],
    check_mode: bool,
    outcome: Outcome,
) -> None:
    where = f"key {declaration.name} in the {token.info}"
    current = _generations.choose(declaration, generations)
    created = current is None
    if current is None:
        if not check_mode:
            current = _generations.make(token, declaration, generations)
            generations = [*generations, current]
        outcome.changes.append(Change(where, {}, _facts(declaration, current)))
    if current is not None:
        _generations.refuse_unfit(declaration, current, token)
        extractable = current.evidence["CKA_EXTRACTABLE"]
        if declaration.after_transfer == "lock" and current.identity in transferred and extractable:
            if not check_mode:
                _generations.lock(token, declaration.name, current)
            outcome.changes.append(Change(where, {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False}))
    outcome.result["target_keys"].append(
        {
            "name": declaration.name,
            "created": created,
            "generation": current and current.hex_id,
            "thumbprint": current and current.thumbprint,
            "generations": [generation.as_result() for generation in generations],
        }
    )


def _facts(declaration: Declaration, made: Generation | None) -> dict[str, t.Any]:
    """Return the public facts of a key that was made, or would be: its id and thumbprint are known only afterwards."""
    return {
        "kind": str(declaration.spec),
        "operations": declaration.wanted_operations,
        "CKA_SENSITIVE": True,
        "CKA_EXTRACTABLE": True,
        "generation": made and made.hex_id,
        "thumbprint": made and made.thumbprint,
    }
