# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The play of docs/rotation.md that destroys a generation asks every vault of the inventory."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml

DOCS = Path(__file__).parents[4] / "docs"


def tasks() -> list[dict[str, t.Any]]:
    text = (DOCS / "rotation.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    plays = [block[0] for block in blocks if isinstance(block, list) and "tasks" in block[0]]
    [play] = [play for play in plays if "'destroy'" in str(play)]
    tasks: list[dict[str, t.Any]] = play["tasks"]
    return tasks


def test_a_limit_makes_no_vault_pass_for_one_that_has_nothing() -> None:
    """The hosts of a play are those that --limit left; vaults have to come from the inventory."""
    destroying = tasks()[-1]["keyferry.azure.byok_target_key"]
    assert destroying["state"] == "absent"
    assert "groups['vaults']" in destroying["vaults"]
    assert "ansible_play" not in destroying["vaults"]
    assert "in_vault" in destroying["versions"]


def test_each_task_runs_on_the_controller_as_the_hosts_are_vaults() -> None:
    assert [task.get("delegate_to") for task in tasks()] == ["localhost"] * 3
