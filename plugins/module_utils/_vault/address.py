# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The URL of a vault, the cloud that it is in, and what follows from its kind; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url

#: cloud -> (suffix of vaults, suffix of Managed HSMs, login host); Microsoft's lists of endpoints
#: per cloud
CLOUDS = {
    "AzureCloud": ("vault.azure.net", "managedhsm.azure.net", "login.microsoftonline.com"),
    "AzureChinaCloud": ("vault.azure.cn", "managedhsm.azure.cn", "login.chinacloudapi.cn"),
    "AzureUSGovernment": (
        "vault.usgovcloudapi.net",
        "managedhsm.usgovcloudapi.net",
        "login.microsoftonline.us",
    ),
}


@dataclass(frozen=True)
class Address:
    """A vault's URL taken apart.

    :ivar url: in lower case, without a slash at its end
    :ivar name: the vault's name
    :ivar managed_hsm: whether it is a Managed HSM
    :ivar login_host: where its cloud's tokens come from
    """

    url: str
    name: str
    managed_hsm: bool
    login_host: str

    def __str__(self) -> str:
        return f"{'Managed HSM' if self.managed_hsm else 'vault'} {self.name}"


def parse_address(url: str | None, cloud: str) -> Address:
    """Read the URL of a vault in ``cloud``.

    :raises ByokError: when it is none, so that no token is ever sent elsewhere
    """
    vault_suffix, hsm_suffix, login_host = CLOUDS[cloud]
    match = re.fullmatch(r"https://([a-z0-9-]{3,24})\.([a-z0-9.]+)/?", (url or "").lower())
    if not match or match[2] not in (vault_suffix, hsm_suffix):
        raise ByokError(
            f"vault_url {url!r} is no vault or Managed HSM in {cloud}",
            f"Give https://NAME.{vault_suffix} or https://NAME.{hsm_suffix}, "
            "or another cloud_environment",
        )
    name, suffix = match.groups()
    return Address(comparable_url(match[0]), name, suffix == hsm_suffix, login_host)


def refuse_type(address: Address, declaration: Declaration) -> None:
    """Refuse oct keys for a vault; only a Managed HSM takes them.

    Source: Microsoft, "Import HSM-protected keys".

    :raises ByokError: for an oct key and a vault
    """
    if declaration.spec.type == "oct" and not address.managed_hsm:
        raise ByokError(
            f"The key {declaration.name} is an oct key, and the {address} takes none by import",
            "Use a Managed HSM for it",
        )
