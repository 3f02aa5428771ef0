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
    Rotating,
    plan_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import (
    Rotation,
    parse_rotation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    GENERATION_TAG,
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
    said = plan_key(LOCKING, token, InVault(None), Rotating(NOW)).reason
    assert f"force the replacement of {generation(1).identity}" in said
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
    """A token with these generations, as byok_target_key tells of it; generation N was made on day N of January."""
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
    """1 was imported again after 3, which was withdrawn; 2, made between them, is no successor of 3."""
    token, vault = token_of(1, 2, 3, withdrawn=(3,)), vault_of(1, 3)
    planned = plan_key(DECLARED, token, vault)
    assert (planned.action, "younger generation than 02" in planned.reason) == ("conflict", True)
    early = Rotating(datetime(2026, 1, 2, 1, tzinfo=timezone.utc))
    assert plan_key(DAILY, token, vault, early).action == "conflict"


def test_a_key_that_names_its_generation_is_not_forced_to_another_one() -> None:
    named = replace(DECLARED, generation="01")
    forced = replace(LATE, force=frozenset([generation(1).identity]))
    planned = plan_key(named, token_of(1), vault_of(1), forced)
    assert (planned.action, "leave generation out" in planned.reason) == ("conflict", True)
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
    """A run never brings what a version is or was younger than, nothing withdrawn, nothing over a foreign key undeclared."""
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
        made = max((each.made for each in token.generations if each.made), default=None)
        assert made is None or now >= made + timedelta(days=1)
        assert planned.newer_than == (generation(ours[-1]).generation if ours else None)
        assert there
    if planned.action in ("transfer", "rotate") and foreign:
        assert on_foreign == "rotate"
    if foreign:
        assert standing.action == "conflict"
    assert standing.action not in ("rotate", "recover")
    # What is done is not done again: with the new generation as the newest version, there is nothing more to do.
    if planned.action in ("transfer", "rotate") and there:
        brought = planned.wanted.generation if planned.wanted else None
        new = next((number for number in ours if generation(number).generation == brought), 8)
        after = token_of(*ours, *({new} - {*ours}), withdrawn=withdrawn)
        fresh = replace(version(new), version="f" * 32, created=now)
        again = Rotating(now, rotating.force - {generation(new).identity})
        assert plan_key(declared, after, InVault(fresh, vault.versions), again).action == "none"
