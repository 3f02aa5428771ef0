# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of steps: rehearse before anything is made, lock after all vaults have the key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Vault,
    failure,
    generations,
    only,
    run,
)


@BOTH
@pytest.mark.parametrize("stage", ["rotate", "prepare"])
def test_nothing_is_made_that_the_token_could_not_wrap(
    vault: Vault, key: Declare, stage: str
) -> None:
    """SoftHSM leaves zeros behind the key, which a run has to allow."""
    declared = key("RSA")
    failed = vault.rotate(declared, allow_trailing_zeros=False, stage=stage)
    assert "cannot be wrapped" in failure(failed)
    assert failed["changed"] is False
    assert generations(declared)[declared["name"]] == []
    assert vault.keks() == []


@BOTH
def test_a_key_stays_open_until_the_last_vault_has_it(
    new_vault: Callable[[], Vault], key: Declare
) -> None:
    declared = dict(key("RSA"), after_transfer="lock")
    first, second = new_vault(), new_vault()
    open_still = first.rotate(declared, last_vault=False)
    assert only(open_still)["locked"] is False
    if first.driver == "role":
        assert {declared["name"]: "elsewhere"} in open_still["told"]
    else:
        assert "stays unlocked in the token" in open_still["warnings"][0]
    assert [each["CKA_EXTRACTABLE"] for each in first.generations(declared)] == [True]
    again = first.rotate(declared, last_vault=False)
    assert (only(again)["locked"], again["changed"]) == (False, False)
    last = only(second.rotate(declared, last_vault=True))
    assert (last["action"], last["locked"]) == ("transfer", True)
    assert [each["CKA_EXTRACTABLE"] for each in first.generations(declared)] == [False]


@BOTH
def test_a_key_that_a_run_left_open_is_locked_by_one_that_is_told_to(
    vault: Vault, key: Declare
) -> None:
    declared = dict(key(), after_transfer="lock")
    only(vault.rotate(declared, last_vault=False))
    would = vault.rotate(declared, check=True)
    assert (only(would)["action"], only(would)["locked"], would["changed"]) == ("lock", True, True)
    assert only(vault.rotate(declared))["locked"] is True
    assert vault.rotate(declared)["changed"] is False


def test_identities_to_withdraw_are_judged_before_the_first_is_withdrawn(key: Declare) -> None:
    declared = key("RSA")
    (made,) = run("byok_target_key", target_keys=[declared])["target_keys"]
    with pytest.raises(Exception, match="nothing was withdrawn"):
        run("byok_target_key", target_keys=[declared], withdraw=[made["thumbprint"], "nobody"])
    assert [each["withdrawn"] for each in generations(declared)[declared["name"]]] == [False]


@BOTH
def test_a_kek_is_deleted_although_no_key_could_be_imported(vault: Vault, key: Declare) -> None:
    declared = key()
    vault.fault(operation="import", kind="firewall", count=1)
    assert "ForbiddenByFirewall" in failure(vault.rotate(declared))
    assert vault.keks() == []
