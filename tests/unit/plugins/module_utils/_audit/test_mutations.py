# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever somebody changes in a receipt folder is found, or has no meaning."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.summary import summary
from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import Trust
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Malformed,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit import mutations
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    TOKEN,
    by,
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Each place in a JSON value."""
    yield path
    members = value.items() if isinstance(value, dict) else ()
    for name, each in [*members, *(enumerate(value) if isinstance(value, list) else ())]:
        yield from places(each, (*path, name))


@settings(max_examples=100)
@given(data=st.data())
def test_whatever_an_evidence_key_signed_gets_a_verdict(data: st.DataObject) -> None:
    """Whoever has an evidence key can sign what no run ever writes."""
    files, trusted, whole = before()
    path = data.draw(st.sampled_from([each for each in sorted(files) if each.endswith("l")]))
    lines = files[path].splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    statement = parse_envelope(lines[at].decode(), "it").statement()
    *parents, last = data.draw(st.sampled_from([each for each in places(statement) if each]))
    inside: t.Any = statement
    for parent in parents:
        inside = inside[parent]
    value = data.draw(JSON)
    same = inside[last] == value
    inside[last] = value
    try:
        lines[at] = f"{by(envelope_of(statement), TOKEN).to_line()}\n".encode()
    except Malformed:  # half of a character
        return
    found = verified({**files, path: b"".join(lines)}, trusted)
    assert found.exit == 2 or same or found == whole
    assert all(line.isprintable() for line in summary(found))
    assert json.loads(json.dumps(found.to_dict()))["exit"] == found.exit


@settings(max_examples=100)
@given(data=st.data())
def test_no_change_of_a_byte_goes_unnoticed(data: st.DataObject) -> None:
    files, trusted, whole = before()
    path = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[path]) - 1))
    change = data.draw(st.integers(1, 255))
    changed = mutations.with_byte(files, path, at, change)
    mutations.check(changed, trusted, whole, f"{path} at {at} by {change}")
