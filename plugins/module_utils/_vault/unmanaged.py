# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The keys of a vault that nobody declared."""

from __future__ import annotations

import typing as t
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import UnmanagedKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import GENERATION_TAG
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NOT_LET_THROUGH,
    AzureError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    Listed,
    list_keys,
)


def expired(listed: t.Iterable[Listed], prefix: str, now: datetime) -> list[str]:
    """Return the names of the keys that begin with a prefix and have expired.

    A list has neither operations nor older versions, so whether they are KEKs it does not tell.
    """
    return [
        key.name
        for key in listed
        if key.name.lower().startswith(prefix.lower())
        and key.expires_on is not None
        and key.expires_on <= now
    ]


def list_to_report(vault: Vault) -> list[Listed]:
    """Return all keys of a vault, for a report.

    :raises ByokError: when the vault cannot be listed
    """
    try:
        return list_keys(vault)
    except AzureError as error:
        if error.status == 403 and error.code not in NOT_LET_THROUGH:
            remedy = (
                f"{error.remedy}. Without that, set unmanaged to ignore (byok_unmanaged of the "
                "role)"
            )
            raise ByokError(error.what, remedy) from error
        raise


def list_unmanaged(
    vault: Vault, declared: t.Iterable[str], listed: t.Iterable[Listed] | None = None
) -> list[dict[str, t.Any]]:
    """Return the keys of a vault that are not ``declared``, by name; keys that belong to
    certificates are none of ours.

    A list has no key material, so whether one of them is in the token it does not tell.

    :param listed: the keys of the vault; if None, they are listed
    :raises ByokError: when the vault cannot be listed
    """
    # Azure compares names without regard to case
    declared_names = {name.lower() for name in declared}
    found = list_to_report(vault) if listed is None else listed
    return [
        UnmanagedKey(
            name=key.name,
            kid=key.id,
            enabled=key.enabled is not False,
            created=key.created_on,
            expires=key.expires_on,
            marked=GENERATION_TAG in key.tags,
        ).to_dict()
        for key in sorted(found, key=lambda key: key.name.lower())
        if key.name.lower() not in declared_names and not key.managed
    ]
