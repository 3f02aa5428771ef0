# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that die.

Wherever that is, the next run goes on with the same generation, and without a second version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    generations,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Moment, Reaper

#: The next run waits for an import that may be on its way
pytestmark = pytest.mark.usefixtures("no_sleep")


def shapes(vault: Vault, keys: list[Result]) -> list[list[dict[str, Any]]]:
    """What the versions of keys have in common with any other key that went the same way."""
    versions, there = vault.inventory(*keys), generations(*keys)
    orders = {name: [each["generation"] for each in found] for name, found in there.items()}
    return [
        [
            {
                "generations": len(orders[key["name"]]),
                "generation": orders[key["name"]].index(version["generation"]),
                **{fact: version[fact] for fact in ("enabled", "active", "operations")},
                "expires": version["expires"] and version["expires"][:10],
                "tags": sorted(version["tags"]),
            }
            for version in versions[key["name"]]
        ]
        for key in keys
    ]


def let_die(reaper: Reaper, run: Callable[[Result], Result], keys: list[Result]) -> dict[str, str]:
    """Let a run of the first key live, and of each other key one die at another moment.

    Returns the moments by the keys' names.
    """
    moments = reaper.watch(lambda: run(keys[0]))
    assert len(moments) < len(keys), f"{len(moments)} keys are wanted beside the first"
    when = {}
    for moment, key in zip(moments, keys[1:], strict=False):
        when[key["name"]] = reaper.kills(lambda key=key: run(key), moment)  # type: ignore[misc]
    return when


@BOTH
def test_a_rotation_that_dies_anywhere_is_finished_by_the_next_run(
    lab: Lab, vault: Vault, key: Declare, reaper: Reaper
) -> None:
    count = {"byok_rotate": 60, "role": 70}[vault.driver]  # each module of the role logs in
    keys = [key(every="P90D", valid_for="P120D") for _number in range(count)]
    assert vault.rotate(*keys)["failures"] == []
    lab.forward(days=91)
    when = let_die(reaper, vault.rotate, keys)
    keys = keys[: len(when) + 1]
    assert vault.keks()
    left = generations(*keys)
    finished = vault.rotate(*keys)
    assert finished["failures"] == []
    assert all("an interrupted run had sent an import" in each for each in finished["warnings"])
    assert vault.rotate(*keys)["changed"] is False
    undisturbed, *others = shapes(vault, keys)
    assert len(undisturbed) == 2
    done: dict[str, list[str]] = {}
    for declared, shape, result in zip(keys[1:], others, finished["rotations"][1:], strict=True):
        died = when[declared["name"]]
        assert shape == undisturbed, died
        done.setdefault(result["action"], []).append(died)
        # What was made before the end is brought, not made again, and what was brought is told.
        made_before = len(left[declared["name"]]) == 2
        known = ("transfer", "update", "none")
        assert result["action"] in (known if made_before else ("rotate",)), died
        if result["action"] != "none":
            assert "import" in result["receipt"]["predicate"], died
    assert done["transfer"][0] == "after C_GenerateKeyPair"
    assert done["update"][0].startswith("after PUT")
    # byok_rotate returns all at its end; the role's import was told before the KEK is deleted
    assert done.keys() == {
        "rotate",
        "transfer",
        "update",
        *(["none"] if vault.driver == "role" else []),
    }
    lab.forward(hours=5)
    only(vault.rotate(key()))
    assert vault.keks() == []


def at(reaper: Reaper, run: Callable[[], Any], *names: str) -> list[Moment]:
    """Let a run live; returns the moments before and after its calls whose names begin so."""
    reaper.watch(run)
    count = sum(name.startswith(names) for name in reaper.calls)
    return [Moment(number, after, names) for number in range(count) for after in (False, True)]


@BOTH
def test_a_kek_that_a_run_left_is_deleted_although_nothing_is_brought(
    lab: Lab, vault: Vault, key: Declare, reaper: Reaper
) -> None:
    declared = key()
    reaper.kills(lambda: vault.rotate(declared), Moment(0, True, ("PUT",)))
    (left,) = vault.keks()
    assert vault.rotate(declared)["failures"] == []
    assert vault.keks() == [left]  # somebody may be at work under it
    lab.forward(hours=5)
    assert vault.rotate(declared, check=True)["failures"] == []
    assert vault.keks() == [left]
    result = vault.rotate(declared)
    assert (result["failures"], result["warnings"], vault.keks()) == ([], [], [])
    assert only(result)["action"] == "none"
    assert len(vault.answers("delete")) == 1
    again = vault.rotate(declared)
    assert (again["changed"], len(vault.answers("delete"))) == (False, 1)


@BOTH
def test_a_rotation_that_dies_around_azure_s_policy_is_finished_by_the_next_run(
    vault: Vault, key: Declare, reaper: Reaper
) -> None:
    first = key(valid_for="P1Y", notify_before="P40D")
    moments = at(reaper, lambda: vault.rotate(first), "PUT")
    assert len(moments) == 4
    keys = [dict(first, name=f"{first['name']}-{number}") for number in range(4)]
    for declared, moment in zip(keys, moments, strict=True):
        reaper.kills(lambda declared=declared: vault.rotate(declared), moment)  # type: ignore[misc]
    assert vault.rotate(*keys)["failures"] == []
    assert vault.rotate(*keys)["changed"] is False
    for declared in keys:
        assert len(vault.versions(declared)) == len(vault.generations(declared)) == 1
        policy = vault.lab.client(vault.url).get_key_rotation_policy(declared["name"])
        assert [each.time_before_expiry for each in policy.lifetime_actions] == ["P40D"]


@BOTH
def test_a_key_that_goes_to_no_further_vault_is_locked_though_its_run_died(
    vault: Vault, key: Declare, reaper: Reaper
) -> None:
    keys = [dict(key(), after_transfer="lock") for _number in range(4)]
    moments = at(reaper, lambda: vault.rotate(keys[0]), "C_SetAttributeValue")
    assert len(moments) == 2
    for declared, moment in zip(keys[1:], [Moment(0, True, ("PUT",)), *moments], strict=True):
        reaper.kills(lambda declared=declared: vault.rotate(declared), moment)  # type: ignore[misc]
    finished = vault.rotate(*keys)
    assert finished["failures"] == []
    assert len([change for change in finished["changes"] if "token" in change.where]) == 2
    assert [found[0]["CKA_EXTRACTABLE"] for found in generations(*keys).values()] == [False] * 4
    assert vault.rotate(*keys)["changed"] is False


@BOTH
def test_a_generation_that_was_superseded_before_it_could_be_locked_is_locked_later(
    lab: Lab, vault: Vault, key: Declare, reaper: Reaper
) -> None:
    rotated, relocked = (dict(key(every="P30D"), after_transfer="lock") for _number in range(2))
    reaper.kills(lambda: vault.rotate(rotated), Moment(0, True, ("PUT",)))
    open_one = dict(relocked, after_transfer="keep")
    only(vault.rotate(open_one))
    lab.forward(days=31)
    only(vault.rotate(open_one))
    assert only(vault.rotate(rotated))["action"] == "rotate"
    assert unlocked(rotated) == [False, False]
    checked = vault.rotate(relocked, check=True)
    result = vault.rotate(relocked)
    assert (only(checked)["action"], only(checked)["code"]) == ("lock", "not_locked")
    assert result["changes"] == checked["changes"]
    assert unlocked(relocked) == [False, False]
    assert vault.rotate(rotated, relocked)["changed"] is False


def unlocked(key: Result) -> list[bool]:
    """Of each generation of a key, oldest first, whether it can leave the token."""
    return [each["CKA_EXTRACTABLE"] for each in generations(key)[key["name"]]]


@BOTH
def test_a_retirement_that_dies_is_finished_by_the_next_run(
    lab: Lab, vault: Vault, key: Declare, reaper: Reaper
) -> None:
    keys = [key(every="P30D", retire="disable") for _number in range(3)]
    for _generation in range(3):
        assert vault.rotate(*keys)["failures"] == []
        lab.forward(days=31)
    moments = at(reaper, lambda: vault.rotate(keys[0], stage="retire"), "PATCH")
    assert len(moments) == 4
    for declared, moment in zip(keys[1:], moments[1:3], strict=True):
        reaper.kills(lambda declared=declared: vault.rotate(declared, stage="retire"), moment)  # type: ignore[misc]
    assert vault.rotate(*keys, stage="retire")["failures"] == []
    for declared in keys:
        assert [enabled for _generation, enabled in vault.in_vault(declared)] == [
            True,
            False,
            False,
        ]
    assert vault.rotate(*keys, stage="retire")["changed"] is False


@BOTH
def test_an_oct_key_that_came_with_a_run_that_died_is_recognised(
    hsm: Vault, key: Declare, lab: Lab, reaper: Reaper
) -> None:
    keys = [key("oct", every="P30D") for _number in range(6)]
    moments = at(reaper, lambda: hsm.rotate(keys[0]), f"PUT {hsm.url}", f"POST {hsm.url}/keys/key-")
    assert len(moments) == 4
    for declared, moment in zip(keys[1:], moments, strict=False):
        reaper.kills(lambda declared=declared: hsm.rotate(declared), moment)  # type: ignore[misc]
    assert hsm.rotate(*keys)["failures"] == []
    for declared in keys:
        assert hsm.in_vault(declared) == [(hsm.generations(declared)[0]["generation"], True)]
        assert len(hsm.generations(declared)) == 1


def test_a_destruction_that_dies_is_finished_by_the_next_runs(
    vault: Vault, key: Declare, reaper: Reaper
) -> None:
    first = key()

    def destroy(declared: Result) -> Result:
        read = vault.run(
            "byok_plan",
            declarations=[declared],
            target_keys=run("byok_target_key", True, **declared)["target_keys"],
            all_versions=True,
        )
        options: dict[str, Any] = {
            "state": "absent",
            "vaults": [vault.url],
            "versions": [read["versions"]],
            "confirm": confirm[declared["name"]],
        }
        return run("byok_target_key", **declared, **options)

    keys = [dict(first, name=f"{first['name']}-{number}") for number in range(5)]
    made = run("byok_target_key", target_keys=[first, *keys])["target_keys"]
    confirm = {each["name"]: [each["thumbprint"]] for each in made}
    moments = at(reaper, lambda: destroy(first), "C_DestroyObject")
    assert len(moments) == 4
    for declared, moment in zip(keys, moments, strict=False):
        reaper.kills(lambda declared=declared: destroy(declared), moment)  # type: ignore[misc]
        destroyed = destroy(declared)
        # The private key goes first: a public key alone is left, which the next look removes.
        assert (destroyed["failures"], destroyed["changed"]) == ([], moment == moments[0])
        assert generations(declared) == {declared["name"]: []}
    assert len(generations(keys[4])[keys[4]["name"]]) == 1
