# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that have one name in the token and another in the vault, and keys of other tools."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_RSA_PKCS_KEY_PAIR_GEN,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Vault,
    generations,
    only,
    token_session,
)
from ansible_collections.keyferry.azure.tests.lifecycle.modules import run


@BOTH
def test_a_key_is_brought_and_replaced_under_its_label_in_the_token(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P90D")
    declared["label"] = f"Payments {declared['name']}_1"
    assert only(vault.rotate(declared))["action"] == "transfer"
    assert only(vault.rotate(declared))["changed"] is False
    lab.forward(days=91)
    assert only(vault.rotate(declared))["action"] == "rotate"
    assert only(vault.rotate(declared))["changed"] is False
    held = vault.generations(declared)
    newest_first = [generation["generation"] for generation in reversed(held)]
    assert [generation for generation, _enabled in vault.in_vault(declared)] == newest_first
    with token_session() as session:
        assert len(session.find("PRIVATE_KEY", LABEL=declared["label"])) == 2
        assert session.find("PRIVATE_KEY", LABEL=declared["name"]) == []


def test_one_of_two_pairs_of_one_cka_id_is_brought_by_its_thumbprint(
    vault: Vault, key: Declare
) -> None:
    declared = key("RSA")
    del declared["rotation"]
    with token_session() as session:
        for _pair in range(2):
            names = {"TOKEN": True, "LABEL": declared["name"], "ID": b"\x13"}
            private = {**names, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": True}
            session.generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, names, private, 2048)
    [refused] = run("byok_target_key", True, target_keys=[declared])["failures"]
    assert "Set generation to the thumbprint of the one you mean" in refused["msg"]
    with_id = {**declared, "generation": "13"}
    [refused] = run("byok_target_key", True, target_keys=[with_id])["failures"]
    assert "have one CKA_ID" in refused["msg"]
    found = run("byok_hsm_info", list_keys=True)["listing"]["target_keys"]
    [mine] = [each for each in found if each["name"] == declared["name"]]
    for thumbprint in (each["thumbprint"] for each in mine["generations"]):
        meant = {**declared, "name": f"{declared['name']}-{thumbprint[:4].strip('_-')}"}
        meant |= {"label": declared["name"], "generation": thumbprint}
        vault.transfer(meant)
        assert [version["thumbprint"] for version in vault.versions(meant)] == [thumbprint]
        assert vault.transfer(meant)["changed"] is False
        assert len(vault.versions(meant)) == 1
    assert len(generations(meant)[meant["name"]]) == 2


@pytest.mark.parametrize("label", ["KEY", " key ", "key\0"])
def test_a_label_that_is_nearly_the_name_is_no_reason_to_make_another_key(
    label: str, vault: Vault, key: Declare
) -> None:
    declared = key()
    theirs = {**declared, "label": label.replace("key", declared["name"])}
    if label.isupper():
        theirs["label"] = declared["name"].upper()
    made = only(vault.rotate(theirs))
    [told] = vault.transfer(declared)["failures"]
    assert f"but one labelled {theirs['label']!r}" in told["msg"]
    assert [version["version"] for version in vault.versions(theirs)] == [made["version"]]
    with token_session() as session:
        assert session.find("PRIVATE_KEY", LABEL=declared["name"]) == []


@BOTH
def test_a_key_without_cka_id_is_brought_once(vault: Vault, key: Declare) -> None:
    declared = key("RSA")
    del declared["rotation"]
    with token_session() as session:
        names = {"TOKEN": True, "LABEL": declared["name"]}
        private = {**names, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": True}
        session.generate_pair(CKM_RSA_PKCS_KEY_PAIR_GEN, names, private, 2048)
    first = only(vault.rotate(declared))
    assert (first["action"], first["generation"], first["identity"]) == (
        "transfer",
        "",
        "public_key",
    )
    assert only(vault.rotate(declared))["changed"] is False
    [version] = vault.versions(declared)
    assert (version["thumbprint"], version["ours"]) == (first["thumbprint"], True)
