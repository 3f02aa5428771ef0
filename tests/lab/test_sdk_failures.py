# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the run of Microsoft's tests (`make test-long`) compares what fails with what is listed."""

from __future__ import annotations

import pytest
from sdk.run import Expected, expected, surprises

ROWS = [Expected("not modelled", ("m.T.test_a*", "m.T.test_b[7.4_*]"))]
AS_LISTED = {"m.T.test_a[7.4_vault]": "failed", "m.T.test_b[7.4_mhsm]": "error", "m.T.c": "passed"}


@pytest.mark.parametrize(
    ("changes", "expected_words"),
    [
        ({}, []),
        ({"m.T.c": "skipped"}, []),
        ({"m.T.c": "failed"}, ["m.T.c failed"]),
        ({"m.T.test_b[7.5_mhsm]": "error"}, ["m.T.test_b[7.5_mhsm] failed"]),
        (
            {"m.T.test_a[7.5_vault]": "passed"},
            ["m.T.test_a[7.5_vault] is listed in failures.yml, but passed"],
        ),
        (
            {"m.T.test_b[7.4_mhsm]": "skipped"},
            ["m.T.test_b[7.4_mhsm] is listed in failures.yml, but skipped"],
        ),
    ],
)
def test_both_directions(changes: dict[str, str], expected_words: list[str]) -> None:
    assert list(surprises(AS_LISTED | changes, ROWS)) == expected_words


def test_a_pattern_that_fits_no_test() -> None:
    found = {name: outcome for name, outcome in AS_LISTED.items() if "test_b" not in name}
    assert list(surprises(found, ROWS)) == ["m.T.test_b[7.4_*] of failures.yml is no test"]


def test_the_list_has_reasons() -> None:
    rows = expected()
    assert rows
    assert all(row.reason.endswith(".") and row.tests for row in rows)
