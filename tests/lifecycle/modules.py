# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules in this process, as their frame runs them."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import as_byok_error
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome

Result = dict[str, Any]


#: Where locks are unless a test says so: other runs of these tests have vaults of the same names
lock_directory = "/tmp"


@dataclass(frozen=True)
class Interface:
    """What a module gives to run_module(): what it does, its argument spec, its constraints."""

    act: Any
    spec: dict[str, Any]
    constraints: dict[str, Any]


@cache
def interface(name: str) -> Interface:
    """Return the interface of a module."""
    module = importlib.import_module(f"ansible_collections.keyferry.azure.plugins.modules.{name}")
    with mock.patch.object(module, "run_module") as frame:
        module.main()
    act, spec = frame.call_args.args
    return Interface(act, spec, dict(frame.call_args.kwargs))


def params_of(spec: dict[str, Any], options: Result, **constraints: Any) -> dict[str, Any]:
    """Return what Ansible makes of options."""
    if "lock_directory" in spec:
        # a host has one of each: a test that plays another host gives it locks of its own
        locks = options.get("lock_directory", lock_directory)
        options = {"lock_directory": locks, "state_directory": locks, **options}
        if "receipt_directory" in spec and "receipt_directory" not in options:
            receipts = Path(locks, "receipts")
            receipts.mkdir(exist_ok=True)
            options["receipt_directory"] = str(receipts)
    checked = ArgumentSpecValidator(spec, **constraints).validate(options)
    assert not checked.error_messages, checked.error_messages
    params = dict(checked.validated_parameters)
    for name, option in spec.items():
        for variable in option.get("fallback", (None, ()))[1]:
            params[name] = params[name] if params[name] is not None else os.environ.get(variable)
    return params


def run(module: str, check: bool = False, **options: Any) -> Result:
    """Run a module in this process, and return its result and what it would tell by its frame.

    :raises Exception: what the module raises
    """
    face, outcome = interface(module), Outcome()
    face.act(params_of(face.spec, options, **face.constraints), check, outcome)
    return _result(outcome)


def attempt(module: str, check: bool = False, **options: Any) -> Result:
    """Do the same, and return what was done also where the module raises: then it was aborted."""
    face, outcome, msg = interface(module), Outcome(), None
    params = params_of(face.spec, options, **face.constraints)
    try:
        face.act(params, check, outcome)
    except Exception as error:
        msg = str(as_byok_error(error))
    result = _result(outcome)
    sentences = [f"{failure['name']}: {failure['msg']}" for failure in result["failures"]]
    failed = msg is not None or bool(sentences)
    told = {"msg": " ".join([msg, *sentences] if msg else sentences)} if failed else {}
    return {**result, "aborted": msg is not None, "failed": failed, **told}


def _result(outcome: Outcome) -> Result:
    return {
        **outcome.result,
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "planned": outcome.planned,
        "failures": outcome.failures.as_result(),
        "warnings": outcome.warnings,
    }
