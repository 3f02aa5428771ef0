# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One key in several vaults.

Each of them comes to the same newest generation, and one that fails catches up.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Vault,
    failure,
    only,
)

pytestmark = BOTH


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_all_vaults_come_to_the_same_generation_whatever_the_order(
    lab: Lab, vault: Vault, hsm: Vault, key: Declare, order: tuple[int, int]
) -> None:
    declared = key(every="P30D")
    vaults = [vault, hsm]
    for rotations in range(3):
        first, second = (only(vaults[number].rotate(declared)) for number in order)
        assert first["action"] == ("rotate" if rotations else "transfer")
        assert (second["action"], second["generation"]) == ("transfer", first["generation"])
        assert len(vault.generations(declared)) == rotations + 1
        assert [only(each.rotate(declared))["changed"] for each in vaults] == [False, False]
        lab.forward(days=31)
    made = [each["generation"] for each in vault.generations(declared)]
    for each in vaults:
        assert each.in_vault(declared) == [(generation, True) for generation in reversed(made)]


@pytest.mark.parametrize("kind", ["unavailable", "firewall"])
def test_a_vault_that_fails_leaves_the_others_and_catches_up_with_the_same_generation(
    lab: Lab, new_vault: Callable[[], Vault], key: Declare, no_sleep: list[float], kind: str
) -> None:
    declared = key(every="P30D")
    vault, lagging = new_vault(), new_vault()
    only(vault.rotate(declared))
    only(lagging.rotate(declared))
    for _rotation in range(2):
        lab.forward(days=31)
        lagging.fault(operation="*", kind=kind, count=1000)
        assert "failed: Azure answered" in failure(lagging.rotate(declared))
        assert only(vault.rotate(declared))["action"] == "rotate"
        assert "failed: Azure answered" in failure(lagging.rotate(declared))
        lab.control("DELETE", "/faults")
    made = [each["generation"] for each in vault.generations(declared)]
    assert (len(made), len(lagging.versions(declared))) == (3, 1)
    # Two generations behind, it gets the newest alone.
    caught_up = only(lagging.rotate(declared))
    assert (caught_up["action"], caught_up["generation"]) == ("transfer", made[-1])
    assert lagging.in_vault(declared) == [(made[-1], True), (made[0], True)]
    assert len(vault.generations(declared)) == 3
    assert [only(each.rotate(declared))["changed"] for each in (vault, lagging)] == [False, False]


def test_a_vault_that_is_new_gets_the_newest_generation_although_that_is_due(
    lab: Lab, new_vault: Callable[[], Vault], key: Declare
) -> None:
    declared = key(every="P30D")
    vault, new = new_vault(), new_vault()
    only(vault.rotate(declared))
    lab.forward(days=20)
    brought = only(new.rotate(declared))
    assert (brought["action"], len(new.generations(declared))) == ("transfer", 1)
    # Due in the first vault before it is in the second one: both are replaced, once.
    lab.forward(days=11)
    assert only(new.rotate(declared))["changed"] is False
    assert only(vault.rotate(declared))["action"] == "rotate"
    assert only(new.rotate(declared))["action"] == "transfer"
    assert len(new.generations(declared)) == 2


def test_a_foreign_version_in_one_vault_does_not_stop_another(
    lab: Lab, new_vault: Callable[[], Vault], key: Declare
) -> None:
    declared = key(every="P30D")
    vault, taken = new_vault(), new_vault()
    for each in (vault, taken):
        only(each.rotate(declared))
    taken.native(declared)
    lab.forward(days=31)
    assert "is a key that is not in the token" in failure(taken.rotate(declared))
    second = only(vault.rotate(declared))
    assert "is a key that is not in the token" in failure(taken.rotate(declared))
    replacing = dict(declared, rotation={"every": "P30D", "on_foreign": "rotate"})
    assert only(taken.rotate(replacing))["generation"] == second["generation"]
    assert len(vault.generations(declared)) == 2


def test_a_generation_that_was_forced_in_one_vault_comes_to_the_other(
    lab: Lab, new_vault: Callable[[], Vault], key: Declare
) -> None:
    declared = key()
    vaults = [new_vault(), new_vault()]
    first, _second = (only(each.rotate(declared)) for each in vaults)
    lab.forward(days=2)
    forced = [only(each.rotate(declared, force=[first["thumbprint"]])) for each in vaults]
    assert [each["action"] for each in forced] == ["rotate", "transfer"]
    assert forced[0]["generation"] == forced[1]["generation"]
    assert len(vaults[0].generations(declared)) == 2
