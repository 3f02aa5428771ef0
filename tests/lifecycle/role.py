# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role, performed in this process: its own task files, with modules of this process.

The files are read as they are, so that what is tried here cannot drift from what users run. This is
no more of Ansible than the role's runs use: a keyword or an action that is not known is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache, wraps
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    DeclarationError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, told
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer
from ansible_collections.keyferry.azure.tests.lifecycle.modules import Result, attempt
from jinja2.runtime import Context
from jinja2.utils import missing

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/byok"
COLLECTION = "keyferry.azure."

Node = Mapping[str, Any]
Lookup = Callable[[str], Any]

#: An option with this value is left out
OMIT = object()

#: Of the files: what a task or block can have beside its action
_KEYWORDS = {
    *("name", "vars", "when", "loop", "loop_control", "block", "always", "module_defaults"),
    "environment",
    *("delegate_to", "check_mode", "diff", "register", "changed_when", "failed_when"),
    "ignore_unreachable",
}
_INCLUDES = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")


#: Filters of Jinja's that return generators
_LAZY = ("map", "select", "reject", "selectattr", "rejectattr")


class TaskFailed(Exception):
    """A task failed, and with it the host."""


class Unreachable(Exception):
    """A host could not be reached, so Ansible does no more for it, ``always`` neither."""


# Templates


class _Undefined(jinja2.ChainableUndefined, jinja2.StrictUndefined):
    """A name without a value; a default may stand in for it, also where a member is asked for."""


class _Context(Context):
    """Looks names up only when they are used, because variables are templates themselves."""

    def resolve_or_missing(self, key: str) -> Any:
        found = super().resolve_or_missing(key)
        return self.parent["_lookup"](key) if found is missing else found


def _now(utc: bool, fmt: str) -> str:
    assert utc
    return datetime.now(timezone.utc).strftime(fmt)


def _at_once(lazy: Callable[..., Any]) -> Callable[..., Any]:
    """Let a filter of Jinja's return a list, as Ansible does."""

    @wraps(lazy)
    def act(*positional: Any, **named: Any) -> list[Any]:
        return list(lazy(*positional, **named))

    return act


def _environment() -> jinja2.Environment:
    # Not optimised, and texts compiled anew: a random number would be chosen once for all
    environment = jinja2.Environment(undefined=_Undefined, optimized=False)
    environment.context_class = _Context
    for name, act in FilterModule().filters().items():
        environment.filters.setdefault(name, act)
    for name in _LAZY:
        environment.filters[name] = _at_once(environment.filters[name])
    environment.filters["random"] = FilterModule().filters()["random"]
    environment.filters[f"{COLLECTION}byok_ask"] = lambda value, question, *positional, **named: (
        answer(question, value, positional, named)
    )
    environment.tests.update(TestModule().tests())
    environment.globals.update(omit=OMIT, now=_now)
    return environment


_ENVIRONMENT = _environment()


@cache
def _expression(text: str) -> Callable[..., Any]:
    return _ENVIRONMENT.compile_expression(text, undefined_to_none=False)


@cache
def _template(text: str) -> Callable[..., Any]:
    """Return what renders a text: to an object where it is one expression and nothing else."""
    (output,) = _ENVIRONMENT.parse(text).body
    assert isinstance(output, jinja2.nodes.Output)
    if len(output.nodes) == 1 and not isinstance(output.nodes[0], jinja2.nodes.TemplateData):
        return _expression(text.strip().removeprefix("{{").removesuffix("}}").strip())
    return lambda **names: _ENVIRONMENT.from_string(text).render(**names)


def evaluate(text: str, lookup: Lookup) -> Any:
    """Return the value of a bare expression, as of ``when``."""
    value = _expression(text)(_lookup=lookup)
    if isinstance(value, jinja2.Undefined):
        raise jinja2.UndefinedError(f"{text} is undefined")
    return value


def render(value: Any, lookup: Lookup) -> Any:
    """Return what a value of a YAML file is, with the templates in it rendered."""
    if isinstance(value, str) and "{{" in value:
        rendered = _template(value)(_lookup=lookup)
        if isinstance(rendered, jinja2.Undefined):
            raise jinja2.UndefinedError(f"{value} is undefined")
        return rendered
    if isinstance(value, dict):
        return {render(name, lookup): render(item, lookup) for name, item in value.items()}
    if isinstance(value, list):
        return [render(item, lookup) for item in value]
    return value


# Tasks


@cache
def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def _groups_of(module: str) -> list[str]:
    groups = _read(ROOT / "meta/runtime.yml")["action_groups"]
    return [f"group/{COLLECTION}{name}" for name, modules in groups.items() if module in modules]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Inherited:
    """What tasks have of the blocks and imports that they are in.

    :ivar when: conditions, each of which is asked anew for every task, those of ``always`` too
    """

    when: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def within(self, node: Node) -> Inherited:
        """Return what the tasks inside of a block or import have."""
        defaults = {**self.defaults, **node.get("module_defaults", {})}
        return Inherited((*self.when, *_listed(node.get("when", []))), defaults)


@dataclass(frozen=True)
class Done:
    """What a module did.

    :ivar counts: whether its changes are the play's, as ``changed_when`` says
    """

    module: str
    result: Result
    changes: Sequence[Change]
    counts: bool


class Play:
    """One run of an entry point of the role for one host.

    :ivar variables: what the inventory says of the host; no templates
    :ivar others: of the other hosts of the inventory
    :ivar facts: what tasks set and registered
    :ivar told: messages to people
    :ivar run_module: what runs a module
    :ivar tasks: the folder of the task files
    """

    def __init__(
        self, variables: Result, check: bool = False, others: Sequence[Result] = ()
    ) -> None:
        self.variables, self.check = variables, check
        self.run_module: Callable[..., Result] = attempt
        self.tasks = ROLE / "tasks"
        self.told: list[Any] = []
        self.others = {other["inventory_hostname"]: other for other in others}
        self.facts: Result = {}
        self.stats: Result = {}
        self.done: list[Done] = []

    def perform(self, entry: str) -> None:
        """Do what an entry point does.

        :raises TaskFailed: when a task failed
        """
        self._perform(_read(self.tasks / f"{entry}.yml"), Inherited(), self._lookup)

    def results(self, module: str) -> list[Result]:
        """Return what a module returned, in the order of its tasks."""
        return [done.result for done in self.done if done.module == module]

    def _lookup(self, name: str) -> Any:
        """Return the value of a variable; by Ansible's precedence."""
        if name in self.facts:
            return self.facts[name]
        if name in (templates := _read(ROLE / "vars/main.yml")):
            return render(templates[name], self._lookup)
        if name in self.variables:
            return self.variables[name]
        if name in (templates := _read(ROLE / "defaults/main.yml")):
            return render(templates[name], self._lookup)
        magic = self._magic()
        return magic.get(name, missing)

    def _magic(self) -> Result:
        mine = self.variables["inventory_hostname"]
        hosts = {mine: {**self.variables, **self.facts}, **self.others}
        return {
            "ansible_check_mode": self.check,
            "ansible_play_hosts_all": list(hosts),
            "groups": {"all": list(hosts)},
            "hostvars": hosts,
            "query": self._query,
        }

    def _query(self, lookup: str, pattern: str) -> list[str]:
        """Return the names of the host's variables that begin as a pattern says."""
        assert lookup == "ansible.builtin.varnames"
        defaults = _read(ROLE / "defaults/main.yml")
        return [name for name in {**defaults, **self.variables} if re.match(pattern, name)]

    def _perform(self, nodes: Sequence[Node], inherited: Inherited, lookup: Lookup) -> None:
        for node in nodes:
            if "block" not in node:
                self._task(node, inherited, lookup)
                continue
            within = inherited.within(node)
            try:
                self._perform(node["block"], within, lookup)
            except TaskFailed:  # and nothing else: a controller that died does no more
                self._perform(node.get("always", []), within, lookup)
                raise
            self._perform(node.get("always", []), within, lookup)

    def _task(self, node: Node, inherited: Inherited, outer: Lookup) -> None:
        action = self._action(node)
        lookup = self._with(node.get("vars", {}), outer)
        if action == _INCLUDES[0]:
            self._include(node[action], inherited.within(node), lookup)
            return
        if "loop" not in node:
            self._once(node, action, inherited, lookup)
            return
        variable = node["loop_control"]["loop_var"]
        for item in render(node["loop"], lookup):
            self._once(node, action, inherited, self._with({variable: item}, lookup))

    def _action(self, node: Node) -> str:
        (action,) = node.keys() - _KEYWORDS
        assert action in _INCLUDES or action.startswith(COLLECTION) or action in self._builtins, (
            f"The task {node['name']} has the action {action}, which is not known here"
        )
        return str(action)

    def _with(self, values: Result, outer: Lookup) -> Lookup:
        """Look names up in some values first, which are templates."""

        def lookup(name: str) -> Any:
            return render(values[name], lookup) if name in values else outer(name)

        return lookup

    def _include(self, file: str, inherited: Inherited, lookup: Lookup) -> None:
        self._perform(_read(self.tasks / file), inherited, lookup)

    def _once(self, node: Node, action: str, inherited: Inherited, lookup: Lookup) -> None:
        """Perform a task for one item of its loop.

        :raises TaskFailed: when it fails
        """
        try:
            conditions = inherited.within(node).when
            if not all(evaluate(condition, lookup) for condition in conditions):
                if "register" in node:
                    self.facts[node["register"]] = {"changed": False, "skipped": True}
                return
            if action == _INCLUDES[1]:  # whose own condition is not that of its tasks
                self._include(node[action], inherited, lookup)
            elif action.startswith(COLLECTION):
                self._module(node, action, inherited, lookup)
            else:
                self._builtins[action](self, node[action], lookup)
        except (ByokError, DeclarationError, jinja2.UndefinedError) as error:  # of a template
            raise TaskFailed(f"{node['name']}: {error}") from error

    def _module(self, node: Node, action: str, inherited: Inherited, lookup: Lookup) -> None:
        module = action.removeprefix(COLLECTION)
        defaults: Result = {}
        for group in _groups_of(module):
            defaults.update(render(inherited.defaults.get(group, {}), lookup))
        options = {**defaults, **render(node[action], lookup)}
        given = {name: value for name, value in options.items() if value is not OMIT}
        check = bool(render(node.get("check_mode", self.check), lookup))
        told = self.run_module(module, check, **given)
        changes = told.pop("changes", ())
        result = json.loads(json.dumps({**told, "planned": None}))  # as it passes between hosts
        if "register" in node:
            self.facts[node["register"]] = result
        if result.get("unreachable"):  # of which no condition is asked
            if not node.get("ignore_unreachable"):
                raise Unreachable(node["name"])
            return
        self._judge(node, "changed", result, lookup)
        self._judge(node, "failed", result, lookup)
        self.done.append(Done(module, result, changes, result["changed"]))
        if result["failed"]:
            raise TaskFailed(result.get("msg", f"{node['name']} failed"))

    @staticmethod
    def _judge(node: Node, fact: str, result: Result, lookup: Lookup) -> None:
        """Let ``changed_when`` or ``failed_when`` decide."""
        conditions = node.get(f"{fact}_when")
        if conditions is not None:
            result[fact] = all(
                condition if isinstance(condition, bool) else evaluate(condition, lookup)
                for condition in _listed(conditions)
            )

    # What is done on the controller

    def _set_fact(self, options: Node, lookup: Lookup) -> None:
        self.facts.update(render(options, lookup))

    def _set_stats(self, options: Node, lookup: Lookup) -> None:
        self.stats.update(render(options["data"], lookup))

    def _fail(self, options: Node, lookup: Lookup) -> None:
        raise TaskFailed(render(options["msg"], lookup))

    def _assert(self, options: Node, lookup: Lookup) -> None:
        if not all(evaluate(condition, lookup) for condition in _listed(options["that"])):
            self._fail({"msg": options["fail_msg"]}, lookup)
        if "success_msg" in options and not render(options["quiet"], lookup):
            self.told.append(render(options["success_msg"], lookup))

    def _debug(self, options: Node, lookup: Lookup) -> None:
        self.told.append(render(options["msg"], lookup))

    _builtins: Mapping[str, Callable[[Play, Node, Lookup], None]] = {
        "ansible.builtin.set_fact": _set_fact,
        "ansible.builtin.set_stats": _set_stats,
        "ansible.builtin.fail": _fail,
        "ansible.builtin.assert": _assert,
        "ansible.builtin.debug": _debug,
    }


# Runs, with the options and the result of byok_rotate


#: What byok_rotate returns of a key that was imported or updated
_ARRIVED = (
    *("generation", "kid", "version", "thumbprint", "replaced"),
    *("request_id", "identity", "proof", "receipt", "imported"),
)


def perform(
    options: Result,
    keys: Sequence[Result],
    check: bool = False,
    run_module: Callable[..., Result] = attempt,
) -> Result:
    """Do by the role what byok_rotate does, with its options; returns a result of that shape.

    :param options: ``stage`` is the entry point; others are variables without their ``byok_``
    :raises ByokError: when the role stopped, and not only for single keys
    """
    options = dict(options)
    entry = options.pop("stage", "rotate")
    last_vault = options.pop("last_vault", True)
    declared, of_keys = _declared(keys)
    variables = {
        "inventory_hostname": options["vault_url"].removeprefix("https://"),
        "byok_keys": declared,
        **{f"byok_{name}": value for name, value in {**of_keys, **options}.items()},
    }
    play = Play(variables, check, [] if last_vault else [_elsewhere(declared)])
    play.run_module = run_module
    stopped = None
    try:
        play.perform(entry)
    except TaskFailed as failed:
        stopped = str(failed)
    failures = _failures(play)
    lines = [as_set_in_role(line) for line in told(Failure(**failure) for failure in failures)]
    if stopped is not None and stopped != "\n".join(lines):
        raise ByokError(" ".join([stopped, *lines]), "")
    return _as_rotation(play, failures)


def _declared(keys: Sequence[Result]) -> tuple[list[Result], Result]:
    """Return keys as an inventory declares them, and what a person says of them beside."""
    declared, reencrypted = [], []
    for key in keys:
        item = dict(key)
        if item.pop("data_reencrypted", False):
            reencrypted.append(item["name"])
        declared.append(item)
    return declared, {"data_reencrypted": reencrypted}


def _elsewhere(declared: list[Result]) -> Result:
    """Return another host of the run, which has yet to have the same keys."""
    return {
        "inventory_hostname": "elsewhere",
        "byok_vault_url": "https://elsewhere",
        "byok_keys": declared,
    }


def _failures(play: Play) -> list[Result]:
    """Return what the role tells of single keys at its end."""
    run = play.facts.get("byok__run")
    if run is None:
        return []
    retired = play.results("byok_rotate")
    if retired:
        return [*play.facts["byok__in_token"]["failures"], *retired[-1]["failures"]]
    report: Result = run["report"]
    failures: list[Result] = report["failures"]
    return failures


def _as_rotation(play: Play, failures: list[Result]) -> Result:
    changes: list[Change] = []
    warnings: dict[str, None] = {}
    for done in play.done:
        warnings.update(dict.fromkeys(done.result.get("warnings", ())))
        if done.counts and done.module != "byok_kek":
            changes += done.changes
    return {
        "rotations": list(_rotations(play)),
        "changed": any(done.counts for done in play.done),
        "changes": changes,
        "failures": failures,
        "warnings": list(warnings),
        "modules": [done.module for done in play.done],
        "told": play.told,
    }


def _rotations(play: Play) -> Iterator[Result]:
    """Return what came of each planned key, as byok_rotate does."""
    retired = play.results("byok_rotate")
    if retired:
        yield from retired[-1]["rotations"]
        return
    keys: dict[str, Result] = {}
    for plan in play.results("byok_plan"):
        for entry in plan["plan"]:
            keys[entry["name"]] = {**entry, "replaced": None, "imported": False, "locked": False}
    _look, *in_token = play.results("byok_target_key")
    for result in in_token:
        for key in result["target_keys"]:
            facts = {fact: key[fact] for fact in ("generation", "thumbprint")}
            locked = keys[key["name"]]["locked"] or key["locked"]
            keys[key["name"]].update(facts, locked=locked)
    for result in play.results("byok_import"):
        for key in result["imports"]:
            facts = {fact: key[fact] for fact in _ARRIVED if key[fact] is not None}
            keys[key["name"]].update(facts)
            if key["imported"]:
                keys[key["name"]].pop("next_due", None)  # which the next plan tells
    yield from keys.values()
