# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    awaited_elsewhere,
    not_in_place,
    not_in_this_run,
    vaults_behind,
)

OLD, NEW = "01a2032eafaa71a4a5d1e84832f381a3", "01a3032eafaa71a4a5d1e84832f381a3"


def host(
    name: str, standing: dict[str, t.Any], *, keys: t.Iterable[str] = ("a", "b"), **variables: t.Any
) -> dict[str, t.Any]:
    """The variables of a vault's host after a run."""
    url = f"https://{name}.vault.azure.net"
    # "name=label" for a key with a label of its own
    parts = [key.partition("=") for key in keys]
    declared = [
        {"name": key, **({"label": label} if label else {})} for key, _equals, label in parts
    ]
    return {
        "inventory_hostname": name,
        "byok_vault_url": url,
        "byok_keys": declared,
        "byok_standing": standing,
        **variables,
    }


def test_a_primary_waits_with_what_another_vault_of_the_same_token_lacks() -> None:
    primary = host("primary", {}, byok_primary=True)
    assert not_in_place([host("one", {"a": NEW, "b": OLD}), primary], "primary") == []
    assert not_in_place([host("one", {"a": NEW}), primary], "primary") == ["b"]
    assert not_in_place([host("one", {"a": NEW}), host("two", {}), primary], "primary") == [
        "a",
        "b",
    ]
    assert not_in_place([host("one", {}, byok_token_label="another"), primary], "primary") == []
    assert not_in_place([host("one", {}, byok_primary="true"), primary], "primary") == []
    assert not_in_place([{"inventory_hostname": "no-vault"}, primary], "primary") == []


def wait(hosts: t.Iterable[t.Any], arrived: dict[str, t.Any]) -> dict[str, str]:
    return awaited_elsewhere(hosts, "one", arrived)


def test_nothing_is_locked_that_another_vault_of_the_token_lacks() -> None:
    one, both = host("one", {}), {"a": NEW, "b": NEW}
    assert wait([one], both) == {}
    assert wait([one, host("two", {}, byok_arrived=both)], both) == {}
    assert wait([one, host("two", {}, byok_arrived={"a": NEW}, byok_primary=True)], both) == {
        "b": "two"
    }
    assert wait([one, host("two", {}, byok_arrived={"a": OLD, "b": NEW})], both) == {"a": "two"}
    assert wait([one, host("two", {}), host("three", {})], {"a": NEW}) == {"a": "two, three"}
    assert (
        wait(
            [one, host("two", {}, byok_token_label="another"), {"inventory_hostname": "no-vault"}],
            both,
        )
        == {}
    )
    assert wait([one, host("two", {}, keys=["c"])], both) == {}
    assert (
        wait([host("two", {}, byok_arrived=both)], both) == {}
    )  # one that is not in the inventory asks: the implicit localhost


def test_nothing_is_locked_that_a_vault_of_another_slice_is_to_have() -> None:
    sliced = host("one", {}, byok_keys_also_on={"b": ["two"], "c": ["two"]})
    assert wait([sliced], {"a": NEW, "b": NEW}) == {"b": "two"}
    assert wait([sliced, host("two", {}, keys=["b"], byok_arrived={"b": NEW})], {"b": NEW}) == {}


def test_where_a_play_declares_the_keys_other_hosts_are_awaited() -> None:
    bare = {"inventory_hostname": "one"}
    assert list(wait([bare, {"inventory_hostname": "two"}], {"a": NEW})) == ["a"]
    assert wait([bare], {"a": NEW}) == {}


class Unreadable(dict[str, t.Any]):
    """The variables of a host that has a template which cannot be rendered."""

    def get(self, name: str, default: t.Any = None) -> t.Any:
        raise RuntimeError("'nothing' is undefined")


def test_a_host_that_cannot_be_read_is_awaited_with_all_keys() -> None:
    assert wait([host("one", {}), Unreadable(inventory_hostname="bad")], {"a": NEW}) == {"a": "bad"}


def test_a_key_that_would_be_made_is_in_place_in_check_mode() -> None:
    assert (
        not_in_place(
            [host("one", {"a": None, "b": None}), host("primary", {}, byok_primary=True)], "primary"
        )
        == []
    )


def test_vaults_that_lack_the_newest_generation_are_named() -> None:
    even = [host("one", {"a": NEW, "b": OLD}), host("two", {"a": NEW, "b": OLD})]
    assert vaults_behind(even) == []
    [said] = vaults_behind([host("one", {"a": NEW, "b": OLD}), host("two", {"a": OLD, "b": OLD})])
    assert said == (
        "two (https://two.vault.azure.net): behind with the key a, of which one has the generation "
        f"{NEW}."
    )
    [said] = vaults_behind([host("one", {"a": NEW}, keys=["a"]), host("two", {}, keys=["a"])])
    assert said.startswith("two ")
    assert vaults_behind([host("one", {}), host("two", {})]) == []
    assert (
        vaults_behind(
            [
                host("one", {"a": NEW}, keys=["a"]),
                host("two", {}, keys=["a"], byok_token_serial="2"),
            ]
        )
        == []
    )


def left_out(hosts: t.Iterable[t.Any], running: t.Collection[str]) -> dict[str, list[str]]:
    return not_in_this_run(hosts, "one", ["a", "b"], running)


def test_hosts_that_a_limit_left_out_are_named_by_key() -> None:
    one, two = host("one", {}), host("two", {}, keys=["b"])
    assert left_out([one, two], ["one", "two"]) == {}
    assert left_out([one, two], ["one"]) == {"b": ["two"]}
    assert left_out([one, host("two", {}, byok_token_label="another")], ["one"]) == {}
    assert left_out([{"inventory_hostname": "one"}, two], ["one"]) == {}  # a play declares the keys


def test_hosts_of_other_slices_are_named_by_key() -> None:
    one = host("one", {}, byok_keys_also_on={"a": ["two"], "c": ["two"]})
    assert left_out([one], ["one"]) == {"a": ["two"]}
    assert left_out([one, host("two", {}, keys=["a"])], ["one"]) == {"a": ["two"]}
    assert left_out([one, host("two", {}, keys=["a"])], ["one", "two"]) == {}


def test_a_host_that_cannot_be_read_may_be_to_have_all_keys() -> None:
    bad = Unreadable(inventory_hostname="bad")
    assert left_out([host("one", {}), bad], ["one"]) == {"a": ["bad"], "b": ["bad"]}
    assert left_out([host("one", {}), bad], ["one", "bad"]) == {}


def test_one_label_is_one_key_whatever_vaults_call_it() -> None:
    one = host("one", {"x": NEW}, keys=["x=Pay 1", "y"])
    two = host("two", {"z": OLD}, keys=["z=Pay 1", "x"])  # its x is another key
    assert wait([one, two], {"x": NEW, "y": NEW}) == {"x": "two"}
    assert wait([one, {**two, "byok_arrived": {"x": NEW}}], {"x": NEW}) == {"x": "two"}
    assert wait([one, {**two, "byok_arrived": {"z": NEW}}], {"x": NEW}) == {}
    assert not_in_this_run([one, two], "one", ["x", "y"], ["one"]) == {"x": ["two"]}
    primary = {**one, "byok_primary": True}
    assert not_in_place([two, primary], "one") == []
    assert not_in_place([{**two, "byok_standing": {"x": NEW}}, primary], "one") == ["x"]
    [said] = vaults_behind([one, two])
    assert said.startswith("two (https://two.vault.azure.net): behind with the key x, of which one")


def test_tokens_that_are_named_by_slot_or_uri_are_others() -> None:
    for two in (host("two", {}, byok_token_slot=1), host("two", {}, byok_token_uri="pkcs11:x")):
        assert wait([host("one", {}), two], {"a": NEW}) == {}
