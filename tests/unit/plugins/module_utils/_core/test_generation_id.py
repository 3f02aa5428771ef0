# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import (
    is_ours,
    make_id,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_790_000_000_000  # milliseconds; 2026
TEN_BYTES = st.binary(min_size=10, max_size=10)


@given(st.lists(st.tuples(st.integers(NOW - 10_000, NOW + 10_000), TEN_BYTES), max_size=20))
def test_ids_are_ours_unique_and_sorted_by_their_making_even_when_the_clock_goes_back(
    steps: list[tuple[int, bytes]],
) -> None:
    made: list[bytes] = []
    for now, random in steps:
        made.append(make_id(now, random, made))
    assert all(map(is_ours, made))
    assert sorted(set(made)) == made


@given(TEN_BYTES)
def test_an_id_is_a_uuid_of_version_7(random: bytes) -> None:
    import uuid

    identifier = uuid.UUID(bytes=make_id(NOW, random, []))
    assert (identifier.version, identifier.variant) == (7, uuid.RFC_4122)
    assert identifier.int >> 80 == NOW


@given(st.binary(max_size=40).filter(lambda identifier: len(identifier) != 16))
def test_other_lengths_are_not_ours(identifier: bytes) -> None:
    assert not is_ours(identifier)


def test_other_software_s_ids_are_not_ours_and_do_not_push_the_time() -> None:
    version_4 = bytes.fromhex("f81d4fae7dec41d0a76500a0c91e6bf6")
    far_future = make_id(2**47, bytes(10), [])
    assert not is_ours(version_4)
    assert not is_ours(far_future)
    assert make_id(NOW, bytes(10), [version_4, far_future])[:6] == NOW.to_bytes(6, "big")
