# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_target_key does: ensure that the declared keys are in the token."""

from __future__ import annotations

import typing as t
from contextlib import nullcontext
from dataclasses import dataclass, replace

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    add_singles,
    items_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import (
    host_clock,
    refuse_far,
)
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
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import NamedGeneration
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import Gate, open_gate
from ansible_collections.keyferry.azure.plugins.module_utils._token.challenge import make_challenge
from ansible_collections.keyferry.azure.plugins.module_utils._token.choice import (
    in_words,
    wanted_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    Session,
    Slot,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.destruction import (
    destroy_generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    Found,
    Generation,
    choose,
    clear_away,
    list_declared,
    list_public_keys,
    lock,
    make,
    of_declared,
    refuse_alike,
    refuse_to_withdraw,
    refuse_unfit,
    refuse_unkept,
    take_back,
    target_key,
    withdraw,
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

_PLAN_AGAIN = "Run byok_plan again, and set the clocks of both hosts (NTP)"

Params = t.Mapping[str, t.Any]
Listed = t.Mapping[str, Found]


@dataclass(frozen=True)
class Steps:
    """What is done besides making what is missing.

    :ivar orders: what byok_plan returned under this name
    :ivar transferred: identities of generations that have arrived, and may be locked
    :ivar withdraw: identities of generations that must never be chosen again
    :ivar challenges: whether oct keys come with what proves that a vault has them
    """

    orders: t.Sequence[Params] = ()
    transferred: t.Collection[str] = ()
    withdraw: t.Sequence[str] = ()
    challenges: bool = False


@dataclass
class _Key:
    """One declared key on its way.

    :ivar rotation: what byok_plan says of a key that must get a newer generation
    :ivar making: in the outcome, when this run made a generation
    """

    declaration: Declaration
    found: Found
    rotation: Params | None = None
    current: Generation | None = None
    created: bool = False
    making: Change | None = None

    @property
    def name(self) -> str:
        return self.declaration.name


@dataclass(frozen=True)
class _Run:
    """What a run has to do with.

    :ivar token: None where nothing is changed: in check mode, which a stored listing is enough for
    :ivar gate: what this host allows
    :ivar at_hand: the token, where it can be asked to use a key; that changes nothing
    """

    info: TokenInfo
    token: Token | None
    steps: Steps
    outcome: Outcome
    gate: Gate
    at_hand: Token | None = None

    def where(self, name: str) -> str:
        """Return how a diff names a key."""
        return f"key {name} in the {self.info}"


def ensure_target_keys(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """List the declared keys and make those that are missing; or destroy generations.

    :raises ByokError: when the token cannot be opened or searched; what fails for one key is in the
        outcome's failures
    """
    outcome.result.update(target_keys=[], destroyed=[], withdrawn=[], approvals=[])
    if params["destroy"] and params["state"] == "present":
        raise ByokError(
            "The option destroy is given, and state is present, so nothing was done",
            "Set state to absent to destroy these generations, or leave destroy out",
        )
    declarations = [parse_declaration(item) for item in items_of(params, "declarations")]
    check_unique(declaration.name for declaration in declarations)
    if params["listing"]:
        _look_into_listing(declarations, params, check_mode, outcome)
    else:
        _open_and_work(declarations, params, check_mode, outcome)
    add_singles(params, "declarations", outcome, target_key="target_keys")


def _open_and_work(
    declarations: t.Sequence[Declaration], params: Params, check_mode: bool, outcome: Outcome
) -> None:
    """Open the token, with a login where that is needed, and do what ``state`` says.

    :param params: the options of byok_target_key
    :raises ByokError: when the token cannot be opened or searched
    """
    look_only = check_mode and params["state"] == "present"
    has_pin = params["pin"] or params["pin_file"]
    without_pin = look_only and params["public_session"] and not has_pin

    # A token that wants no login shows everything without one.
    def is_closed(slot: Slot) -> bool:
        return bool(without_pin and slot.flags & CKF_LOGIN_REQUIRED)

    # For a challenge, a session object may be made.
    looks = check_mode and not params["challenges"]
    with open_token(params, lambda slot: not is_closed(slot), read_only=looks) as token:
        outcome.result["token"] = token.info.to_dict()
        if params["state"] == "absent":
            allowed = _may_be_destroyed(declarations, params, outcome)
            with _one_maker(token, params, check_mode):
                destroy_generations(token, allowed, params, check_mode, outcome)
        elif is_closed(token.slot):
            run = _Run(token.info, None, _steps(params), outcome, open_gate(params))
            _look_without_login(run, token, declarations)
        else:
            steps = vars(_steps(params))
            find_or_make(token, declarations, params, check_mode, outcome=outcome, **steps)


def _may_be_destroyed(
    declarations: t.Sequence[Declaration], params: Params, outcome: Outcome
) -> list[Declaration]:
    """Return the keys of which this host lets generations be destroyed; the others fail.

    :raises ByokError: when too few people approved one of the destructions
    """
    gate = open_gate(params)
    for declaration in declarations:
        with outcome.failures.of(declaration.name):
            gate.check_change(declaration, "destroyed")
    gate.check_destruction(params["destroy"])
    gate.report(outcome)
    return [each for each in declarations if each.name not in outcome.failures]


def _steps(params: Params) -> Steps:
    return Steps(params["orders"], params["transferred"], params["withdraw"], params["challenges"])


def _look_into_listing(
    declarations: t.Sequence[Declaration], params: Params, check_mode: bool, outcome: Outcome
) -> None:
    """Judge the declared keys by a stored listing; the token is not opened.

    :raises ByokError: when there is no such listing, or it is of another token than the named one
    """
    path = params["listing"]
    if not check_mode or params["state"] != "present":
        raise ByokError(
            f"The listing {path} is a past state of the token, and this run may "
            "change what it holds now",
            "Give listing in check mode and with state present only",
        )
    text = read_text(path)
    if text is None:
        raise ByokError(
            f"There is no listing {path}", "Correct listing, or make it with playbooks/list.yml"
        )
    listing = parse_listing(text, f"The listing {path}")
    _refuse_other_token(listing, params)
    outcome.result["token"] = listing.info.to_dict()
    listed = of_declared(listing.found, declarations)
    # A listing is looked into on any host, so the path of a policy on the token's means nothing.
    gate = open_gate({**params, "policy_file": None})
    run = _Run(listing.info, None, _steps(params), outcome, gate)
    _settle(run, listed, declarations)
    warning = listing.age_warning(host_clock())
    if warning:
        outcome.warnings.append(warning)


def _refuse_other_token(listing: Listing, params: t.Mapping[str, t.Any]) -> None:
    """Refuse a listing of another token than the one that is named.

    :param params: ``listing`` and the token options of byok_target_key
    :raises ByokError: for one
    """
    listed = listing.info.to_dict()
    wanted = wanted_token(params)
    wrong = {fact: value for fact, value in wanted.items() if listed.get(fact, value) != value}
    if wrong:
        raise ByokError(
            f"The listing {params['listing']} is of the {listing.info}, and the options name the "
            f"token with {in_words(wrong)}",
            "Give the listing of the right token",
        )


def _look_without_login(run: _Run, token: Token, declarations: t.Sequence[Declaration]) -> None:
    """Judge the declared keys by their public keys alone; where these do not tell, the key fails.

    :raises ByokError: when the token shows no public key at all
    """
    visible = [declaration for declaration in declarations if declaration.spec.type != "oct"]
    labels = [declaration.label for declaration in visible]
    listed = of_declared(list_public_keys(token, labels), visible)
    # Of a token without any public key no one can tell that it would show them.
    declared_ones = any(objects.generations for objects in listed.values())
    with token.calling("Searching for public keys"):
        shows = declared_ones or token.session.find("PUBLIC_KEY")
    if visible and (token.profile.public_keys_private[0] or not shows):
        raise ByokError(
            f"The {run.info} shows no public key without a login: it holds none, or hides them",
            _WITHOUT_LOGIN,
        )
    _settle(run, listed, visible)
    for declaration in declarations:
        if declaration.spec.type == "oct":
            what = (
                f"Without a login the {run.info} does not show the {declaration.spec} key "
                f"{declaration.name}"
            )
            run.outcome.failures.add(declaration.name, ByokError(what, _WITHOUT_LOGIN))
    run.outcome.warnings.append(
        f"The {run.info} was read without a login, so only public keys were seen. Whether "
        "their private keys are there, can leave the token, and came from outside is not known: a "
        "run with a PIN may refuse or pass over what this one takes."
    )


def find_or_make(
    token: Token,
    declarations: t.Sequence[Declaration],
    params: Params,
    check_mode: bool,
    *,
    outcome: Outcome | None = None,
    **steps: t.Any,
) -> Outcome:
    """List the declared keys and make those that are missing or must get a newer generation.

    :param params: the options of the lock, and those of open_gate()
    :param outcome: is filled as this goes, and returned; a new one where none is given
    :param steps: the members of Steps
    :raises ByokError: when the token cannot be searched, or an identity to withdraw is unknown
    """
    outcome = Outcome() if outcome is None else outcome
    changed = None if check_mode else token
    run = _Run(token.info, changed, Steps(**steps), outcome, open_gate(params), token)
    with _one_maker(token, params, check_mode):
        _settle(run, list_declared(token, declarations), declarations)
    return outcome


def _settle(run: _Run, listed: Listed, declarations: t.Sequence[Declaration]) -> None:
    """Judge what was listed against what is declared, and make what is missing.

    :param listed: by names of the declared keys
    """
    outcome = run.outcome
    for name in ("target_keys", "withdrawn"):
        outcome.result.setdefault(name, [])
    _withdraw(run, listed, {declaration.name: declaration for declaration in declarations})
    orders = {order["name"]: order for order in run.steps.orders}
    keys = []
    for declaration in declarations:
        name = declaration.name
        key = _Key(declaration, listed[name], orders.get(name))
        with outcome.failures.of(name):
            _choose(run, key)
        keys.append(key)
    _make_missing(run, [key for key in keys if key.created and key.name not in outcome.failures])
    for key in keys:
        if key.name not in outcome.failures:
            with outcome.failures.of(key.name):
                _finish(run, key)


def _one_maker(
    token: Token, params: t.Mapping[str, t.Any], check_mode: bool
) -> t.ContextManager[t.Any]:
    """Keep other runs on this host from making keys.

    PKCS#11 has no unique labels, so two that miss a key would both make it.
    """
    if check_mode:
        return nullcontext()
    return process_lock(
        f"keys {token.info.serial}", params["lock_directory"], params["lock_timeout"]
    )


def _withdraw(run: _Run, listed: Listed, declared: t.Mapping[str, Declaration]) -> None:
    """Mark the generations of these identities, so that they are never chosen again.

    :raises ByokError: before the first is marked, when one of them is unknown or was adopted
    """
    marked = {identity: _find(run, listed, identity) for identity in run.steps.withdraw}
    for name, generation in marked.values():
        if generation.withdrawn:
            continue
        with run.outcome.failures.of(name):
            run.gate.check_change(declared[name], "withdrawn")
            if run.token:
                withdraw(run.token, name, generation)
            generations = listed[name].generations
            position = generations.index(generation)
            generations[position] = replace(generation, withdrawn=True)
            facts = NamedGeneration(name, generation.hex_id, generation.thumbprint)
            before = {"generation": facts.generation, "thumbprint": facts.thumbprint}
            run.outcome.changes.append(
                Change(run.where(name), before, {**before, "withdrawn": True})
            )
            run.outcome.add("withdrawn", facts)


def _find(run: _Run, listed: Listed, identity: str) -> tuple[str, Generation]:
    """Return the generation that an identity names, with its key's name."""
    for name, objects in listed.items():
        for generation in objects.generations:
            if generation.identity == identity:
                if not generation.withdrawn:
                    refuse_to_withdraw(name, generation)
                return name, generation
    raise ByokError(
        f"No generation of the keys {', '.join(listed)} in the {run.info} is {identity}, so "
        "nothing was withdrawn",
        "Give its thumbprint, for oct keys its CKA_ID, as byok_target_key returns them",
    )


def _choose(run: _Run, key: _Key) -> None:
    info = run.info
    key.current = choose(key.declaration, key.found.generations)
    if key.current is None:
        refuse_alike(key.declaration, key.found, info)
    if key.current is None and not key.declaration.create:
        raise ByokError(
            f"There is no key {key.name} in the {info}, and it must not be made (create: false)",
            "Correct its name or token_label, or let it be made",
        )
    key.created = key.current is None or _is_too_old(key.current, key.rotation)
    if key.created:
        key.current = None
        run.gate.check_change(key.declaration, "made")
        _refuse_wrong_moment(key)


def _refuse_wrong_moment(key: _Key) -> None:
    """Refuse a generation whose CKA_ID would have a moment that this host does not believe.

    :raises WrongClock: when what byok_plan says is more than an hour from this host's clock
    """
    moment = key.rotation and key.rotation["made_at"]
    if moment:
        refuse_far(
            parse_moment(moment),
            f"No key {key.name} is made: made_at of its rotation",
            _PLAN_AGAIN,
            host_clock(),
        )


def _is_too_old(generation: Generation, rotation: Params | None) -> bool:
    """Tell whether a key needs a newer generation than its newest; a run that was killed may have
    made it already.
    """
    if rotation is None or not rotation["newer_than"]:
        return False
    than = bytes.fromhex(rotation["newer_than"])
    return (is_ours(generation.id), generation.id) <= (is_ours(than), than)


def _make_missing(run: _Run, keys: list[_Key]) -> None:
    """Make the generations, then see whether another host made some of the same keys meanwhile."""
    token, outcome = run.token, run.outcome
    if token is None:
        for key in keys:
            _report_making(run, key)
        return

    def make_one(session: Session, key: _Key) -> Generation:
        moment = key.rotation and key.rotation["made_at"]
        now = parse_moment(moment) if moment else host_clock()
        return make(token, session, key.declaration, key.found.generations, now)

    for key, generation in token.for_each(keys, make_one):
        if isinstance(generation, ByokError):
            outcome.failures.add(key.name, generation)
        else:
            key.current = generation
            _report_making(run, key)
    made = [key for key in keys if key.current]
    if not made:
        return
    listed = list_declared(token, [key.declaration for key in made])
    for key in made:
        with outcome.failures.of(key.name):
            _refuse_unkept(token, key, listed[key.name], outcome)
            _settle_race(token, key, listed[key.name], outcome)


def _report_making(run: _Run, key: _Key) -> None:
    key.making = Change(run.where(key.name), {}, _facts(key.declaration, key.current))
    run.outcome.changes.append(key.making)


def _refuse_unkept(token: Token, key: _Key, objects: Found, outcome: Outcome) -> None:
    """Take a new key back that is not what the token was told to make: each run would make another.

    :param objects: what the token holds of the key now
    :raises ByokError: for one, also where it cannot be taken back
    """
    mine = t.cast(Generation, key.current)
    try:
        refuse_unkept(token, key.declaration, mine, objects.generations)
    except ByokError as error:
        try:
            take_back(token, key.name, mine)
        except ByokError as stays:
            raise ByokError(f"{error.what}. {stays.what}", stays.remedy) from error
        outcome.changes.remove(t.cast(Change, key.making))
        raise ByokError(
            f"{error.what}. This run removed the key that it made", error.remedy
        ) from error


def _settle_race(token: Token, key: _Key, objects: Found, outcome: Outcome) -> None:
    """Where another host made a generation meanwhile, the one that was begun first stays.

    The pair that this process made is destroyed if it is not that one, because nobody has been told
    of it yet. The other one may have been used already and is never destroyed.

    :param objects: what the token holds of the key now
    """
    mine = t.cast(Generation, key.current)
    before = {generation.id for generation in key.found.generations}
    rivals = [
        generation
        for generation in objects.generations
        if generation.id not in (*before, mine.id) and not generation.half_made
    ]
    key.found = objects
    if not rivals:
        return
    first = min([mine, *rivals], key=lambda generation: generation.id)
    names = ", ".join(rival.hex_id for rival in rivals)
    rivalry = f"Another host made the key {key.name} in the {token.info} at the same time ({names})"
    if first is mine:
        outcome.warnings.append(
            f"{rivalry}. Both stay; this run goes on with {mine.hex_id}, which was begun first, "
            "and later runs take the newest that is there."
        )
        return
    take_back(token, key.name, mine)
    key.found.generations[:] = [
        generation for generation in objects.generations if generation.id != mine.id
    ]
    key.current, key.created = first, False
    outcome.changes.remove(t.cast(Change, key.making))
    outcome.warnings.append(f"{rivalry}; this run removed the one that it made.")


def _finish(run: _Run, key: _Key) -> None:
    """Judge the key, lock it if that is due, clear away what killed runs left, and report."""
    where, current = run.where(key.name), key.current
    to_lock: list[Generation] = []
    if current is not None:
        refuse_unfit(key.declaration, current, run.info)
        to_lock = _to_lock(run, key, current)
    if to_lock:
        run.gate.check_change(key.declaration, "locked")
    for generation in to_lock:
        if run.token:
            lock(run.token, key.name, generation)
    if to_lock:
        run.outcome.changes.append(
            Change(where, {"CKA_EXTRACTABLE": True}, {"CKA_EXTRACTABLE": False})
        )
    _tidy(run, key, where)
    generations = key.found.generations
    report = target_key(key.name, current, generations, created=key.created, locked=bool(to_lock))
    run.outcome.add("target_keys", replace(report, challenge=_challenge(run, key)))


def _challenge(run: _Run, key: _Key) -> dict[str, str] | None:
    """Return what shows that a vault holds the same secret key, where that was asked for."""
    generation = key.current
    if not run.steps.challenges or run.at_hand is None:
        return None
    if generation is None or generation.public_key is not None:
        return None
    return make_challenge(run.at_hand, key.name, generation)


def _to_lock(run: _Run, key: _Key, current: Generation) -> list[Generation]:
    """Return what is locked once the current generation has arrived.

    With it, the older ones of Keyferry's go nowhere any more, which a run that died may have left.
    """
    declared = key.declaration.after_transfer == "lock"
    if not (declared and current.identity in run.steps.transferred):
        return []
    generations = key.found.generations
    ours = [each for each in generations[: generations.index(current)] if is_ours(each.id)]
    return [
        each for each in (*ours, current) if each.evidence["CKA_EXTRACTABLE"] and not each.half_made
    ]


def _tidy(run: _Run, key: _Key, where: str) -> None:
    """Report what killed runs left. A private key is never destroyed; a public key alone is, when
    no run can be at it.
    """
    for half in (generation for generation in key.found.generations if generation.half_made):
        if half.empty:
            what = f"a generation that is empty ({half.hex_id})"
            check = "it can be in no vault, so"
        else:
            what = f"a generation without its public key ({half.hex_id})"
            check = "ensure that it was never brought anywhere, then"
        run.outcome.warnings.append(
            f"The {where} has {what}, as an interrupted run leaves it. It is skipped; {check} "
            "remove it with the token's own tool."
        )
    for leftover in key.found.leftovers:
        age = host_clock().timestamp() - made_at(leftover.id)
        if age < _AT_WORK_SECONDS:
            run.outcome.warnings.append(
                f"The {where} has a public key without its private key ({leftover.id.hex()}), as "
                "an interrupted run leaves it. A later run removes it, when it is older than an "
                "hour."
            )
            continue
        run.gate.check_change(key.declaration, "cleared of a public key alone")
        if run.token:
            clear_away(run.token, key.name, leftover)
        run.outcome.changes.append(Change(where, {"public key alone": leftover.id.hex()}, {}))


def _facts(declaration: Declaration, made: Generation | None) -> dict[str, t.Any]:
    """Return the public facts of a key that was made, or would be: its id and thumbprint are known
    only afterwards.
    """
    lock = declaration.after_transfer != "keep"
    return {
        "kind": str(declaration.spec),
        "operations": declaration.made_for,
        "CKA_SENSITIVE": True,
        "CKA_EXTRACTABLE": True,
        "after_transfer": declaration.after_transfer if lock else None,
        "generation": made and made.hex_id,
        "thumbprint": made and made.thumbprint,
    }
