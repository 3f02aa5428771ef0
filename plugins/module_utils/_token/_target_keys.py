# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_target_key does: see that the declared keys are in the token."""

from __future__ import annotations

import time
import typing as t
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._module import Change, Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._time import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._token import _generations
from ansible_collections.keyferry.azure.plugins.module_utils._token._cryptoki import Session
from ansible_collections.keyferry.azure.plugins.module_utils._token._destruction import destroy_generations
from ansible_collections.keyferry.azure.plugins.module_utils._token._generation_id import is_ours, made_at
from ansible_collections.keyferry.azure.plugins.module_utils._token._generations import Found, Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token, open_token

#: How long a run may be between the two halves of a pair
_AT_WORK_SECONDS = 3600


@dataclass
class _Key:
    """One declared key on its way.

    :ivar rotation: what byok_plan says of a key that shall get a newer generation
    """

    declaration: Declaration
    found: Found
    rotation: t.Mapping[str, t.Any] | None = None
    current: Generation | None = None
    created: bool = False

    @property
    def name(self) -> str:
        return self.declaration.name


def ensure_target_keys(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """List the declared keys and make those that are missing; or destroy generations.

    :raises ByokError: when the token cannot be opened or searched; what fails for one key is in the outcome's failures
    """
    declarations = [parse_declaration(item) for item in items_of(params, "target_keys")]
    check_unique(declaration.name for declaration in declarations)
    with open_token(params) as token:
        if params["state"] == "absent":
            with _one_maker(token, params, check_mode):
                outcome = destroy_generations(token, declarations, params, check_mode)
        else:
            steps = {option: params[option] for option in ("rotations", "transferred", "withdraw")}
            outcome = find_or_make(token, declarations, params, check_mode, **steps)
    if params["target_keys"] is None and outcome.result["target_keys"]:
        outcome.result["target_key"] = outcome.result["target_keys"][0]
    return outcome


def find_or_make(
    token: Token,
    declarations: t.Sequence[Declaration],
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    *,
    rotations: t.Iterable[t.Mapping[str, t.Any]] = (),
    transferred: t.Collection[str] = (),
    withdraw: t.Sequence[str] = (),
) -> Outcome:
    """List the declared keys and make those that are missing, and those that shall get a newer generation.

    :param params: the lock's options
    :param rotations: what byok_plan returned under this name
    :param transferred: identities of generations that have arrived, and may be locked
    :param withdraw: identities of generations that shall never be chosen again
    """
    wanted = {rotation["name"]: rotation for rotation in rotations}
    outcome = Outcome({"target_keys": [], "destroyed": [], "withdrawn": [], "token": vars(token.info)})
    with _one_maker(token, params, check_mode):
        listed = _generations.list_generations(token, [declaration.name for declaration in declarations])
        _withdraw(token, listed, withdraw, check_mode, outcome)
        keys = [_Key(declaration, listed[declaration.name], wanted.get(declaration.name)) for declaration in declarations]
        chosen = [key for key in keys if _attempt(key, outcome, lambda key: _choose(token, key))]
        if not check_mode:
            _make_missing(token, [key for key in chosen if key.created], outcome)
        for key in chosen:
            _attempt(key, outcome, lambda key: _finish(token, key, set(transferred), check_mode, outcome))
    return outcome


def _one_maker(token: Token, params: t.Mapping[str, t.Any], check_mode: bool) -> t.ContextManager[t.Any]:
    """Keep other runs on this host from making keys: PKCS#11 has no unique labels, so two that miss a key would make it."""
    if check_mode:
        return nullcontext()
    return process_lock(f"keys {token.info.serial}", params["lock_directory"], params["lock_timeout"])


def _withdraw(
    token: Token, listed: t.Mapping[str, Found], identities: t.Sequence[str], check_mode: bool, outcome: Outcome
) -> None:
    """Mark the generations of these identities, so that they are never chosen again."""
    known = {each.identity: (name, number) for name, found in listed.items() for number, each in enumerate(found.generations)}
    for identity in identities:
        if identity not in known:
            raise ByokError(
                f"No generation of the keys {', '.join(listed)} in the {token.info} is {identity}, so it was not withdrawn",
                "Give its thumbprint, for oct keys its CKA_ID, as byok_target_key returns them",
            )
        name, number = known[identity]
        generations = listed[name].generations
        generation = generations[number]
        if generation.withdrawn:
            continue
        if not check_mode:
            _generations.withdraw(token, name, generation)
        generations[number] = replace(generation, withdrawn=True)
        facts = {"generation": generation.hex_id, "thumbprint": generation.thumbprint}
        outcome.changes.append(Change(f"key {name} in the {token.info}", facts, {**facts, "withdrawn": True}))
        outcome.result["withdrawn"].append({"name": name, **facts})


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
    if key.current is None and not key.declaration.create:
        raise ByokError(
            f"There is no key {key.name} in the {token.info}, and it shall not be made (create: false)",
            "Correct its name or token_label, or let it be made",
        )
    key.created = key.current is None or _is_too_old(key.current, key.rotation)
    if key.created:
        key.current = None


def _is_too_old(generation: Generation, rotation: t.Mapping[str, t.Any] | None) -> bool:
    """Tell whether a key needs a newer generation than its newest; a run that was killed may have made it already."""
    if rotation is None or not rotation["newer_than"]:
        return False
    than = bytes.fromhex(rotation["newer_than"])
    return (is_ours(generation.id), generation.id) <= (is_ours(than), than)


def _make_missing(token: Token, keys: list[_Key], outcome: Outcome) -> None:
    """Make the generations, then see whether another host made some of the same keys at the same time."""

    def make(session: Session, key: _Key) -> Generation:
        moment = key.rotation and key.rotation["made_at"]
        now = parse_moment(moment) if moment else datetime.now(timezone.utc)
        return _generations.make(token, session, key.declaration, key.found.generations, now)

    made = token.for_each(keys, make)
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
