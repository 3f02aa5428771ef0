# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Deleting a key: soft delete, waiting for it, purging it where that is asked for and possible."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault._client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault._versions import is_soft_deleted, read_version

#: The SDK polls every 2 s as well; the real service needed up to a minute
_POLL_SECONDS = 2


def can_be_purged(recovery_level: str) -> bool:
    """Tell whether a vault with this recovery level lets deleted keys be purged (Key Vault, "Soft-delete overview")."""
    return "Purgeable" in recovery_level


def refuse_purge(vault: Vault, name: str, recovery_level: str) -> None:
    """Refuse to purge where the vault would not, before anything is deleted.

    :raises ByokError: when the recovery level does not allow it
    """
    if not can_be_purged(recovery_level):
        raise ByokError(
            f"The key {name} cannot be purged: the {vault} has purge protection (recovery level {recovery_level})",
            "Set purge to false; the deleted name stays taken until the vault's retention is over",
        )


def delete(vault: Vault, name: str, timeout: float) -> None:
    """Delete all versions of a key and wait until that is done.

    :param timeout: seconds
    :raises ByokError: when Azure refuses, or is not done in time
    """
    vault.write(
        f"Deleting the key {name} in the {vault}",
        lambda **options: bool(vault.client.begin_delete_key(name, **options)),
        lambda: True if read_version(vault, name) is None else None,
    )
    waited = 0.0
    # Where the identity may not look (on a Managed HSM that takes Crypto Officer), what Azure answered has to do.
    while not is_soft_deleted(vault, name, if_forbidden=True):
        if waited >= timeout:
            raise ByokError(
                f"The {vault} has not finished deleting the key {name} after {timeout:g} seconds",
                "Nothing is wrong yet: run again later, or set delete_timeout higher",
            )
        vault.sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS


def purge(vault: Vault, name: str) -> None:
    """Purge a deleted key, for ever.

    :raises ByokError: when Azure refuses
    """
    vault.write(
        f"Purging the deleted key {name} in the {vault}",
        lambda **options: vault.client.purge_deleted_key(name, **options) is None,
        lambda: None if is_soft_deleted(vault, name) else True,
    )
