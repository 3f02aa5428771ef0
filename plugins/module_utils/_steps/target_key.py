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

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import items_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import (
    is_ours,
    made_at,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._token import (
    generations as _generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Session
from ansible_collections.keyferry.azure.plugins.module_utils._token.destruction import (
    destroy_generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    Found,
    Generation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.listing import (
    Listing,
    parse_listing,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import (
    CKF_LOGIN_REQUIRED,
    Token,
    TokenInfo,
    open_token,
)

#: How long a run may be between the two halves of a pair
_AT_WORK_SECONDS = 3600

_WITHOUT_LOGIN = (
    "Give pin_file, or a stored listing of the token (listing), as playbooks/list.yml writes it"
)

_Items = t.Iterable[t.Mapping[str, t.Any]]


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


@dataclass(frozen=True)
class _Run:
    """What a run has to do with.

    :ivar token: None where nothing is changed: in check mode, which a stored listing is enough for
    """

    info: TokenInfo
    token: Token | None
    outcome: Outcome


def ensure_target_keys(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """List the declared keys and make those that are missing; or destroy generations.

    :raises ByokError: when the token cannot be opened or searched; what fails for one key is in the outcome's failures
    """
    declarations = [parse_declaration(item) for item in items_of(params, "declarations")]
    check_unique(declaration.name for declaration in declarations)
    steps = {option: params[option] for option in ("rotations", "transferred", "withdraw")}
    look_only = check_mode and params["state"] == "present"
    if params["listing"]:
        outcome = _look_into_listing(
            declarations, params, look_only, datetime.now(timezone.utc), steps
        )
    else:
        without_pin = (
            look_only and params["public_session"] and not (params["pin"] or params["pin_file"])
        )
        # A token that wants no login shows everything without one.
        with open_token(
            params, lambda slot: not (without_pin and slot.flags & CKF_LOGIN_REQUIRED)
        ) as token:
            if params["state"] == "absent":
                with _one_maker(token, params, check_mode):
                    outcome = destroy_generations(token, declarations, params, check_mode)
            elif without_pin and token.slot.flags & CKF_LOGIN_REQUIRED:
                outcome = _look_without_login(token, declarations, steps)
            else:
                outcome = find_or_make(token, declarations, params, check_mode, **steps)
    if params["declarations"] is None and outcome.result["target_keys"]:
        outcome.result["target_key"] = outcome.result["target_keys"][0]
    return outcome


def _look_into_listing(
    declarations: t.Sequence[Declaration],
    params: t.Mapping[str, t.Any],
    look_only: bool,
    now: datetime,
    steps: dict[str, t.Any],
) -> Outcome:
    """Judge the declared keys by a stored listing; the token is not opened.

    :raises ByokError: when there is no such listing, or it is of another token than the one that is named
    """
    path = params["listing"]
    if not look_only:
        raise ByokError(
            f"The listing {path} says what the token held when it was made, and this run may change what it holds now",
            "Give listing in check mode and with state present only",
        )
    text = read_text(path)
    if text is None:
        raise ByokError(
            f"There is no listing {path}", "Correct listing, or make it with playbooks/list.yml"
        )
    listing = parse_listing(text, f"The listing {path}")
    _refuse_other_token(listing, params)
    outcome = _settle(listing.info, listing.found, declarations, None, **steps)
    warning = listing.age_warning(now)
    outcome.warnings += [warning] if warning else []
    return outcome


def _refuse_other_token(listing: Listing, params: t.Mapping[str, t.Any]) -> None:
    for option, there in (
        ("token_label", listing.info.label),
        ("token_serial", listing.info.serial),
    ):
        if params[option] and params[option] != there:
            raise ByokError(
                f"The listing {params['listing']} is of the {listing.info}, and {option} is {params[option]}",
                "Give the listing of the token that is meant",
            )


def _look_without_login(
    token: Token, declarations: t.Sequence[Declaration], steps: dict[str, t.Any]
) -> Outcome:
    """Judge the declared keys by their public keys alone; where these do not tell, the key fails.

    :raises ByokError: when the token shows no public key at all
    """
    visible = [declaration for declaration in declarations if declaration.spec.type != "oct"]
    listed = _generations.list_public_keys(token, [declaration.name for declaration in visible])
    # Of a token without any public key no one can tell that it would show them.
    shows = any(found.generations for found in listed.values()) or token.session.find("PUBLIC_KEY")
    if visible and (token.profile.public_keys_private[0] or not shows):
        raise ByokError(
            f"The {token.info} shows no public key without a login: it holds none, or hides them",
            _WITHOUT_LOGIN,
        )
    outcome = _settle(token.info, listed, visible, None, **steps)
    for declaration in declarations:
        if declaration.spec.type == "oct":
            what = f"Without a login the {token.info} does not show the {declaration.spec} key {declaration.name}"
            outcome.failures.add(declaration.name, ByokError(what, _WITHOUT_LOGIN))
    outcome.warnings.append(
        f"The {token.info} was looked at without a login, so only public keys were seen. Whether their private keys are there, "
        "can leave the token, and came from outside is not known: a run with a PIN may refuse or pass over what this one takes."
    )
    return outcome


def find_or_make(
    token: Token,
    declarations: t.Sequence[Declaration],
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    **steps: t.Any,
) -> Outcome:
    """List the declared keys and make those that are missing, and those that shall get a newer generation.

    :param params: the lock's options
    :param steps: as _settle() takes them
    """
    with _one_maker(token, params, check_mode):
        listed = _generations.list_generations(
            token, [declaration.name for declaration in declarations]
        )
        return _settle(token.info, listed, declarations, None if check_mode else token, **steps)


def _settle(
    info: TokenInfo,
    listed: t.Mapping[str, Found],
    declarations: t.Sequence[Declaration],
    token: Token | None,
    *,
    rotations: _Items = (),
    transferred: t.Collection[str] = (),
    withdraw: t.Sequence[str] = (),
) -> Outcome:
    """Judge what was listed against what is declared, and make what is missing.

    :param token: None to change nothing
    :param rotations: what byok_plan returned under this name
    :param transferred: identities of generations that have arrived, and may be locked
    :param withdraw: identities of generations that shall never be chosen again
    """
    wanted = {rotation["name"]: rotation for rotation in rotations}
    outcome = Outcome({"target_keys": [], "destroyed": [], "withdrawn": [], "token": vars(info)})
    run = _Run(info, token, outcome)
    _withdraw(run, listed, withdraw)
    nothing = Found([], [])  # of a name that a listing does not have
    keys = [
        _Key(each, listed.get(each.name, nothing), wanted.get(each.name)) for each in declarations
    ]
    chosen = [key for key in keys if _attempt(key, outcome, lambda key: _choose(info, key))]
    if token:
        _make_missing(token, [key for key in chosen if key.created], outcome)
    arrived = frozenset(transferred)
    for key in chosen:
        _attempt(key, outcome, lambda key: _finish(run, key, arrived))
    return outcome


def _one_maker(
    token: Token, params: t.Mapping[str, t.Any], check_mode: bool
) -> t.ContextManager[t.Any]:
    """Keep other runs on this host from making keys: PKCS#11 has no unique labels, so two that miss a key would make it."""
    if check_mode:
        return nullcontext()
    return process_lock(
        f"keys {token.info.serial}", params["lock_directory"], params["lock_timeout"]
    )


def _withdraw(run: _Run, listed: t.Mapping[str, Found], identities: t.Sequence[str]) -> None:
    """Mark the generations of these identities, so that they are never chosen again."""
    known = {
        each.identity: (name, number)
        for name, found in listed.items()
        for number, each in enumerate(found.generations)
    }
    for identity in identities:
        if identity not in known:
            raise ByokError(
                f"No generation of the keys {', '.join(listed)} in the {run.info} is {identity}, so it was not withdrawn",
                "Give its thumbprint, for oct keys its CKA_ID, as byok_target_key returns them",
            )
        name, number = known[identity]
        generations = listed[name].generations
        generation = generations[number]
        if generation.withdrawn:
            continue
        if run.token:
            _generations.withdraw(run.token, name, generation)
        generations[number] = replace(generation, withdrawn=True)
        facts = {"generation": generation.hex_id, "thumbprint": generation.thumbprint}
        run.outcome.changes.append(
            Change(f"key {name} in the {run.info}", facts, {**facts, "withdrawn": True})
        )
        run.outcome.result["withdrawn"].append({"name": name, **facts})


def _attempt(key: _Key, outcome: Outcome, step: t.Callable[[_Key], None]) -> bool:
    """Take a step with one key; an error is that key's alone."""
    try:
        step(key)
    except ByokError as error:
        outcome.failures.add(key.name, error)
        return False
    return True


def _choose(info: TokenInfo, key: _Key) -> None:
    key.current = _generations.choose(key.declaration, key.found.generations)
    if key.current is None and not key.declaration.create:
        raise ByokError(
            f"There is no key {key.name} in the {info}, and it shall not be made (create: false)",
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
    rivals = [
        each
        for each in found.generations
        if each.id not in before and each.id != mine.id and not each.half_made
    ]
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


def _finish(run: _Run, key: _Key, transferred: frozenset[str]) -> None:
    """Judge the key, lock it if that is due, clear away what killed runs left, and report."""
    where = f"key {key.name} in the {run.info}"
    declaration, current, outcome = key.declaration, key.current, run.outcome
    if current is None and run.token:
        return  # it failed before
    if key.created:
        outcome.changes.append(Change(where, {}, _facts(declaration, current)))
    locks = False
    if current is not None:
        _generations.refuse_unfit(declaration, current, run.info)
        extractable = current.evidence["CKA_EXTRACTABLE"]
        locks = (
            declaration.after_transfer == "lock"
            and current.identity in transferred
            and bool(extractable)
        )
        if locks:
            if run.token:
                _generations.lock(run.token, key.name, current)
            outcome.changes.append(
                Change(where, {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False})
            )
    _tidy(run, key, where)
    outcome.result["target_keys"].append(
        {
            "name": key.name,
            "created": key.created,
            "locked": locks,
            "generation": current and current.hex_id,
            "thumbprint": current and current.thumbprint,
            "generations": [generation.as_result() for generation in key.found.generations],
        }
    )


def _tidy(run: _Run, key: _Key, where: str) -> None:
    """Report what killed runs left. A private key is never destroyed; a public key alone is, when no run can be at it."""
    for half in (generation for generation in key.found.generations if generation.half_made):
        run.outcome.warnings.append(
            f"The {where} has a generation without its public key ({half.hex_id}), as a run leaves it that is killed. It is "
            "passed over; see that it was never brought anywhere, then remove it with the token's own tool."
        )
    for leftover in key.found.leftovers:
        age = time.time() - made_at(leftover.id)
        if age < _AT_WORK_SECONDS:
            run.outcome.warnings.append(
                f"The {where} has a public key without its private key ({leftover.id.hex()}), as a run leaves it that is "
                "killed. A later run removes it, when it is older than an hour."
            )
            continue
        if run.token:
            _generations.clear_away(run.token, key.name, leftover)
        run.outcome.changes.append(Change(where, {"public key alone": leftover.id.hex()}, {}))


def _facts(declaration: Declaration, made: Generation | None) -> dict[str, t.Any]:
    """Return the public facts of a key that was made, or would be: its id and thumbprint are known only afterwards."""
    return {
        "kind": str(declaration.spec),
        "operations": declaration.made_for,
        "CKA_SENSITIVE": True,
        "CKA_EXTRACTABLE": True,
        "after_transfer": None
        if declaration.after_transfer == "keep"
        else declaration.after_transfer,
        "generation": made and made.hex_id,
        "thumbprint": made and made.thumbprint,
    }
