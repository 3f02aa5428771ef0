# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_duration,
    parse_moment,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.datetimes(min_value=datetime(1971, 1, 1), timezones=st.just(timezone.utc)))
def test_a_moment_survives_writing_and_reading(moment: datetime) -> None:
    assert parse_moment(format_moment(moment)) == moment.replace(microsecond=0)


def test_a_moment_is_turned_to_utc() -> None:
    assert format_moment(parse_moment("2027-01-31T02:00:00+02:00")) == "2027-01-31T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2027-01-31",
        "2027-01-31T00:00:00",
        "2027-13-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "0027-01-31T00:00:00Z",
        "2" * 5000,
        "2027-01-31T00:00:00." + "0" * 5000 + "Z",
        "\uff12\uff10\uff12\uff17-01-31T00:00:00Z",
        "10000-01-01T00:00:00Z",
    ],
)
def test_a_moment_without_a_time_zone_or_a_meaning_is_refused(text: str) -> None:
    with pytest.raises(ByokError, match=r"moment with a time zone|before 1970"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("PT4H", timedelta(hours=4)),
        ("P2DT12H", timedelta(days=2, hours=12)),
        ("P1W", timedelta(weeks=1)),
        ("PT1M30S", timedelta(seconds=90)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    moment = datetime(2026, 11, 22, 18, tzinfo=timezone.utc)
    assert parse_duration(text).after(moment) == moment + duration
    assert parse_duration(text).before(moment) == moment - duration


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2026-01-31", "P1M", "2026-02-28"),
        ("2028-01-31", "P1M", "2028-02-29"),
        ("2028-02-29", "P2Y", "2030-02-28"),
        ("2026-11-22", "P6M", "2027-05-22"),
        ("2026-11-22", "P1Y2M3D", "2028-01-25"),
    ],
)
def test_months_and_years_are_those_of_the_calendar(start: str, text: str, end: str) -> None:
    assert parse_duration(text).after(datetime.fromisoformat(start)) == datetime.fromisoformat(end)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1)), st.integers(1, 600))
def test_months_back_and_forth_lose_at_most_the_days_that_a_month_lacks(
    moment: datetime, months: int
) -> None:
    duration = parse_duration(f"P{months}M")
    there_and_back = duration.before(duration.after(moment))
    assert timedelta() <= moment - there_and_back <= timedelta(days=3)


@pytest.mark.parametrize(
    "text",
    ["", "P", "PT", "PT0S", "P0Y", "4H", "-PT1H", "PT1.5H", "P2000Y", f"P{'9' * 30}D", "P1D1Y"]
    + [f"P{'9' * 5000}{unit}" for unit in "YMWD"]
    + ["P\u0663D", "PT\u0663H", "P\uff13D"],
)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ByokError, match="ISO 8601"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P0D", "PT0S", "P0Y0M0DT0H", "P" + "0" * 11 + "D"])
def test_a_duration_of_zero_is_called_that(text: str) -> None:
    with pytest.raises(ByokError, match=f"^'{text}' is a duration of zero. Leave it out"):
        parse_duration(text)


@given(st.text() | st.from_regex(r"P([0-9]{1,12}[YMWD]){1,4}(T[0-9]{1,12}[HMS])?", fullmatch=True))
def test_whatever_is_written_is_read_or_refused_and_stays_in_the_calendar(text: str) -> None:
    for moment in (datetime(1970, 1, 1, tzinfo=timezone.utc), datetime.max.replace(microsecond=0)):
        try:
            duration = parse_duration(text)
        except ByokError:
            return
        assert duration.before(moment) < moment <= duration.after(moment)


def test_a_sentence_shows_no_more_than_somebody_reads() -> None:
    for parse in (parse_moment, parse_duration):
        with pytest.raises(ByokError) as error:
            parse("9" * 100_000)
        assert len(str(error.value)) < 500
