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
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    RsaPublicKey,
    thumbprint,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.retirement import (
    Retirement,
    plan_retirement,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import parse_rotation
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    GENERATION_TAG,
    Version,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
FOREIGN = 99


def public_key(number: int) -> RsaPublicKey:
    return RsaPublicKey(number + 3, 65537)


def version(number: int, days: float, generation: int | None = None, **changes: t.Any) -> Version:
    """Version ``number``, so many days old, of the generation of that number or another."""
    held = number if generation is None else generation
    plain: dict[str, t.Any] = {
        "kid": f"https://contoso.vault.azure.net/keys/key/{number:032x}",
        "version": f"{number:032x}",
        "type": "RSA-HSM",
        "public_key": public_key(held),
        "operations": ("sign", "verify"),
        "enabled": True,
        "not_before": None,
        "expires": None,
        "created": NOW - timedelta(days=days),
        "tags": {},
        "recovery_level": "Recoverable+Purgeable",
    }
    return Version(**{**plain, **changes})


TOKEN = InToken(
    tuple(KnownGeneration(f"{number:02x}", thumbprint(public_key(number))) for number in range(10)),
    None,
)


def declared(retire: str = "disable", overlap: str = "P2D") -> Declaration:
    options: dict[str, t.Any] = dict.fromkeys(
        ("every", "valid_for", "before_expiry", "notify_before")
    )
    options |= {
        "overlap": overlap,
        "min_interval": "P1D",
        "retire": retire,
        "on_foreign": "conflict",
    }
    return Declaration(
        "key", KeySpec("RSA", size=2048), rotation=parse_rotation("key", options, None)
    )


def plan(
    *versions: Version,
    declaration: Declaration | None = None,
    data_reencrypted: bool = False,
    token: InToken = TOKEN,
    proved: t.Collection[str] = (),
) -> Retirement:
    is_proved = {each.version for each in versions if each.version in proved}.__contains__
    declaration = declaration or declared()
    return plan_retirement(
        declaration, token, versions, NOW, data_reencrypted, lambda each: is_proved(each.version)
    )


def disabled(retirement: Retirement) -> list[int]:
    return [int(each.version, 16) for each in retirement.disabled]


def test_what_was_withdrawn_takes_over_from_nothing() -> None:
    *others, newest = TOKEN.generations[:4]
    token = InToken((*others, replace(newest, withdrawn=True)), None)
    assert disabled(plan(version(3, 3), version(2, 30), version(1, 60), token=token)) == [1]
    assert disabled(plan(version(3, 3), version(2, 30), token=token)) == []


def test_what_is_older_than_a_version_that_took_over_is_disabled() -> None:
    assert disabled(plan(version(3, 3), version(2, 30), version(1, 60))) == [2, 1]


@pytest.mark.parametrize(
    "newest",
    [
        version(3, 1),
        version(3, 3, enabled=False),
        version(3, 3, expires=NOW),
        version(3, 3, not_before=NOW + timedelta(days=1)),
        version(3, 3, not_before=NOW - timedelta(days=1)),  # usable, but not for the overlap
        version(3, 3, created=None),
        version(3, 3, FOREIGN),
        version(3, 3, public_key=None),  # nothing marks it
        version(3, 3, public_key=None, tags={GENERATION_TAG: "03"}),  # a tag proves nothing
    ],
)
def test_each_condition_alone_keeps_the_older_version(newest: Version) -> None:
    retirement = plan(newest, version(2, 30))
    assert retirement.disabled == []
    assert list(retirement.kept) == [version(2, 30).version]


def test_the_middle_one_can_be_the_successor() -> None:
    assert disabled(plan(version(3, 1), version(2, 30), version(1, 60))) == [1]
    assert disabled(plan(version(3, 1), version(2, 30, enabled=False), version(1, 60))) == []
    assert disabled(plan(version(3, 3, FOREIGN), version(2, 30), version(1, 60))) == []


def test_a_foreign_older_version_and_the_only_one_stay() -> None:
    retirement = plan(version(3, 3), version(2, 30, FOREIGN), version(1, 60))
    assert disabled(retirement) == [1]
    assert retirement.kept == {version(2, 30).version: "it is not of this token"}
    assert plan(version(3, 30)) == Retirement()
    assert plan() == Retirement()


@pytest.mark.parametrize("operations", [("decrypt",), ("unwrapKey", "sign")])
def test_what_decrypts_waits_for_its_data(operations: tuple[str, ...]) -> None:
    older = version(1, 60, operations=operations)
    assert disabled(plan(version(2, 3), older)) == []
    assert disabled(plan(version(2, 3), older, data_reencrypted=True)) == [1]


def test_without_a_public_key_an_operation_proves() -> None:
    token = InToken(tuple(KnownGeneration(f"{number:02x}", None) for number in (1, 2)), None)
    oct: dict[str, t.Any] = {"type": "oct-HSM", "public_key": None}
    versions = [
        version(number, days, tags={GENERATION_TAG: f"{number:02x}"}, **oct)
        for number, days in ((2, 3), (1, 60))
    ]
    assert disabled(plan(*versions, token=token)) == []
    assert disabled(plan(*versions, token=token, proved=[versions[0].version])) == [1]


def test_nothing_is_disabled_where_that_is_not_declared() -> None:
    keep = Declaration("key", KeySpec("RSA", size=2048))
    for declaration in (keep, declared(retire="keep")):
        assert plan(version(2, 30), version(1, 60), declaration=declaration) == Retirement()


VERSIONS = st.lists(
    st.builds(
        lambda number, days, held, enabled, expired, later, decrypts: version(
            number,
            days,
            held,
            enabled=enabled,
            expires=NOW - timedelta(days=1) if expired else None,
            not_before=NOW + timedelta(days=1) if later else None,
            operations=("decrypt",) if decrypts else ("sign",),
        ),
        st.integers(0, 1000),
        st.floats(0, 100),
        st.sampled_from([1, 2, 3, FOREIGN]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda each: each.version,
).map(lambda versions: sorted(versions, key=lambda each: each.created or NOW, reverse=True))


@given(VERSIONS, st.booleans())
def test_something_usable_of_ours_is_always_left(
    versions: list[Version], data_reencrypted: bool
) -> None:
    retirement = plan(*versions, data_reencrypted=data_reencrypted)
    gone = {each.version for each in retirement.disabled}
    assert not versions or versions[0].version not in gone
    for each in retirement.disabled:
        assert each.enabled
        assert TOKEN.holder_of(each)
        assert data_reencrypted or "decrypt" not in each.operations
    if gone:
        assert TOKEN.holder_of(versions[0])
        left = [
            each
            for each in versions
            if each.version not in gone and each.enabled and TOKEN.holder_of(each)
        ]
        usable = [each for each in left if not each.expires and not each.not_before]
        assert any(each.created and each.created <= NOW - timedelta(days=2) for each in usable)
    # What is not disabled and enabled has a reason, and the same look again says the same.
    assert set(retirement.kept) | gone == {each.version for each in versions[1:] if each.enabled}
