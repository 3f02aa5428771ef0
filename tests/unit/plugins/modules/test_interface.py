# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules have in common: examples that they take, one declaration, one action group."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

COLLECTION = "keyferry.azure"
ROOT = Path(__file__).resolve().parents[4]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("byok_*.py"))
OF_TYPE: dict[str, t.Any] = {"list": [], "dict": {}, "bool": True, "int": 1}


def argument_spec(
    module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """What the module gives to run_module(): its argument spec, and its constraints."""
    captured: list[t.Any] = []
    monkeypatch.setattr(
        module, "run_module", lambda act, spec, **constraints: captured.extend((spec, constraints))
    )
    module.main()
    spec, constraints = captured
    return spec, constraints


def rendered(value: t.Any, spec: dict[str, t.Any]) -> t.Any:
    """A template stands for a value of the option's type."""
    return OF_TYPE.get(spec["type"], "x") if isinstance(value, str) and "{{" in value else value


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = []
    for documented in MODULES:
        module = importlib.import_module(
            f"ansible_collections.{COLLECTION}.plugins.modules.{documented}"
        )
        for task in yaml.safe_load(module.EXAMPLES):
            if f"{COLLECTION}.{name}" in task:
                tested.append(task[f"{COLLECTION}.{name}"])
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    spec, constraints = argument_spec(module, monkeypatch)
    assert tested
    for arguments in tested:
        values = {
            option: rendered(value, spec.get(option, {"type": "str"}))
            for option, value in arguments.items()
        }
        assert ArgumentSpecValidator(spec, **constraints).validate(values).error_messages == []


def test_one_declaration_serves_every_module(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {
        "byok_target_key": "target_keys",
        "byok_plan": "declarations",
        "byok_wrap": "packages",
        "byok_import": "imports",
        "byok_rotate": "rotations",
    }
    declaration = {
        "name": "key",
        "type": "EC",
        "curve": "P-256",
        "operations": ["sign"],
        "tags": {},
        "after_transfer": "lock",
    }
    for name, option in lists.items():
        module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
        spec, constraints = argument_spec(module, monkeypatch)
        more: dict[str, t.Any] = {"target_keys": []} if name == "byok_plan" else {}
        validator = ArgumentSpecValidator(spec, **constraints)
        assert validator.validate({option: [declaration], **more}).error_messages == []
        assert validator.validate({**declaration, **more}).error_messages == []
        assert validator.validate({option: [declaration], **declaration, **more}).error_messages
        # byok_import needs no type of a key that it deletes, and else says itself what is missing.
        assert bool(validator.validate({"name": "key", **more}).error_messages) == (
            name != "byok_import"
        )
        assert validator.validate({option: [{**declaration, "typo": 1}], **more}).error_messages


def test_all_modules_take_the_options_that_one_action_group_sets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
        TOKEN_OPTIONS,
        VAULT_OPTIONS,
    )

    for name in MODULES:
        module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
        spec, _constraints = argument_spec(module, monkeypatch)
        assert spec.keys() >= TOKEN_OPTIONS.keys() | VAULT_OPTIONS.keys()


def test_the_action_groups_hold_every_module() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert groups["byok"] == MODULES
    assert sorted({*groups["byok_token"], *groups["byok_vault"]}) == MODULES
