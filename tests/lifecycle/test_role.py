# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role in this process: performed as by Ansible, in its order, and with modules that die."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BY_ROLE,
    LAB_OPTIONS,
    Declare,
    Lab,
    Result,
    Vault,
    generations,
    only,
)
from ansible_collections.keyferry.azure.tests.lifecycle.modules import attempt
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Killed, Moment, Reaper
from ansible_collections.keyferry.azure.tests.lifecycle.role import Play, TaskFailed, perform

#: What the role's files use of Ansible, and where it is easily got wrong
TASKS = """
- name: Begin
  ansible.builtin.set_fact:
    trail: [begun]
    goes_on: true
- name: Go on
  when: goes_on | bool
  block:
    - name: Import
      ansible.builtin.import_tasks: inner.yml
      vars:
        number: 0
      when: trail | length == 1
    - name: Include
      ansible.builtin.include_tasks: inner.yml
      loop: "{{ [1, 2, 3] | reject('equalto', 2) }}"
      loop_control:
        loop_var: number
      when: number != 3
    - name: Fail
      ansible.builtin.fail:
        msg: "{{ trail | join(' ') }}"
    - name: Is never reached
      ansible.builtin.set_fact:
        trail: "{{ trail + ['after the failure'] }}"
  always:
    - name: Stop
      ansible.builtin.set_fact:
        goes_on: false
        trail: "{{ trail + ['always'] }}"
    - name: Is left out, because always is within the block's condition
      ansible.builtin.set_fact:
        trail: "{{ trail + ['always, too'] }}"
"""

INNER = """
- name: Record
  ansible.builtin.set_fact:
    trail: "{{ trail + [number | string, missing_name.of_nothing | default('none')] }}"
- name: Record once more, where the condition still holds
  ansible.builtin.set_fact:
    trail: "{{ trail + ['more'] }}"
"""

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Perform
      block:
        - ansible.builtin.import_tasks: tasks.yml
      always:
        - ansible.builtin.debug:
            msg: "{{ {'trail': trail} }}"
"""


def by_ansible(folder: Path) -> Result:
    """Perform TASKS by ansible-playbook; return the trail that they left."""
    (folder / "playbook.yml").write_text(PLAYBOOK)
    played = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "playbook.yml"],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    told = played.stdout[played.stdout.index('"trail"') :]
    trail: Result = json.loads("{" + told[: told.index("]") + 1] + "}")
    return trail


def test_tasks_are_performed_as_ansible_performs_them(tmp_path: Path) -> None:
    (tmp_path / "tasks.yml").write_text(TASKS)
    (tmp_path / "inner.yml").write_text(INNER)
    play = Play({"inventory_hostname": "localhost"})
    play.tasks = tmp_path
    with pytest.raises(TaskFailed, match=r"^begun 0 none 1 none more$"):
        play.perform("tasks")
    assert play.facts["trail"] == by_ansible(tmp_path)["trail"]
    assert play.facts["trail"][-1] == "always"


def test_the_role_takes_its_steps_in_this_order(vault: Vault, key: Declare) -> None:
    declared = {**key(), "after_transfer": "lock"}
    brought = vault.transfer(declared)
    assert only(brought)["locked"] is True
    look, rehearse, kek = ["byok_target_key", "byok_plan"], ["byok_hsm_info"], ["byok_kek"]
    bring = ["byok_target_key", "byok_wrap", "byok_import"]
    end = ["byok_target_key", "byok_receipts"]  # lock, and store the manifest
    assert brought["modules"] == [*look, *rehearse, *kek, *bring, *kek, *end]
    again = vault.transfer(declared)
    assert (again["changed"], again["modules"]) == (False, look)


@BY_ROLE
def test_a_key_is_brought_in_batches(vault: Vault, key: Declare) -> None:
    keys = [key() for _number in range(3)]
    brought = vault.rotate(*keys, batch_size=2)
    assert brought["failures"] == []
    assert brought["modules"].count("byok_import") == 2
    assert [each["imported"] for each in brought["rotations"]] == [True] * 3
    assert vault.keks() == []
    assert vault.rotate(*keys)["changed"] is False


@BY_ROLE
def test_before_the_first_approval_of_a_kek_nothing_is_made(vault: Vault, key: Declare) -> None:
    declared = key()
    with pytest.raises(ByokError, match=r"^No KEK is approved for .* yet, so nothing was made"):
        vault.rotate(declared, kek_ephemeral=False)
    assert generations(declared) == {declared["name"]: []}


@BY_ROLE
def test_what_is_declared_wrongly_is_told_in_lines_and_names(vault: Vault, key: Declare) -> None:
    """As an assertion tells them: of a filter that fails, ansible-core repeats the text."""
    keys = [{**key(), "curve": None, "type": "EC", "size": None} for _number in range(2)]
    with pytest.raises(ByokError) as told:
        vault.rotate(*keys)
    lines = f"{told.value.what}.".split(r"\n")
    assert lines == [
        f"byok_keys[{number}] ({declared['name']}): The EC key {declared['name']} is declared "
        "without size or curve. Give curve as one of P-256, P-384, P-521, P-256K, and no size."
        for number, declared in enumerate(keys)
    ]


class Dying:
    """Modules of which one dies at some moment, while the controller goes on."""

    def __init__(self, reaper: Reaper) -> None:
        self.reaper = reaper

    def __call__(self, module: str, check: bool, **options: object) -> Result:
        try:
            return attempt(module, check, **options)
        except Killed:
            self.reaper.moment, self.reaper.dead = None, False
            return {"failed": True, "changed": False, "msg": "MODULE FAILURE", "rc": 1}


#: Calls that change something which outlives a module
CHANGING = ("C_GenerateKeyPair", "C_SetAttributeValue", "POST", "PUT", "DELETE")


def changing(reaper: Reaper, run: Callable[[], object]) -> list[Moment]:
    """Let a run live; return the moments before and after the calls that change something."""
    reaper.watch(run)
    count = sum(name.startswith(CHANGING) for name in reaper.calls)
    return [Moment(number, after, CHANGING) for number in range(count) for after in (False, True)]


def test_a_module_that_dies_is_told_and_the_next_run_goes_on(
    lab: Lab, vault: Vault, key: Declare, reaper: Reaper, no_sleep: list[float]
) -> None:
    first = key(every="P90D")
    keys = [{**first, "name": f"{first['name']}-{number}"} for number in range(40)]
    options = {"vault_url": vault.url, **LAB_OPTIONS}
    moments = changing(reaper, lambda: perform(options, keys[:1]))
    assert len(moments) < len(keys)
    keys = keys[: len(moments) + 1]
    for declared, moment in zip(keys[1:], moments, strict=True):
        reaper.calls, reaper.moment = [], moment
        with pytest.raises(Exception, match="MODULE FAILURE"):
            perform(options, [declared], run_module=Dying(reaper))
        assert reaper.moment is None, moment
    finished = perform(options, keys)
    assert finished["failures"] == []
    assert all("an interrupted run had sent an import" in each for each in finished["warnings"])
    assert perform(options, keys)["changed"] is False
    versions, made = vault.inventory(*keys), generations(*keys)
    for declared in keys:
        name = declared["name"]
        assert len(versions[name]) == len(made[name]) == 1
    lab.forward(hours=5)
    perform(options, [key()])
    assert vault.keks() == []
