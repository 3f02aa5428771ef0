# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    KeySpec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    InToken,
    KnownGeneration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import (
    AMENDMENTS,
    RULES,
    TO_BE_LOCKED,
    Action,
    Amendment,
    Cause,
    Rotating,
    Rule,
    Situation,
    attributes_differ,
    deleted_name,
    first,
    foreign_version,
    generation_fixed,
    in_place,
    lock_after_transfer,
    made_ahead,
    min_interval,
    name_what_becomes_of_deleted,
    not_in_vault,
    older_generation_in_vault,
    plan_key,
    refuse_locked,
    replacement,
    superseded_generation,
    tell_what_a_tag_tells,
    with_interrupted,
    with_policy,
    withdrawn_version,
    younger_generation_in_vault,
    younger_than_declared,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import DECISIONS
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import (
    Rotation,
    parse_rotation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    GENERATION_TAG,
    UNCHECKED_TAG,
    InVault,
    Version,
    declared_attributes,
    drift,
)
from hypothesis import given
from hypothesis import strategies as st

DECLARED = Declaration("key", KeySpec("RSA", size=2048), operations=("sign", "verify"))
FOREIGN = 9
NOW = datetime(2026, 11, 22, 18, tzinfo=timezone.utc)


def version(number: int, **changes: t.Any) -> Version:
    """A version in the vault that holds generation ``number``."""
    plain = Version(
        kid=f"https://contoso.vault.azure.net/keys/key/{number:032x}",
        version=f"{number:032x}",
        type="RSA-HSM",
        public_key=RsaPublicKey(number + 3, 65537),
        operations=("sign", "verify"),
        enabled=True,
        not_before=None,
        expires=None,
        created=datetime(2026, 1, number + 1, tzinfo=timezone.utc),
        tags={},
        recovery_level="Recoverable+Purgeable",
    )
    return replace(plain, **changes)


def generation(number: int) -> KnownGeneration:
    """Generation ``number`` in the token."""
    return KnownGeneration(f"{number:02x}", version(number).thumbprint)


def in_token(*numbers: int, wanted: int | None = None) -> InToken:
    """A token with these generations, oldest first; the newest is wanted unless told otherwise."""
    known = tuple(generation(number) for number in numbers)
    chosen = wanted if wanted is not None else (numbers[-1] if numbers else None)
    return InToken(known, None if chosen is None else generation(chosen))


@pytest.mark.parametrize(
    ("token", "vault", "action", "says"),
    [
        (in_token(), InVault(None), "transfer", "neither"),
        (in_token(1), InVault(None), "transfer", "not in the vault"),
        (in_token(1), InVault(None, deleted=version(1)), "conflict", "deleted key"),
        (in_token(1), InVault(version(1)), "none", "is this key"),
        (in_token(1, 2), InVault(version(2), (version(1),)), "none", "is this key"),
        (in_token(1, 2), InVault(version(1)), "transfer", "older generation 01"),
        (in_token(1), InVault(version(FOREIGN)), "conflict", "not in the token"),
        (in_token(1), InVault(version(FOREIGN), (version(1),)), "conflict", "not in the token"),
        (in_token(), InVault(version(FOREIGN)), "conflict", "not in the token"),
        (in_token(1, 2, wanted=1), InVault(version(2)), "conflict", "younger"),
        (in_token(1, 2), InVault(version(1), (version(2),)), "conflict", "never made the newest"),
    ],
)
def test_every_case(token: InToken, vault: InVault, action: str, says: str) -> None:
    planned = plan_key(DECLARED, token, vault)
    assert planned.action == action
    assert says in planned.reason


@given(
    st.lists(st.integers(0, 5), unique=True, max_size=4).map(sorted),
    st.lists(st.integers(0, 7), unique=True, max_size=5),
)
def test_nothing_foreign_is_superseded_and_nothing_comes_twice(
    ours: list[int], there: list[int]
) -> None:
    versions = [version(number) for number in there]
    planned = plan_key(
        DECLARED,
        in_token(*ours),
        InVault(versions[0], tuple(versions[1:])) if versions else InVault(None),
    )
    if planned.action == "transfer":
        assert not there or there[0] in ours
        assert not ours or ours[-1] not in there
    if ours and there and there[0] == ours[-1]:
        assert planned.action == "none"


LOCKING = replace(DECLARED, after_transfer="lock")


def with_extractable(number: int, extractable: bool | None) -> InToken:
    """A token with one generation, of which this CKA_EXTRACTABLE is known."""
    known = replace(generation(number), extractable=extractable)
    return InToken((known,), known)


@pytest.mark.parametrize(
    ("extractable", "vault", "action", "locks"),
    [
        (True, InVault(version(1)), "lock", True),
        (False, InVault(version(1)), "none", False),
        (None, InVault(version(1)), "none", False),  # a look without a PIN does not tell
        (True, InVault(version(1, enabled=False)), "update", True),
        (True, InVault(None), "transfer", True),
        (None, InVault(None), "transfer", True),
        (True, InVault(version(FOREIGN)), "conflict", False),
        (False, InVault(None), "conflict", False),
    ],
)
def test_what_has_arrived_is_locked_and_what_was_locked_goes_nowhere(
    extractable: bool | None, vault: InVault, action: str, locks: bool
) -> None:
    planned = plan_key(replace(LOCKING, enabled=True), with_extractable(1, extractable), vault)
    assert (planned.action, planned.locks) == (action, locks)
    assert ("in the token it has yet to be locked" in planned.reason) == (
        locks and action != "transfer"
    )
    assert ("can go to no further vault" in planned.reason) == (
        not extractable and action == "conflict"
    )
    assert not plan_key(DECLARED, with_extractable(1, extractable), vault).locks


def test_what_was_locked_is_replaced_where_that_is_forced() -> None:
    token = with_extractable(1, False)
    force = frozenset([generation(1).identity])
    forced = plan_key(LOCKING, token, InVault(None), Rotating(NOW, force))
    assert (forced.action, forced.newer_than, forced.locks) == ("rotate", "01", True)
    assert generation(1).identity in forced.reason
    said = plan_key(LOCKING, token, InVault(None), Rotating(NOW)).remedy
    assert said
    assert f"the option force set to {generation(1).identity}" in said
    meant = replace(LOCKING, generation="01")
    assert plan_key(meant, token, InVault(None), Rotating(NOW, force)).action == "conflict"


def test_a_recovered_key_is_locked_and_an_oct_key_only_after_a_proof() -> None:
    recovered = plan_key(
        LOCKING, with_extractable(1, True), InVault(None, deleted=version(1)), on_deleted="recover"
    )
    assert (recovered.action, recovered.locks) == ("recover", True)
    known = KnownGeneration("01", None, extractable=True)
    ours = version(1, type="oct-HSM", public_key=None, tags={GENERATION_TAG: "01"})
    declared = Declaration("key", KeySpec("oct", size=256), after_transfer="lock")
    assert plan_key(declared, InToken((known,), known), InVault(ours)).action == "none"


def test_drift_names_what_is_declared_and_different_and_nothing_else() -> None:
    there = version(
        1, tags={"theirs": "kept", "owner": "old"}, enabled=False, operations=("verify", "sign")
    )
    declared = replace(
        DECLARED, tags={"owner": "new"}, expires=datetime(2027, 1, 1, tzinfo=timezone.utc)
    )
    assert drift(declared, there) == {
        "expires": "2027-01-01T00:00:00Z",
        "tags": {"theirs": "kept", "owner": "new"},
    }
    planned = plan_key(declared, in_token(1), InVault(there))
    assert (planned.action, planned.reason) == ("update", "differs in expires, tags")
    assert drift(replace(declared, enabled=True, operations=("sign",)), there).keys() == {
        "operations",
        "enabled",
        "expires",
        "tags",
    }


def test_undeclared_attributes_are_left_alone() -> None:
    bare = Declaration("key", KeySpec("RSA", size=2048))
    there = version(
        1,
        tags={"a": "b"},
        enabled=False,
        expires=datetime(2027, 1, 1, tzinfo=timezone.utc),
        operations=("sign",),
    )
    assert drift(bare, there) == {}


def test_an_oct_key_is_recognised_by_its_tag_alone() -> None:
    declared = Declaration("key", KeySpec("oct", size=256))
    ours = version(1, type="oct-HSM", public_key=None, tags={GENERATION_TAG: "01"})
    token = InToken((KnownGeneration("01", None),), KnownGeneration("01", None))
    assert plan_key(declared, token, InVault(ours)).action == "none"
    assert plan_key(declared, token, InVault(replace(ours, tags={}))).action == "conflict"
    assert declared_attributes(declared, NOW, {GENERATION_TAG: "01"})["tags"] == {
        GENERATION_TAG: "01"
    }


def test_a_tag_never_makes_an_asymmetric_version_ours() -> None:
    tagged = version(FOREIGN, tags={GENERATION_TAG: "01"})
    assert plan_key(DECLARED, in_token(1), InVault(tagged)).action == "conflict"


def test_what_is_imported_has_no_drift() -> None:
    declared = replace(
        DECLARED,
        tags={"a": "b"},
        enabled=False,
        not_before=datetime(2026, 5, 1, tzinfo=timezone.utc),
    )
    attributes = declared_attributes(declared, NOW, {})
    there = version(1, tags=attributes["tags"], enabled=False, not_before=declared.not_before)
    assert there.attributes() == attributes
    assert drift(declared, there) == {}


def rotation(**options: str) -> Rotation:
    plain: dict[str, t.Any] = dict.fromkeys(
        ("every", "valid_for", "before_expiry", "notify_before")
    )
    plain |= {"overlap": "P2D", "min_interval": "P1D", "retire": "keep", "on_foreign": "conflict"}
    parsed = parse_rotation("key", {**plain, **options}, None)
    assert parsed
    return parsed


def token_of(
    *numbers: int, withdrawn: t.Collection[int] = (), adopted: t.Collection[int] = ()
) -> InToken:
    """A token with these generations, as byok_target_key tells of it.

    Generation N was made on day N of January.
    """
    known = tuple(
        replace(
            generation(number),
            made=None if number in adopted else datetime(2026, 1, number + 1, tzinfo=timezone.utc),
            usable=number not in withdrawn and number not in adopted,
            withdrawn=number in withdrawn,
        )
        for number in numbers
    )
    return InToken(known, next((each for each in reversed(known) if not each.withdrawn), None))


def vault_of(*numbers: int) -> InVault:
    """A vault with these generations, newest first."""
    versions = [
        replace(version(number), version=f"{place:032x}") for place, number in enumerate(numbers)
    ]
    return InVault(versions[0], tuple(versions[1:])) if versions else InVault(None)


DAILY = replace(DECLARED, rotation=rotation(every="P30D", on_foreign="rotate"))
LATE = Rotating(NOW)


@pytest.mark.parametrize(
    ("token", "vault", "force", "action", "says"),
    [
        (token_of(1), vault_of(1), (), "rotate", "it is due since 2026-02-01"),
        (token_of(1, 2), vault_of(1), (), "transfer", "older generation 01"),
        (token_of(1, 2, withdrawn=(2,)), vault_of(1), (), "rotate", "it is due"),
        (token_of(1, 2, withdrawn=(2,)), vault_of(2, 1), (), "rotate", "it is due"),
        (token_of(1, 2), vault_of(1, 2), (), "rotate", "it is due"),
        (token_of(1), vault_of(FOREIGN), (), "transfer", "foreign"),
        (token_of(1), vault_of(FOREIGN, 1), (), "rotate", "foreign"),
        (token_of(1, 2), vault_of(FOREIGN, 1), (), "transfer", "the generation 02 is there"),
        (token_of(1, adopted=(1,)), vault_of(FOREIGN), (), "rotate", "foreign"),
        (token_of(), vault_of(FOREIGN), (), "rotate", "foreign"),
        (token_of(1, 2, 3, withdrawn=(3,)), vault_of(1, 3), (), "rotate", "it is due"),
    ],
)
def test_what_is_replaced(
    token: InToken, vault: InVault, force: tuple[str, ...], action: str, says: str
) -> None:
    planned = plan_key(DAILY, token, vault, replace(LATE, force=frozenset(force)))
    assert (planned.action, says in planned.reason) == (action, True), planned.reason


def test_a_generation_older_than_one_that_was_there_is_never_brought() -> None:
    """1 was imported again after the withdrawal of 3; 2, made in between, is no successor of 3."""
    token, vault = token_of(1, 2, 3, withdrawn=(3,)), vault_of(1, 3)
    planned = plan_key(DECLARED, token, vault)
    assert (planned.action, "younger generation than 02" in planned.reason) == ("conflict", True)
    early = Rotating(datetime(2026, 1, 2, 1, tzinfo=timezone.utc))
    assert plan_key(DAILY, token, vault, early).action == "conflict"


def test_a_key_that_names_its_generation_is_not_forced_to_another_one() -> None:
    named = replace(DECLARED, generation="01")
    forced = replace(LATE, force=frozenset([generation(1).identity]))
    planned = plan_key(named, token_of(1), vault_of(1), forced)
    assert (planned.action, planned.code) == ("conflict", "generation_fixed")
    assert plan_key(named, token_of(1), vault_of(1), LATE).action == "none"


@pytest.mark.parametrize(("force", "action"), [(False, "none"), (True, "conflict")])
def test_none_is_made_within_min_interval_and_who_forces_hears_it(force: bool, action: str) -> None:
    token, vault = token_of(1, 2, withdrawn=(2,)), vault_of(1)
    declared = replace(DECLARED, rotation=rotation(every="P1D", min_interval="P5D"))
    forced = frozenset([generation(1).identity] if force else [])
    for hours, expected in ((5 * 24 - 1, action), (5 * 24, "rotate")):
        now = datetime(2026, 1, 3, tzinfo=timezone.utc) + timedelta(hours=hours)
        planned = plan_key(declared, token, vault, Rotating(now, forced))
        assert planned.action == expected
        if expected == action:
            assert "2026-01-08T00:00:00Z (min_interval P5D)" in planned.reason
            assert planned.next_due == datetime(2026, 1, 8, tzinfo=timezone.utc)


def test_a_generation_that_a_wrong_clock_made_in_the_future_keeps_no_other_from_being_made() -> (
    None
):
    """One of 2099 would keep the key from being replaced until 2100."""
    declared = replace(DECLARED, rotation=rotation(every="P1D", min_interval="P5D"))
    forced = Rotating(
        datetime(2026, 1, 9, tzinfo=timezone.utc), frozenset([generation(1).identity])
    )
    for made, action in (
        (forced.now + timedelta(days=365 * 73), "rotate"),
        (forced.now + timedelta(hours=1, seconds=1), "rotate"),
        (forced.now + timedelta(hours=1), "conflict"),  # so far two right clocks may be apart
    ):
        known = token_of(1, 2, withdrawn=(2,)).generations
        token = InToken((known[0], replace(known[1], made=made)), known[0])
        assert plan_key(declared, token, vault_of(1), forced).action == action, made


NUMBERS = st.integers(0, 5)
PLACES = st.lists(st.integers(0, 7), max_size=5)


@given(
    st.lists(NUMBERS, unique=True, max_size=5).map(sorted),
    st.sets(NUMBERS),
    PLACES,
    st.sampled_from(["conflict", "rotate"]),
    st.integers(0, 400),
    st.sets(NUMBERS),
)
def test_whatever_is_there_a_vault_only_goes_forward(
    ours: list[int],
    withdrawn: set[int],
    there: list[int],
    on_foreign: str,
    days: int,
    force: set[int],
) -> None:
    """A run never brings what a version is or was younger than.

    Nor anything withdrawn, nor does it replace a foreign key undeclared.
    """
    declared = replace(DECLARED, rotation=rotation(every="P30D", on_foreign=on_foreign))
    now = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=days)
    rotating = Rotating(now, frozenset(generation(number).identity for number in force))
    token, vault = token_of(*ours, withdrawn=withdrawn), vault_of(*there)
    planned = plan_key(declared, token, vault, rotating)
    standing = plan_key(declared, token, vault)
    foreign = bool(there) and there[0] not in ours
    assert planned.foreign == foreign
    if planned.action == "transfer":
        if planned.wanted is None:
            assert not there
        else:
            number = next(
                each for each in ours if generation(each).generation == planned.wanted.generation
            )
            assert number not in withdrawn
            assert all(number > held for held in there if held in ours)
    if planned.action == "rotate":
        moments = [known.made for known in token.generations if known.made]
        for made in moments:
            in_the_future = made > now + timedelta(hours=1)
            assert in_the_future or now >= made + timedelta(days=1)
        assert planned.newer_than == (generation(ours[-1]).generation if ours else None)
        assert there
    if planned.action in ("transfer", "rotate") and foreign:
        assert on_foreign == "rotate"
    if foreign:
        assert standing.action == "conflict"
    assert standing.action not in ("rotate", "recover")
    # What is done is not done again: with the new generation as the newest version, there is
    # nothing more to do.
    if planned.action in ("transfer", "rotate") and there:
        brought = planned.wanted.generation if planned.wanted else None
        new = next((number for number in ours if generation(number).generation == brought), 8)
        after = token_of(*ours, *({new} - {*ours}), withdrawn=withdrawn)
        fresh = replace(version(new), version="f" * 32, created=now)
        again = Rotating(now, rotating.force - {generation(new).identity})
        assert plan_key(declared, after, InVault(fresh, vault.versions), again).action == "none"


@pytest.mark.parametrize(
    ("ahead", "action"),
    [
        (timedelta(hours=1), "none"),  # clocks of two hosts differ by as much
        (timedelta(hours=1, seconds=1), "rotate"),
        (timedelta(days=27_000), "rotate"),
    ],
)
def test_a_generation_of_a_wrong_clock_does_not_count_for_min_interval(
    ahead: timedelta, action: str
) -> None:
    """Its CKA_ID lies in the future, where it would keep the key from being replaced until then."""
    old, wrong = token_of(1, 2, withdrawn=(2,)).generations
    wrong = replace(wrong, made=NOW + ahead)
    token = InToken((old, wrong), old)
    assert plan_key(DAILY, token, vault_of(1), LATE).action == action
    # A generation that does count still does.
    recent = replace(wrong, made=NOW - timedelta(hours=1))
    token = InToken((old, recent, wrong), old)
    assert plan_key(DAILY, token, vault_of(1), LATE).code == "min_interval"


# Each rule of the chain by itself


def situation(
    token: InToken,
    vault: InVault,
    declaration: Declaration = DECLARED,
    rotating: Rotating | None = None,
    on_deleted: str = "fail",
) -> Situation:
    return Situation(declaration, token, vault, rotating, on_deleted)


def forcing(*numbers: int, now: datetime = NOW) -> Rotating:
    """A run that is told to replace these generations."""
    return Rotating(now, frozenset(generation(number).identity for number in numbers))


NAMED = replace(DECLARED, generation="01")
EMPTY = InVault(None)
DELETED = InVault(None, deleted=version(1))
DISABLED = replace(DECLARED, enabled=False)
SOON = Rotating(datetime(2026, 1, 2, 1, tzinfo=timezone.utc))  # an hour after generation 1 was made
OFTEN = replace(DECLARED, rotation=rotation(every="PT1S"))

#: By rule: a situation in which it decides, the action, and words of its sentence
DECIDES: list[tuple[Rule, Situation, str, str]] = [
    (deleted_name, situation(in_token(1), DELETED), "conflict", "a deleted key holds"),
    (not_in_vault, situation(in_token(1), EMPTY), "transfer", "not in the vault"),
    (not_in_vault, situation(in_token(), EMPTY), "transfer", "neither in the token"),
    (not_in_vault, situation(in_token(1), DELETED, on_deleted="purge"), "transfer", "not in the"),
    (
        older_generation_in_vault,
        situation(in_token(1, 2), vault_of(1)),
        "transfer",
        "the older generation 01",
    ),
    (
        older_generation_in_vault,
        situation(InToken(in_token(1).generations, None), vault_of(1)),
        "transfer",
        "the older generation 01",
    ),
    (
        generation_fixed,
        situation(token_of(1), vault_of(1), NAMED, forcing(1)),
        "conflict",
        "its declaration fixes the generation",
    ),
    (
        made_ahead,
        situation(token_of(1), vault_of(FOREIGN), DAILY, LATE),
        "transfer",
        "the newest version is foreign, and the generation 01 is there",
    ),
    (
        min_interval,
        situation(token_of(1), vault_of(1), OFTEN, SOON),
        "none",
        "another one is not made before 2026-01-03T00:00:00Z (min_interval P1D)",
    ),
    (
        min_interval,
        situation(token_of(1), vault_of(1), replace(OFTEN, enabled=False), SOON),
        "update",
        "another one is not made before",
    ),
    (
        min_interval,
        situation(token_of(1), vault_of(1), DISABLED, forcing(1, now=SOON.now)),
        "conflict",
        "is forced, but its youngest generation was made at 2026-01-02T00:00:00Z",
    ),
    (replacement, situation(token_of(1), vault_of(1), DAILY, LATE), "rotate", "it is due since"),
    (replacement, situation(token_of(1), vault_of(1), DECLARED, forcing(1)), "rotate", "forced"),
    (
        replacement,
        situation(token_of(1), vault_of(FOREIGN), DAILY, LATE),
        "rotate",
        "the newest version is foreign",
    ),
    (
        attributes_differ,
        situation(in_token(1), vault_of(1), DISABLED),
        "update",
        "differs in enabled",
    ),
    (in_place, situation(in_token(1), vault_of(1)), "none", "this key, as declared"),
    (
        foreign_version,
        situation(in_token(1), InVault(version(FOREIGN))),
        "conflict",
        f"{FOREIGN:032x} is a key that is not in the token",
    ),
    (
        foreign_version,
        situation(in_token(1), InVault(version(1, public_key=None))),
        "conflict",
        "not marked as a key of this token",
    ),
    (
        withdrawn_version,
        situation(token_of(1, withdrawn=(1,)), vault_of(1)),
        "conflict",
        "the generation 01, which was withdrawn",
    ),
    (
        younger_than_declared,
        situation(in_token(1, 2, wanted=1), vault_of(2)),
        "conflict",
        "generation 02, younger than the one declared",
    ),
    (
        superseded_generation,
        situation(in_token(1, 2), vault_of(1, 2)),
        "conflict",
        "never made the newest again",
    ),
    (
        younger_generation_in_vault,
        situation(token_of(1, 2, 3, withdrawn=(3,)), vault_of(1, 3)),
        "conflict",
        "a younger generation than 02",
    ),
]

#: By rule: situations that it leaves to the next one
LEAVES: list[tuple[Rule, Situation]] = [
    (deleted_name, situation(in_token(1), EMPTY)),
    (deleted_name, situation(in_token(1), DELETED, on_deleted="recover")),
    (deleted_name, situation(in_token(1), DELETED, on_deleted="purge")),
    (not_in_vault, situation(in_token(1), vault_of(1))),
    (not_in_vault, situation(in_token(1), DELETED, on_deleted="recover")),
    (older_generation_in_vault, situation(in_token(1), vault_of(1))),
    (older_generation_in_vault, situation(in_token(1), vault_of(FOREIGN))),
    (older_generation_in_vault, situation(in_token(1, 2), vault_of(1, 2))),
    (older_generation_in_vault, situation(token_of(1, 2, withdrawn=(1,)), vault_of(1))),
    (generation_fixed, situation(token_of(1), vault_of(1), NAMED, LATE)),
    (generation_fixed, situation(token_of(1), vault_of(1), DECLARED, forcing(1))),
    (generation_fixed, situation(token_of(1), vault_of(FOREIGN), NAMED, forcing(1))),
    (made_ahead, situation(token_of(1), vault_of(FOREIGN), DAILY)),
    (made_ahead, situation(token_of(1), vault_of(FOREIGN), DECLARED, LATE)),
    (made_ahead, situation(token_of(1), vault_of(FOREIGN, 1), DAILY, LATE)),
    (made_ahead, situation(token_of(1, adopted=(1,)), vault_of(FOREIGN), DAILY, LATE)),
    (min_interval, situation(token_of(1), vault_of(1), OFTEN)),
    (min_interval, situation(token_of(1), vault_of(1), OFTEN, LATE)),
    (min_interval, situation(token_of(1, adopted=(1,)), vault_of(1), OFTEN, SOON)),
    (replacement, situation(token_of(1), vault_of(1), DAILY)),
    (replacement, situation(token_of(1), vault_of(1), DAILY, SOON)),
    (replacement, situation(token_of(1), vault_of(FOREIGN), DECLARED, LATE)),
    (attributes_differ, situation(in_token(1), vault_of(1))),
    (attributes_differ, situation(in_token(1, 2), vault_of(1), DISABLED)),
    (in_place, situation(in_token(1, 2), vault_of(1))),
    (foreign_version, situation(in_token(1, 2), vault_of(1))),
    (withdrawn_version, situation(in_token(1, 2), vault_of(1))),
    (withdrawn_version, situation(in_token(1, 2), vault_of(FOREIGN))),
    (younger_than_declared, situation(in_token(1, 2), vault_of(1))),
    (superseded_generation, situation(in_token(1, 2), vault_of(1))),
    (younger_generation_in_vault, situation(in_token(1, 2), vault_of(1))),
]


@pytest.mark.parametrize(("rule", "seen", "action", "says"), DECIDES)
def test_a_rule_decides(rule: Rule, seen: Situation, action: str, says: str) -> None:
    decided = rule(seen)
    assert decided
    assert decided.action == action
    assert says in decided.reason
    assert decided.version == seen.current
    assert decided.foreign == seen.is_foreign
    assert bool(decided.changes) == (action == "update")


@pytest.mark.parametrize(("rule", "seen"), LEAVES)
def test_a_rule_leaves_the_decision_to_the_next_one(rule: Rule, seen: Situation) -> None:
    assert rule(seen) is None


def test_every_rule_has_its_tests() -> None:
    assert {rule for rule, *_rest in DECIDES} == set(RULES)
    assert {rule for rule, _seen in LEAVES} == set(RULES)


def test_a_conflict_carries_a_remedy_and_nothing_else_does() -> None:
    for rule, seen, *_expected in DECIDES:
        action = rule(seen)
        assert action
        assert bool(action.remedy) == (action.action == "conflict"), rule


def test_what_replaces_a_wrong_newest_version_is_named() -> None:
    """Whose force helps is the generation that the vault has, and not the wanted one."""
    seen = (token_of(1, 2, withdrawn=(2,)), vault_of(2))
    conflict = plan_key(DECLARED, *seen)
    assert conflict.remedy
    assert conflict.remedy.endswith(generation(2).identity)
    forced = Rotating(NOW, frozenset([generation(2).identity]))
    assert plan_key(DECLARED, *seen, forced).action == "rotate"


def test_the_first_rule_that_decides_wins() -> None:
    seen = situation(in_token(1), vault_of(1))
    one, other = Action("none", "in_place", "one"), Action("none", "in_place", "other")
    assert first([lambda _: None, lambda _: one, lambda _: other], seen) == one
    with pytest.raises(LookupError, match="the key key"):
        first([lambda _: None], seen)


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (situation(token_of(1), vault_of(1), DAILY), None),
        (situation(token_of(1), vault_of(1), DAILY, SOON), None),
        (situation(token_of(1), EMPTY, DAILY, forcing(1)), None),
        (situation(token_of(1), vault_of(1), DAILY, LATE), "due"),
        (situation(token_of(1), vault_of(1), DAILY, forcing(1)), "forced"),
        (situation(token_of(1), vault_of(FOREIGN), DAILY, forcing(1)), "foreign_version"),
        (situation(token_of(1), vault_of(FOREIGN), OFTEN, LATE), None),
    ],
)
def test_why_a_version_is_replaced(seen: Situation, code: str | None) -> None:
    cause: Cause | None = seen.cause
    assert (cause and cause.code) == code


# Each amendment by itself

TRANSFER = Action("transfer", "not_in_vault", "it is missing", generation(1))
NOTHING = Action("none", "in_place", "it is there", generation(1))
UPDATE = replace(NOTHING, action="update", code="attributes_differ", changes={"enabled": True})
CONFLICT = Action("conflict", "foreign_version", "whose is it")


def extractable(action: Action, extractable: bool | None) -> Action:
    return replace(action, wanted=replace(generation(1), extractable=extractable))


@pytest.mark.parametrize(
    ("on_deleted", "action", "amended", "code"),
    [
        ("purge", TRANSFER, "transfer", "purge_deleted"),
        ("recover", NOTHING, "recover", "recover_deleted"),
        ("recover", UPDATE, "recover", "recover_deleted"),
        ("recover", TRANSFER, "transfer", "not_in_vault"),
        ("recover", CONFLICT, "conflict", "foreign_version"),
    ],
)
def test_what_becomes_of_a_deleted_key_is_named(
    on_deleted: str, action: Action, amended: str, code: str
) -> None:
    seen = situation(in_token(1), DELETED, on_deleted=on_deleted)
    planned = name_what_becomes_of_deleted(seen, action)
    assert (planned.action, planned.code) == (amended, code)
    assert planned.reason.startswith("a deleted key holds this name and is ")
    assert planned.reason.endswith(f"; {action.reason}")
    assert planned.changes == action.changes
    not_deleted = situation(in_token(1), EMPTY, on_deleted=on_deleted)
    assert name_what_becomes_of_deleted(not_deleted, action) == action


def test_a_locked_generation_is_refused_and_another_one_is_made_where_that_is_forced() -> None:
    locked = extractable(TRANSFER, False)
    seen = situation(token_of(1), EMPTY)
    refused = refuse_locked(seen, locked)
    assert (refused.action, refused.code) == ("conflict", "locked_generation")
    assert refused.reason.startswith("it is missing, but the generation 01 was locked")
    for free in (extractable(TRANSFER, None), extractable(TRANSFER, True)):
        assert refuse_locked(seen, free) == free
    in_vault = extractable(NOTHING, False)
    assert refuse_locked(seen, in_vault) == in_vault
    forced = refuse_locked(replace(seen, rotating=forcing(1)), locked)
    assert (forced.action, forced.code, forced.newer_than) == ("rotate", "forced", "01")
    early = refuse_locked(replace(seen, rotating=forcing(1, now=SOON.now)), locked)
    assert (early.action, early.code) == ("conflict", "min_interval")
    named = refuse_locked(replace(seen, rotating=forcing(1), declaration=NAMED), locked)
    assert named.code == "locked_generation"


@pytest.mark.parametrize(
    ("action", "amended", "code", "locks"),
    [
        (extractable(NOTHING, True), "lock", "not_locked", True),
        (extractable(UPDATE, True), "update", "attributes_differ", True),
        (extractable(NOTHING, False), "none", "in_place", False),
        (extractable(NOTHING, None), "none", "in_place", False),
        (extractable(TRANSFER, None), "transfer", "not_in_vault", True),
        (CONFLICT, "conflict", "foreign_version", False),
    ],
)
def test_a_key_is_locked_after_its_transfer(
    action: Action, amended: str, code: str, locks: bool
) -> None:
    planned = lock_after_transfer(situation(in_token(1), EMPTY, LOCKING), action)
    assert (planned.action, planned.code, planned.locks) == (amended, code, locks)
    assert (TO_BE_LOCKED in planned.reason) == (locks and amended != "transfer")
    assert lock_after_transfer(situation(in_token(1), EMPTY), action) == action


def test_superseded_generations_that_stayed_unlocked_are_locked() -> None:
    def planned(first: bool | None, wanted: bool | None, **facts: t.Any) -> Action:
        token = token_of(1, 2)
        old, new = token.generations
        old, new = replace(old, extractable=first, **facts), replace(new, extractable=wanted)
        seen = situation(InToken((old, new), new), vault_of(2), LOCKING)
        return plan_of(seen)

    left = planned(True, False)
    assert (left.action, left.code, left.locks) == ("lock", "not_locked", True)
    assert left.reason.endswith("once all its vaults have it: its superseded generations 01")
    for extractable_first in (False, None):
        assert planned(extractable_first, False).action == "none"
    assert planned(True, True).action == "lock"
    assert planned(True, False, made=None).action == "none"  # an adopted key has other uses


@pytest.mark.parametrize("enabled", [True, False])
def test_what_a_tag_alone_tells_is_said(enabled: bool) -> None:
    declared = Declaration("key", KeySpec("oct", size=256), enabled=True)
    ours = version(
        1,
        type="oct-HSM",
        public_key=None,
        tags={GENERATION_TAG: "01"},
        operations=declared.wanted_operations,
        enabled=enabled,
    )
    known = KnownGeneration("01", None)
    action = plan_key(declared, InToken((known,), known), InVault(ours))
    assert action.action == ("none" if enabled else "update")
    assert action.reason.endswith("(by its tag, not proved)")
    shown = plan_key(DECLARED, in_token(1), InVault(version(1)))
    assert "tag" not in shown.reason


@given(st.sampled_from(("EC", "RSA", "oct")), st.booleans())
def test_what_a_dead_run_left_unchecked_is_enabled_whatever_is_declared(
    type_: str, declares: bool
) -> None:
    spec = KeySpec("EC", curve="P-256") if type_ == "EC" else KeySpec(type_, size=256)
    declared = Declaration("key", spec, tags={"owner": "a"} if declares else None)
    left = version(1, enabled=False, tags={UNCHECKED_TAG: "true"}, operations=("decrypt",))
    changes = drift(declared, left)
    assert changes["enabled"] is True
    assert changes["operations"] == sorted(declared.wanted_operations)
    assert changes["tags"] == (declared.tags or {})
    assert "enabled" not in drift(declared, replace(left, tags={}))
    stays = replace(declared, enabled=False)
    assert drift(stays, left)["tags"] == (declared.tags or {})
    assert "enabled" not in drift(stays, left)


def test_every_amendment_is_made() -> None:
    tested: set[Amendment] = {
        name_what_becomes_of_deleted,
        refuse_locked,
        lock_after_transfer,
        tell_what_a_tag_tells,
    }
    assert set(AMENDMENTS) == tested


@pytest.mark.parametrize(
    ("action", "amended", "code", "reason"),
    [
        (NOTHING, "update", "rotation_policy_differs", "Azure's rotation policy differs in "),
        (UPDATE, "update", "attributes_differ", "it is there"),
        (
            replace(NOTHING, action="lock", code="not_locked", locks=True),
            "update",
            "rotation_policy_differs",
            TO_BE_LOCKED,
        ),
    ],
)
def test_azures_own_rotation_policy_is_updated(
    action: Action, amended: str, code: str, reason: str
) -> None:
    planned = with_policy(action, {"notify_before": "P20D"})
    assert (planned.action, planned.code) == (amended, code)
    assert reason in planned.reason
    assert planned.changes == {**action.changes, "notify_before": "P20D"}
    assert with_policy(action, {}) == action


@pytest.mark.parametrize("action", [TRANSFER, CONFLICT])
def test_an_import_sets_the_policy_itself(action: Action) -> None:
    assert with_policy(action, {"notify_before": "P20D"}) == action


@pytest.mark.parametrize(
    ("action", "amended", "code"),
    [
        (NOTHING, "update", "interrupted_import"),
        (replace(NOTHING, action="lock", locks=True), "update", "interrupted_import"),
        (UPDATE, "update", "attributes_differ"),
        (TRANSFER, "transfer", "not_in_vault"),
        (CONFLICT, "conflict", "foreign_version"),
    ],
)
def test_an_interrupted_import_is_looked_after(action: Action, amended: str, code: str) -> None:
    planned = with_interrupted(action)
    assert (planned.action, planned.code, planned.locks) == (amended, code, action.locks)
    if action.locks:
        assert TO_BE_LOCKED in planned.reason
    with_both = with_policy(planned, {"notify_before": "P20D"})
    assert (with_both.action, with_both.code) == (amended, code)


# Reason codes

LOCKED_TOKEN = with_extractable(1, False)

#: By code: a situation that has it
CODES: dict[str, Situation] = {
    "in_place": situation(in_token(1), vault_of(1)),
    "attributes_differ": situation(in_token(1), vault_of(1), DISABLED),
    "not_locked": situation(with_extractable(1, True), vault_of(1), LOCKING),
    "not_in_vault": situation(in_token(1), EMPTY),
    "not_anywhere": situation(in_token(), EMPTY),
    "older_generation_in_vault": situation(in_token(1, 2), vault_of(1)),
    "due": situation(token_of(1), vault_of(1), DAILY, LATE),
    "forced": situation(token_of(1), vault_of(1), DECLARED, forcing(1)),
    "min_interval": situation(token_of(1), vault_of(1), OFTEN, SOON),
    "foreign_version": situation(in_token(1), vault_of(FOREIGN)),
    "deleted_name": situation(in_token(1), DELETED),
    "recover_deleted": situation(in_token(1), DELETED, on_deleted="recover"),
    "purge_deleted": situation(in_token(1), DELETED, on_deleted="purge"),
    "generation_fixed": situation(token_of(1), vault_of(1), NAMED, forcing(1)),
    "withdrawn_version": situation(token_of(1, withdrawn=(1,)), vault_of(1)),
    "younger_than_declared": situation(in_token(1, 2, wanted=1), vault_of(2)),
    "superseded_generation": situation(in_token(1, 2), vault_of(1, 2)),
    "younger_generation_in_vault": situation(token_of(1, 2, 3, withdrawn=(3,)), vault_of(1, 3)),
    "locked_generation": situation(LOCKED_TOKEN, EMPTY),
}

#: with_policy(), with_interrupted(), and a run without all vaults of a key
NOT_OF_PLAN_KEY = {"rotation_policy_differs", "interrupted_import", "needs_prepare"}


def plan_of(seen: Situation) -> Action:
    return plan_key(seen.declaration, seen.in_token, seen.in_vault, seen.rotating, seen.on_deleted)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_reached(code: str) -> None:
    assert plan_of(CODES[code]).code == code


def test_the_codes_that_are_reached_are_those_that_are_documented() -> None:
    assert CODES.keys() | NOT_OF_PLAN_KEY == DECISIONS.keys()


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any token, vault, declaration and run."""
    generations = [
        replace(
            known,
            usable=draw(st.booleans()) and not known.withdrawn,
            extractable=draw(st.sampled_from([True, False, None])),
        )
        for known in token_of(
            *draw(st.lists(NUMBERS, unique=True, max_size=4).map(sorted)),
            withdrawn=draw(st.sets(NUMBERS)),
            adopted=draw(st.sets(NUMBERS)),
        ).generations
    ]
    wanted = draw(st.sampled_from([None, *generations]))
    vault = vault_of(*draw(PLACES))
    if vault.current and draw(st.booleans()):
        vault = InVault(None, deleted=vault.current)
    declaration = replace(
        DECLARED,
        enabled=draw(st.sampled_from([None, False])),
        generation=draw(st.sampled_from([None, "01"])),
        after_transfer=draw(st.sampled_from(["keep", "lock"])),
        rotation=draw(
            st.sampled_from([None, DAILY.rotation, OFTEN.rotation]),
        ),
    )
    rotating = draw(
        st.none()
        | st.builds(
            Rotating,
            st.integers(0, 60).map(
                lambda days: datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days)
            ),
            st.sets(NUMBERS).map(lambda numbers: forcing(*numbers).force),
        )
    )
    on_deleted = draw(st.sampled_from(["fail", "recover", "purge"]))
    return Situation(declaration, InToken(tuple(generations), wanted), vault, rotating, on_deleted)


@given(situations())
def test_some_rule_decides_whatever_there_is_and_its_code_is_documented(seen: Situation) -> None:
    planned = plan_of(seen)
    assert planned.code in DECISIONS
    assert planned.reason
    if planned.action == "conflict":
        assert not planned.changes
        assert not planned.locks
    if planned.action in ("transfer", "rotate"):
        assert planned.locks == (seen.declaration.after_transfer == "lock")
        assert planned.wanted is None or planned.wanted.extractable is not False
