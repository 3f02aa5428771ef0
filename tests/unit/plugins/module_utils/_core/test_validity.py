# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_duration
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import (
    OF_SEVERAL,
    VALIDITIES,
    WORDS,
    state_of,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
SOON = parse_duration("P30D")
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("not_before", "expires", "state", "says"),
    [
        (None, None, None, None),
        (None, NOW, "expired", "has expired, at 2026-11-30T12:00:00Z"),
        (None, NOW + SECOND, "expires_soon", "expires soon, at 2026-11-30T12:00:01Z"),
        (None, NOW + 30 * DAY, "expires_soon", "expires soon, at 2026-12-30T12:00:00Z"),
        (None, NOW + 30 * DAY + SECOND, None, None),
        (NOW, None, None, None),
        (NOW + SECOND, None, "not_yet_valid", "is not yet valid, until 2026-11-30T12:00:01Z"),
        (NOW + DAY, NOW + 2 * DAY, "not_yet_valid", "is not yet valid, until 2026-12-01T12:00:00Z"),
        (NOW + 2 * DAY, NOW - DAY, "expired", "has expired, at 2026-11-29T12:00:00Z"),
    ],
)
def test_dates_decide_the_state(
    not_before: datetime | None, expires: datetime | None, state: str | None, says: str | None
) -> None:
    dated = state_of(not_before, expires, NOW, SOON)
    assert (dated.validity, dated.sentence) == (state, says)


@given(st.one_of(st.none(), st.datetimes(timezones=st.just(timezone.utc))))
def test_no_date_that_azure_may_tell_is_beyond_the_calendar(expires: datetime | None) -> None:
    if expires is None or expires.year >= 1970:
        longest = parse_duration("P1000Y")
        dated = state_of(None, expires, NOW, longest)
        assert (dated.validity is None) == (expires is None or expires > longest.after(NOW))


def test_every_state_has_its_words() -> None:
    assert set(WORDS) == set(OF_SEVERAL) == set(VALIDITIES)
