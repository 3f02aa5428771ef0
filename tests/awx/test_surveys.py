# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs whose survey nobody filled in, as a schedule starts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.tests.awx.conftest import Lab
from ansible_collections.keyferry.azure.tests.awx.jobs import (
    Job,
    Outcome,
    azure,
    credentials,
    templates,
    vault,
)

#: The playbooks whose job templates have a survey
ASKING = [playbook for playbook, template in templates().items() if "survey_spec" in template]
#: The messages of those that require an answer
DEMANDS = {
    "delete.yml": "byok_delete must name keys by the identifiers of their newest versions",
    "recover.yml": "byok_recover must name the deleted keys",
}


def run(lab: Lab, folder: Path, playbook: str, **answers: object) -> Outcome:
    """Run a job on a vault with one key."""
    hosts = {"contoso": vault("survey", [{"name": "survey-sign", "type": "EC", "curve": "P-256"}])}
    given = credentials(lab, azure(lab)["secret"])
    return Job(folder, 41, playbook, hosts, given, **answers).run()


@pytest.mark.parametrize("playbook", ASKING)
def test_defaults(lab: Lab, tmp_path: Path, playbook: str) -> None:
    outcome = run(lab, tmp_path, playbook)
    assert DEMANDS.get(playbook, "") in outcome.stdout
    assert outcome.status == ("failed" if playbook in DEMANDS else "successful"), outcome.stdout


def test_answer_that_is_no_text(lab: Lab, tmp_path: Path) -> None:
    """What ansible-core 2.19 and later make of the answer 0123."""
    outcome = run(lab, tmp_path, "retire.yml", byok_data_reencrypted=83)
    assert outcome.status == "failed"
    assert "byok_data_reencrypted holds the number 83, but must be a text" in outcome.stdout
    assert "Put it into quotes" in outcome.stdout
