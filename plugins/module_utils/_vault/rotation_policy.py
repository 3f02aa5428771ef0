# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Azure's own rotation policy of a key: it may announce an expiry, and must never make key material
in Azure.

What Rotate does with an imported key is documented nowhere; a version that it made would hold a key
that no token has.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import Rotation
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import Address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NOT_LET_THROUGH,
    AzureError,
)

_NOTIFY, _ROTATE = "notify", "rotate"


@dataclass(frozen=True)
class Policy:
    """A key's rotation policy as it was read.

    :ivar actions: the lifetimeActions of the answer
    :ivar attributes: the attributes of the answer
    """

    actions: tuple[t.Mapping[str, t.Any], ...] = ()
    attributes: t.Mapping[str, t.Any] | None = None

    def facts(self) -> dict[str, t.Any]:
        """Return when Azure announces an expiry, and when it rotates by itself; None where it does
        not.
        """
        return {"notify_before": self._trigger(_NOTIFY), "azure_rotates": self._trigger(_ROTATE)}

    def changes(self, rotation: Rotation) -> dict[str, t.Any]:
        """Return which of the facts have to change, with their new values.

        What is not declared stays as it is, so also the notification that a vault adds to every
        policy by itself.
        """
        declared: dict[str, str | None] = {"azure_rotates": None}
        if rotation.notify_before:
            declared["notify_before"] = str(rotation.notify_before)
        current = self.facts()
        return {fact: value for fact, value in declared.items() if value != current[fact]}

    def _trigger(self, kind: str) -> str | None:
        """Return when the first action of a kind takes place; None where there is none."""
        for action in self.actions:
            if _kind(action) == kind:
                trigger = action.get("trigger") or {}
                after_creation = f"{trigger.get('timeAfterCreate')} after creation"
                return trigger.get("timeBeforeExpiry") or after_creation
        return None


def _kind(action: t.Mapping[str, t.Any]) -> str:
    """Return ``notify`` or ``rotate``, of one of the lifetimeActions."""
    kind: str = action["action"]["type"].lower()
    return kind


def read_policy(vault: Vault, name: str, rotation: Rotation) -> Policy:
    """Return the rotation policy of a key.

    :raises ByokError: when Azure refuses; but a missing permission to read it counts as no policy
        where nothing about it is declared
    """
    try:
        policy = vault.read_if_there(
            f"Reading the rotation policy of the key {name} in the {vault}",
            lambda **options: _to_policy(_send(vault, "GET", name, **options)),
        )
    except AzureError as error:
        forbidden = error.status == 403 and error.code not in NOT_LET_THROUGH
        if forbidden and not rotation.notify_before:
            return Policy()
        raise
    return policy or Policy()


def refuse_notification(address: Address, name: str, rotation: Rotation) -> None:
    """Refuse notify_before for a Managed HSM, which announces no expiries.

    Source: Microsoft, "Configure key auto-rotation in Azure Managed HSM".

    :raises ByokError: for both together
    """
    if rotation.notify_before and address.managed_hsm:
        raise ByokError(
            f"The key {name} is declared with notify_before, and the {address} announces no "
            "expiries",
            "Leave notify_before out for keys of a Managed HSM, and let a scheduled run tell what "
            "is due",
        )


def change_policy(vault: Vault, name: str, policy: Policy, changes: t.Mapping[str, t.Any]) -> None:
    """Set the facts of a policy that have to change; the rest of it is sent as it was read, for a
    PUT replaces it.

    :param changes: as Policy.changes() returns them
    :raises ByokError: when Azure refuses
    """
    replaced = {_ROTATE}
    notifications = []
    if "notify_before" in changes:
        replaced.add(_NOTIFY)
        trigger = {"timeBeforeExpiry": changes["notify_before"]}
        notifications = [{"trigger": trigger, "action": {"type": "Notify"}}]
    kept = [dict(action) for action in policy.actions if _kind(action) not in replaced]
    actions = kept + notifications
    expiry = (policy.attributes or {}).get("expiryTime")
    body = {"lifetimeActions": actions, "attributes": {"expiryTime": expiry} if expiry else {}}

    def landed() -> Policy | None:
        read = vault.read(
            f"Reading back the rotation policy of the key {name}",
            lambda **options: _to_policy(_send(vault, "GET", name, **options)),
        )
        facts = read.facts()
        return read if all(facts[fact] == value for fact, value in changes.items()) else None

    vault.write(
        f"Setting the rotation policy of the key {name} in the {vault}",
        lambda **options: _to_policy(_send(vault, "PUT", name, body, **options)),
        landed,
    )


def _to_policy(answer: t.Mapping[str, t.Any]) -> Policy:
    policy = Policy(tuple(answer.get("lifetimeActions") or ()), answer.get("attributes"))
    policy.facts()  # what cannot be read is found here, where it is known to be Azure's answer
    return policy


def _send(
    vault: Vault, method: str, name: str, body: t.Any = None, **options: t.Any
) -> dict[str, t.Any]:
    # Not by the SDK's own method, which drops the options that keep it from repeating a request.
    response = vault.request(method, f"/keys/{name}/rotationpolicy", body, **options)
    answer: dict[str, t.Any] = response.json()
    return answer
