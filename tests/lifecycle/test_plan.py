# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan says what a run does, with the diff of byok_import, and sees what nobody declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import DECISIONS
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    only,
    run,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/plan.schema.json").read_text())
ENTRY = {"$ref": "#/$defs/entry", "$defs": SCHEMA["$defs"]}


def plan(vault: Vault, *keys: Result, **options: Any) -> Result:
    in_token = run("byok_target_key", True, target_keys=list(keys))["target_keys"]
    planned = vault.run("byok_plan", declarations=list(keys), target_keys=in_token, **options)
    for entry in planned["plan"]:
        jsonschema.validate(entry, ENTRY)
        assert entry["code"] in DECISIONS
    return planned


def agrees(vault: Vault, *keys: Result, confirm: str | None = None, **options: Any) -> Result:
    """Plan, and see that byok_import in check mode would change exactly what the plan says."""
    planned = plan(vault, *keys, **options)
    confirmed = [dict(each, confirm=confirm) for each in planned["imports"]]
    would = vault.run("byok_import", True, imports=confirmed, **options)
    assert would["failures"] == []
    assert planned["planned"] == would["changes"]
    assert planned["changed"] is False
    return planned


def test_nothing_to_do(vault: Vault, key: Declare) -> None:
    declared = key()
    only(vault.rotate(declared))
    assert agrees(vault, declared)["planned"] == []


def test_a_transfer(vault: Vault, key: Declare) -> None:
    there, missing = {**key(), "tags": {"owner": "web"}, "expires": "2030-01-01T00:00:00Z"}, key()
    run("byok_target_key", target_keys=[there])
    (known, unknown) = agrees(vault, there, missing)["planned"]
    assert (known.before, known.after["tags"]["owner"]) == ({}, "web")
    assert known.after["thumbprint"]
    assert unknown.after["thumbprint"] is None


def test_drift(vault: Vault, key: Declare) -> None:
    declared = {**key(), "tags": {"owner": "web"}}
    only(vault.rotate(declared))
    changed = {**declared, "enabled": False, "tags": {"owner": "api"}, "operations": ["sign"]}
    (change,) = agrees(vault, changed)["planned"]
    assert set(change.after) == {"enabled", "tags", "operations"}


def test_a_rotation_and_azures_own_policy(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P30D", valid_for="P60D")
    only(vault.rotate(declared))
    noticed = {**declared, "rotation": {**declared["rotation"], "notify_before": "P20D"}}
    (change,) = agrees(vault, noticed)["planned"]
    assert change.after == {"notify_before": "P20D"}
    lab.forward(days=31)
    planned = plan(vault, noticed, rotate=True)
    (change,) = planned["planned"]
    assert planned["plan"][0]["action"] == "rotate"
    assert set(change.before) == {"version", "notify_before"}
    done = vault.rotate(noticed)
    assert done["planned"] == []  # or its diff would tell everything twice
    (did,) = [each for each in done["changes"] if "in the vault" in each.where]
    assert did.before == change.before
    assert {
        **did.after,
        **dict.fromkeys(("version", "thumbprint", "generation", "tags", "expires")),
    } == {
        **change.after,
        **dict.fromkeys(("version", "thumbprint", "generation", "tags", "expires")),
    }


@pytest.mark.parametrize("on_deleted", ["recover", "purge"])
def test_a_deleted_key_in_the_way(vault: Vault, key: Declare, on_deleted: str) -> None:
    declared = key()
    first = only(vault.rotate(declared))
    vault.run("byok_import", imports=[dict(declared, confirm=first["version"])], state="absent")
    assert plan(vault, declared)["plan"][0]["action"] == "conflict"
    assert plan(vault, declared)["planned"] == []
    assert agrees(vault, declared, on_deleted=on_deleted, confirm=first["version"])["planned"]


def test_a_foreign_version_is_a_conflict_and_no_change(vault: Vault, key: Declare) -> None:
    declared = key()
    only(vault.rotate(declared))
    vault.native(declared)
    planned = plan(vault, declared)
    assert (planned["plan"][0]["action"], planned["plan"][0]["foreign"], planned["planned"]) == (
        "conflict",
        True,
        [],
    )


def test_keys_that_nobody_declared_are_reported_from_all_pages(vault: Vault, key: Declare) -> None:
    declared = key()
    only(vault.rotate(declared))
    others = sorted(f"other-{number}" for number in range(30))  # a page has 25
    for name in others:
        vault.native({"name": name, "type": "EC", "curve": "P-256"})
    reported = plan(vault, declared, unmanaged="report")["unmanaged"]
    assert [each["name"] for each in reported if each["name"].startswith("other-")] == others
    assert declared["name"] not in {each["name"] for each in reported}
    assert all(each["enabled"] and each["created"] and not each["marked"] for each in reported)
    assert plan(vault, declared)["unmanaged"] is None
    (left,) = [
        each
        for each in plan(vault, key(), unmanaged="report")["unmanaged"]
        if each["name"] == declared["name"]
    ]
    assert left["marked"] is True


def test_a_vault_that_is_not_reached_says_why(vault: Vault, key: Declare) -> None:
    vault.fault(operation="list", kind="firewall", count=1)
    with pytest.raises(ByokError, match="firewall") as refused:
        plan(vault, key(), unmanaged="report")
    assert "unmanaged" not in str(refused.value)
