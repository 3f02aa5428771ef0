# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Deleting a key, purging and recovering a deleted one, and waiting until that is done."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    read_deleted,
    read_version,
)

#: The SDK polls every 2 s as well; the real service needed up to a minute
_POLL_SECONDS = 2


def can_be_purged(recovery_level: str) -> bool:
    """Tell whether a vault with this recovery level lets deleted keys be purged.

    Source: Key Vault, "Soft-delete overview".
    """
    return "Purgeable" in recovery_level


def refuse_purge(vault: Vault, name: str, version: Version) -> None:
    """Refuse to purge where the vault would not, before anything is deleted.

    :raises ByokError: when the recovery level does not allow it
    """
    if not can_be_purged(version.recovery_level):
        days = f", retention {version.retention_days} days" if version.retention_days else ""
        raise ByokError(
            f"The key {name} cannot be purged: the {vault} has purge protection "
            f"(recovery level {version.recovery_level}{days})",
            "Set purge to false; the deleted name stays reserved until the vault's "
            "retention is over",
        )


def delete(vault: Vault, name: str, timeout: float) -> bool:
    """Delete all versions of a key and wait until that is done.

    :param timeout: seconds
    :returns: whether it could be watched; on a Managed HSM that takes Crypto Officer
    :raises ByokError: when Azure refuses, or is not done in time
    """
    vault.write(
        f"Deleting the key {name} in the {vault}",
        lambda **options: bool(vault.client.begin_delete_key(name, **options)),
        lambda: True if read_version(vault, name) is None else None,
    )

    def is_deleted() -> bool | None:
        deleted = read_deleted(vault, name, forbidden=False)
        return True if isinstance(deleted, Version) else deleted

    return _wait(
        vault, is_deleted, timeout, f"The {vault} has not finished deleting the key {name}"
    )


def purge(vault: Vault, name: str) -> None:
    """Purge a deleted key, for ever.

    :raises ByokError: when Azure refuses
    """
    vault.write(
        f"Purging the deleted key {name} in the {vault}",
        lambda **options: vault.client.purge_deleted_key(name, **options) is None,
        lambda: True if read_deleted(vault, name, forbidden=False) is None else None,
    )


def recover(vault: Vault, name: str, timeout: float) -> Version:
    """Recover a deleted key with all its versions, and wait until that is done.

    :param timeout: seconds
    :returns: its newest version
    :raises ByokError: when Azure refuses, or is not done in time
    """
    vault.write(
        f"Recovering the deleted key {name} in the {vault}",
        lambda **options: bool(vault.client.begin_recover_deleted_key(name, **options)),
        lambda: True if read_version(vault, name) else None,
    )
    return _wait(
        vault,
        lambda: read_version(vault, name),
        timeout,
        f"The {vault} has not finished recovering the key {name}",
    )


T = t.TypeVar("T")


def _wait(vault: Vault, look: t.Callable[[], T | None], timeout: float, what: str) -> T:
    """Look until something but None is seen, and return that.

    :param timeout: seconds
    :param what: has not happened, for an error
    :raises ByokError: after the timeout
    """
    waited = 0.0
    while True:
        state = look()
        if state is not None:
            return state
        if waited >= timeout:
            raise ByokError(
                f"{what} after {timeout:g} seconds",
                "Nothing is wrong yet: run again later, or increase delete_timeout",
            )
        vault.sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS
