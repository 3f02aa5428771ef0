# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import Clock, WrongClock
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import parse_address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import (
    Patience,
    Uncertain,
    Vault,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    AzureError,
    UnreadableAnswer,
    VaultUnavailable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from azure.core.exceptions import (
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

URL = "https://contoso.vault.azure.net"
NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def answered(status: int) -> HttpResponseError:
    """What the SDK raises for a status."""
    error = HttpResponseError(message=f"status {status}")
    error.status_code = status
    return error


LOST = ServiceResponseError("the connection was lost")
UNSENT = ServiceRequestError(
    "(Caused by NewConnectionError('Failed to establish a new connection: no route'))"
)
LOST_BEHIND_A_PROXY = ServiceRequestError(
    "(Caused by ProxyError('Unable to connect to proxy', RemoteDisconnected()))"
)


class Service:
    """Answers with the given outcomes in turn, then well; counts; time passes in a sleep."""

    def __init__(
        self,
        *outcomes: Exception,
        commits: t.Collection[int] = (),
        late: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.outcomes = list(outcomes)
        self.commits = commits
        self.late = late
        self.sent = 0
        self.committed_at: list[float] = []
        self.waited: list[float] = []
        pace = Pace(8, None, lambda: self.now, self.sleep)
        self.vault = Vault(
            parse_address(URL, "AzureCloud"), None, Patience(60, 40), pace, self.sleep, clock=clock
        )

    @property
    def now(self) -> float:
        return sum(self.waited)

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    def call(self, **options: t.Any) -> str:
        assert options["retry_total"] == 0  # the SDK must not repeat behind our back
        self.sent += 1
        if self.sent in self.commits:
            self.committed_at.append(self.now + (self.late or 0))
        if self.outcomes:
            raise self.outcomes.pop(0)
        self.committed_at.append(self.now)
        return "answer"

    def landed(self) -> str | None:
        return "read back" if any(at <= self.now for at in self.committed_at) else None

    def write(self) -> str:
        return self.vault.write("Importing the key x", self.call, self.landed)


def test_a_write_that_is_answered_is_sent_once() -> None:
    service = Service()
    assert (service.write(), service.sent, service.waited) == ("answer", 1, [])


def test_429_is_a_certain_no_and_repeated_with_growing_waits() -> None:
    service = Service(answered(429), answered(429), answered(429))
    assert (service.write(), service.waited) == ("answer", [1, 2, 4])


def test_429_for_ever_ends_after_the_time_that_was_given() -> None:
    service = Service(*[answered(429)] * 20)
    with pytest.raises(AzureError, match="429"):
        service.write()
    assert service.waited == [1, 2, 4, 8, 16, 9]


@pytest.mark.parametrize(
    "outcome", [LOST, LOST_BEHIND_A_PROXY, answered(503), answered(500), answered(408)]
)
def test_a_lost_answer_is_read_back_and_not_sent_again(outcome: Exception) -> None:
    service = Service(outcome, commits=[1])
    assert (service.write(), service.sent, service.now) == ("read back", 1, 0)


def test_a_late_commit_is_seen_after_the_settle_time() -> None:
    service = Service(LOST, commits=[1], late=59)
    assert (service.write(), service.sent, service.now) == ("read back", 1, 60)


def test_what_was_not_carried_out_is_sent_once_more() -> None:
    service = Service(LOST)
    assert (service.write(), service.sent, service.now) == ("answer", 2, 60)


def test_two_lost_answers_are_left_to_the_next_run() -> None:
    service = Service(LOST, LOST)
    with pytest.raises(Uncertain, match=r"the connection broke.*not known.*Run again later"):
        service.write()
    assert (service.sent, service.now) == (2, 120)


def test_a_request_that_was_never_sent_is_tried_three_times_and_not_settled() -> None:
    service = Service(UNSENT, UNSENT, UNSENT)
    with pytest.raises(AzureError, match=r"no route.*HTTPS_PROXY"):
        service.write()
    assert (service.sent, service.waited) == (3, [1, 2])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_certain_no_is_not_repeated(status: int) -> None:
    service = Service(answered(status))
    with pytest.raises(AzureError, match=str(status)):
        service.write()
    assert (service.sent, service.waited) == (1, [])


def test_a_read_is_repeated_when_its_answer_is_lost() -> None:
    service = Service(LOST, answered(503))
    assert service.vault.read("Reading", service.call) == "answer"
    assert service.vault.read_if_there("Reading", Service(answered(404)).call) is None


class Answering(Service):
    """Says 200, then raises what the SDK raises where it cannot read the answer."""

    def call(self, **options: t.Any) -> str:
        response = SimpleNamespace(status_code=200, headers={})
        options["raw_response_hook"](SimpleNamespace(http_response=response))
        return super().call(**options)


UNREADABLE = [KeyError("x"), AttributeError("x"), RecursionError(), DecodeError("x"), TypeError()]


@pytest.mark.parametrize("error", UNREADABLE, ids=lambda error: type(error).__name__)
def test_a_yes_that_cannot_be_read_is_read_back_and_never_sent_again(error: Exception) -> None:
    service = Answering(error, commits=[1])
    assert (service.write(), service.sent) == ("read back", 1)
    service = Answering(error)
    with pytest.raises(Uncertain, match="whether it was done is not known") as uncertain:
        service.write()
    assert (service.sent, uncertain.value.reason) == (1, "uncertain")
    assert not isinstance(uncertain.value, VaultUnavailable)  # other keys are tried


@pytest.mark.parametrize("error", UNREADABLE, ids=lambda error: type(error).__name__)
def test_an_answer_to_a_question_that_cannot_be_read_is_a_sentence(error: Exception) -> None:
    service = Answering(error)
    with pytest.raises(UnreadableAnswer, match=rf"cannot be read \({type(error).__name__}\)"):
        service.vault.read("Reading the key x", service.call)
    assert service.sent == 1


@pytest.mark.parametrize(
    ("refused", "served"),
    [(AzureError("No", "Ask", 403), True), (VaultUnavailable("Gone", "Wait"), False)],
)
def test_what_cannot_be_looked_up_is_uncertain(refused: AzureError, served: bool) -> None:
    def look() -> str | None:
        raise refused

    service = Service(LOST)
    with pytest.raises(Uncertain, match="nor could it be looked up") as uncertain:
        service.vault.write("Importing the key x", service.call, look)
    assert isinstance(uncertain.value, VaultUnavailable) is not served


def test_what_is_noted_of_an_answer() -> None:
    vault = Service(clock=Clock(lambda: NOON, lambda: 0.0)).vault
    assert (vault.now, vault.clock.look().source) == (NOON, "host")
    headers = {"Date": "Sun, 22 Nov 2026 12:00:02 GMT", "x-ms-request-id": "id"}
    vault._note(SimpleNamespace(http_response=SimpleNamespace(status_code=200, headers=headers)))
    assert (vault.now, vault.request_id) == (NOON + timedelta(seconds=2), "id")
    vault._note(SimpleNamespace(http_response=SimpleNamespace(status_code=200, headers={})))
    assert (vault.clock.look().source, vault.request_id) == ("vault", "id")


def test_nothing_is_written_by_a_wrong_clock() -> None:
    service = Service(clock=Clock(lambda: NOON, lambda: 0.0))
    service.vault.clock.hear("vault", "Sun, 22 Nov 2099 12:00:00 GMT")
    assert service.vault.read("Reading", service.call) == "answer"
    clocks = "contoso says 2099-11-22T12:00:00Z, and the clock of this host says 2026-11-22"
    with pytest.raises(WrongClock, match=f"vault {clocks}"):
        service.write()
    assert service.sent == 1
