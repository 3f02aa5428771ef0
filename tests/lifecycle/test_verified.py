# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs leave in the folder of receipts is what an auditor verifies: whole, and if a run was
killed, nothing is broken.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.verify import verify
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    only,
)
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Moment, Reaper
from ansible_collections.keyferry.azure.tests.lifecycle.role import Play, perform
from ansible_collections.keyferry.azure.tests.lifecycle.test_attested import owner_root
from ansible_collections.keyferry.azure.tests.lifecycle.test_manifests import (
    Folder,
    signed_in,
    unsigned_in,
)

# Other tests of runs verify what they leave as well
pytestmark = pytest.mark.long


def audit(folder: Folder, **trusted: str) -> Verification:
    """Verify a folder with the token's evidence key, and with the head that its host noted.

    :param trusted: further files of the trust folder, with _ for other characters of their names
    """
    trust = folder.path.parents[1] / "trust"
    (trust / "evidence-keys").mkdir(parents=True, exist_ok=True)
    (trust / "maker-roots").mkdir(exist_ok=True)
    if folder.public_key:
        (trust / "evidence-keys/token.pem").write_text(folder.public_key)
    lines = folder._lines("runs")
    head = {"number": len(lines), "sha256": lines[-1].digest}
    (trust / "heads.json").write_text(json.dumps({folder.path.name: head}))
    if trusted:
        (trust / "owner-roots.json").write_text(trusted["owner_roots"])
        (trust / "maker-roots/lab.pem").write_text(trusted["maker_root"])
    return verify(str(folder.path.parent), str(trust))


def codes(verification: Verification) -> set[str]:
    return {each.code for each in verification.problems}


@BOTH
def test_transfers_and_rotations_are_whole(
    lab: Lab, hsm: Vault, key: Declare, tmp_path: Path
) -> None:
    folder = signed_in(hsm, tmp_path)
    keys = [key(every="P30D"), {**key("RSA"), "after_transfer": "lock"}, key("oct")]
    for _month in range(3):
        assert hsm.rotate(*keys)["failures"] == []
        lab.forward(days=31)
    found = audit(folder)
    assert (found.verdict, found.problems) == ("whole", ())
    told = {key.name: key for key in found.vaults[0].keys}
    assert [len(told[each["name"]].versions) for each in keys] == [3, 1, 1]
    happened = {each["what"] for key in told.values() for v in key.versions for each in v.events}
    assert happened == {"made", "locked"}


@BOTH
def test_what_the_hardware_of_a_pool_attests_is_verified_anew(
    lab: Lab, hsm: Vault, key: Declare, tmp_path: Path
) -> None:
    root, folder = owner_root(hsm), signed_in(hsm, tmp_path)
    maker = (lab.folder / "maker-root.pem").read_text()
    pinned: Result = {
        "attestation_owner_roots": {hsm.url: root},
        "attestation_maker_roots": [maker],
    }
    assert hsm.rotate(key(), key("RSA"), **pinned)["failures"] == []
    assert codes(audit(folder)) == {"attestation_owner_unpinned"}
    found = audit(folder, owner_roots=json.dumps({hsm.url: root}), maker_root=maker)
    assert (found.verdict, found.problems) == ("whole", ())
    (version,) = found.vaults[0].keys[0].versions
    assert version.kek_attestation.verdict == "attested"
    assert version.attestation.verdict == "attested"
    assert "maker_not_marvell" in {each.code for each in version.deviations}


@BOTH
def test_what_killed_runs_leave_is_incomplete_and_never_broken(
    vault: Vault, key: Declare, tmp_path: Path, reaper: Reaper, no_sleep: list[float]
) -> None:
    folder = signed_in(vault, tmp_path)
    first, second = key(), key()
    vault.rotate(first)
    reaper.kills(lambda: vault.rotate(first, second), Moment(0, False, ("DELETE",)))
    killed = audit(folder)
    assert codes(killed) == {"unsigned", "not_in_a_run"}
    assert killed.verdict == "incomplete"
    assert vault.rotate(first, second)["failures"] == []
    assert audit(folder).verdict == "whole"


@BOTH
def test_an_import_that_a_killed_run_had_sent_is_whole_when_the_next_one_found_it(
    vault: Vault, key: Declare, tmp_path: Path, reaper: Reaper, no_sleep: list[float]
) -> None:
    folder, declared = signed_in(vault, tmp_path), key()
    reaper.kills(lambda: vault.rotate(declared), Moment(0, True, ("PUT",)))
    assert vault.rotate(declared)["failures"] == []
    found = audit(folder)
    assert (found.verdict, found.problems) == ("whole", ())
    (version,) = found.vaults[0].keys[0].versions
    assert version.imported is not None
    assert version.imported["interrupted_at"] is not None


def test_retiring_deleting_and_recovering_are_events_of_whole_keys(
    lab: Lab, vault: Vault, key: Declare, tmp_path: Path
) -> None:
    folder = signed_in(vault, tmp_path)
    declared = key(every="P30D", retire="disable", overlap="P1D")
    vault.rotate(declared)
    lab.forward(days=31)
    second = only(vault.rotate(declared))
    lab.forward(days=2)
    options = vault._options()
    perform({**options, "stage": "retire"}, [declared])
    for entry, what in (("delete", second["kid"]), ("recover", declared["name"])):
        variables = {f"byok_{name}": value for name, value in options.items()}
        del variables["byok_last_vault"]  # of byok_rotate
        play = Play({"inventory_hostname": "v", **variables, f"byok_{entry}": what})
        play.perform(entry)
    found = audit(folder)
    assert (found.verdict, found.problems) == ("whole", ())
    (told,) = found.vaults[0].keys
    first, last = ([each["what"] for each in version.events] for version in told.versions)
    assert first == ["made", "retired"]
    assert last == ["made", "deleted", "recovered"]


@BOTH
def test_versions_that_were_found_in_place_are_incomplete(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    declared = key()
    vault.rotate(declared)
    folder = signed_in(vault, tmp_path)
    vault.rotate(declared)
    assert codes(audit(folder)) == {"found_in_place"}


@BOTH
def test_without_an_evidence_key_all_is_unsigned(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    folder = unsigned_in(vault, tmp_path)
    vault.rotate(key())
    found = audit(folder)
    assert (found.verdict, codes(found)) == ("incomplete", {"unsigned"})
