# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run in slices, each on an execution node of its own, one of which dies."""

from __future__ import annotations

import json
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


def fleet(folder: Path, name: str) -> Inventory:
    """Vaults with the same keys of one token, as AWX imports them from the declarations."""
    folder.mkdir()
    keys = [{"name": key, "type": "EC", "curve": "P-256"} for key in KEYS]
    (folder / "keys.yml").write_text(json.dumps({"vaults": ["*"], "keys": keys}))
    variables = {"byok_kek_size": 2048, "byok_allow_trailing_zeros": True}
    vaults = {
        f"vault-{letter}": {
            "url": f"https://keyferry-lab-{name}-{letter}.vault.azure.net",
            "tokens": ["token"],
        }
        for letter in "abcd"
    }
    config = {
        "plugin": "keyferry.azure.declared",
        "files": [{"path": "keys.yml"}],
        "tokens": {"token": variables},
        "vaults": vaults,
    }
    (folder / "fleet.byok.yml").write_text(json.dumps(config))
    return imported(folder / "fleet.byok.yml")


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

    def successful(outcome: Outcome) -> Outcome:
        assert outcome.status == "successful", outcome.stdout
        return outcome

    sliced, whole = fleet(tmp_path / "sliced", "sliced"), fleet(tmp_path / "whole", "whole")
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
