# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys are deleted, purged and recovered in the cloud by the version that is confirmed.

Names that are deleted are here as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._approval.approvals import text_digest
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
)
from ansible_collections.keyferry.azure.tests.lifecycle.role import Play, TaskFailed
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._approval.signers import (
    Signer,
    allowed_signers,
)


@pytest.fixture
def brought(vault: Vault, key: Declare) -> tuple[Result, Result]:
    """A key with one version, and what byok_rotate said of it."""
    declared = key()
    return declared, only(vault.rotate(declared))


def absent(
    vault: Vault, declared: Result, confirm: str | None, check: bool = False, **options: Any
) -> Result:
    return vault.run(
        "byok_import", check, imports=[dict(declared, confirm=confirm)], state="absent", **options
    )


def recovered(vault: Vault, declared: Result, check: bool = False, **options: Any) -> Result:
    return vault.run("byok_import", check, imports=[declared], state="recovered", **options)


@pytest.mark.parametrize("confirm", [None, "", "the key's name", "f" * 32])
def test_only_the_newest_version_confirms(
    vault: Vault, brought: tuple[Result, Result], confirm: str | None
) -> None:
    declared, first = brought
    for purge in (False, True):
        refused = absent(vault, declared, confirm, purge=purge)
        assert f"its newest version is {first['version']}" in failure(refused)
        assert refused["changed"] is False
    assert len(vault.versions(declared)) == 1


def test_an_older_version_does_not_confirm(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    only(vault.rotate(declared))
    assert "its newest version is" in failure(absent(vault, declared, first["version"]))


@pytest.mark.parametrize("named", ["version", "kid", "as PowerShell prints it"])
def test_a_key_is_deleted_and_recovered(
    vault: Vault, brought: tuple[Result, Result], named: str
) -> None:
    declared, first = brought
    printed = first["kid"].replace(".net/", ".net:443/") + "/"
    confirm = first.get(named, printed)
    would = absent(vault, declared, confirm, check=True)
    assert (would["changed"], len(vault.versions(declared))) == (True, 1)
    done = absent(vault, declared, confirm)
    (deletion,) = done["deletions"]
    assert {
        fact: deletion[fact] for fact in ("version", "state", "recovery_level", "retention_days")
    } == {
        "version": first["version"],
        "state": "deleted",
        "recovery_level": "Recoverable+Purgeable",
        "retention_days": 90,
    }
    assert would["changes"] == done["changes"]
    assert done["changes"][0].after == {
        "state": "deleted",
        "recovery level": "Recoverable+Purgeable",
        "retention": "90 days",
    }
    assert vault.versions(declared) == []
    again = absent(vault, declared, confirm)
    assert (again["changed"], again["deletions"], again["failures"]) == (False, [], [])
    assert again["warnings"] == []
    # And back.
    would = recovered(vault, declared, check=True)
    done = recovered(vault, declared)
    assert (done["failures"], would["changes"]) == ([], done["changes"])
    assert [version["version"] for version in vault.versions(declared)] == [first["version"]]
    assert recovered(vault, declared)["changed"] is False
    assert only(vault.rotate(declared))["changed"] is False


def test_a_key_that_is_not_there_cannot_be_recovered(vault: Vault, key: Declare) -> None:
    declared = key()
    assert "There is no deleted key" in failure(recovered(vault, declared))
    for purge in (False, True):
        nothing = absent(vault, declared, None, purge=purge)
        assert (nothing["changed"], nothing["failures"]) == (False, [])
        (warning,) = nothing["warnings"]  # or a misspelt name would look as done
        assert "there is no such key" in warning


def test_a_key_is_purged_at_once_or_later(vault: Vault, key: Declare) -> None:
    keys = [key(), key()]
    first, second = vault.rotate(*keys)["rotations"]
    done = absent(vault, keys[0], first["version"], purge=True)
    assert (done["failures"], done["deletions"][0]["state"]) == ([], "purged")
    absent(vault, keys[1], second["version"])
    assert "its newest version is" in failure(absent(vault, keys[1], None, purge=True))
    would = absent(vault, keys[1], second["version"], check=True, purge=True)
    done = absent(vault, keys[1], second["version"], purge=True)
    assert (done["failures"], [each["state"] for each in done["deletions"]]) == ([], ["purged"])
    assert would["changes"] == done["changes"]
    for declared in keys:
        assert absent(vault, declared, None, purge=True)["changed"] is False
        assert "There is no deleted key" in failure(recovered(vault, declared))
        assert only(vault.rotate(declared))["imported"] is True


def test_purge_protection_is_said_before_anything_is_deleted(
    vault: Vault, brought: tuple[Result, Result]
) -> None:
    declared, first = brought
    vault.set(purge_protection=True, retention_days=30)
    refused = failure(absent(vault, declared, first["version"], purge=True))
    assert "recovery level CustomizedRecoverable, retention 30 days" in refused
    assert "purge protection" in refused
    assert len(vault.versions(declared)) == 1
    assert absent(vault, declared, first["version"])["deletions"][0]["retention_days"] == 30
    assert "purge protection" in failure(absent(vault, declared, first["version"], purge=True))
    assert "purge protection" in failure(
        vault.rotate(dict(declared, confirm=first["version"]), on_deleted="purge")
    )


def test_a_purge_that_is_not_allowed_is_said_and_so_is_what_was_deleted(
    lab: Lab, vault: Vault, brought: tuple[Result, Result]
) -> None:
    declared, first = brought
    refused = absent(vault, declared, first["version"], purge=True, **lab.as_client("user"))
    assert "Purging the deleted key" in failure(refused)
    assert "ForbiddenByRbac" in failure(refused)
    assert (refused["changed"], refused["deletions"][0]["state"]) == (True, "deleted")
    again = absent(vault, declared, first["version"], purge=True, **lab.as_client("user"))
    assert ("Purging the deleted key" in failure(again), again["changed"]) == (True, False)


def test_with_crypto_user_alone_a_managed_hsm_shows_no_deleted_keys(
    lab: Lab, hsm: Vault, key: Declare
) -> None:
    declared = key()
    hsm.options = lab.as_client("user")
    first = only(hsm.rotate(declared))
    deleted = absent(hsm, declared, first["version"])
    assert (deleted["failures"], deleted["changed"]) == ([], True)
    assert "whether it is done cannot be seen" in deleted["warnings"][0]
    again = absent(hsm, declared, first["version"])
    assert (again["failures"], again["changed"], again["warnings"]) == ([], False, [])
    purging = absent(hsm, declared, first["version"], purge=True)
    assert (purging["failures"], purging["changed"]) == ([], False)
    assert "whether there is a deleted key to purge in the Managed HSM" in purging["warnings"][0]
    assert "keys/deletedKeys/read/action" in purging["warnings"][0]
    assert "or this identity may not look at deleted keys" in failure(recovered(hsm, declared))
    taken = failure(hsm.rotate(declared))
    assert "409 (ObjectIsDeletedButRecoverable" in taken
    assert "Recover the deleted key, purge it, or use another name" in taken
    hsm.options = {}
    assert recovered(hsm, declared)["changed"] is True


def test_a_deletion_or_recovery_that_takes_too_long_is_left_to_a_later_run(
    vault: Vault, brought: tuple[Result, Result], no_sleep: list[float]
) -> None:
    declared, first = brought
    vault.set(delete_delay=3600)
    assert "has not finished deleting the key" in failure(
        absent(vault, declared, first["version"], delete_timeout=10)
    )
    assert sum(no_sleep) == 10
    vault.lab.forward(hours=2)
    assert absent(vault, declared, first["version"], delete_timeout=10)["failures"] == []
    assert "has not finished recovering the key" in failure(
        recovered(vault, declared, delete_timeout=10)
    )
    vault.lab.forward(hours=2)
    assert recovered(vault, declared, delete_timeout=10)["failures"] == []
    assert len(vault.versions(declared)) == 1


def test_a_deleted_key_that_holds_the_name(
    lab: Lab, vault: Vault, brought: tuple[Result, Result]
) -> None:
    declared, first = brought
    absent(vault, declared, first["version"])
    failed = vault.rotate(declared)
    assert "a deleted key holds this name" in failure(failed)
    assert failed["changed"] is False
    # Recovered, it is what is declared.
    would = only(vault.rotate(declared, check=True, on_deleted="recover"))
    assert (would["action"], would["changed"]) == ("recover", True)
    back = only(vault.rotate(declared, on_deleted="recover"))
    assert (back["action"], back["changed"], back["version"]) == ("recover", True, first["version"])
    assert only(vault.rotate(declared, on_deleted="recover"))["changed"] is False
    # Recovered and due, it is replaced.
    absent(vault, declared, first["version"])
    lab.forward(days=31)
    declared = dict(declared, rotation={"every": "P30D"})
    second = only(vault.rotate(declared, on_deleted="recover"))
    assert (second["action"], second["replaced"]) == ("rotate", first["version"])
    # Purged only by its newest version; the same generation comes again.
    absent(vault, declared, second["version"])
    for confirm in (None, first["version"]):
        refused = vault.rotate(dict(declared, confirm=confirm), on_deleted="purge")
        assert f"is not purged: its newest version is {second['version']}" in failure(refused)
    third = only(vault.rotate(dict(declared, confirm=second["version"]), on_deleted="purge"))
    assert (third["generation"], third["replaced"]) == (second["generation"], None)
    assert vault.in_vault(declared) == [(second["generation"], True)]
    assert len(vault.generations(declared)) == 2


def test_a_deleted_key_of_somebody_else_is_no_less_foreign_when_it_is_recovered(
    vault: Vault, key: Declare
) -> None:
    declared = key()
    foreign = vault.native(declared)["key"]["kid"].rpartition("/")[2]
    absent(vault, declared, foreign)
    result = vault.rotate(declared, on_deleted="recover")
    assert "is a key that is not in the token" in failure(result)
    assert result["changed"] is False


@pytest.fixture
def people(tmp_path: Path) -> tuple[Signer, Signer, Result]:
    """Two who can approve, and the options that demand both."""
    anna, bob = Signer(tmp_path, "anna"), Signer(tmp_path, "bob")
    signers = allowed_signers(tmp_path / "signers", anna=anna.public, bob=bob.public)
    return anna, bob, {"allowed_signers": signers, "required_approvals": {"destroy": 2}}


def test_people_approve_what_is_deleted_and_purged(
    lab: Lab, vault: Vault, key: Declare, people: tuple[Signer, Signer, Result]
) -> None:
    anna, bob, demanded = people
    declared = key()
    lines = []
    for _rotation in range(2):
        version = only(vault.rotate({**declared, "rotation": {"every": "P30D"}}))["version"]
        kid = f"{vault.url}/keys/{declared['name']}/{version}"
        lines.append(f"destroy {text_digest(kid)}")
        lab.forward(days=31)
    older, newest = lines
    for purge in (False, True):
        for approvals in ([], [anna.sign(newest)], [anna.sign(newest), bob.sign(older)]):
            for check in (True, False):
                options = {**demanded, "approvals": approvals, "purge": purge}
                refused = absent(vault, declared, version, check, **options)
                assert f"which would be {'purged' if purge else 'deleted'}, has" in failure(refused)
                assert not refused["changed"]
    both = [anna.sign(newest), bob.sign(newest)]
    done = absent(vault, declared, version, approvals=both, **demanded)
    assert done["approvals"][0]["principals"] == ["anna", "bob"]
    given = {**declared, "confirm": version}
    assert "has 0 of 2 approvals" in failure(vault.rotate(given, on_deleted="purge", **demanded))
    again = vault.rotate(given, on_deleted="purge", approvals=both, **demanded)
    assert only(again)["changed"]


def test_the_role_demands_approvals_of_what_it_deletes(
    vault: Vault, brought: tuple[Result, Result], people: tuple[Signer, Signer, Result]
) -> None:
    declared, first = brought
    anna, bob, demanded = people
    kid = f"{vault.url}/keys/{declared['name']}/{first['version']}"
    lines = [signer.sign(f"destroy {text_digest(kid)}") for signer in (anna, bob)]

    def delete(approvals: list[str]) -> None:
        options = {**vault._options(), **demanded, "delete": [kid], "approvals": approvals}
        del options["last_vault"]  # of byok_rotate
        variables = {f"byok_{name}": value for name, value in options.items()}
        Play({"inventory_hostname": "v", **variables}).perform("delete")

    with pytest.raises(TaskFailed, match="has 1 of 2 approvals; approved by anna"):
        delete(lines[:1])
    assert len(vault.versions(declared)) == 1
    delete(lines)
    assert vault.versions(declared) == []
