# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Older versions are disabled in a later run, and only when a newer one has taken over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    only,
    run,
)


def rotated(lab: Lab, vault: Vault, declared: Result, times: int = 1) -> None:
    """Bring a key, and replace it as often."""
    only(vault.rotate(declared))
    for _time in range(times):
        lab.forward(days=31)
        assert only(vault.rotate(declared))["action"] == "rotate"


def enabled(vault: Vault, declared: Result) -> list[bool]:
    return [version["enabled"] for version in vault.versions(declared)]


def retire(vault: Vault, declared: Result, **options: Any) -> Result:
    return only(vault.rotate(declared, stage="retire", **options))


def test_an_older_version_is_disabled_when_the_overlap_is_over(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D", retire="disable", overlap="P3D")
    rotated(lab, vault, declared, times=2)
    assert enabled(vault, declared) == [True, True, True]  # a run that rotates disables nothing
    assert only(vault.rotate(declared))["changed"] is False
    # The middle one has been there for the overlap, so the oldest one goes.
    first = retire(vault, declared)
    assert (first["action"], len(first["retired"]), enabled(vault, declared)) == (
        "retire",
        1,
        [True, True, False],
    )
    assert "has been there for P3D" in first["kept"][0]["reason"]
    lab.forward(days=2, hours=23)
    assert retire(vault, declared)["changed"] is False
    lab.forward(hours=2)
    would = retire(vault, declared, check=True)
    assert (would["changed"], enabled(vault, declared)) == (True, [True, True, False])
    done = retire(vault, declared)
    assert (done["retired"], enabled(vault, declared)) == (would["retired"], [True, False, False])
    assert retire(vault, declared)["changed"] is False
    assert only(vault.rotate(declared))["changed"] is False


def test_keep_is_the_default(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P30D")
    rotated(lab, vault, declared)
    lab.forward(days=20)
    kept = retire(vault, declared)
    assert (kept["changed"], kept["reason"]) == (
        False,
        "its rotation does not declare retire: disable",
    )
    assert enabled(vault, declared) == [True, True]


@pytest.mark.parametrize("newest", ["disabled", "expired", "not valid yet"])
def test_a_newest_version_that_cannot_be_used_retires_nothing(
    lab: Lab, vault: Vault, key: Declare, newest: str
) -> None:
    declared = key(every="P30D", retire="disable")
    rotated(lab, vault, declared)
    later = lab.now + timedelta(days=365)
    changes: dict[str, Result] = {
        "disabled": {"enabled": False},
        "expired": {"expires_on": later},
        "not valid yet": {"not_before": later},
    }
    lab.client(vault.url).update_key_properties(declared["name"], **changes[newest])
    lab.forward(days=400 if newest == "expired" else 10)
    kept = retire(vault, declared)
    assert (
        "no newer version that is enabled, verified and of this token" in kept["kept"][0]["reason"]
    )
    assert enabled(vault, declared)[1] is True


def test_a_foreign_newest_version_retires_nothing_and_a_foreign_older_one_stays(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D", retire="disable", on_foreign="rotate")
    rotated(lab, vault, declared)
    lab.forward(days=10)
    foreign = vault.native(declared)["key"]["kid"].rpartition("/")[2]
    assert "the newest version is not of this token" in retire(vault, declared)["kept"][0]["reason"]
    only(vault.rotate(declared))
    lab.forward(days=10)
    done = retire(vault, declared)
    assert {each["version"]: each["reason"] for each in done["kept"]} == {
        foreign: "it is not of this token"
    }
    assert enabled(vault, declared) == [True, True, False, False]


def test_data_may_be_under_a_version_that_decrypts(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = dict(
        key("RSA", every="P30D", retire="disable"), operations=["wrapKey", "unwrapKey", "sign"]
    )
    rotated(lab, vault, declared)
    lab.forward(days=10)
    kept = retire(vault, declared)
    assert (
        kept["changed"],
        "it may unwrapKey, and data_reencrypted does not declare" in kept["kept"][0]["reason"],
    ) == (
        False,
        True,
    )
    # Of an older version its own operations count, not those that are declared now.
    assert retire(vault, dict(declared, operations=["sign"]))["changed"] is False
    assert retire(vault, dict(declared, data_reencrypted=True))["retired"] == [
        vault.versions(declared)[1]["version"]
    ]


def test_an_oct_key_is_proved_before_another_is_disabled(
    lab: Lab, hsm: Vault, key: Declare
) -> None:
    declared = dict(key("oct", every="P30D", retire="disable"), data_reencrypted=True)
    rotated(lab, hsm, declared)
    lab.forward(days=10)
    in_token = run(
        "byok_target_key",
        True,
        target_keys=[{k: v for k, v in declared.items() if k != "data_reencrypted"}],
    )
    # A tag proves nothing, and without the token nothing else tells.
    without = hsm.run(
        "byok_rotate",
        rotations=[declared],
        stage="retire",
        target_keys=in_token["target_keys"],
        token_label=None,
    )
    assert "no newer version that is enabled, verified" in only(without)["kept"][0]["reason"]
    before = len(hsm.answers("decrypt"))
    assert len(retire(hsm, declared)["retired"]) == 1
    assert len(hsm.answers("decrypt")) == before + 1
    # Another key that has our tag.
    newest = hsm.versions(bare(declared))[0]
    lab.forward(days=40)
    only(hsm.rotate(declared))
    hsm.native(declared)
    lab.client(hsm.url).update_key_properties(
        declared["name"], tags=hsm.versions(bare(declared))[1]["tags"]
    )
    lab.forward(days=10)
    done = hsm.rotate(declared, stage="retire")
    assert only(done)["retired"] == [
        newest["version"]
    ]  # the one between them is ours, and is proved
    assert [version["enabled"] for version in hsm.versions(bare(declared))] == [
        True,
        True,
        False,
        False,
    ]


def bare(declared: Result) -> Result:
    return {name: value for name, value in declared.items() if name != "data_reencrypted"}


def test_a_host_without_the_token_disables_by_what_another_host_found(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D", retire="disable")
    rotated(lab, vault, declared)
    lab.forward(days=10)
    in_token = run("byok_target_key", True, target_keys=[declared])["target_keys"]
    result = vault.run(
        "byok_rotate",
        rotations=[declared],
        stage="retire",
        target_keys=in_token,
        pkcs11_library="/nowhere",
    )
    assert len(only(result)["retired"]) == 1
    assert enabled(vault, declared) == [True, False]
    (unknown,) = vault.run("byok_rotate", rotations=[declared], stage="retire", target_keys=[])[
        "failures"
    ]
    assert "There is no result of byok_target_key for the key" in unknown["msg"]


def test_the_newest_of_two_versions_of_one_second_is_not_disabled(
    lab: Lab, vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of versions has whole seconds, and no order."""
    from azure.keyvault.keys import KeyClient

    declared = key(every="P30D", retire="disable")
    rotated(lab, vault, declared)
    lab.forward(days=10)
    newest = vault.versions(declared)[0]["version"]
    plain = KeyClient.list_properties_of_key_versions

    def list_versions(self: KeyClient, name: str, **options: Any) -> list[Any]:
        listed: list[Any] = sorted(
            plain(self, name, **options), key=lambda each: bool(each.version == newest)
        )
        for each in listed:
            each._attributes.created = listed[0].created_on
        return listed

    monkeypatch.setattr(KeyClient, "list_properties_of_key_versions", list_versions)
    assert vault.versions(declared)[0]["version"] == newest
    assert newest not in retire(vault, declared)["retired"]
    monkeypatch.undo()
    assert vault.versions(declared)[0]["enabled"] is True
