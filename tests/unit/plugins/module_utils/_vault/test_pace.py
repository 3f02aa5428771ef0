# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections import deque

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from hypothesis import given
from hypothesis import strategies as st


class Service:
    """A vault that takes some calls in 10 s, each of which lasts a while.

    And what it does to a run, with a clock of its own.
    """

    def __init__(
        self, calls: int, duration: float, concurrency: int = 8, max_rate: float | None = None
    ) -> None:
        self.calls, self.duration = calls, duration
        self.now, self.refused = 0.0, 0
        self.taken: deque[float] = deque()
        self.pace = Pace(concurrency, max_rate, lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ask(self) -> bool:
        with self.pace.turn("write") as turn:
            self.now += self.duration
            while self.taken and self.taken[0] <= self.now - 10:
                self.taken.popleft()
            turn.throttled = len(self.taken) >= self.calls
            if not turn.throttled:
                self.taken.append(self.now)
        self.refused += turn.throttled
        return not turn.throttled

    def work_off(self, requests: int) -> None:
        """Send each until it is taken, with Microsoft's pauses."""
        for _request in range(requests):
            wait = 1
            while not self.ask():
                self.sleep(wait)
                wait = min(2 * wait, 16)


@pytest.mark.parametrize(("calls", "duration"), [(10, 0.05), (100, 0.02), (100, 0.05)])
def test_a_bucket_costs_little_more_time_than_it_imposes(calls: int, duration: float) -> None:
    service, requests = Service(calls, duration), 10 * calls
    service.work_off(requests)
    imposed = 10 * (requests / calls - 1)  # the last bucket full goes at once
    assert imposed <= service.now <= 1.2 * imposed
    assert service.refused <= requests / 10


@given(st.integers(5, 300), st.floats(0.01, 2))
def test_whatever_the_bucket_is_everything_gets_through(calls: int, duration: float) -> None:
    service = Service(calls, duration)
    service.work_off(100)
    assert len(service.taken) <= calls


def test_without_refusal_nothing_waits() -> None:
    service = Service(calls=1000, duration=0.01)
    service.work_off(500)
    assert service.now == pytest.approx(500 * 0.01)


def test_a_rate_is_kept_from_the_first_request_on() -> None:
    service = Service(calls=1000, duration=0.01, max_rate=20)
    service.work_off(101)
    assert service.now == pytest.approx(100 / 20 + 0.01)


def test_a_refusal_of_one_kind_does_not_hold_back_the_other() -> None:
    service = Service(calls=5, duration=0.01)
    service.work_off(6)
    before = service.now
    for _request in range(50):
        with service.pace.turn("read"):
            pass
    assert service.now == before


@pytest.mark.parametrize(("concurrency", "max_rate"), [(0, None), (65, None), (8, 0.0), (8, -1.0)])
def test_numbers_that_make_no_sense_are_refused(concurrency: int, max_rate: float | None) -> None:
    with pytest.raises(ByokError, match="concurrency"):
        Pace(concurrency, max_rate)
