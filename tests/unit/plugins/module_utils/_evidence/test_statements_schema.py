# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/statements.schema.json says of each kind of statement what the code takes."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_shape import (
    Either,
    Maybe,
    Members,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    STATEMENT_TYPE,
    SUBJECT,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements

PATH = Path(statements.__file__).parents[3] / "docs/statements.schema.json"
SCHEMA: dict[str, t.Any] = json.loads(PATH.read_text())

_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    type(None): "null",
    dict: "object",
}


def schema_of(shape: t.Any) -> dict[str, t.Any]:
    """The JSON Schema of a shape of ``_core/json_shape.py``."""
    if isinstance(shape, Mapping):
        required = [name for name, each in shape.items() if not isinstance(each, Maybe)]
        return {
            "type": "object",
            "properties": {name: schema_of(each) for name, each in shape.items()},
            "required": required,
            "additionalProperties": False,
        }
    if isinstance(shape, Maybe):
        return schema_of(shape.shape)
    if isinstance(shape, Members):
        return {"type": "object", "additionalProperties": schema_of(shape.shape)}
    if isinstance(shape, Either):
        return {"anyOf": [schema_of(each) for each in shape.shapes]}
    if isinstance(shape, list):
        return {"type": "array", "items": schema_of(shape[0])}
    if isinstance(shape, re.Pattern):
        return {"type": "string", "pattern": f"^({shape.pattern})$"}
    types = [_TYPES[each] for each in shape]
    return {"type": types[0] if len(types) == 1 else types}


def whole() -> dict[str, t.Any]:
    """The schema of all statements but wrapped/v1, which docs/receipt.schema.json describes."""
    kinds = []
    for predicate_type, predicate in statements._PREDICATES.items():
        shape = {"_type": (str,), "predicateType": (str,), "subject": SUBJECT}
        kind = schema_of({**shape, "predicate": predicate})
        kind["title"] = statements.KINDS[predicate_type]
        kind["properties"]["_type"] = {"const": STATEMENT_TYPE}
        kind["properties"]["predicateType"] = {"const": predicate_type}
        kinds.append(kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Statements that Keyferry signs",
        "description": (
            "In-toto Statements v1 in envelopes of DSSE 1.0. docs/receipts.md says what each kind "
            "is for; receipt.schema.json describes wrapped/v1."
        ),
        "oneOf": kinds,
    }


def test_the_schema_is_that_of_the_code() -> None:
    assert whole() == SCHEMA


FOUND: dict[str, t.Any] = {
    "key": {"name": "a", "generation": "0a", "thumbprint": "x"},
    "vault": "https://contoso.vault.azure.net",
    "kid": f"https://contoso.vault.azure.net/keys/a/{'0' * 32}",
    "identity": "public_key",
    "kek": "unknown",
    "told": "found in place",
    "time": "2026-11-30T17:00:00Z",
    "clock": "host",
}


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"key": {**FOUND["key"], "generation": None}}, True),
        ({"clock": "sundial"}, False),
        ({"time": "yesterday"}, False),
        ({"key": {"name": "a"}}, False),
        ({"more": "x"}, False),
    ],
)
def test_the_schema_takes_what_the_code_takes(change: dict[str, t.Any], valid: bool) -> None:
    statement = statements.found(FOUND, public_key="a" * 64)
    statement["predicate"] = {**FOUND, **change}
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(statement) is valid
