# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import clock as _clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import (
    Clock,
    WrongClock,
    host_clock,
    read_date,
)
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


class Times:
    """A host's clocks, which stand still until they are moved."""

    def __init__(self) -> None:
        self.host, self.monotonic = NOON, 5000.0
        self.clock = Clock(lambda: self.host, lambda: self.monotonic)

    def look(self) -> tuple[str, datetime, float]:
        now = self.clock.look()
        return now.source, now.time, now.difference.total_seconds()


def test_the_vault_counts_then_entra_then_this_host() -> None:
    times = Times()
    assert times.look() == ("host", NOON, 0)
    times.clock.hear("entra", "Sun, 22 Nov 2026 12:00:07 GMT")
    assert times.look() == ("entra", NOON + timedelta(seconds=7), 7)
    times.clock.hear("vault", "Sun, 22 Nov 2026 11:59:58 GMT")
    assert times.look() == ("vault", NOON - timedelta(seconds=2), -2)


@pytest.mark.parametrize("source", ["vault", "entra"])
def test_what_passed_since_is_added_and_no_later_answer_moves_the_time(source: str) -> None:
    times = Times()
    times.clock.hear(source, "Sun, 22 Nov 2026 12:00:00 GMT")
    times.monotonic += 90
    times.host += timedelta(seconds=90)
    times.clock.hear(source, "Sun, 22 Nov 2099 12:00:00 GMT")
    assert times.look() == (source, NOON + timedelta(seconds=90), 0)


@pytest.mark.parametrize(("source", "whose"), [("vault", "the vault x"), ("entra", "Entra ID")])
@pytest.mark.parametrize(
    ("date", "wrong"),
    [
        ("Sun, 22 Nov 2026 13:00:00 GMT", False),
        ("Sun, 22 Nov 2026 11:00:00 GMT", False),
        ("Sun, 22 Nov 2026 13:00:01 GMT", True),
        ("Sun, 22 Nov 2026 10:59:59 GMT", True),
        ("Thu, 01 Jan 1970 00:00:00 GMT", True),
        ("Fri, 31 Dec 9998 23:59:59 GMT", True),
    ],
)
def test_a_date_more_than_an_hour_from_this_hosts_clock_is_refused(
    source: str, whose: str, date: str, wrong: bool
) -> None:
    times = Times()
    times.clock.hear(source, date)
    if not wrong:
        assert times.clock.now("vault x") == read_date(date)
        return
    with pytest.raises(WrongClock) as error:
        times.clock.now("vault x")
    said = read_date(date)
    assert said
    assert (
        f"{whose} says {said:%Y-%m-%dT%H:%M:%SZ}, and the clock of this host says "
        "2026-11-22T12:00:00Z" in str(error.value)
    )
    assert "NTP" in error.value.remedy
    assert "proxy" in error.value.remedy


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        "x",
        "2026-11-22T12:00:00Z",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "Mon, 01 Jan 0001 00:00:00 +1200",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "Sun, 32 Nov 2026 12:00:00 GMT",
        "Sun, 22 Xyz 2026 12:00:00 GMT",
        "Sun, 22 Nov 2026 12:00:60 GMT",
        "Sun, 22 Nov 2026 12:00:00 +99999999",
    ],
)
def test_a_date_that_makes_no_sense_is_none(date: str | None) -> None:
    assert read_date(date) is None
    times = Times()
    times.clock.hear("vault", date)
    assert times.clock.now("vault x") == NOON


@given(st.text())
def test_no_header_breaks_a_run(header: str) -> None:
    read_date(header)


def test_the_hosts_clock_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "_system_clock", NOON.timestamp)
    assert host_clock() == NOON
