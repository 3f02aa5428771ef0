# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The frame of every module: arguments in, result out, and an error as one sentence."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.option_groups import (
    GroupedModule,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome

Act = t.Callable[[t.Mapping[str, t.Any], bool], Outcome]


def run_module(act: Act, argument_spec: dict[str, t.Any], **constraints: t.Any) -> None:
    """Parse the arguments, call ``act(params, check_mode)`` and exit with what it returns.

    :param constraints: such as ``required_by``, as AnsibleModule takes them
    """
    module = GroupedModule(argument_spec=argument_spec, supports_check_mode=True, **constraints)
    # Lists of keys are left out of what Ansible returns of the arguments: there may be thousands.
    invocation = {
        "module_args": {
            name: value for name, value in module.params.items() if not isinstance(value, list)
        }
    }
    try:
        outcome = act(module.params, module.check_mode)
    except ByokError as error:
        module.fail_json(msg=str(error), failures=[], invocation=invocation)
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(
        outcome.result,
        changed=bool(outcome.changes),
        failures=outcome.failures.as_result(),
        invocation=invocation,
    )
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
        module.fail_json(
            msg=" ".join(f"{each['name']}: {each['msg']}" for each in result["failures"]), **result
        )
    module.exit_json(**result)


def items_of(params: t.Mapping[str, t.Any], list_option: str) -> list[t.Mapping[str, t.Any]]:
    """Return the keys that a module was given: those of its list option, or the one of its own options."""
    many = params[list_option]
    return [params] if many is None else many


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    return "".join(
        f"{name}: {_text(value)}\n" for name, value in facts.items() if value is not None
    )


def _text(value: t.Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, t.Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
