# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever somebody changes in a receipt folder is found, or has no meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.trust import Trust
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._evidence import (
    mutations,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._evidence.evidence_made import (  # noqa: E501
    small,
    trust,
    verified,
)
from hypothesis import given, settings
from hypothesis import strategies as st

Mutations = Callable[[mutations.Files], Iterator[tuple[str, dict[str, bytes]]]]


@cache
def before() -> tuple[dict[str, bytes], Trust, Verification]:
    """A folder that is whole, what is trusted, and its verification."""
    made = small()
    files, trusted = made.files(), trust(made)
    return files, trusted, verified(files, trusted)


@pytest.mark.parametrize("mutate", [mutations.of_files, mutations.of_lines, mutations.of_envelopes])
def test_no_change_of_files_lines_or_signatures_goes_unnoticed(mutate: Mutations) -> None:
    files, trusted, whole = before()
    assert whole.verdict == "whole"
    number = 0
    for what, changed in mutate(files):
        mutations.check(changed, trusted, whole, what)
        number += 1
    assert number > 100


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_change_of_a_byte_goes_unnoticed(data: st.DataObject) -> None:
    files, trusted, whole = before()
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    change = data.draw(st.integers(1, 255))
    changed = mutations.with_byte(files, path, at, change)
    mutations.check(changed, trusted, whole, f"{path} at {at} by {change}")
