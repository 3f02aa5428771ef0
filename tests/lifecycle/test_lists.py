# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan asks a vault's lists which keys are new; what cannot be undone does not depend on them."""

from __future__ import annotations

from collections import Counter

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._steps import plan as _plan
from ansible_collections.keyferry.azure.plugins.module_utils._vault import versions as _versions
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
    run,
)

MANY = 27  # one more than Azure lists on a page, and the first key, which goes alone


@pytest.fixture
def keys(key: Declare) -> list[Result]:
    return [key() for _number in range(MANY)]


def planned(vault: Vault, keys: list[Result]) -> list[str]:
    """Plan as a transfer does; return the actions."""
    in_token = run("byok_target_key", True, target_keys=keys)["target_keys"]
    result = vault.run(
        "byok_plan", declarations=keys, target_keys=in_token, expired_prefix="keyferry-kek"
    )
    assert (result["failures"], result["warnings"]) == ([], [])
    return [entry["action"] for entry in result["plan"]]


def asked(vault: Vault) -> Counter[str]:
    return Counter(
        each["operation"]
        for each in vault.lab.control("GET", "/requests")
        if each["vault"] == vault.host
    )


def test_new_keys_are_not_asked_for_one_by_one(vault: Vault, keys: list[Result]) -> None:
    assert planned(vault, keys) == ["transfer"] * MANY
    assert asked(vault) == {"get": 1, "get_deleted": 1, "list": 1, "list_deleted": 1}


def test_few_new_keys_cost_no_list_of_deleted_ones(vault: Vault, keys: list[Result]) -> None:
    assert planned(vault, keys[:3]) == ["transfer"] * 3
    assert asked(vault) == {"get": 1, "get_deleted": 3, "list": 1}


def test_an_import_takes_three_requests(vault: Vault, keys: list[Result]) -> None:
    brought = vault.transfer(*keys)
    assert brought["failures"] == []
    sent = asked(vault)
    assert [sent[each] for each in ("import", "versions")] == [MANY, MANY + 3]  # and the KEK's
    assert (sent["get"], sent["get_deleted"]) == (MANY + 4, 3)


def test_a_deleted_key_is_seen_in_the_list(vault: Vault, keys: list[Result]) -> None:
    declared = keys[-1]
    only(vault.rotate(declared))
    (version,) = vault.versions(declared)
    deletion = {**declared, "confirm": version["version"]}
    assert vault.run("byok_import", imports=[deletion], state="absent")["changed"] is True
    assert planned(vault, keys) == ["transfer"] * (MANY - 1) + ["conflict"]


def test_who_may_not_look_at_deleted_keys_asks_once(hsm: Vault, keys: list[Result]) -> None:
    roles = {"operator": ["Managed HSM Crypto User"]}
    hsm.lab.control("PUT", f"/vaults/{hsm.host}", {"roles": roles})
    assert planned(hsm, keys) == ["transfer"] * MANY
    assert asked(hsm) == {"get": 1, "get_deleted": 1, "list": 1, "list_deleted": 1}


def test_without_the_list_of_deleted_keys_each_is_asked_for(
    vault: Vault, keys: list[Result]
) -> None:
    vault.fault(operation="list_deleted", kind="firewall")
    assert planned(vault, keys) == ["transfer"] * MANY
    assert asked(vault)["get_deleted"] == MANY


def test_a_list_that_lags_behind_makes_no_second_version(
    vault: Vault, keys: list[Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = keys[-1]
    only(vault.rotate(declared))
    before = vault.versions(declared)
    monkeypatch.setattr(_plan, "list_keys", lambda _vault: [])
    assert planned(vault, keys) == ["transfer"] * MANY
    brought = vault.transfer(*keys)
    assert brought["failures"] == []
    assert vault.versions(declared) == before


@BOTH
def test_a_version_that_lands_between_two_looks_is_not_superseded(
    lab: Lab, vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    list_versions, rivals = _versions.list_versions, list[Result]()

    def list_late(where: object, name: str) -> object:
        if name == declared["name"] and not rivals:
            rivals.append(vault.native(declared))
        return list_versions(where, name)  # type: ignore[arg-type]

    monkeypatch.setattr(_versions, "list_versions", list_late)
    said = failure(vault.rotate(declared))
    assert "is another one than expected: its newest version is" in said
    assert len(rivals) == 1
    found = [version["version"] for version in vault.versions(declared)]
    assert (len(found), found[1]) == (2, first["version"])
