# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each byte of a receipt folder, changed in its lowest bit and in its case.

It takes minutes, so it is no part of the short checks; test_mutations.py tries some bytes.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit import (
    judge_attestation,
    signers,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit import mutations
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    small,
    trust,
    verified,
)

MADE = small()
FILES, TRUST = MADE.files(), trust(MADE)


def remember(function: Callable[..., t.Any], key: Callable[..., t.Any]) -> Callable[..., t.Any]:
    """The same function, which computes once for what it is given."""
    known: dict[t.Any, t.Any] = {}

    def remembered(*arguments: t.Any) -> t.Any:
        place = key(*arguments)
        if place not in known:
            known[place] = function(*arguments)
        return known[place]

    return remembered


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify signatures and attestations once: most of them are the same in all folders."""
    true, judge = signers._is_true, judge_attestation._judge
    monkeypatch.setattr(
        signers, "_is_true", remember(true, lambda envelope, each, _keys: (envelope.payload, each))
    )
    monkeypatch.setattr(
        judge_attestation,
        "_judge",
        remember(
            judge,
            lambda claim, stated, answers, _roots: (
                claim,
                stated.where,
                answers.get(claim.sha256),
            ),
        ),
    )
    read = statements.read
    monkeypatch.setattr(
        statements,
        "read",
        remember(read, lambda envelope, where: (envelope.payload, where)),
    )


ENVELOPES = sorted(path for path in FILES if path.endswith(".jsonl"))
ATTESTATIONS = sorted(set(FILES) - set(ENVELOPES))


@pytest.mark.parametrize("path", ENVELOPES)
def test_no_byte_of_a_file_of_envelopes_can_be_changed(path: str) -> None:
    whole = verified(FILES, TRUST)
    assert whole.verdict == "whole"
    for at in range(len(FILES[path])):
        for change in (0x01, 0x20):
            changed = mutations.with_byte(FILES, path, at, change)
            mutations.check(changed, TRUST, whole, f"{path} at {at} by {change}")


@pytest.mark.parametrize("number", range(len(ATTESTATIONS)))
def test_no_byte_of_an_attestation_can_be_changed(number: int) -> None:
    whole, path = verified(FILES, TRUST), ATTESTATIONS[number]
    for at in range(len(FILES[path])):
        changed = mutations.with_byte(FILES, path, at, 0x01)
        mutations.check(changed, TRUST, whole, f"{path} at {at}")
