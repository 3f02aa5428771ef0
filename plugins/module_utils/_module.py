# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The frame of every module: arguments in, result out, and an error as one sentence."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError, Failures


@dataclass
class Change:
    """What becomes of one thing, in public facts.

    :ivar where: names it in a diff, with its vault or token
    """

    where: str
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]


@dataclass
class Outcome:
    """What a module did, or would do in check mode.

    :ivar result: the return values
    :ivar changes: empty when nothing changed
    :ivar planned: what a later step would change; shown in the diff as well
    :ivar failures: keys that failed while others went on
    """

    result: dict[str, t.Any]
    changes: list[Change] = field(default_factory=list)
    planned: list[Change] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    warnings: list[str] = field(default_factory=list)

    def absorb(self, other: Outcome, *, with_changes: bool = True) -> None:
        """Take over what a step did, but for its results."""
        self.failures.take_over(other.failures)
        self.warnings += [warning for warning in other.warnings if warning not in self.warnings]
        if with_changes:
            self.changes += other.changes
            self.planned += other.planned


Act = t.Callable[[t.Mapping[str, t.Any], bool], Outcome]


def run_module(act: Act, argument_spec: dict[str, t.Any], **constraints: t.Any) -> None:
    """Parse the arguments, call ``act(params, check_mode)`` and exit with what it returns.

    :param constraints: such as ``required_by``, as AnsibleModule takes them
    """
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **constraints)
    # Lists of keys are left out of what Ansible returns of the arguments: there may be thousands.
    invocation = {"module_args": {name: value for name, value in module.params.items() if not isinstance(value, list)}}
    try:
        outcome = act(module.params, module.check_mode)
    except ByokError as error:
        module.fail_json(msg=str(error), failures=[], invocation=invocation)
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(outcome.result, changed=bool(outcome.changes), failures=outcome.failures.as_result(), invocation=invocation)
    if module._diff:
        result["diff"] = [
            {
                "before_header": change.where,
                "after_header": change.where,
                "before": _lines(change.before),
                "after": _lines(change.after),
            }
            for change in (*outcome.changes, *outcome.planned)
        ]
    if outcome.failures:
        module.fail_json(msg=" ".join(f"{each['name']}: {each['msg']}" for each in result["failures"]), **result)
    module.exit_json(**result)


def items_of(params: t.Mapping[str, t.Any], list_option: str) -> list[t.Mapping[str, t.Any]]:
    """Return the keys that a module was given: those of its list option, or the one of its own options."""
    many = params[list_option]
    return [params] if many is None else many


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    return "".join(f"{name}: {_text(value)}\n" for name, value in facts.items() if value is not None)


def _text(value: t.Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, t.Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
