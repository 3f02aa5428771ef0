# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._overview import not_in_place, side_by_side, vaults_behind

OLD, NEW = "01a2032eafaa71a4a5d1e84832f381a3", "01a3032eafaa71a4a5d1e84832f381a3"


def host(name: str, standing: dict[str, t.Any], *, keys: t.Iterable[str] = ("a", "b"), **variables: t.Any) -> dict[str, t.Any]:
    """The variables of a vault's host after a run."""
    url = f"https://{name}.vault.azure.net"
    declared = [{"name": key} for key in keys]
    return {"inventory_hostname": name, "byok_vault_url": url, "byok_keys": declared, "byok_standing": standing, **variables}


def test_a_primary_waits_with_what_another_vault_of_the_same_token_lacks() -> None:
    primary = host("primary", {}, byok_primary=True)
    assert not_in_place([host("one", {"a": NEW, "b": OLD}), primary], "primary") == []
    assert not_in_place([host("one", {"a": NEW}), primary], "primary") == ["b"]
    assert not_in_place([host("one", {"a": NEW}), host("two", {}), primary], "primary") == ["a", "b"]
    assert not_in_place([host("one", {}, byok_token_label="another"), primary], "primary") == []
    assert not_in_place([host("one", {}, byok_primary="true"), primary], "primary") == []
    assert not_in_place([{"inventory_hostname": "no-vault"}, primary], "primary") == []


def test_nothing_is_locked_that_any_other_vault_lacks() -> None:
    one = host("one", {"a": NEW, "b": NEW})
    assert not_in_place([one, host("two", {"a": NEW}, byok_primary=True)], "one", everywhere=True) == ["b"]
    assert not_in_place([one, host("two", {"a": NEW, "b": NEW}, byok_primary=True)], "one", everywhere=True) == []
    assert not_in_place([host("one", {}), host("two", {"a": NEW, "b": NEW})], "one", everywhere=True) == []


def test_nothing_is_locked_that_a_vault_of_another_slice_is_to_have() -> None:
    sliced = host("one", {"a": NEW, "b": NEW}, byok_lock_after={"b": ["two"]})
    assert not_in_place([sliced], "one", everywhere=True) == ["b"]
    assert not_in_place([sliced, host("two", {"b": NEW}, keys=["b"])], "one", everywhere=True) == []
    assert not_in_place([sliced], "one") == []


def test_a_key_that_would_be_made_is_in_place_in_check_mode() -> None:
    assert not_in_place([host("one", {"a": None, "b": None}), host("primary", {}, byok_primary=True)], "primary") == []


def test_vaults_that_lack_the_newest_generation_are_named() -> None:
    even = [host("one", {"a": NEW, "b": OLD}), host("two", {"a": NEW, "b": OLD})]
    assert vaults_behind(even) == []
    [said] = vaults_behind([host("one", {"a": NEW, "b": OLD}), host("two", {"a": OLD, "b": OLD})])
    assert said == (f"two (https://two.vault.azure.net): behind with the key a, of which one has the generation {NEW}.")
    [said] = vaults_behind([host("one", {"a": NEW}, keys=["a"]), host("two", {}, keys=["a"])])
    assert said.startswith("two ")
    assert vaults_behind([host("one", {}), host("two", {})]) == []
    assert vaults_behind([host("one", {"a": NEW}, keys=["a"]), host("two", {}, keys=["a"], byok_token_serial="2")]) == []


def version(number: int, **facts: t.Any) -> dict[str, t.Any]:
    plain = {"version": str(number), "generation": None, "ours": False, "active": False, "enabled": True}
    return {**plain, "created": "2026-11-22T10:00:00Z", "expires": None, **facts}


def test_generations_and_versions_stand_side_by_side() -> None:
    made = {"kind": "P-256", "made": "2026-11-22T10:00:00Z", "thumbprint": "x", "withdrawn": False, "half_made": False}
    in_token = {"name": "a", "generations": [{"generation": OLD, **made}, {"generation": NEW, **made, "withdrawn": True}]}

    def shown(url: str, versions: list[dict[str, t.Any]], deleted: bool | None = False) -> dict[str, t.Any]:
        key = {"name": "a", "deleted": deleted, "last_rotated": None, "next_due": "2027-01-01T00:00:00Z", "versions": versions}
        plan = [{"name": "a", "action": "none", "reason": "as declared"}]
        token = {"label": "byok", "serial": "7"}
        return {"token": token, "target_keys": [in_token], "plan": plan, "versions": {"vault_url": url, "target_keys": [key]}}

    lines = side_by_side(
        [
            shown("https://one", [version(2), version(1, generation=OLD, ours=True, active=True)]),
            shown("https://two", [], deleted=True),
        ]
    )
    assert lines[0] == "a, token byok (7)"
    assert lines[1].startswith(f"  generation {OLD}, P-256, made 2026")
    assert lines[2] == "    https://one: version 1, active, enabled, created 2026-11-22T10:00:00Z, expires never"
    assert lines[3] == "    https://two: -"
    assert lines[4].endswith("withdrawn")
    assert "  foreign, https://one: version 2, enabled, created 2026-11-22T10:00:00Z, expires never" in lines
    assert lines[-2] == "  https://one: last rotated never; next due 2027-01-01T00:00:00Z; none: as declared"
    assert "a deleted key holds the name" in lines[-1]
