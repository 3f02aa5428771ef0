# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    KeySpec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import (
    KnownGeneration,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED

DECLARED = Declaration("key", KeySpec("RSA", size=2048))


def facts(generation: str, **changes: t.Any) -> dict[str, t.Any]:
    """A generation as byok_target_key reports it."""
    plain = {
        "generation": generation,
        "thumbprint": f"thumbprint of {generation}",
        "made_by_keyferry": True,
        "made": "2026-01-02T00:00:00Z",
        "withdrawn": False,
        "half_made": False,
        "origin": "token",
        "CKA_EXTRACTABLE": True,
    }
    return {**plain, **changes}


def test_the_result_of_byok_target_key_is_read() -> None:
    adopted = facts("01", made_by_keyferry=False, made=None, CKA_EXTRACTABLE=None)
    leftover = facts("02", half_made=True)
    observed = {"generation": "03", "generations": [adopted, leftover, facts("03")]}
    in_token = in_the_token(DECLARED, observed)
    assert in_token.generations == (
        KnownGeneration("01", "thumbprint of 01", usable=False),
        KnownGeneration(
            "03",
            "thumbprint of 03",
            made=datetime(2026, 1, 2, tzinfo=timezone.utc),
            extractable=True,
        ),
    )
    assert in_token.wanted == in_token.generations[1]
    assert in_the_token(DECLARED, {**observed, "generation": None}).wanted is None


@pytest.mark.parametrize(
    ("changes", "usable", "usable_if_external_is_allowed"),
    [
        ({}, True, True),
        ({"origin": "unknown"}, True, True),
        ({"origin": "external"}, False, True),
        ({"made_by_keyferry": False}, False, False),
        ({"withdrawn": True}, False, False),
    ],
)
def test_what_can_be_transferred_although_no_vault_has_it(
    changes: dict[str, t.Any], usable: bool, usable_if_external_is_allowed: bool
) -> None:
    observed = {"generation": None, "generations": [facts("01", **changes)]}
    (generation,) = in_the_token(DECLARED, observed).generations
    assert generation.usable == usable
    allowed = replace(DECLARED, allow_external_origin=True)
    (generation,) = in_the_token(allowed, observed).generations
    assert generation.usable == usable_if_external_is_allowed


def test_a_key_without_a_result_and_one_that_contradicts_itself_are_refused() -> None:
    with pytest.raises(ByokError, match="no result of byok_target_key for the key key"):
        in_the_token(DECLARED, None)
    contradiction = replace(DECLARED, generation="01", rotation=UNSCHEDULED)
    with pytest.raises(ByokError, match="Declare one of the two"):
        in_the_token(contradiction, {"generation": "01", "generations": [facts("01")]})
