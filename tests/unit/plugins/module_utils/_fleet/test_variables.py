# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which names of variables are known, and what is said of the others."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.variables import (
    OTHER_VARIABLES,
    RENAMED,
    unknown_variables,
)

OPTIONS = ("byok_approved_keks", "byok_force", "byok_keys", "byok_receipt_directory")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("byok_aproved_keks", "; did you mean byok_approved_keks?"),
        ("byok_receipts_directory", "; did you mean byok_receipt_directory?"),
        ("byok_key", "; did you mean byok_keys?"),
        ("byok_host", "; did you mean byok_hosts?"),
        ("byok_contoso_owner", "."),  # although all names look alike by their prefix
        ("byok_", "."),
        ("byok_results_x", "."),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_known_one(name: str, problem: str) -> None:
    told, remedy = unknown_variables([name, "byok_keys"], OPTIONS, [])
    assert told == f"{name} is not a variable of Keyferry{problem}"
    assert "byok_own_variables" in remedy


def test_known_variables_are_no_problem() -> None:
    known = [*OPTIONS, *RENAMED, "byok_awx_slices", "byok_results_12", "byok_plan_local"]
    for names in OTHER_VARIABLES.values():
        known.extend(names)
    assert unknown_variables(known, OPTIONS, []) == []


def test_all_unknown_variables_are_told_in_order() -> None:
    problems = unknown_variables(["byok_zzz", "byok_aaa"], OPTIONS, [])
    assert [problem.split()[0] for problem in problems] == ["byok_aaa", "byok_zzz", "Correct"]


def test_own_variables_are_named_or_matched() -> None:
    names = ["byok_contoso_owner", "byok_contoso_team", "byok_region"]
    assert unknown_variables(names, OPTIONS, ["byok_contoso_*", "byok_region"]) == []
    told, _remedy = unknown_variables(names, OPTIONS, ["byok_contoso_*"])
    assert told.startswith("byok_region is not")
