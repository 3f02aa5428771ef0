# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks as jobs of AWX: its credentials, surveys and artifacts, by ansible-runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.tests.awx.conftest import Lab
from ansible_collections.keyferry.azure.tests.awx.jobs import (
    Inventory,
    Job,
    Outcome,
    azure,
    credentials,
    vault,
)

Run = Callable[..., Outcome]


@pytest.fixture
def run(lab: Lab, tmp_path: Path) -> Run:
    """Run a playbook with one of the Azure credentials."""
    inventory: Inventory = {
        "contoso": vault(
            "job",
            [
                {
                    "name": "job-sign",
                    "type": "EC",
                    "curve": "P-256",
                    "rotation": {"min_interval": "PT1S"},
                }
            ],
        )
    }

    def start(number: int, playbook: str, credential: str, *options: str, **survey: str) -> Outcome:
        given = credentials(lab, azure(lab)[credential])
        outcome = Job(tmp_path, number, playbook, inventory, given, **survey).run(*options)
        print(outcome.stdout)
        return outcome

    return start


def test_life_of_a_key(run: Run, lab: Lab) -> None:
    """Each job has another kind of Azure credential, and surveys answer with text."""
    would = run(11, "byok.yml", "certificate", "--cmdline", "--check --diff")
    assert would.status == "successful"
    assert would.artifacts["byok_results_11"]["contoso"]["check_mode"] is True
    assert lab.imported("keyferry-lab-job.vault.azure.net") == []

    brought = run(12, "rotate.yml", "built in", byok_force="").artifacts["byok_results_12"][
        "contoso"
    ]
    assert brought["problems"] == []
    (first,) = brought["imported"].values()

    thumbprint = lab.keys("https://keyferry-lab-job.vault.azure.net")["job-sign"]["thumbprint"]
    rotated = run(13, "rotate.yml", "workload identity", byok_force=f"{thumbprint}, ")
    (second,) = rotated.artifacts["byok_results_13"]["contoso"]["imported"].values()
    assert second != first

    deleted = run(14, "delete.yml", "secret", byok_delete=f"{second}, ", byok_delete_purge="false")
    assert (deleted.status, deleted.changed) == ("successful", {"contoso": 1})
    assert "job-sign" not in lab.keys("https://keyferry-lab-job.vault.azure.net")

    drift = run(15, "plan.yml", "built in", byok_fail_on_drift="true")
    assert drift.status == "failed"
    assert drift.artifacts["byok_plan_15"]["status"] == "changes"
