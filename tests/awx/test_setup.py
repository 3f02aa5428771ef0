# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/awx.yml by awx.awx's own modules, against a stub of AWX's API."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.tests.awx.conftest import ROOT, program
from ansible_collections.keyferry.azure.tests.awx.stub import TOKEN, Awx, serving

PIN = "stub-pin-7391"


class Recap:
    """What a run of the playbook says at its end."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.output = process.stdout + process.stderr
        assert process.returncode == 0, self.output
        (self.changed,) = map(int, re.findall(r"changed=(\d+)", self.output))


@pytest.fixture
def awx() -> Awx:
    project = (ROOT / "examples/awx/project").glob("*.yml")
    return Awx([path.name for path in project if "import_playbook" in path.read_text()])


@pytest.fixture
def setup(awx: Awx, awx_awx: Path) -> Iterator[Callable[..., Recap]]:
    """Run the playbook as a user does, by its name in the collection."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "CONTROLLER_", "TOWER_"))
    }
    variables |= {
        "CONTROLLER_OAUTH_TOKEN": TOKEN,
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT / '.collections'}{os.pathsep}{awx_awx}",
    }
    with serving(awx) as url:

        def run(*options: str, **extra: object) -> Recap:
            awx.writes.clear()
            given = {
                "byok_awx_image": "registry.example.com/keyferry:1",
                "byok_awx_project_url": "https://git.example.com/keys.git",
            }
            command = [
                program("ansible-playbook"),
                "keyferry.azure.awx",
                "-e",
                json.dumps({**given, **extra}),
                *options,
            ]
            environment = {**variables, "CONTROLLER_HOST": url}
            return Recap(
                subprocess.run(
                    command,
                    env=environment,
                    text=True,
                    capture_output=True,
                    timeout=300,
                    check=False,
                )
            )

        yield run


def test_setup(setup: Callable[..., Recap], awx: Awx) -> None:
    """A check of nothing, all of it, what such a change would do, and a change."""
    would = setup("--check")
    assert would.changed > 0
    assert "AWX does not have Keyferry HSM, " in would.output
    assert not awx.writes

    made = setup(
        byok_awx_instance_groups=["near-the-hsm"],
        byok_awx_hsm_inputs={
            "pin": PIN,
            "pkcs11_library": "/usr/lib/libtoken.so",
            "token_label": "byok",
        },
        byok_awx_azure_inputs={
            "client": "client",
            "tenant": "tenant",
            "secret": "stub-secret-5127",
            "subscription": "subscription",
        },
    )
    assert PIN not in made.output
    assert "stub-secret-5127" not in made.output
    assert "[WARNING]: Found duplicate" not in made.output
    assert awx.secrets["Keyferry HSM"]["pin"] == PIN
    see_templates(awx)
    see_workflows(awx)
    see_inventory(awx)

    kinds = (
        "credential_types",
        "credentials",
        "execution_environments",
        "inventories",
        "inventory_sources",
        "projects",
    )
    others: dict[str, object] = {
        f"controller_{kind}": [] for kind in (*kinds, "workflows", "schedules")
    }
    template = {"name": "Keyferry apply", "organization": "Default", "job_slice_count": 3}
    would = setup("--check", controller_templates=[template], **others)
    assert would.changed == 1
    assert "were not checked" not in would.output
    assert not awx.writes

    # AWX does not show secrets again, and they are not given again
    changed = setup(byok_awx_slices=3, byok_awx_instance_groups=["near-the-hsm"])
    assert changed.changed == 1
    sliced = [awx.named("job_templates", f"Keyferry {name}") for name in ("apply", "rotate")]
    assert awx.writes == [("PATCH", f"job_templates/{template['id']}/") for template in sliced]
    assert [template["job_slice_count"] for template in sliced] == [3, 3]


def see_templates(awx: Awx) -> None:
    templates = {
        item["name"].removeprefix("Keyferry "): item for item in awx.kinds["job_templates"].values()
    }
    questions = {
        name: [question["variable"] for question in awx.surveys.get(item["id"], {}).get("spec", [])]
        for name, item in templates.items()
    }
    assert questions == {
        "prepare": ["byok_force"],
        "plan": ["byok_fail_on_drift"],
        "apply": [],
        "rotate": ["byok_force"],
        "retire": ["byok_data_reencrypted"],
        "delete": ["byok_delete", "byok_delete_purge"],
        "recover": ["byok_recover"],
        "show": [],
        "report": [],
    }
    for name, item in templates.items():
        assert item.get("survey_enabled", False) == bool(questions[name])
        assert item["allow_simultaneous"] is False
        assert item["job_slice_count"] == 1
        credentials = [] if name == "report" else ["Keyferry HSM", "Keyferry Azure"]
        assert sorted(awx.linked("job_templates", item["name"], "credentials")) == sorted(
            credentials
        )
        assert awx.linked("job_templates", item["name"], "instance_groups") == ["near-the-hsm"]


def see_workflows(awx: Awx) -> None:
    assert awx.edges("Keyferry apply workflow") == {
        ("prepare", "success_nodes", "plan"),
        ("plan", "success_nodes", "approval"),
        ("approval", "success_nodes", "apply"),
        ("apply", "always_nodes", "report"),
    }
    assert awx.edges("Keyferry rotate workflow") == {
        ("prepare", "success_nodes", "rotate"),
        ("rotate", "always_nodes", "report"),
    }
    approval = awx.named("workflow_job_template_nodes", "approval")["unified_job_template"]
    assert awx.kinds["workflow_approval_templates"][approval]["name"] == "Keyferry plan is approved"
    assert all(
        item["allow_simultaneous"] is False for item in awx.kinds["workflow_job_templates"].values()
    )
    scheduled = {item["unified_job_template"] for item in awx.kinds["schedules"].values()}
    rotate = awx.named("workflow_job_templates", "Keyferry rotate workflow")
    plan = awx.named("job_templates", "Keyferry plan")
    assert scheduled == {rotate["id"], plan["id"]}


def see_inventory(awx: Awx) -> None:
    source, project = awx.named("inventory_sources", "Keyferry"), awx.named("projects", "Keyferry")
    assert source["source_project"] == project["id"]
    assert source["update_on_launch"] is True
    assert source["execution_environment"] == awx.named("execution_environments", "Keyferry")["id"]
