# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    KeyId,
    comparable_url,
    in_vault,
    parse_key_id,
    version_named,
)
from hypothesis import given
from hypothesis import strategies as st

VAULT = "https://contoso.vault.azure.net"


VERSION = "0123456789abcdef0123456789abcdef"
KEY = KeyId(VAULT, "my-Key", VERSION)

SPELLINGS = st.builds(
    lambda port, upper, slash: (
        lambda url, rest: f"{url.upper() if upper else url}{port}{rest}{slash}"
    ),
    st.sampled_from(["", ":443"]),
    st.booleans(),
    st.sampled_from(["", "/"]),
)


@given(SPELLINGS, st.sampled_from(["", " "]))
def test_spellings_of_a_vault_are_equal(spell: t.Callable[[str, str], str], blank: str) -> None:
    url = f"{blank}{spell(VAULT, '')}{blank}"
    assert comparable_url(url) == VAULT
    assert in_vault([str(KEY)], url) == {"my-Key": str(KEY)}


@given(SPELLINGS)
def test_spellings_of_a_key_are_equal(spell: t.Callable[[str, str], str]) -> None:
    identifier = spell(VAULT, f"/keys/my-Key/{VERSION.upper()}")
    assert parse_key_id(identifier) == KEY
    assert in_vault([identifier], VAULT) == {"my-Key": str(KEY)}
    assert version_named(identifier) == VERSION
    assert KEY.is_key(KeyId(VAULT, "MY-key", VERSION))


@pytest.mark.parametrize(
    "url",
    [
        f"{VAULT}:444",
        f"{VAULT}:4430",
        f"{VAULT}/:443",
        "http://contoso.vault.azure.net",
        "https://contoso.vault.azure.net.evil.example:443",
    ],
)
def test_other_urls_are_other_vaults(url: str) -> None:
    assert comparable_url(url) != VAULT
    assert in_vault([f"{url}/keys/a/{VERSION}"], VAULT) == {}


@pytest.mark.parametrize(
    "identifier",
    [
        f"{VAULT}/keys/a",
        f"{VAULT}/keys/a/",
        f"{VAULT}/keys/a/{VERSION[1:]}",
        f"{VAULT}/keys/a/{VERSION}0",
        f"{VAULT}/keys/a/{VERSION}//",
        f"{VAULT}/keys/a/{VERSION}/x",
        f"{VAULT}/keys/a_b/{VERSION}",
        f"{VAULT}/keys/{'a' * 128}/{VERSION}",
        f"{VAULT}:444/keys/a/{VERSION}",
        f"{VAULT}/keys/a/{VERSION}?x",
        f"https://user@contoso.vault.azure.net/keys/a/{VERSION}",
        f" {VAULT}/keys/a/{VERSION}",
        "",
    ],
)
def test_what_names_no_version_of_a_key(identifier: str) -> None:
    assert parse_key_id(identifier) is None


@pytest.mark.parametrize("version", ["", "1", f"{VERSION}/x"])
def test_a_wrong_version_is_kept_so_that_it_can_be_told(version: str) -> None:
    assert in_vault([f"{VAULT}/keys/a/{version}"], VAULT) == {"a": f"{VAULT}/keys/a/{version}"}


def test_a_letter_that_is_another_in_lower_case_is_none_of_a_name() -> None:
    for letter in ("\u212a", "\u017f", "\u0130"):  # k, s and i to IGNORECASE
        assert parse_key_id(f"{VAULT}/keys/{letter}/{VERSION}") is None


@given(st.text())
def test_any_text_is_an_identifier_or_none(text: str) -> None:
    key_id = parse_key_id(text)
    assert key_id is None or re.fullmatch(r"https://[a-z0-9.-]+/keys/.+/[0-9a-f]{32}", str(key_id))
    assert version_named(text) == version_named(f"{text.strip()}/")


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
    expected = {"a": f"{VAULT}/keys/a/3", "b": f"{VAULT}/keys/b/2"}
    assert in_vault(identifiers, VAULT) == expected
