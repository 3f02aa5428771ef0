# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._declaration import Declaration, KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._plan import InToken, InVault, KnownGeneration, plan_key
from ansible_collections.keyferry.azure.plugins.module_utils._public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._version import (
    GENERATION_TAG,
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


@given(st.lists(st.integers(0, 5), unique=True, max_size=4).map(sorted), st.lists(st.integers(0, 7), unique=True, max_size=5))
def test_nothing_foreign_is_superseded_and_nothing_comes_twice(ours: list[int], there: list[int]) -> None:
    versions = [version(number) for number in there]
    planned = plan_key(DECLARED, in_token(*ours), InVault(versions[0], tuple(versions[1:])) if versions else InVault(None))
    if planned.action == "transfer":
        assert not there or there[0] in ours
        assert not ours or ours[-1] not in there
    if ours and there and there[0] == ours[-1]:
        assert planned.action == "none"


def test_drift_names_what_is_declared_and_different_and_nothing_else() -> None:
    there = version(1, tags={"theirs": "kept", "owner": "old"}, enabled=False, operations=("verify", "sign"))
    declared = replace(DECLARED, tags={"owner": "new"}, expires=datetime(2027, 1, 1, tzinfo=timezone.utc))
    assert drift(declared, there) == {"expires": "2027-01-01T00:00:00Z", "tags": {"theirs": "kept", "owner": "new"}}
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
    there = version(1, tags={"a": "b"}, enabled=False, expires=datetime(2027, 1, 1, tzinfo=timezone.utc), operations=("sign",))
    assert drift(bare, there) == {}


def test_an_oct_key_is_recognised_by_its_tag_alone() -> None:
    declared = Declaration("key", KeySpec("oct", size=256))
    ours = version(1, type="oct-HSM", public_key=None, tags={GENERATION_TAG: "01"})
    token = InToken((KnownGeneration("01", None),), KnownGeneration("01", None))
    assert plan_key(declared, token, InVault(ours)).action == "none"
    assert plan_key(declared, token, InVault(replace(ours, tags={}))).action == "conflict"
    assert declared_attributes(declared, NOW, {GENERATION_TAG: "01"})["tags"] == {GENERATION_TAG: "01"}


def test_a_tag_never_makes_an_asymmetric_version_ours() -> None:
    tagged = version(FOREIGN, tags={GENERATION_TAG: "01"})
    assert plan_key(DECLARED, in_token(1), InVault(tagged)).action == "conflict"


def test_what_is_imported_has_no_drift() -> None:
    declared = replace(DECLARED, tags={"a": "b"}, enabled=False, not_before=datetime(2026, 5, 1, tzinfo=timezone.utc))
    attributes = declared_attributes(declared, NOW, {})
    there = version(1, tags=attributes["tags"], enabled=False, not_before=declared.not_before)
    assert there.attributes() == attributes
    assert drift(declared, there) == {}
