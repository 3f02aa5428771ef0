# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Azure's own rotation policies: it may announce an expiry, and must not make keys."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
    run,
)
from azure.keyvault.keys import (
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)

ROTATE = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P30D")


def actions(vault: Vault, declared: Result) -> dict[str, str | None]:
    """What Azure does by itself: Notify so long before an expiry, Rotate so long after creation."""
    policy = vault.lab.client(vault.url).get_key_rotation_policy(declared["name"])
    return {
        # Of a Managed HSM the SDK has a text in lower case, in the place of its enumeration
        str(getattr(each.action, "value", each.action)).capitalize(): each.time_before_expiry
        or each.time_after_create
        for each in policy.lifetime_actions
    }


def let_azure_rotate(vault: Vault, declared: Result) -> None:
    policy = KeyRotationPolicy()
    vault.lab.client(vault.url).update_key_rotation_policy(
        declared["name"], policy, lifetime_actions=[ROTATE], expires_in="P2Y"
    )


def test_what_a_vault_adds_by_itself_is_no_drift(vault: Vault, key: Declare) -> None:
    declared = key(valid_for="P1Y")
    only(vault.rotate(declared))
    assert actions(vault, declared) == {"Notify": "P30D"}
    assert only(vault.rotate(declared))["changed"] is False


def test_a_notification_is_set_and_kept(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P30D", valid_for="P1Y", notify_before="P60D")
    only(vault.rotate(declared))
    assert actions(vault, declared) == {"Notify": "P60D"}
    assert only(vault.rotate(declared))["changed"] is False
    changed = dict(declared, rotation={**declared["rotation"], "notify_before": "P45D"})
    would = vault.rotate(changed, check=True)
    done = vault.rotate(changed)
    assert only(done)["action"] == "update"
    assert would["changes"] == done["changes"]
    assert (done["changes"][0].before, done["changes"][0].after) == (
        {"notify_before": "P60D"},
        {"notify_before": "P45D"},
    )
    assert actions(vault, declared) == {"Notify": "P45D"}
    # No longer declared, it stays as it is; so it does when the key is replaced.
    undeclared = dict(declared, rotation={"every": "P30D", "valid_for": "P1Y"})
    assert only(vault.rotate(undeclared))["changed"] is False
    lab.forward(days=31)
    only(vault.rotate(undeclared))
    assert actions(vault, declared) == {"Notify": "P45D"}


@pytest.mark.parametrize("domain", ["vault.azure.net", "managedhsm.azure.net"])
def test_azure_is_kept_from_rotating(
    new_vault: Declare, key: Declare, lab: Lab, domain: str
) -> None:
    vault: Vault = new_vault(domain)  # type: ignore[assignment]
    declared = key(every="P90D")
    only(vault.rotate(declared))
    let_azure_rotate(vault, declared)
    in_token = run("byok_target_key", True, target_keys=[declared])["target_keys"]
    (planned,) = vault.run("byok_plan", declarations=[declared], target_keys=in_token)["plan"]
    assert (planned["action"], planned["changes"]) == (
        "update",
        {"azure_rotates": {"before": "P30D after creation", "after": None}},
    )
    assert "Azure's rotation policy differs in azure_rotates" in planned["reason"]
    would = vault.rotate(declared, check=True)
    assert "Rotate" in actions(vault, declared)
    done = vault.rotate(declared)
    assert (only(done)["action"], done["changed"]) == ("update", True)
    assert would["changes"] == done["changes"]
    assert "Rotate" not in actions(vault, declared)
    assert lab.client(vault.url).get_key_rotation_policy(declared["name"]).expires_in == "P2Y"
    assert only(vault.rotate(declared))["changed"] is False
    # The same when the key is replaced in that run.
    let_azure_rotate(vault, declared)
    lab.forward(days=2)
    thumbprint = vault.versions(declared)[0]["thumbprint"]
    assert only(vault.rotate(declared, force=[thumbprint]))["action"] == "rotate"
    assert "Rotate" not in actions(vault, declared)


def test_a_key_without_a_rotation_of_ours_is_left_alone(vault: Vault, key: Declare) -> None:
    declared = dict(key(), rotation=None)
    only(vault.rotate(declared))
    let_azure_rotate(vault, declared)
    assert only(vault.rotate(declared))["changed"] is False
    assert "Rotate" in actions(vault, declared)


def test_a_managed_hsm_announces_nothing_and_nothing_is_made_before_that_is_said(
    hsm: Vault, key: Declare
) -> None:
    declared = key(valid_for="P1Y", notify_before="P30D")
    for options in ({"check": True}, {"stage": "prepare"}, {}):
        refused = hsm.rotate(declared, **options)
        assert "announces no expiries" in failure(refused)
        assert refused["changed"] is False
    assert (hsm.versions(dict(declared, rotation=None)), hsm.generations(declared)) == ([], [])


def test_a_missing_permission_to_look_is_none_unless_a_notification_is_declared(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(valid_for="P1Y")
    without = ["list", "get", "create", "import", "update", "delete", "sign"]
    vault.set(roles={"operator": without})
    assert only(vault.rotate(declared))["imported"] is True
    assert only(vault.rotate(declared))["changed"] is False
    notified = dict(declared, rotation={"valid_for": "P1Y", "notify_before": "P30D"})
    refused = failure(vault.rotate(notified))
    assert "Reading the rotation policy of the key" in refused
    assert "ForbiddenByPolicy" in refused
    vault.set(roles={"operator": [*without, "getrotationpolicy"]})
    changed = dict(declared, rotation={"valid_for": "P1Y", "notify_before": "P31D"})
    assert "Setting the rotation policy of the key" in failure(vault.rotate(changed))
    vault.set(roles={"operator": [*without, "getrotationpolicy", "setrotationpolicy"]})
    assert only(vault.rotate(changed))["action"] == "update"


def test_a_key_that_azure_rotated_is_foreign(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P1Y")
    only(vault.rotate(declared))
    let_azure_rotate(vault, declared)
    lab.forward(days=31)
    conflict = vault.rotate(declared)
    assert "is a key that is not in the token" in failure(conflict)
    assert len(vault.versions(declared)) == 2
    replacing = dict(declared, rotation={"every": "P1Y", "on_foreign": "rotate"})
    assert only(vault.rotate(replacing))["action"] == "rotate"
    assert "Rotate" not in actions(vault, declared)
    lab.forward(days=60)
    assert only(vault.rotate(replacing))["changed"] is False


def test_a_key_that_azure_rotates_while_a_run_looks_is_not_taken_for_ours(
    lab: Lab, hsm: Vault, key: Declare
) -> None:
    """The version that Azure makes has the tags of ours.

    And of an oct key a tag is all that a look tells.
    """
    declared = dict(
        key("oct", every="P1Y", retire="disable", overlap="PT1H"), data_reencrypted=True
    )
    only(hsm.rotate(declared))
    let_azure_rotate(hsm, declared)
    lab.forward(days=31)
    only(hsm.rotate(declared))
    lab.forward(days=1)
    kept = only(hsm.rotate(declared, stage="retire"))
    assert kept["retired"] == []
    assert "no newer version that is enabled, verified" in kept["kept"][0]["reason"]
