# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import (
    CLOUDS,
    parse_address,
)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_both_kinds_in_every_cloud(cloud: str) -> None:
    vault_suffix, hsm_suffix, login_host = CLOUDS[cloud]
    vault = parse_address(f"https://Contoso.{vault_suffix}/", cloud)
    assert (vault.url, vault.managed_hsm, str(vault)) == (
        f"https://contoso.{vault_suffix}",
        False,
        "vault contoso",
    )
    hsm = parse_address(f"https://contoso.{hsm_suffix}", cloud)
    assert (hsm.managed_hsm, hsm.login_host, str(hsm)) == (True, login_host, "Managed HSM contoso")


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "contoso",
        "http://contoso.vault.azure.net",
        "https://contoso.vault.azure.net:444",
        "https://contoso.vault.azure.net/keys/x",
        "https://vault.azure.net",
        "https://a.b.vault.azure.net",
        "https://contoso.vault.azure.net.example.com",
        "https://contoso.vault.azure.cn",
        "https://evil.example.com/contoso.vault.azure.net",
        "https://user@contoso.vault.azure.net",
    ],
)
def test_what_is_no_vault_of_the_cloud_is_refused(url: str | None) -> None:
    with pytest.raises(ByokError, match=r"https://NAME\.vault\.azure\.net"):
        parse_address(url, "AzureCloud")
