# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports on their way when a run dies.

The next run makes no second version, and does what was left undone: proof, receipt, report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import clock as _clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import SentImport
from ansible_collections.keyferry.azure.plugins.module_utils._host.job_log import events
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    BY_ROLE,
    LAB_OPTIONS,
    ROOT,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
)
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Moment, Reaper


@pytest.fixture
def state(vault: Vault, tmp_path: Path) -> Path:
    """The state directory of a host with this test alone."""
    vault.options["lock_directory"] = str(tmp_path)
    return tmp_path


REQUESTS = ("GET", "PUT", "POST", "PATCH", "DELETE")


def noted(state: Path) -> list[str]:
    """The files of the journal."""
    return [path.name for path in state.glob("keyferry-import-*")]


@contextmanager
def another_process(vault: Vault, key: Result) -> Iterator[subprocess.Popen[str]]:
    """Let a process of its own rotate a key."""
    command = [sys.executable, str(Path(__file__).with_name("controller.py"))]
    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        print(json.dumps([vault.driver, options, [key], 0]), file=process.stdin, flush=True)
        yield process


@BOTH
def test_an_import_that_is_carried_out_after_its_run_was_killed_is_not_sent_twice(
    lab: Lab, vault: Vault, key: Declare, state: Path
) -> None:
    declared = key()
    vault.fault(operation="import", kind="stall", seconds=4)
    with another_process(vault, declared) as process:
        while lab.control("GET", "/faults"):
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
    (note,) = noted(state)
    assert vault.versions(declared) == []
    looked = vault.rotate(declared, check=True, settle_time=30)
    assert only(looked)["action"] == "transfer"
    assert noted(state) == [note]
    result = vault.rotate(declared, settle_time=30)
    rotation = only(result)
    (version,) = vault.versions(declared)
    assert rotation["version"] == version["version"]
    assert rotation["imported"] is True
    assert rotation["receipt"]["predicate"]["import"]["kid"] == rotation["kid"]
    (warning,) = result["warnings"]
    assert "an interrupted run had sent an import" in warning
    assert warning.endswith("in which it arrived")
    assert noted(state) == []
    assert only(vault.rotate(declared))["changed"] is False


@BOTH
def test_an_import_that_never_arrives_is_sent_when_the_settle_time_is_over(
    vault: Vault,
    key: Declare,
    state: Path,
    reaper: Reaper,
    no_sleep: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, later = key(), key()
    for declared in (first, later):
        reaper.kills(lambda declared=declared: vault.rotate(declared), Moment(0, False, ("PUT",)))  # type: ignore[misc]
    assert len(noted(state)) == 2
    del no_sleep[:]
    result = vault.rotate(first, settle_time=90)
    assert only(result)["imported"] is True
    assert sum(no_sleep) == pytest.approx(90, abs=1)
    now = _clock._system_clock
    monkeypatch.setattr(_clock, "_system_clock", lambda: now() + 80 + 90)
    del no_sleep[:]
    assert only(vault.rotate(later, settle_time=90))["imported"] is True
    assert no_sleep == []
    assert [len(vault.versions(each)) for each in (first, later)] == [1, 1]
    assert noted(state) == []


@BOTH
def test_a_proof_that_azure_refuses_is_made_by_the_next_run(
    new_vault: Any, key: Declare, tmp_path: Path
) -> None:
    hsm = new_vault("managedhsm.azure.net")
    hsm.options["lock_directory"] = str(tmp_path)
    keys = [key("oct"), key()]
    for declared, operation in zip(keys, ("decrypt", "sign"), strict=True):
        hsm.fault(operation=operation, kind="firewall", key=declared["name"], count=3)
    for _attempt in range(2):
        refused = [hsm.rotate(declared, prove=True) for declared in keys]
        for result in refused:
            assert "ForbiddenByFirewall" in failure(result)
    assert len(noted(tmp_path)) == 2
    hsm.lab.control("DELETE", "/faults")
    for declared in keys:
        assert only(hsm.rotate(declared, check=True))["code"] == "interrupted_import"
    result = hsm.rotate(*keys)
    assert (result["failures"], noted(tmp_path)) == ([], [])
    for rotation in result["rotations"]:
        assert rotation["imported"] is True
        imported = rotation["receipt"]["predicate"]["import"]
        assert imported["identity"] == rotation["identity"]
        assert imported["identity"] in ("proved", "public_key")
        assert "operation" in imported["proof"]
    assert [len(hsm.versions(declared)) for declared in keys] == [1, 1]
    assert hsm.rotate(*keys)["changed"] is False


@BY_ROLE
def test_a_run_that_dies_after_an_import_leaves_its_receipt_and_its_report_to_the_next_one(
    vault: Vault, key: Declare, state: Path, reaper: Reaper
) -> None:
    receipts = state / "receipts"
    receipts.mkdir()
    first, watched, *keys = (key() for _number in range(14))
    options: Result = {"prove": True, "receipt_directory": str(receipts)}
    only(vault.rotate(first, **options))  # which looks at the token for the first time

    def run(declared: Result) -> Callable[[], Result]:
        return lambda: vault.rotate(declared, **options)

    reaper.watch(run(watched))
    # With each key more, a look reads more of the token: only requests are counted.
    requests = [call for call in reaper.calls if call.startswith(REQUESTS)]
    sent = next(n for n, call in enumerate(requests) if call.startswith("PUT"))
    died = [
        reaper.kills(run(declared), Moment(number, True, REQUESTS))
        for number, declared in zip(range(sent, len(requests)), keys, strict=False)
    ]
    keys = keys[: len(died)]
    assert died[0].startswith("after PUT")
    checked = vault.rotate(*keys, check=True, **options)
    finished = vault.rotate(*keys, **options)
    assert checked["failures"] == finished["failures"] == []
    told = [rotation for rotation in finished["rotations"] if rotation["imported"]]
    # After the module has returned, the controller has what it has to tell.
    assert told
    assert [each["imported"] for each in finished["rotations"]] == [
        each["code"] == "interrupted_import" for each in checked["rotations"]
    ]
    assert finished["changes"] == checked["changes"]
    for declared in (first, watched, *keys):
        wrapped, imported = vault.stated(receipts, declared)
        assert (wrapped[0], imported[0]) == ("wrapped", "imported")
        assert imported[1]["predicate"]["proof"] == {"operation": "sign", "algorithm": "ES256"}
    assert noted(state) == []
    assert vault.rotate(*keys, **options)["changed"] is False


def interrupt(vault: Vault, state: Path, declared: Result, **facts: Any) -> SentImport:
    """Note an import as it was noted when the newest version of a key was on its way."""
    current = vault.lab.client(vault.url).get_key(declared["name"])
    generation = vault.generations(declared)[0]
    noted: dict[str, Any] = {
        "vault_url": vault.url,
        "name": declared["name"],
        "sent": _clock.host_clock(),
        "package_sha256": current.properties.tags["keyferry-package"],
        "versions_before": (),
        "generation": generation["generation"],
        "thumbprint": generation["thumbprint"],
        "origin": "token",
        "challenge": None,
        "prove": False,
        "receipt": None,
        "receipt_path": None,
        **facts,
    }
    sent = SentImport(**noted)
    Journal(str(state), vault.url).note(sent)
    return sent


@BOTH
def test_an_import_that_arrived_is_finished_before_another_generation_is_brought(
    lab: Lab, vault: Vault, key: Declare, state: Path
) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    interrupt(vault, state, declared, receipt=first["receipt"])
    result = vault.rotate(declared)
    assert only(result)["replaced"] == first["version"]
    made = [change.after.get("import", "new") for change in result["changes"]]
    assert [each for each in made if each == "finished"] == ["finished"]
    assert len(vault.versions(declared)) == 2
    assert noted(state) == []
    assert vault.rotate(declared)["changed"] is False


def test_no_key_is_brought_over_one_that_was_not_there_when_that_was_planned(
    vault: Vault, key: Declare, state: Path
) -> None:
    declared = key()
    first = only(vault.rotate(declared))
    interrupt(vault, state, declared)
    options: Result = {"declarations": [{**declared, "thumbprint": "another"}]}
    result = vault.run("byok_import", **options)
    assert "another generation, which an interrupted run had sent, arrived" in failure(result)
    (finished,) = result["imports"]
    assert (finished["version"], finished["imported"]) == (first["version"], True)
    assert finished["interrupted_at"]
    (logged,) = (each for each in events("keyferry.azure.byok_import", result) if each["kid"])
    assert (logged["action"], logged["kid"]) == ("import", first["kid"])
    assert f"interrupted, at {finished['interrupted_at']}." in logged["message"]
    assert noted(state) == []


@BOTH
def test_another_key_that_arrived_for_an_interrupted_run_is_disabled(
    vault: Vault, key: Declare, state: Path
) -> None:
    declared = key()
    only(vault.rotate(declared))
    interrupt(vault, state, declared, thumbprint="another")
    assert "The version was disabled" in failure(vault.rotate(declared))
    assert [enabled for _generation, enabled in vault.in_vault(declared)] == [False]
    assert noted(state) == []


@BOTH
def test_a_receipt_whose_directory_is_gone_stops_nothing(
    vault: Vault, key: Declare, state: Path
) -> None:
    declared = key()
    receipt = only(vault.rotate(declared))["receipt"]
    interrupt(vault, state, declared, receipt=receipt, receipt_path="/gone/key.receipt.json")
    result = vault.rotate(declared)
    assert only(result)["receipt"]["predicate"]["import"]["identity"] == "public_key"
    assert "its receipt is not written to /gone/" in result["warnings"][0]
    assert noted(state) == []


@BOTH
def test_a_state_directory_that_cannot_be_written_stops_a_run_before_it_imports(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    vault.options["state_directory"] = str(tmp_path / "file")
    declared = key()
    with pytest.raises(Exception, match="state_directory"):
        vault.rotate(declared)
    assert vault.versions(declared) == []
    assert vault.keks() == []
