# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import reasons

PAGE = (Path(reasons.__file__).parents[3] / "docs/reasons.md").read_text()
LISTS = [
    ("Plans", reasons.DECISIONS),
    ("Retirement", reasons.RETIREMENTS),
    ("Failures", reasons.FAILURES),
    ("Deviations", reasons.DEVIATIONS),
    ("Problems of evidence", reasons.PROBLEMS),
]


def table_under(heading: str) -> dict[str, str]:
    """The rows of the page's table under a heading: the sentence by its code."""
    part = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", part, re.MULTILINE))


@pytest.mark.parametrize(("heading", "codes"), LISTS)
def test_the_page_lists_the_codes_in_their_order(heading: str, codes: t.Mapping[str, str]) -> None:
    assert list(table_under(heading).items()) == list(codes.items())


@pytest.mark.parametrize(("heading", "codes"), LISTS)
def test_a_code_is_a_word_and_its_meaning_a_sentence(
    heading: str, codes: t.Mapping[str, str]
) -> None:
    for code, meaning in codes.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
        assert re.fullmatch(r"[A-Z].*\.", meaning), meaning


def test_a_code_means_one_thing() -> None:
    assert len({code for _heading, codes in LISTS for code in codes}) == sum(
        len(codes) for _heading, codes in LISTS
    )
