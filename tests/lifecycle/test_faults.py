# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lost answers, late commits, 429 and 503 for everything that a rotation sends.

There is never a second version, never a wrong success.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    generations,
)

#: All that the rotation of a key with notify_before and prove sends: changes, and then looks
CHANGING = ("create", "import", "delete", "set_policy")
LOOKING = ("get", "versions", "list", "get_deleted", "get_policy", "sign")


def attempt(vault: Vault, key: Result, **options: Any) -> tuple[Result | None, str]:
    """Rotate a key.

    Returns its rotation, None where there is none, and what its failures say.
    """
    try:
        result = vault.rotate(key, prove=True, settle_time=1, throttle_timeout=60, **options)
    except ByokError as error:
        return None, str(error)
    return next(iter(result["rotations"]), None), " ".join(
        each["msg"] for each in result["failures"]
    )


def due_keys(lab: Lab, vault: Vault, declared: Result, count: int) -> list[Result]:
    """Keys like a declared one, each with one version, which is due."""
    keys = [dict(declared, name=f"{declared['name']}-{number}") for number in range(count)]
    assert vault.rotate(*keys)["failures"] == []
    lab.forward(days=91)
    return keys


def see(vault: Vault, keys: list[Result], said: dict[str, tuple[Result | None, str]]) -> None:
    """Check that what was said is so.

    And that after one run more each key has one new version of one new generation.
    """
    versions = vault.inventory(*keys)
    for declared in keys:
        rotation, error = said[declared["name"]]
        there = versions[declared["name"]]
        assert len(there) <= 2, said[declared["name"]]
        if not error:
            assert rotation
            assert (rotation["version"], rotation["thumbprint"]) == (
                there[0]["version"],
                there[0]["thumbprint"],
            )
            assert rotation["replaced"] == there[1]["version"]
    assert vault.rotate(*keys)["failures"] == []
    assert vault.rotate(*keys)["changed"] is False
    versions, made = vault.inventory(*keys), generations(*keys)
    for declared in keys:
        order = [each["generation"] for each in made[declared["name"]]]
        assert len(order) == 2
        assert [each["generation"] for each in versions[declared["name"]]] == order[::-1]


@BOTH
@pytest.mark.parametrize(
    ("kind", "together"),
    [
        ("throttle", [(*CHANGING, *LOOKING)]),
        ("unavailable", [(*CHANGING, *LOOKING)]),
        ("commit_and_drop", [*((operation,) for operation in CHANGING), LOOKING]),
    ],
)
def test_what_is_met_with_a_fault_is_got_over(
    lab: Lab,
    vault: Vault,
    key: Declare,
    no_sleep: list[float],
    kind: str,
    together: list[tuple[str, ...]],
) -> None:
    keys = due_keys(
        lab, vault, key(every="P90D", valid_for="P120D", notify_before="P7D"), len(together)
    )
    said = {}
    for operations, declared in zip(together, keys, strict=True):
        if "set_policy" in operations:
            declared["rotation"] = {**declared["rotation"], "notify_before": "P10D"}
        for operation in operations:
            vault.fault(operation=operation, kind=kind, count=1)
        said[declared["name"]] = attempt(vault, declared)
        assert lab.control("GET", "/faults") == [], operations
    errors = {
        operations: error
        for operations, (_rotation, error) in zip(together, said.values(), strict=True)
        if error
    }
    if kind == "commit_and_drop":
        # Nothing shows then that the KEK is this run's, so nothing is wrapped under it.
        assert "kek_trust: unverified" in errors.pop(("create",))
    assert errors == {}
    see(vault, keys, said)


@BOTH
def test_what_is_carried_out_late_is_not_done_twice(lab: Lab, vault: Vault, key: Declare) -> None:
    keys = due_keys(lab, vault, key(every="P90D", valid_for="P120D"), 3)
    said = {}
    for operation, declared in zip(("create", "import", "delete"), keys, strict=True):
        vault.fault(operation=operation, kind="drop_and_commit", count=1, seconds=0.3)
        said[declared["name"]] = attempt(vault, declared)
        assert lab.control("GET", "/faults") == [], operation
    assert "kek_trust: unverified" in said[keys[0]["name"]][1]
    assert [said[each["name"]][1] for each in keys[1:]] == ["", ""]
    see(vault, keys, said)


@BOTH
@pytest.mark.parametrize("kind", ["commit_and_drop", "drop_and_commit", "unavailable"])
def test_where_nothing_tells_whether_it_was_imported_that_is_said(
    lab: Lab,
    vault: Vault,
    key: Declare,
    no_sleep: list[float],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    from azure.keyvault.keys import KeyClient

    (declared,) = due_keys(lab, vault, key(every="P90D"), 1)
    plain = KeyClient.import_key

    def and_then_an_outage(*arguments: Any, **options: Any) -> Any:
        vault.fault(operation="import", kind=kind, count=1, seconds=0.1)
        vault.fault(operation="*", kind="unavailable", count=100, key=declared["name"])
        return plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(KeyClient, "import_key", and_then_an_outage)
        rotation, error = attempt(vault, declared)
    assert "whether it was done is not known" in error
    assert "Run again later" in error
    assert rotation
    assert not rotation["imported"]
    lab.control("DELETE", "/faults")
    time.sleep(0.2)
    see(vault, [declared], {declared["name"]: (rotation, error)})


@BOTH
def test_a_vault_that_is_down_is_said_to_be(
    lab: Lab, vault: Vault, key: Declare, no_sleep: list[float]
) -> None:
    keys = due_keys(lab, vault, key(every="P90D"), 2)
    for kind, words in (
        ("unavailable", "Azure answered 503"),
        ("firewall", "ForbiddenByFirewall"),
        ("throttle", "429"),
    ):
        vault.fault(operation="*", kind=kind, count=100)
        result = vault.rotate(*keys)
        assert words in failure(result)
        assert "Not tried, because the vault does not serve this run now" in result["warnings"][0]
        assert (result["changed"], len(generations(*keys)[keys[0]["name"]])) == (False, 1)
        lab.control("DELETE", "/faults")
