# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The frame of every module: arguments in, result out, and an error as one sentence."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.option_groups import (
    GroupedModule,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._host.child import in_a_child

Params = t.Mapping[str, t.Any]
Act = t.Callable[[Params, bool, Outcome], None]


def run_module(act: Act, argument_spec: dict[str, t.Any], **constraints: t.Any) -> None:
    """Parse the arguments, call ``act(params, check_mode, outcome)`` and exit with the outcome.

    :param act: fills the outcome as it goes, so whatever it raises, what was done is returned
    :param constraints: such as ``required_by``, as AnsibleModule takes them
    """
    module = GroupedModule(argument_spec=argument_spec, supports_check_mode=True, **constraints)
    outcome, error = _attempt(act, module.params, module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    result = dict(
        outcome.result,
        changed=bool(outcome.changes),
        failures=outcome.failures.as_result(),
        aborted=error is not None,
        invocation=_invocation(module.params),
    )
    if module._diff:
        result["diff"] = _diff(outcome)
    sentences = [f"{failure.name}: {failure.msg}" for failure in outcome.failures]
    if error:
        module.fail_json(msg=" ".join([str(error), *sentences]), code=error.reason, **result)
    if sentences:
        module.fail_json(msg=" ".join(sentences), **result)
    module.exit_json(**result)


def _attempt(act: Act, params: Params, check_mode: bool) -> tuple[Outcome, ByokError | None]:
    """Return what was done, and what failed outside of single keys, as one sentence."""

    def work(outcome: Outcome) -> None:
        act(params, check_mode, outcome)

    outcome = Outcome()
    try:
        if "pkcs11_library" in params:  # a library of others, which may crash or hang
            library = params["pkcs11_library"] or ""
            return in_a_child(work, library, params["library_timeout"])
        work(outcome)
    except Exception as error:
        return outcome, as_byok_error(error)
    return outcome, None


def _invocation(params: Params) -> dict[str, t.Any]:
    """Return the arguments but for lists of keys: there may be thousands."""
    arguments = {name: value for name, value in params.items() if not isinstance(value, list)}
    return {"module_args": arguments}


def _diff(outcome: Outcome) -> list[dict[str, str]]:
    """Return what Ansible shows as the diff, of what was done and of what a later step would do."""
    return [
        {
            "before_header": change.where,
            "after_header": change.where,
            "before": _lines(change.before),
            "after": _lines(change.after),
        }
        for change in (*outcome.changes, *outcome.planned)
    ]


def items_of(params: Params, list_option: str) -> list[Params]:
    """Return the keys that a module was given: of its list option, or of its own options."""
    many = params[list_option]
    return [params] if many is None else many


def add_singles(params: Params, list_option: str, outcome: Outcome, **lists: str) -> None:
    """Return the last entry of a list under its own name as well, where a module got one key.

    :param lists: the return values that are lists, by the names of their only entries
    """
    if params[list_option] is not None:
        return
    for single, many in lists.items():
        if outcome.result[many]:
            outcome.result[single] = outcome.result[many][-1]


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    told = {name: value for name, value in facts.items() if value is not None}
    return "".join(f"{name}: {_text(value)}\n" for name, value in told.items())


def _text(value: t.Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, t.Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)
