# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules have in common: examples that they take, one declaration, one action group."""

from __future__ import annotations

import importlib
import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    OPTION_GROUPS,
    VAULT_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.option_groups import (
    GroupedModule,
    unused_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.tests.token.run_module import arguments_of

COLLECTION = "keyferry.azure"
ROOT = Path(__file__).resolve().parents[4]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("byok_*.py"))
#: Modules that are told which vault something is about, and never talk to it
NAME_A_VAULT = ("byok_receipts", "byok_sign")
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
    former = {
        "byok_target_key": "target_keys",
        "byok_plan": None,
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
    for name, alias in former.items():
        module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
        spec, constraints = argument_spec(module, monkeypatch)
        more: dict[str, t.Any] = {"target_keys": []} if name == "byok_plan" else {}
        validator = ArgumentSpecValidator(spec, **constraints)
        for option in filter(None, ("declarations", alias)):
            taken = validator.validate({option: [declaration], **more})
            assert taken.error_messages == []
            assert taken.validated_parameters["declarations"][0]["name"] == "key"
            assert len(taken._deprecations) == (option == alias)
        assert validator.validate({**declaration, **more}).error_messages == []
        both = {"declarations": [declaration], **declaration, **more}
        assert validator.validate(both).error_messages
        # byok_import needs no type of a key that it deletes, and else says itself what is missing.
        assert bool(validator.validate({"name": "key", **more}).error_messages) == (
            name != "byok_import"
        )
        misspelt = {"declarations": [{**declaration, "typo": 1}], **more}
        assert validator.validate(misspelt).error_messages


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_and_documents_the_groups_that_runtime_yml_says(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert groups.keys() == {"byok", *OPTION_GROUPS}
    assert groups["byok"] == MODULES
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    spec, _constraints = argument_spec(module, monkeypatch)
    for group, options in OPTION_GROUPS.items():
        taken = options.keys() & spec.keys()
        if group == "byok_vault" and name in NAME_A_VAULT:
            taken -= {"vault_url"}
        assert taken == (options.keys() if name in groups[group] else set())
    documented = yaml.safe_load(module.DOCUMENTATION)
    assert documented["attributes"]["action_group"]["membership"] == [
        f"{COLLECTION}.{group}" for group in groups if name in groups[group]
    ]


def uses(step: str) -> str:
    """The text of what a module does, for a look at which sides it touches."""
    return (ROOT / f"plugins/module_utils/_steps/{step}.py").read_text()


def test_a_module_takes_only_groups_that_it_uses() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    for name in MODULES:
        step = "import_keys" if name == "byok_import" else name.removeprefix("byok_")
        text = uses(step)
        opens_token = "open_token(" in text
        locks_vault = "one_writer(" in text or "process_lock(" in text
        reads_journal = "Journal(" in text
        assert (name in groups["byok_token"]) == opens_token
        assert (name in groups["byok_vault"]) == ("open_vault(" in text)
        # The token's library is locked while it is opened.
        assert (name in groups["byok_host"]) == (opens_token or locks_vault or reads_journal)


@pytest.mark.parametrize("name", MODULES)
def test_options_of_other_groups_are_ignored_for_one_release(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    spec, _constraints = argument_spec(module, monkeypatch)
    known = {option for options in OPTION_GROUPS.values() for option in options}
    given = [*known, "profile", "keyvault_uri", "typo"]
    unused = unused_options(spec, given)
    assert set(unused) == (known | {"profile", "keyvault_uri"}) - spec.keys() - {
        alias for option in spec.values() for alias in option.get("aliases", ())
    }


def test_what_is_ignored_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[t.Any] = []
    deprecations: list[t.Any] = []
    monkeypatch.setattr(
        GroupedModule, "deprecate", lambda module, msg, **when: deprecations.append((msg, when))
    )

    def act(params: t.Mapping[str, t.Any], *_others: t.Any) -> t.Any:
        seen.append(params)
        return Outcome({})

    given = {"vault_url": "https://contoso.vault.azure.net", "pin": "1234", "lock_timeout": 3}
    with arguments_of(given), pytest.raises(SystemExit):
        run_module(act, dict(VAULT_OPTIONS))
    capsys.readouterr()
    assert seen[0]["vault_url"] == given["vault_url"]
    assert "pin" not in seen[0]
    ((message, when),) = deprecations
    assert "ignores lock_timeout, pin." in message
    assert when == {"version": "1.0.0", "collection_name": "keyferry.azure"}
    with arguments_of({"typo": 1}), pytest.raises(SystemExit):
        run_module(act, dict(VAULT_OPTIONS))
    assert "Unsupported parameters" in json.loads(capsys.readouterr().out)["msg"]
