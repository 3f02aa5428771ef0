# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import (
    SentImport,
    pauses,
)
from hypothesis import given
from hypothesis import strategies as st

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
SECONDS = st.floats(-1e6, 1e6)
SHORT = st.floats(0, 1000)


def sent_at(moment: datetime, **facts: t.Any) -> SentImport:
    values: dict[str, t.Any] = {
        "vault_url": "https://contoso.vault.azure.net",
        "name": "key",
        "package_sha256": "ab" * 32,
        "versions_before": (),
        "generation": "01",
        "thumbprint": "t",
        "origin": "token",
        "challenge": None,
        "prove": False,
        "receipt": None,
        "receipt_path": None,
    }
    return SentImport(**{**values, **facts}, sent=moment)


@pytest.mark.parametrize(
    ("passed", "left"),
    [
        (0, 60),  # it died at once: its connection broke just now
        (79, 60),  # it may have waited for the answer until now
        (80, 60),
        (100, 40),  # from then on nobody waited
        (140, 0),
        (100_000, 0),
        (-5, 60),  # the clock was set back
    ],
)
def test_the_settle_time_begins_when_the_request_got_lost_at_the_latest(
    passed: int, left: float
) -> None:
    now = NOON + timedelta(seconds=passed)
    assert sent_at(NOON).seconds_left(now, 80, 60) == left


@given(SECONDS, SHORT, SHORT)
def test_no_run_waits_longer_than_the_settle_time_nor_less_than_one_that_lives(
    passed: float, answered_within: float, settle_time: float
) -> None:
    now = NOON + timedelta(seconds=passed)
    left = sent_at(NOON).seconds_left(now, answered_within, settle_time)
    assert 0 <= left <= settle_time
    # One that lives gives the answer up after answered_within, and then waits for the settle time.
    assert passed + left >= min(passed, answered_within) + settle_time - 1e-3


@given(SHORT)
def test_pauses_add_up(seconds: float) -> None:
    waits = list(pauses(seconds))
    assert sum(waits) == pytest.approx(seconds)
    assert all(0 < wait <= 16 for wait in waits)


def test_what_the_journal_says_comes_back_as_it_was() -> None:
    sent = sent_at(NOON, versions_before=("b", "a"), receipt={"_type": "x"}, prove=True)
    assert SentImport.from_dict(sent.to_dict()) == sent
