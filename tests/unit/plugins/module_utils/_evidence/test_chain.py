# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Continuation,
    Head,
    continue_chain,
    head_of,
    judge_chain,
    next_manifest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    Signature,
    envelope_of,
)
from hypothesis import given
from hypothesis import strategies as st

MOMENT = "2026-11-22T12:00:00Z"
RUN: dict[str, t.Any] = {
    "vault": "https://contoso.vault.azure.net",
    "job": "transfer",
    "begun": MOMENT,
    "ended": MOMENT,
    "clock": "host",
    "who": dict.fromkeys(("user", "controller", "job_id", "commit", "ticket")),
    "plan": "a" * 64,
    **{
        name: []
        for name in (
            "receipts",
            "left_alone",
            "failures",
            "events",
            "approvals",
            "deviations",
        )
    },
}


def chain(length: int, **changes: t.Any) -> list[Envelope]:
    envelopes: list[Envelope] = []
    for _number in range(length):
        head = head_of(envelopes[-1], "It") if envelopes else None
        envelopes.append(envelope_of(next_manifest({**RUN, **changes}, head, None)))
    return envelopes


WHOLE = chain(5)
HEADS = [head_of(each, "It") for each in WHOLE]


def test_a_manifest_names_the_one_before() -> None:
    predicates = [each.statement()["predicate"] for each in WHOLE]
    assert [each["number"] for each in predicates] == [1, 2, 3, 4, 5]
    assert [each["previous"] for each in predicates] == [
        None,
        *(each.digest for each in WHOLE[:-1]),
    ]
    signed = next_manifest(RUN, HEADS[4], "c" * 64)["predicate"]
    assert (signed["number"], signed["previous"]) == (6, WHOLE[4].digest)
    assert signed["evidence_key"] == "c" * 64


def test_a_chain_is_whole_only_up_to_what_is_known_from_elsewhere() -> None:
    nobody_knows = judge_chain(WHOLE, [])
    assert nobody_knows.verdict == "whole up to 5"
    assert "nothing shows whether more followed" in nobody_knows.told
    assert nobody_knows.head == HEADS[4]
    assert not nobody_knows.is_broken
    assert judge_chain(WHOLE, [HEADS[1]]).verdict == "whole up to 5"
    assert judge_chain(WHOLE, [HEADS[1], HEADS[4]]).verdict == "whole"
    assert judge_chain([], []).verdict == "whole up to 0"
    assert judge_chain([], []).head is None


def other(place: int) -> Envelope:
    """Another manifest with the number of the one at a place, behind the same one."""
    head = HEADS[place - 1] if place else None
    return envelope_of(next_manifest({**RUN, "job": "retire"}, head, None))


FOREIGN = envelope_of(
    next_manifest({**RUN, "vault": "https://fabrikam.vault.azure.net"}, HEADS[2], None)
)


@pytest.mark.parametrize(
    ("envelopes", "known", "number", "why"),
    [
        (WHOLE[:2] + WHOLE[3:], [], 3, "Manifest 3 is missing, and manifest 4 is there"),
        (WHOLE[1:], [], 1, "Manifest 1 is missing, and manifest 2 is there"),
        (WHOLE[:4], [HEADS[4]], 5, "Manifest 5 is missing, and a later one is known"),
        ([], [HEADS[0]], 1, "Manifest 1 is missing, and a later one is known"),
        ([*WHOLE, other(2)], [], 3, "There are 2 different manifests with number 3"),
        ([*WHOLE[:2], other(2), *WHOLE[3:]], [], 4, "does not follow manifest 3"),
        ([*WHOLE[:3], FOREIGN], [], 4, "of another vault than manifest 3"),
        (WHOLE, [Head(2, "0" * 64)], 2, "is not the one that is known"),
        (WHOLE, [HEADS[1], Head(2, "0" * 64)], 2, "is not the one that is known"),
        (chain(5, job="rotate"), HEADS[4:], 5, "is not the one that is known"),
        (chain(3, job="rotate") + WHOLE[3:], [], 4, "does not follow manifest 3"),
    ],
    ids=[
        "gap", "no beginning", "cut off", "all gone", "fork", "replaced", "other vault",
        "unknown head", "two heads of one number", "second chain", "spliced",
    ],
)  # fmt: skip
def test_what_was_done_to_a_chain_is_found(
    envelopes: list[Envelope], known: list[Head], number: int, why: str
) -> None:
    judged = judge_chain(envelopes, known)
    assert judged.verdict == f"broken at {number}"
    assert judged.is_broken
    assert why in judged.told
    assert judged.head is None or judged.head.number == number - 1


def test_lines_in_another_order_or_twice_are_told() -> None:
    swapped = judge_chain([*WHOLE[:2], WHOLE[3], WHOLE[2], WHOLE[4]], HEADS[4:])
    assert swapped.verdict == "whole"
    assert "not in the order" in swapped.told
    twice = judge_chain([*WHOLE, WHOLE[4].with_signature(Signature("a" * 64, b"\x30"))], [])
    assert twice.verdict == "whole up to 5"
    assert "a line is there twice" in twice.told
    assert ";" not in judge_chain(WHOLE, []).told


@given(
    keep=st.lists(st.integers(min_value=0, max_value=4), max_size=8),
    known=st.sets(st.integers(min_value=0, max_value=4)),
)
def test_a_chain_is_unbroken_only_if_none_is_missing(keep: list[int], known: set[int]) -> None:
    judged = judge_chain([WHOLE[place] for place in keep], [HEADS[place] for place in known])
    there = set(keep)
    complete = there == set(range(len(there))) and all(place in there for place in known)
    assert judged.is_broken is not complete
    first_missing = min(set(range(6)) - there) + 1
    if judged.is_broken:
        assert judged.verdict == f"broken at {first_missing}"
    elif len(there) - 1 in known:
        assert judged.verdict == "whole"
    else:
        assert judged.verdict == f"whole up to {len(there)}"


def test_what_is_no_manifest_is_refused() -> None:
    with pytest.raises(Malformed, match="It is no evidence"):
        head_of(Envelope(b"{}"), "It")
    with pytest.raises(Malformed, match="run/v1"):
        next_manifest({**RUN, "plan": "x"}, None, None)


def test_a_chain_goes_on_where_both_hosts_agree() -> None:
    assert continue_chain([], None, shown_is_ours=False) == Continuation(None)
    for ours in (True, False):
        agreed = continue_chain([WHOLE[2]], WHOLE[2], shown_is_ours=ours)
        assert agreed == Continuation(HEADS[2])
    assert continue_chain([], WHOLE[2], shown_is_ours=True) == Continuation(HEADS[2])


@pytest.mark.parametrize(
    ("own", "shown", "ours", "head", "unstored", "why"),
    [
        (None, 2, False, 2, [], "not signed by the evidence key in use"),
        (2, 1, True, 2, [2], "signed and never stored"),
        (0, None, False, 0, [0], "signed and never stored"),
        (1, 4, True, 4, [], "another host signs with the same key"),
        (1, 4, False, 1, [], "were lost or replaced"),
        (4, 1, True, 4, [], "were lost or replaced"),
        (2, None, False, 2, [], "shows none as the last manifest"),
    ],
)
def test_what_this_host_noted_counts_before_what_the_other_shows(
    own: int | None, shown: int | None, ours: bool, head: int, unstored: list[int], why: str
) -> None:
    told = continue_chain(
        [] if own is None else [WHOLE[own]],
        None if shown is None else WHOLE[shown],
        shown_is_ours=ours,
    )
    assert told.head == HEADS[head]
    assert told.unstored == tuple(WHOLE[place] for place in unstored)
    assert told.warning is not None
    assert why in told.warning


def test_another_manifest_of_the_same_number_is_told() -> None:
    told = continue_chain([WHOLE[2]], other(2), shown_is_ours=True)
    assert told.head == HEADS[2]
    assert "lost or replaced" in (told.warning or "")


@given(
    own=st.lists(st.integers(min_value=0, max_value=4), unique=True).map(sorted),
    shown=st.none() | st.integers(min_value=0, max_value=4),
    ours=st.booleans(),
)
def test_a_chain_never_goes_back_behind_what_this_host_signed(
    own: list[int], shown: int | None, ours: bool
) -> None:
    told = continue_chain(
        [WHOLE[each] for each in own],
        None if shown is None else WHOLE[shown],
        shown_is_ours=ours,
    )
    assert (told.head.number if told.head else 0) >= (own[-1] + 1 if own else 0)
    manifest = next_manifest(RUN, told.head, None)["predicate"]
    assert manifest["number"] == (told.head.number + 1 if told.head else 1)
