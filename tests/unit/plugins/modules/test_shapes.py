# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules return, what they document of it, and the options that take it are one shape."""

from __future__ import annotations

import importlib
import types
import typing as t
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._ansible import arguments
from ansible_collections.keyferry.azure.plugins.module_utils._core import reports, results
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import TokenInfo

MODULES = "ansible_collections.keyferry.azure.plugins.modules"
ROOT = Path(__file__).resolve().parents[4]

Documented = dict[str, t.Any]
Type: t.TypeAlias = "tuple[str, str | None]"

#: Module and return value -> what it is made of
RETURNED: dict[tuple[str, str], type[Shape]] = {
    ("byok_evidence_key", "evidence_key"): reports.EvidenceKeyFacts,
    ("byok_evidence_key", "proof"): reports.DeviceProof,
    ("byok_hsm_info", "hsm"): reports.HsmInfo,
    **{
        (f"byok_{module}", "approvals"): results.Approval
        for module in ("import", "rotate", "target_key", "wrap")
    },
    ("byok_import", "imports"): results.ImportedKey,
    ("byok_import", "import"): results.ImportedKey,
    ("byok_import", "deletions"): reports.Deletion,
    ("byok_import", "deletion"): reports.Deletion,
    ("byok_kek", "kek"): reports.KekFacts,
    ("byok_plan", "plan"): results.PlanEntry,
    ("byok_plan", "orders"): results.MakeOrder,
    ("byok_plan", "rotations"): results.MakeOrder,
    ("byok_plan", "unmanaged"): reports.UnmanagedKey,
    ("byok_plan", "versions"): reports.VaultVersions,
    ("byok_sign", "signatures"): results.EvidenceSignature,
    ("byok_target_key", "target_keys"): results.TargetKey,
    ("byok_target_key", "target_key"): results.TargetKey,
    ("byok_target_key", "destroyed"): results.NamedGeneration,
    ("byok_target_key", "withdrawn"): results.NamedGeneration,
    ("byok_target_key", "token"): TokenInfo,
    ("byok_vault_info", "vault"): reports.VaultInfo,
    ("byok_vault_info", "vault_keys"): reports.VaultKey,
    ("byok_wrap", "packages"): results.Package,
    ("byok_wrap", "package"): results.Package,
    ("byok_wrap", "escrows"): results.Package,
    ("byok_wrap", "escrow"): results.Package,
    **{
        (path.stem, "failures"): results.Failure
        for path in (ROOT / "plugins/modules").glob("byok_*.py")
        if path.stem != "byok_kek"
    },
}

#: Options -> what they take
TAKEN = {
    "TARGET_KEY_RESULT": results.TargetKey,
    "ROTATION_RESULT": results.MakeOrder,
    "VERSIONS_RESULT": reports.VaultVersions,
    "PACKAGE_RESULT": results.Package,
}

#: Types of options that texts come in by
TEXTS = {"path": "str", "jsonarg": "str"}

_PLAIN = {str: "str", bool: "bool", int: "int", datetime: "str"}


def members(shape: type[Shape]) -> dict[str, t.Any]:
    """The fields of a shape and their types, without None."""
    hints = t.get_type_hints(shape)
    return {
        member.name: _without_none(hints[member.name]) for member in fields(t.cast(t.Any, shape))
    }


def _without_none(hint: t.Any) -> t.Any:
    if t.get_origin(hint) in (t.Union, types.UnionType):
        (hint,) = (argument for argument in t.get_args(hint) if argument is not type(None))
    return hint


def documented_as(hint: t.Any) -> Type:
    """How a type is documented: its name, and that of its elements."""
    origin = t.get_origin(hint)
    if origin is tuple:
        return "list", documented_as(t.get_args(hint)[0])[0]
    if origin is t.Literal:
        return "str", None
    if origin is not None and issubclass(origin, Mapping):
        return "dict", None
    if issubclass(hint, Shape):
        return "dict", None
    return _PLAIN[hint], None


def shape_of(hint: t.Any) -> type[Shape] | None:
    """The shape that a field holds, or a list of it."""
    inner = t.get_args(hint)[0] if t.get_origin(hint) is tuple else hint
    is_shape = isinstance(inner, type) and issubclass(inner, Shape)
    return t.cast("type[Shape]", inner) if is_shape else None


def compare(documented: Documented, shape: type[Shape], where: str) -> None:
    """Compare what is documented of a value with its shape, and so on inside."""
    contains = documented.get("contains")
    if contains is not None:
        hints = members(shape)
        assert contains.keys() == hints.keys(), where
        for name, hint in hints.items():
            member = contains[name]
            assert (member["type"], member.get("elements")) == documented_as(hint), (where, name)
            inner = shape_of(hint)
            if inner:
                compare(member, inner, f"{where}.{name}")
    sample = documented.get("sample")
    for entry in sample if isinstance(sample, list) else [sample] if sample else []:
        assert entry.keys() == members(shape).keys(), f"sample of {where}"
        assert shape.from_dict(entry).to_dict() == entry, f"sample of {where}"


@pytest.mark.parametrize(("module", "value"), RETURNED, ids=str)
def test_what_is_documented_is_what_is_returned(module: str, value: str) -> None:
    documentation = yaml.safe_load(importlib.import_module(f"{MODULES}.{module}").RETURN)
    documented = documentation[value]
    assert documented["type"] in ("list", "dict")
    compare(documented, RETURNED[module, value], f"{module}.{value}")


@pytest.mark.parametrize("value", ["rotations", "rotation"])
def test_what_is_documented_of_a_rotation_is_what_its_stages_return(value: str) -> None:
    documented = yaml.safe_load(importlib.import_module(f"{MODULES}.byok_rotate").RETURN)[value]
    hints = {**members(reports.RotatedKey), **members(reports.RetiredKey)}
    assert documented["contains"].keys() == hints.keys()
    for name, member in documented["contains"].items():
        assert (member["type"], member.get("elements")) == documented_as(hints[name]), name
    compare({"sample": documented.get("sample")}, reports.RotatedKey, value)


@pytest.mark.parametrize("options", TAKEN)
def test_options_take_what_is_returned(options: str) -> None:
    hints, spec = members(TAKEN[options]), getattr(arguments, options)
    assert spec.keys() == hints.keys()
    for name, option in spec.items():
        kind = TEXTS.get(option["type"], option["type"])
        assert (kind, option.get("elements")) == documented_as(hints[name]), name
