# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a Managed HSM's hardware states of a key, as Azure answers it."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import AzureError


def fetch_attestation(
    vault: Vault, name: str, version: str, warn: t.Callable[[str], None]
) -> str | None:
    """Return the whole answer, which is judged elsewhere; None where there is none.

    A vault has none (recorded: 400), and neither has an api-version before 7.6, so a 400 is no
    fault. Whoever needs the attestation says that it is missing.

    :param version: empty for the newest, as Azure takes it
    :param warn: is told why Azure refused it
    """
    if not vault.address.managed_hsm:
        return None
    try:
        return vault.read(
            f"Fetching the attestation of the key {name} in the {vault}",
            lambda **options: _answer(vault, name, version, options),
        )
    except AzureError as error:
        if error.status != 400:
            warn(f"{name}: the hardware's attestation could not be fetched: {error}")
        return None


def _answer(vault: Vault, name: str, version: str, options: dict[str, t.Any]) -> str:
    response = vault.request("GET", f"/keys/{name}/{version}/attestation", **options)
    text: str = response.text()
    return text
