# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run in slices, each on an execution node of its own: one dies, and none makes keys."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from ansible_collections.keyferry.azure.tests.awx.conftest import Lab
from ansible_collections.keyferry.azure.tests.awx.jobs import (
    Inventory,
    Job,
    Outcome,
    azure,
    credentials,
    imported,
    kill,
    slices,
)

KEYS = [f"fleet-{number}" for number in range(2)]
RACED = [f"race-{number}" for number in range(4)]


def fleet(folder: Path, name: str, names: list[str], letters: str = "abcd") -> Inventory:
    """Vaults with the same keys of one token, as AWX imports them from the declarations."""
    folder.mkdir()
    key = {"type": "EC", "curve": "P-256", "rotation": {"min_interval": "PT1S"}}
    keys = [{"name": name, **key} for name in names]
    (folder / "keys.yml").write_text(json.dumps({"vaults": ["*"], "keys": keys}))
    variables = {"byok_kek_size": 2048, "byok_allow_trailing_zeros": True}
    vaults = {
        f"vault-{letter}": {
            "url": f"https://keyferry-lab-{name}-{letter}.vault.azure.net",
            "tokens": ["token"],
        }
        for letter in letters
    }
    config = {
        "plugin": "keyferry.azure.declared",
        "files": [{"path": "keys.yml"}],
        "tokens": {"token": variables},
        "vaults": vaults,
    }
    (folder / "fleet.byok.yml").write_text(json.dumps(config))
    return imported(folder / "fleet.byok.yml")


def successful(outcome: Outcome) -> Outcome:
    assert outcome.status == "successful", outcome.stdout
    return outcome


def held(lab: Lab, vaults: Inventory) -> dict[str, Any]:
    """What the vaults of a fleet hold beside KEKs: versions and thumbprints, by vault and key."""
    return {
        host: {
            name: (key["versions"], key["thumbprint"], key["operations"])
            for name, key in lab.keys(variables["byok_vault_url"]).items()
            if not name.startswith("keyferry-kek-")
        }
        for host, variables in vaults.items()
    }


def test_slices(lab: Lab, tmp_path: Path) -> None:
    """Slices leave what a single run leaves, and one that is killed is finished by the next run."""
    given = credentials(lab, azure(lab)["built in"])

    def job(number: int, playbook: str, hosts: Inventory, **extra: object) -> Job:
        return Job(tmp_path, number, playbook, hosts, given, **extra)

    sliced = fleet(tmp_path / "sliced", "sliced", KEYS)
    whole = fleet(tmp_path / "whole", "whole", KEYS)
    successful(job(1, "prepare.yml", sliced).run())

    # A sliced job, and the node of its first slice dies
    jobs = [
        job(number, "byok.yml", hosts, byok_batch_size=size)
        for number, size, hosts in zip((11, 12, 13), (1, 100, 100), slices(sliced, 3), strict=True)
    ]
    workers = [each.start() for each in jobs]
    first = [
        sliced[host]["byok_vault_url"].removeprefix("https://") for host in ("vault-a", "vault-d")
    ]
    while not lab.imported(*first):
        assert workers[0].poll() is None, jobs[0].process().stdout
        time.sleep(0.05)
    kill(workers[0])
    others = [
        successful(each.process())
        for each, worker in zip(jobs[1:], workers[1:], strict=True)
        if worker.wait(300) == 0
    ]
    artifacts = {name: value for outcome in others for name, value in outcome.artifacts.items()}
    assert {name: list(hosts) for name, hosts in artifacts.items()} == {
        "byok_results_12": ["vault-b"],
        "byok_results_13": ["vault-c"],
    }
    assert len(lab.imported(*first)) < 2 * len(KEYS), (
        "the slice was killed too late to test anything"
    )
    report = job(14, "report.yml", sliced, **artifacts).run()
    assert report.status == "failed"
    assert "No job of this workflow finished https://keyferry-lab-sliced-a." in report.stdout
    assert "No job of this workflow finished https://keyferry-lab-sliced-b." not in report.stdout

    # The next run finishes it, and a single run comes to the same
    again = [job(number, "byok.yml", hosts) for number, hosts in enumerate(slices(sliced, 3), 21)]
    workers = [each.start() for each in again]
    assert [worker.wait(300) for worker in workers] == [0, 0, 0]
    artifacts = {
        name: value
        for each in again
        for name, value in successful(each.process()).artifacts.items()
    }
    successful(job(24, "report.yml", sliced, **artifacts).run())
    successful(job(31, "byok.yml", whole).run())
    state = held(lab, sliced)
    assert state == held(lab, whole)
    assert all(set(keys) == set(KEYS) for keys in state.values())
    assert {
        versions for keys in state.values() for versions, _thumbprint, _operations in keys.values()
    } == {1}


def test_slices_make_no_keys(lab: Lab, tmp_path: Path) -> None:
    """Slices on nodes with locks of their own would make different keys under one name.

    So they make none, missing or forced, and bring what prepare made.
    """
    given = credentials(lab, azure(lab)["built in"])
    hosts = fleet(tmp_path / "race", "race", RACED, "ab")

    def prepare(number: int, **answers: object) -> None:
        successful(Job(tmp_path, number, "prepare.yml", hosts, given, **answers).run())

    def sliced(number: int, playbook: str, **answers: object) -> list[Outcome]:
        jobs = []
        for nth, part in enumerate(slices(hosts, 2)):
            locks = tmp_path / f"locks-{nth}"
            locks.mkdir(exist_ok=True)
            extra = {"byok_lock_directory": str(locks), **answers}
            jobs.append(Job(tmp_path, number + nth, playbook, part, given, **extra))
        for worker in [job.start() for job in jobs]:
            worker.wait(300)
        return [job.process() for job in jobs]

    see_prepare_demanded(sliced(41, "byok.yml"))
    assert lab.generations(*RACED) == {name: set() for name in RACED}

    prepare(43)
    made = lab.generations(*RACED)
    for outcome in sliced(44, "byok.yml"):
        successful(outcome)
    assert lab.generations(*RACED) == made
    first = see_same(lab, hosts, versions=1)

    forced = ", ".join(first.values())
    see_prepare_demanded(sliced(51, "rotate.yml", byok_force=forced))
    assert lab.generations(*RACED) == made
    assert see_same(lab, hosts, versions=1) == first

    prepare(53, byok_force=forced)
    for outcome in sliced(54, "rotate.yml"):
        successful(outcome)
    second = see_same(lab, hosts, versions=2)
    assert lab.generations(*RACED) == {name: {first[name], second[name]} for name in RACED}


def see_prepare_demanded(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert outcome.status == "failed", outcome.stdout
        for name in RACED:
            assert re.search(rf"{name}\b.*: .*\bprepare\b", outcome.stdout), outcome.stdout


def see_same(lab: Lab, hosts: Inventory, versions: int) -> dict[str, str]:
    """The thumbprints, by names, that all vaults have the same of."""
    first, *others = held(lab, hosts).values()
    assert all(other == first for other in others)
    assert {name: key[0] for name, key in first.items()} == dict.fromkeys(RACED, versions)
    return {name: key[1] for name, key in first.items()}
