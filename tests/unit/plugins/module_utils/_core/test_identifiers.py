# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
    in_vault,
)

VAULT = "https://contoso.vault.azure.net"


@pytest.mark.parametrize("url", [VAULT, f"{VAULT}/", f" {VAULT.upper()}// "])
def test_two_spellings_of_a_vault_are_equal(url: str) -> None:
    assert comparable_url(url) == VAULT
    assert in_vault([f"{VAULT}/keys/a/1"], url) == {"a": f"{VAULT}/keys/a/1"}


@pytest.mark.parametrize(
    "identifier",
    [
        "https://contoso2.vault.azure.net/keys/a/1",
        "https://contoso.vault.azure.net.evil.example/keys/a/1",
        "https://evil.example/?https://contoso.vault.azure.net/keys/a/1",
        f"{VAULT}/secrets/a/1",
        f"{VAULT}/keys/a",  # names no version
        "contoso.vault.azure.net/keys/a/1",
        "a",
        "",
    ],
)
def test_what_names_no_version_of_this_vault_is_left_out(identifier: str) -> None:
    assert in_vault([identifier], VAULT) == {}


def test_each_vault_takes_its_own_and_the_last_of_a_key_counts() -> None:
    identifiers = [
        f"{VAULT}/keys/a/1",
        "https://other.vault.azure.net/keys/a/9",
        f"{VAULT.upper()}/KEYS/b/2",
        f"{VAULT}/keys/a/3",
    ]
    expected = {"a": f"{VAULT}/keys/a/3", "b": f"{VAULT.upper()}/KEYS/b/2"}
    assert in_vault(identifiers, VAULT) == expected
