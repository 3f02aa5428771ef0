# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import (
    Rotation,
    parse_rotation,
    short_overlap,
)
from hypothesis import given
from hypothesis import strategies as st

SOME_MOMENT = datetime(2027, 6, 1, tzinfo=timezone.utc)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2060, 1, 1), timezones=st.just(timezone.utc))
DURATIONS = st.builds(
    "P{}{}".format, st.integers(1, 40), st.sampled_from("DWMY")
) | st.builds("P{}M{}D".format, st.integers(1, 24), st.integers(1, 40))  # fmt: skip


def rotation(expires: datetime | None, **options: str) -> Rotation:
    plain: dict[str, t.Any] = dict.fromkeys(
        ("every", "valid_for", "before_expiry", "notify_before")
    )
    plain |= {"overlap": "P2D", "min_interval": "P1D", "retire": "keep", "on_foreign": "conflict"}
    parsed = parse_rotation("key", {**plain, **options}, expires)
    assert parsed
    return parsed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": "90 days"}, "is not a duration"),
        ({"before_expiry": "P1M"}, "no version of it would expire"),
        ({"valid_for": "P1M", "before_expiry": "P1M"}, "would be due at once"),
        (
            {"valid_for": "P1M", "before_expiry": "P30D"},
            "would be due at once",
        ),  # in February it would
        ({"valid_for": "P1Y", "before_expiry": "P365D"}, "would be due at once"),
        ({"valid_for": "P90D", "every": "P90D"}, "has expired already"),
        ({"valid_for": "P1M", "every": "P30D"}, "has expired already"),
        ({"notify_before": "P30D"}, "no version of it would expire"),
        ({"valid_for": "P1Y", "notify_before": "P6D"}, "Azure takes P7D at least"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_the_key_s_name(
    options: dict[str, str], says: str
) -> None:
    with pytest.raises(ByokError, match=says) as refused:
        rotation(None, **options)
    assert "key" in str(refused.value) or "duration" in str(refused.value)


def test_a_fixed_expiry_is_no_reason_to_rotate() -> None:
    """A new version would have the same one, and be due again at once."""
    with pytest.raises(
        ByokError, match="expires at one fixed moment, so a new one would be due at once"
    ):
        rotation(SOME_MOMENT, before_expiry="P30D")
    with pytest.raises(ByokError, match="has a fixed moment as well"):
        rotation(SOME_MOMENT, valid_for="P1Y")
    assert rotation(SOME_MOMENT, every="P90D", notify_before="P7D").due_at(SOME_MOMENT, SOME_MOMENT)


def test_it_is_due_by_whatever_comes_first() -> None:
    created, expires = (
        datetime(2026, 1, 31, tzinfo=timezone.utc),
        datetime(2026, 6, 30, tzinfo=timezone.utc),
    )
    declared = rotation(None, every="P1M", valid_for="P1Y", before_expiry="P1M")
    assert declared.due_at(created, expires) == datetime(2026, 2, 28, tzinfo=timezone.utc)
    declared = rotation(None, every="P6M", valid_for="P1Y", before_expiry="P1M")
    assert declared.due_at(created, expires) == datetime(2026, 5, 30, tzinfo=timezone.utc)
    assert declared.due_at(created, None) == datetime(2026, 7, 31, tzinfo=timezone.utc)
    assert rotation(None).due_at(created, expires) is None


@given(MOMENTS, st.none() | DURATIONS, DURATIONS, st.none() | DURATIONS)
def test_what_is_accepted_is_not_due_when_it_is_new_and_is_due_before_it_expires(
    created: datetime, every: str | None, valid_for: str, before_expiry: str | None
) -> None:
    options = {"every": every, "valid_for": valid_for, "before_expiry": before_expiry}
    try:
        declared = rotation(None, **{name: value for name, value in options.items() if value})
    except ByokError:
        return
    assert declared.valid_for
    expires = declared.valid_for.after(created)
    due = declared.due_at(created, expires)
    assert due is None or created < due
    if before_expiry or every:
        assert due
        assert due < expires + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("overlap", "retire", "warned"),
    [
        ("PT12H", "disable", True),
        ("PT23H59M59S", "disable", True),
        ("P1D", "disable", False),
        ("P2D", "disable", False),
        ("PT12H", "keep", False),
    ],
)
def test_an_overlap_in_which_services_find_no_newer_version_is_warned_of(
    overlap: str, retire: str, warned: bool
) -> None:
    warning = short_overlap("key", rotation(None, every="P90D", overlap=overlap, retire=retire))
    assert bool(warning) is warned
    if warning:
        assert f"the key key disables an older version {overlap} after" in warning
    assert short_overlap("key", None) is None
