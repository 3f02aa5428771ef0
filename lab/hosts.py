# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts for which the lab answers: production's names, but no production."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What stands behind a host name."""

    VAULT = "vault"
    MANAGED_HSM = "managed_hsm"
    LOGIN = "login"


@dataclass(frozen=True)
class Cloud:
    """A sovereign cloud: the domains of its vaults and Managed HSMs, and its login host."""

    vault: str
    managed_hsm: str
    login: str


# Source: Microsoft's list of national clouds.
CLOUDS = (
    Cloud("vault.azure.net", "managedhsm.azure.net", "login.microsoftonline.com"),
    Cloud("vault.azure.cn", "managedhsm.azure.cn", "login.chinacloudapi.cn"),
    Cloud("vault.usgovcloudapi.net", "managedhsm.usgovcloudapi.net", "login.microsoftonline.us"),
)
PREFIX = "keyferry-lab-"
_VAULT_NAME = re.compile(PREFIX + r"[0-9a-z-]+")


@dataclass(frozen=True)
class Host:
    """A host of the lab. For a vault, `resource` is the audience that its tokens must have."""

    name: str
    kind: Kind
    cloud: Cloud

    @property
    def url(self) -> str:
        return f"https://{self.name}"

    @property
    def resource(self) -> str:
        managed_hsm = self.kind is Kind.MANAGED_HSM
        return f"https://{self.cloud.managed_hsm if managed_hsm else self.cloud.vault}"


def find_host(name: str) -> Host | None:
    """Return the lab's host of this name, or None where the name belongs to somebody else."""
    name = name.lower()
    label, _dot, domain = name.partition(".")
    for cloud in CLOUDS:
        if name == cloud.login:
            return Host(name, Kind.LOGIN, cloud)
        if domain in (cloud.vault, cloud.managed_hsm) and _VAULT_NAME.fullmatch(label):
            return Host(name, Kind.VAULT if domain == cloud.vault else Kind.MANAGED_HSM, cloud)
    return None


def certificate_names() -> list[str]:
    """All names that the lab's own TLS certificate must carry."""
    return [
        name
        for cloud in CLOUDS
        for name in (f"*.{cloud.vault}", f"*.{cloud.managed_hsm}", cloud.login)
    ]
