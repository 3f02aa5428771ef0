# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From each variable of the role to the modules that get it, by the text of the role."""

from __future__ import annotations

import functools
import importlib
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import HOST_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    CALLED_BY_ROLE,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.variables import (
    OTHER_VARIABLES,
    RENAMED,
)

ROOT = Path(__file__).resolve().parents[4]
ROLE = ROOT / "roles/byok"
GROUPS: dict[str, list[str]] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())[
    "action_groups"
]

#: Why a task does not hand over an option for which the role has a variable
DELETES = "nothing is imported"
LOOKS = "nothing is wrapped"
REHEARSES = ("allow_trailing_zeros", "evidence_key", "evidence_token")
MAKES = "a listing is for runs that only look"
RECEIPTS = "what has no receipt is told to runs that keep some"
IMPORTS = (
    "attestation_maker_roots",
    "attestation_owner_roots",
    "evidence_key_id",
    "on_deleted",
    "receipt_directory",
)
NOT_HANDED_OVER: dict[tuple[str, str], dict[str, str]] = {
    ("batch.yml", "byok_target_key"): {"listing": MAKES},
    ("batch.yml", "byok_wrap"): {
        "kek_trust": "deprecated; byok_kek_trust demands, and is required_kek_trust there"
    },
    ("delete.yml", "byok_import"): dict.fromkeys(IMPORTS, DELETES),
    ("discover.yml", "byok_hsm_info"): dict.fromkeys(REHEARSES, LOOKS),
    ("discover.yml", "byok_vault_info"): {"prove": LOOKS},
    ("list.yml", "byok_hsm_info"): dict.fromkeys(REHEARSES, LOOKS),
    ("observe.yml", "byok_plan"): dict.fromkeys(
        ("unmanaged", "kek_name", "kek_id"),
        "only a plan reports what nobody declared, and a KEK that ends",
    ),
    ("plan.yml", "byok_plan"): {"receipt_directory": RECEIPTS},
    ("prepare.yml", "byok_target_key"): {"listing": MAKES},
    ("recover.yml", "byok_import"): dict.fromkeys(IMPORTS, DELETES),
    ("retire.yml", "byok_rotate"): dict.fromkeys(
        (
            "allow_trailing_zeros",
            "allow_unverified_kek",
            "approved_keks",
            "attestation_maker_roots",
            "attestation_owner_roots",
            "delete_timeout",
            "evidence_key_id",
            "expires_soon",
            "force",
            "kek_id",
            "kek_lifetime",
            "kek_prefix",
            "kek_purge",
            "kek_size",
            "on_deleted",
            "prove",
            "receipt_directory",
        ),
        DELETES,
    ),
    ("show.yml", "byok_plan"): dict.fromkeys(
        ("force", "receipt_directory", "unmanaged"),
        "only a plan is told what to replace and what to report",
    ),
    ("bring.yml", "byok_kek"): dict.fromkeys(
        ("approved_keks", "kek_id", "kek_public_key", "lifetime", "size"),
        "this task deletes the KEK",
    ),
    ("kek.yml", "byok_kek"): dict.fromkeys(
        ("delete_timeout", "purge"), "this task makes the KEK or takes the given one"
    ),
    ("lock.yml", "byok_target_key"): {"listing": MAKES},
}

#: The role never destroys a generation; its variable confirms what is purged in a vault
OTHER_MEANING = {("byok_target_key", "confirm")}

#: Names in the role's text that are none of its options
NO_OPTIONS = {
    *RENAMED,
    *GROUPS,
    *GROUPS["byok"],
    *(path.stem for path in (ROOT / "plugins/filter").glob("byok_*.py")),
}.union(*OTHER_VARIABLES.values())

#: What all entry points ask the engine by; it takes of it what the entry point needs
REQUEST = "byok__request"

#: Variables that stand in files of an entry point, without effect there: nothing is replaced
WITHOUT_EFFECT = {"main": {"byok_force"}, "transfer": {"byok_force"}}

#: Options of an entry point that a playbook reads
READ_BY_PLAYBOOKS = {"byok_primary"}


@dataclass(frozen=True)
class Task:
    """A task of an entry point.

    :ivar defaults: the options of its blocks' ``module_defaults``, by action groups
    """

    file: str
    fields: dict[str, t.Any]
    defaults: dict[str, str]

    @property
    def module(self) -> str | None:
        """The name of the collection's module that it runs."""
        names = [name.removeprefix("keyferry.azure.") for name in self.fields]
        return next((name for name in names if name in GROUPS["byok"]), None)

    def given(self) -> dict[str, t.Any]:
        """What its module gets: its own options, and those of its groups."""
        given: dict[str, t.Any] = {}
        for group, variable in self.defaults.items():
            if self.module in GROUPS[group.removeprefix("group/keyferry.azure.")]:
                given.update(role_variables()[variable.strip("{} ").partition(" ")[0]])
        return {**given, **self.fields[f"keyferry.azure.{self.module}"]}


def read(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text())


@functools.cache
def role_variables() -> dict[str, t.Any]:
    """The role's variables and defaults."""
    return {**read(ROLE / "vars/main.yml"), **read(ROLE / "defaults/main.yml")}


def tasks_of(
    file: str, tasks: t.Any = None, defaults: dict[str, str] | None = None
) -> t.Iterator[Task]:
    """The tasks and blocks of a file, and of the files that it includes."""
    for fields in read(ROLE / "tasks" / file) if tasks is None else tasks:
        inner = {**(defaults or {}), **fields.get("module_defaults", {})}
        yield Task(file, fields, inner)
        for block in ("block", "rescue", "always"):
            yield from tasks_of(file, fields.get(block, []), inner)
        for include in ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks"):
            if include in fields:
                yield from tasks_of(fields[include], None, inner)


@functools.cache
def spec_of(module: str) -> dict[str, t.Any]:
    loaded = importlib.import_module(f"ansible_collections.keyferry.azure.plugins.modules.{module}")
    with mock.patch.object(loaded, "run_module") as run_module:
        loaded.main()
    spec: dict[str, t.Any] = run_module.call_args.args[1]
    return spec


def referenced(value: t.Any, known: dict[str, t.Any]) -> set[str]:
    """The public variables that a value refers to, directly or by the role's private ones."""
    public: set[str] = set()
    seen: set[str] = set()
    texts = [str(value)]
    while texts:
        for name in set(re.findall(r"\bbyok_\w+", texts.pop())) - seen:
            seen.add(name)
            if not name.startswith("byok__"):
                public.add(name)
            if name in known:
                texts.append(str(known[name]))
    return public


def own_fields(task: Task) -> dict[str, t.Any]:
    """The fields of a task without the tasks of a block."""
    return {
        name: value
        for name, value in task.fields.items()
        if name not in ("block", "rescue", "always", "name")
    }


ENTRY_POINTS: dict[str, t.Any] = read(ROLE / "meta/argument_specs.yml")["argument_specs"]
OPTIONS = {name for entry_point in ENTRY_POINTS.values() for name in entry_point["options"]}


def used_by(entry_point: str, known: dict[str, t.Any]) -> set[str]:
    """The public variables that an entry point refers to."""
    used: set[str] = set()
    for task in tasks_of(f"{entry_point}.yml"):
        used |= referenced(own_fields(task), known)
    return used - WITHOUT_EFFECT.get(entry_point, set())


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_an_entry_point_documents_the_options_that_it_uses_and_no_others(entry_point: str) -> None:
    documented = ENTRY_POINTS[entry_point]["options"].keys()
    without_request = {name: value for name, value in role_variables().items() if name != REQUEST}
    assert used_by(entry_point, without_request) & OPTIONS <= documented
    used = used_by(entry_point, role_variables())
    assert documented - READ_BY_PLAYBOOKS <= used
    unknown = used - OPTIONS - NO_OPTIONS
    assert not {name for name in unknown if not name.endswith("_")}


def calls() -> t.Iterator[Task]:
    """The tasks of all entry points that run a module of the collection."""
    for entry_point in ENTRY_POINTS:
        for task in tasks_of(f"{entry_point}.yml"):
            if task.module:
                yield task


def test_every_task_hands_over_what_the_role_has_a_variable_for() -> None:
    left_out: dict[tuple[str, str], set[str]] = {}
    for task in calls():
        module = str(task.module)
        spec = spec_of(module)
        of_keys = spec.get("declarations", {}).get("options", {})
        missing = {
            option
            for option in spec.keys() - of_keys.keys() - task.given().keys()
            if OPTIONS & {f"byok_{option}", f"{module}_{option}"}
            and (module, option) not in OTHER_MEANING
        }
        if missing:
            left_out.setdefault((task.file, module), set()).update(missing)
    assert left_out == {call: set(options) for call, options in NOT_HANDED_OVER.items()}


def test_the_locks_options_reach_every_module_that_locks() -> None:
    locking = set()
    for task in calls():
        given = task.given().keys() & HOST_OPTIONS.keys()
        if task.module in GROUPS["byok_host"]:
            assert given == HOST_OPTIONS.keys(), task
            locking.add((task.file, task.module))
        else:
            assert not given, task
    assert {
        ("batch.yml", "byok_import"),
        ("batch.yml", "byok_target_key"),
        ("batch.yml", "byok_wrap"),
        ("delete.yml", "byok_import"),
        ("recover.yml", "byok_import"),
        ("retire.yml", "byok_rotate"),
    } <= locking


def test_every_option_reaches_a_module_or_says_where_modules_run() -> None:
    reaching: set[str] = set()
    for task in calls():
        reaching |= referenced([task.given(), task.fields.get("vars")], role_variables())
    for task in (each for name in ENTRY_POINTS for each in tasks_of(f"{name}.yml")):
        reaching |= referenced(task.fields.get("ansible.builtin.set_fact", ""), role_variables())
    assert OPTIONS - reaching == {
        "byok_discover_directory",
        "byok_discover_overwrite",
        "byok_listing_directory",
        "byok_own_variables",
        "byok_primary",
    }


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_an_entry_point_tells_its_modules_that_messages_name_variables(entry_point: str) -> None:
    tasks = read(ROLE / "tasks" / f"{entry_point}.yml")
    if entry_point == "main":
        assert [task["ansible.builtin.import_tasks"] for task in tasks] == ["transfer.yml"]
        return
    assert [task.get("environment") for task in tasks] == ["{{ byok__environment }}"]
    assert role_variables()["byok__environment"] == {CALLED_BY_ROLE: "1"}
