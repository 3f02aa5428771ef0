# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The URL of a vault, the cloud that it is in, and what follows from its kind; pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url

_HOST = r"[a-z0-9-]+(\.[a-z0-9-]+)+"


@dataclass(frozen=True)
class Cloud:
    """Where a cloud has its vaults, and where its tokens come from.

    :ivar hsm_suffix: None where it has no Managed HSMs
    :ivar resource: what a token is asked for; None where that follows from the vault's suffix, as
        Azure's client checks by itself
    :ivar known_to_clients: whether every supported azure-identity knows the login host
    """

    vault_suffix: str
    hsm_suffix: str | None
    login_host: str
    resource: str | None = None
    known_to_clients: bool = False


#: Microsoft's lists of endpoints per cloud. AzureBleuCloud (France) and AzureDelosCloud (Germany):
#: suffixes of Microsoft.Data.SqlClient, login hosts of MSAL; nobody has tried them.
CLOUDS: t.Mapping[str, Cloud] = {
    "AzureCloud": Cloud(
        "vault.azure.net",
        "managedhsm.azure.net",
        "login.microsoftonline.com",
        known_to_clients=True,
    ),
    "AzureChinaCloud": Cloud(
        "vault.azure.cn",
        "managedhsm.azure.cn",
        "login.chinacloudapi.cn",
        known_to_clients=True,
    ),
    "AzureUSGovernment": Cloud(
        "vault.usgovcloudapi.net",
        "managedhsm.usgovcloudapi.net",
        "login.microsoftonline.us",
        known_to_clients=True,
    ),
    "AzureBleuCloud": Cloud(
        "vault.sovcloud-api.fr", "managedhsm.sovcloud-api.fr", "login.sovcloud-identity.fr"
    ),
    "AzureDelosCloud": Cloud(
        "vault.sovcloud-api.de", "managedhsm.sovcloud-api.de", "login.sovcloud-identity.de"
    ),
}


@dataclass(frozen=True)
class Address:
    """A vault's URL taken apart.

    :ivar url: as comparable_url() returns it
    :ivar name: the vault's name
    :ivar managed_hsm: whether it is a Managed HSM
    :ivar cloud: that it is in
    """

    url: str
    name: str
    managed_hsm: bool
    cloud: Cloud

    def __str__(self) -> str:
        return f"{'Managed HSM' if self.managed_hsm else 'vault'} {self.name}"

    @property
    def login_host(self) -> str:
        """Where its cloud's tokens come from."""
        return self.cloud.login_host


def parse_address(
    url: str | None, cloud_name: str, declared: t.Mapping[str, str | None] | None = None
) -> Address:
    """Read the URL of a vault in a cloud.

    :param cloud_name: one of CLOUDS
    :param declared: the option ``cloud``, which takes the place of that one
    :raises ByokError: when it is none, so that no token is ever sent elsewhere; and for a cloud
        that is not declared well
    """
    cloud = _declared(declared) if declared else CLOUDS[cloud_name]
    match = re.fullmatch(r"https://([a-z0-9-]{3,24})\.([a-z0-9.-]+)", comparable_url(url or ""))
    if not match or match[2] not in (cloud.vault_suffix, cloud.hsm_suffix):
        suffixes = [suffix for suffix in (cloud.vault_suffix, cloud.hsm_suffix) if suffix]
        raise ByokError(
            f"vault_url {url!r} is no vault or Managed HSM in "
            f"{'the declared cloud' if declared else cloud_name}",
            f"Give {' or '.join(f'https://NAME.{suffix}' for suffix in suffixes)}, "
            "or another cloud_environment or cloud",
        )
    name, suffix = match.groups()
    return Address(match[0], name, suffix == cloud.hsm_suffix, cloud)


def _declared(fields: t.Mapping[str, str | None]) -> Cloud:
    """Return a cloud that somebody declared.

    :raises ByokError: for a part of it that is no host
    """
    hosts = {}
    for part in ("vault_suffix", "hsm_suffix", "login_host"):
        text = (fields.get(part) or "").strip().lower().strip(".")
        if not re.fullmatch(_HOST, text) and (text or part != "hsm_suffix"):
            raise ByokError(
                f"{part} of cloud is {fields.get(part)!r}, which is no host or domain",
                "Give it without https:// and without a path, such as vault.azure.net",
            )
        hosts[part] = text
    resource = (fields.get("resource") or "").rstrip("/") or None
    if resource and not re.fullmatch(r"https://[^/\s]+(/\S+)?", resource):
        raise ByokError(
            f"resource of cloud is {resource!r}, which is no URL",
            "Give it as the vault names it in WWW-Authenticate, such as https://vault.azure.net",
        )
    return Cloud(hosts["vault_suffix"], hosts["hsm_suffix"] or None, hosts["login_host"], resource)


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
