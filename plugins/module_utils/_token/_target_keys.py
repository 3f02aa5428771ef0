# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_target_key does: see that the declared keys are in the token."""

from __future__ import annotations

import time
import typing as t
from contextlib import nullcontext
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._module import Change, Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._token import _generations
from ansible_collections.keyferry.azure.plugins.module_utils._token._generation_id import made_at
from ansible_collections.keyferry.azure.plugins.module_utils._token._generations import Found, Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token._lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token, open_token

#: How long a run may be between the two halves of a pair
_AT_WORK_SECONDS = 3600


@dataclass
class _Key:
    """One declared key on its way."""

    declaration: Declaration
    found: Found
    current: Generation | None = None
    created: bool = False

    @property
    def name(self) -> str:
        return self.declaration.name


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
            keys = [_Key(declaration, listed[declaration.name]) for declaration in declarations]
            chosen = [key for key in keys if _attempt(key, outcome, lambda key: _choose(token, key))]
            if not check_mode:
                _make_missing(token, [key for key in chosen if key.created], outcome)
            for key in chosen:
                _attempt(key, outcome, lambda key: _finish(token, key, transferred, check_mode, outcome))
    if params["target_keys"] is None and outcome.result["target_keys"]:
        outcome.result["target_key"] = outcome.result["target_keys"][0]
    return outcome


def _attempt(key: _Key, outcome: Outcome, step: t.Callable[[_Key], None]) -> bool:
    """Take a step with one key; an error is that key's alone."""
    try:
        step(key)
    except ByokError as error:
        outcome.failures.add(key.name, error)
        return False
    return True


def _choose(token: Token, key: _Key) -> None:
    key.current = _generations.choose(key.declaration, key.found.generations)
    key.created = key.current is None
    if key.created and not key.declaration.create:
        raise ByokError(
            f"There is no key {key.name} in the {token.info}, and it shall not be made (create: false)",
            "Correct its name or token_label, or let it be made",
        )


def _make_missing(token: Token, keys: list[_Key], outcome: Outcome) -> None:
    """Make the generations, then see whether another host made some of the same keys at the same time."""
    made = token.for_each(keys, lambda session, key: _generations.make(token, session, key.declaration, key.found.generations))
    for key, generation in made:
        if isinstance(generation, ByokError):
            outcome.failures.add(key.name, generation)
        else:
            key.current = generation
    keys = [key for key in keys if key.current]
    if not keys:
        return
    listed = _generations.list_generations(token, [key.name for key in keys])
    for key in keys:
        _attempt(key, outcome, lambda key: _settle_race(token, key, listed[key.name], outcome))


def _settle_race(token: Token, key: _Key, found: Found, outcome: Outcome) -> None:
    """Where another host made a generation meanwhile, the one that was begun first stays.

    The pair that this process made is destroyed if it is not that one, because nobody has been told of it yet. The other one
    may have been used already and is never destroyed.
    """
    mine = t.cast(Generation, key.current)
    before = {generation.id for generation in key.found.generations}
    rivals = [each for each in found.generations if each.id not in before and each.id != mine.id and not each.half_made]
    key.found = found
    if not rivals:
        return
    first = min([mine, *rivals], key=lambda generation: generation.id)
    names = ", ".join(rival.hex_id for rival in rivals)
    if first is mine:
        outcome.warnings.append(
            f"Another host made the key {key.name} in the {token.info} at the same time ({names}). Both stay; this run goes on "
            f"with {mine.hex_id}, which was begun first, and later runs take the newest that is there."
        )
        return
    _generations.take_back(token, key.name, mine)
    key.found.generations[:] = [each for each in found.generations if each.id != mine.id]
    key.current, key.created = first, False
    outcome.warnings.append(
        f"Another host made the key {key.name} in the {token.info} at the same time ({names}); the one that this run made was "
        "taken back."
    )


def _finish(token: Token, key: _Key, transferred: set[str], check_mode: bool, outcome: Outcome) -> None:
    """Judge the key, lock it if that is due, clear away what killed runs left, and report."""
    where = f"key {key.name} in the {token.info}"
    declaration, current = key.declaration, key.current
    if current is None and not check_mode:
        return  # it failed before
    if key.created:
        outcome.changes.append(Change(where, {}, _facts(declaration, current)))
    if current is not None:
        _generations.refuse_unfit(declaration, current, token)
        extractable = current.evidence["CKA_EXTRACTABLE"]
        if declaration.after_transfer == "lock" and current.identity in transferred and extractable:
            if not check_mode:
                _generations.lock(token, key.name, current)
            outcome.changes.append(Change(where, {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False}))
    _tidy(token, key, where, check_mode, outcome)
    outcome.result["target_keys"].append(
        {
            "name": key.name,
            "created": key.created,
            "generation": current and current.hex_id,
            "thumbprint": current and current.thumbprint,
            "generations": [generation.as_result() for generation in key.found.generations],
        }
    )


def _tidy(token: Token, key: _Key, where: str, check_mode: bool, outcome: Outcome) -> None:
    """Report what killed runs left. A private key is never destroyed; a public key alone is, when no run can be at it."""
    for half in (generation for generation in key.found.generations if generation.half_made):
        outcome.warnings.append(
            f"The {where} has a generation without its public key ({half.hex_id}), as a run leaves it that is killed. It is "
            "passed over; see that it was never brought anywhere, then remove it with the token's own tool."
        )
    for leftover in key.found.leftovers:
        age = time.time() - made_at(leftover.id)
        if age < _AT_WORK_SECONDS:
            outcome.warnings.append(
                f"The {where} has a public key without its private key ({leftover.id.hex()}), as a run leaves it that is "
                "killed. A later run removes it, when it is older than an hour."
            )
            continue
        if not check_mode:
            _generations.clear_away(token, key.name, leftover)
        outcome.changes.append(Change(where, {"public key alone": leftover.id.hex()}, {}))


def _facts(declaration: Declaration, made: Generation | None) -> dict[str, t.Any]:
    """Return the public facts of a key that was made, or would be: its id and thumbprint are known only afterwards."""
    return {
        "kind": str(declaration.spec),
        "operations": declaration.made_for,
        "CKA_SENSITIVE": True,
        "CKA_EXTRACTABLE": True,
        "generation": made and made.hex_id,
        "thumbprint": made and made.thumbprint,
    }
