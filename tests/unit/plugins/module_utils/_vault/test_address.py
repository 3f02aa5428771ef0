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

DECLARED: dict[str, str | None] = {
    "vault_suffix": "Vault.contoso.example",
    "hsm_suffix": ".hsm-1.contoso.example",
    "login_host": "login.contoso.example",
    "resource": None,
}


@pytest.mark.parametrize("spelling", ["https://Contoso.{}", "https://contoso.{}:443/"])
@pytest.mark.parametrize("name", CLOUDS)
def test_both_kinds_in_every_cloud(name: str, spelling: str) -> None:
    cloud = CLOUDS[name]
    vault = parse_address(spelling.format(cloud.vault_suffix), name)
    assert (vault.url, vault.managed_hsm, str(vault)) == (
        f"https://contoso.{cloud.vault_suffix}",
        False,
        "vault contoso",
    )
    hsm = parse_address(spelling.format(cloud.hsm_suffix), name)
    assert (hsm.managed_hsm, hsm.login_host, str(hsm)) == (
        True,
        cloud.login_host,
        "Managed HSM contoso",
    )


def test_a_declared_cloud_takes_the_place_of_the_others() -> None:
    vault = parse_address("https://a-b.vault.contoso.example", "AzureCloud", DECLARED)
    assert (vault.name, vault.managed_hsm, vault.login_host) == (
        "a-b",
        False,
        "login.contoso.example",
    )
    assert parse_address("https://abc.hsm-1.contoso.example", "AzureCloud", DECLARED).managed_hsm
    without = {**DECLARED, "hsm_suffix": None}
    for url, declared in (
        ("https://abc.vault.azure.net", DECLARED),
        ("https://abc.hsm-1.contoso.example", without),
        ("https://abc.", without),
    ):
        with pytest.raises(
            ByokError, match=r"in the declared cloud.*NAME\.vault\.contoso\.example"
        ):
            parse_address(url, "AzureCloud", declared)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("vault_suffix", ""),
        ("vault_suffix", "net"),
        ("vault_suffix", "https://vault.azure.net"),
        ("hsm_suffix", "hsm.azure.net/"),
        ("login_host", None),
        ("login_host", "login.microsoftonline.com:8443"),
        ("login_host", "login.microsoftonline.com/tenant"),
        ("resource", "vault.azure.net"),
        ("resource", "http://vault.azure.net"),
    ],
)
def test_a_cloud_that_is_declared_wrongly_is_a_sentence(part: str, text: str | None) -> None:
    with pytest.raises(ByokError, match=f"{part} of cloud is"):
        parse_address("https://abc.vault.contoso.example", "AzureCloud", {**DECLARED, part: text})


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "contoso",
        "http://contoso.vault.azure.net",
        "https://contoso.vault.azure.net:444",
        "https://contoso.vault.azure.net/:443",
        "https://contoso.vault.azure.net:443:443",
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
