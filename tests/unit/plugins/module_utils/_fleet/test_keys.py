# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from datetime import date
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
    Spec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core import declaration as azure
from ansible_collections.keyferry.azure.plugins.module_utils._fleet import keys as declared_keys
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.hosts import PLACE_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.keys import (
    NO_DEFAULTS,
    OF_ONE_KEY,
    OF_ONE_TYPE,
    merge_defaults,
    read_defaults,
    read_keys,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import MOST_PROBLEMS
from hypothesis import given, settings
from hypothesis import strategies as st

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[5] / "docs/declarations.schema.json").read_text()
)
FIELDS = SCHEMA["$defs"]["fields"]["properties"]
RSA = {"name": "k", "type": "RSA", "size": 3072}
EC = {"name": "k", "type": "EC", "curve": "P-256"}


def problems_of(key: t.Any, defaults: t.Any = None, exact: bool = True) -> list[str]:
    problems: list[str] = []
    fit = (
        NO_DEFAULTS
        if defaults is None
        else read_defaults(defaults, "defaults", problems, exact=exact)
    )
    read_keys([key], fit, lambda number: f"keys[{number}]", problems, exact=exact)
    return problems


@pytest.mark.parametrize(
    ("defaults", "key", "merged"),
    [
        ({"type": "RSA", "size": 3072}, {"name": "k"}, RSA),
        ({"type": "RSA", "size": 3072}, {"name": "k", "type": "RSA"}, RSA),
        ({"type": "RSA", "size": 3072}, {"name": "k", "size": 4096}, {**RSA, "size": 4096}),
        (
            {
                "type": "RSA",
                "size": 3072,
                "operations": ["wrapKey"],
                "token_operations": ["wrapKey"],
            },
            EC,
            EC,
        ),
        ({"type": "RSA", "operations": ["wrapKey"]}, RSA, {**RSA, "operations": ["wrapKey"]}),
        ({"type": "EC", "curve": "P-384"}, {"name": "k", "curve": "P-256"}, EC),
        ({"size": 3072}, EC, EC),
        ({"size": 3072, "type": "RSA"}, {"name": "k", "size": None, "expires": None}, RSA),
        (
            {"tags": {"a": "1", "b": "2"}},
            {**RSA, "tags": {"b": "3"}},
            {**RSA, "tags": {"a": "1", "b": "3"}},
        ),
        (
            {"rotation": {"every": "P1Y", "retire": "disable"}},
            {**RSA, "rotation": {"every": "P1M"}},
            {**RSA, "rotation": {"every": "P1M"}},
        ),
        ({"enabled": True}, {**RSA, "enabled": False}, {**RSA, "enabled": False}),
    ],
)
def test_defaults_apply_to_what_a_key_does_not_give(
    defaults: dict[str, t.Any], key: dict[str, t.Any], merged: dict[str, t.Any]
) -> None:
    assert merge_defaults(key, defaults) == merged
    assert not problems_of(
        {name: value for name, value in key.items() if value is not None}, defaults
    )


SOME_TAGS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))
SOME_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["RSA", "EC", "oct"]),
        "size": st.sampled_from([2048, 256]),
        "curve": st.just("P-256"),
        "operations": st.just(["sign"]),
        "token_operations": st.just(["sign"]),
        "enabled": st.booleans(),
        "tags": SOME_TAGS,
        "rotation": st.just({"every": "P1Y"}),
    },
)


@given(key=SOME_FIELDS, defaults=SOME_FIELDS)
def test_a_merged_key_holds_its_own_fields_and_nothing_of_another_type(
    key: dict[str, t.Any], defaults: dict[str, t.Any]
) -> None:
    merged = merge_defaults(key, defaults)
    tags = {**defaults.get("tags", {}), **key.get("tags", {})}
    assert {**merged, "tags": merged.get("tags", {})} == {**merged, **key, "tags": tags}
    taken = merged.keys() - key.keys()
    assert all(merged[field] == defaults[field] for field in taken)
    left = defaults.keys() - merged.keys()
    assert left <= set(OF_ONE_TYPE)
    if {"type", "size", "curve"}.isdisjoint(key):
        assert not left
    if "type" in key and defaults.get("type", key["type"]) != key["type"]:
        assert taken.isdisjoint(OF_ONE_TYPE)
    assert merge_defaults(merged, {}) == merged
    if not left:
        assert merge_defaults(merged, defaults) == merged


@settings(max_examples=50)
@given(
    keys=st.lists(
        st.dictionaries(
            st.sampled_from([*DECLARATION_OPTIONS, "evry", ""]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats()
                | st.text()
                | st.sampled_from(["RSA", "P1Y", "sign"]),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["every", "\n"]), inner)
                ),
                max_leaves=3,
            ),
            max_size=6,
        )
        | st.text(),
        max_size=3,
    ),
    exact=st.booleans(),
)
def test_whatever_is_declared_is_either_fit_or_told(keys: list[t.Any], exact: bool) -> None:
    problems: list[str] = []
    read = read_keys(keys, NO_DEFAULTS, lambda number: f"keys[{number}]", problems, exact=exact)
    assert all(
        "\n" not in problem and problem.isprintable() and problem[-1] in ".?"
        for problem in problems
    )
    assert len(read) == sum(isinstance(key, dict) for key in keys)
    for key in read:
        assert None not in key.fields.values()
        assert bool(key.unfit) == any(problem.startswith(f"{key.place}: ") for problem in problems)


def test_values_are_passed_on_as_the_objects_that_they_are() -> None:
    class Marked(str):
        """A text that must not be rendered."""

    def marked(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {marked(name): marked(each) for name, each in value.items()}
        if isinstance(value, list):
            return [marked(each) for each in value]
        return Marked(value) if isinstance(value, str) else value

    def texts(value: t.Any) -> list[str]:
        if isinstance(value, dict):
            return [text for pair in value.items() for each in pair for text in texts(each)]
        return (
            [text for each in value for text in texts(each)] if isinstance(value, list) else [value]
        )

    key = {
        "name": "k",
        "operations": ["sign"],
        "tags": {"{{ a }}": "{{ b }}"},
        "rotation": {"every": "P1Y"},
    }
    defaults = {"type": "EC", "curve": "P-256", "tags": {"{{ c }}": "{{ d }}"}}
    problems: list[str] = []
    fit = read_defaults(
        {field: marked(value) for field, value in defaults.items()}, "defaults", problems
    )
    [read] = read_keys([{field: marked(value) for field, value in key.items()}], fit, str, problems)
    assert not problems
    assert all(isinstance(text, Marked) for value in read.fields.values() for text in texts(value))
    assert len(texts(list(read.fields.values()))) == 10


class TaggedDate(date):
    """A date as Ansible 2.19 and later read it, whose class has a name that nobody knows."""


#: What is told, by what is declared instead of a fit key's fields
TOLD = {
    "keys[0]: name is missing.": {"name": None, "type": "RSA"},
    "keys[0] (k): type is missing.": {"name": "k"},
    "keys[0] (k): rotation.evry is not a field; did you mean every?": {
        **RSA,
        "rotation": {"evry": "P1Y"},
    },
    "keys[0] (k): '{{ x }}' is not a field.": {**RSA, "{{ x }}": 1},
    "keys[0] (k): tag is not a field; did you mean tags?": {**RSA, "tag": {}},
    "keys[0] (k): size is the text '3072', but must be a whole number.": {**RSA, "size": "3072"},
    "keys[0] (k): size is the boolean true, but must be a whole number.": {**RSA, "size": True},
    "keys[0] (k): enabled is the text 'yes', but must be true or false.": {
        **RSA,
        "enabled": "yes",
    },
    "keys[0] (k): enabled has no value.": {**RSA, "enabled": None},
    "keys[0] (k): operations is the text 'sign', but must be a list.": {
        **RSA,
        "operations": "sign",
    },
    "keys[0] (k): operations[1] is the text 'fly', but must be one of encrypt, decrypt, sign, "
    "verify, wrapKey, unwrapKey.": {
        **RSA,
        "operations": ["sign", "fly"],
    },
    "keys[0] (k): generation is the number 12, but must be a text: put it into quotes.": {
        **RSA,
        "generation": 12,
    },
    "keys[0] (k): tags: a is the boolean true, but must be a text. Put it into quotes.": {
        **RSA,
        "tags": {"a": True},
    },
    "keys[0] (k): tags: a is the number 1.1, but must be a text. Put it into quotes.": {
        **RSA,
        "tags": {"a": 1.10},
    },
    "keys[0] (k): tags: a is the number 266, but must be a text. Put it into quotes.": {
        **RSA,
        "tags": {"a": 0o412},
    },
    "keys[0] (k): tags: a is the date 2026-01-01, but must be a text. Put it into quotes.": {
        **RSA,
        "tags": {"a": TaggedDate(2026, 1, 1)},
    },
    "keys[0] (k): expires is the date 2026-01-01, but must be a text: put it into quotes.": {
        **RSA,
        "expires": TaggedDate(2026, 1, 1),
    },
    "keys[0] (k): rotation is a list, but must be a mapping.": {**RSA, "rotation": []},
    "keys[0] (k): rotation.retire is the text 'now', but must be one of keep, disable.": {
        **RSA,
        "rotation": {"retire": "now"},
    },
    "keys[0] (k): The EC key k is declared without size or curve. "
    "Give curve as one of P-256, P-384, P-521, P-256K, and no size.": {"name": "k", "type": "EC"},
    "keys[0] is the text 'k', but must be a mapping of fields.": "k",
}
BEGINNING = {
    "keys[0] ('a b'): name: 'a b' cannot be a key's name": {**RSA, "name": "a b"},
    "keys[0] (k): expires: '2027-01-01' is not a moment with a time zone.": {
        **RSA,
        "expires": "2027-01-01",
    },
    "keys[0] (k): rotation.every: '1 year' is not a duration.": {
        **RSA,
        "rotation": {"every": "1 year"},
    },
    "keys[0] (k): operations: The EC key k is declared with the operations wrapKey.": {
        **EC,
        "operations": ["wrapKey"],
    },
    "keys[0] (k): tags: The key k is declared with a tag that begins with keyferry-.": {
        **RSA,
        "tags": {"Keyferry-x": "y"},
    },
    "keys[0] (k): rotation: The rotation of the key k says every P1Y, when": {
        **RSA,
        "rotation": {"every": "P1Y", "valid_for": "P1M"},
    },
    "keys[0] (k): modifiable: The key k is declared with after_transfer: lock and modifiable: ": {
        **RSA,
        "after_transfer": "lock",
        "modifiable": False,
    },
    "keys[0] (k): rotation.overlap: 'P0D' is a duration of zero. Leave it out": {
        **RSA,
        "rotation": {"every": "P90D", "overlap": "P0D", "retire": "disable"},
    },
    "keys[0] (k): expires: The key k expires before it becomes valid.": {
        **RSA,
        "not_before": "2028-01-01T00:00:00Z",
        "expires": "2027-01-01T00:00:00Z",
    },
}


@pytest.mark.parametrize(("told", "key"), TOLD.items())
def test_a_problem_is_told_with_key_and_path(told: str, key: t.Any) -> None:
    assert problems_of(key)[-1] == told


@pytest.mark.parametrize(
    ("field", "value", "meant"),
    [
        ("type", "RSA-HSM", "RSA"),
        ("type", "EC-HSM", "EC"),
        ("type", "oct-HSM", "oct"),
        ("type", "rsa", "RSA"),
        ("curve", "secp256r1", "P-256"),
        ("curve", "prime256v1", "P-256"),
        ("curve", "X9_62_prime256v1", "P-256"),
        ("curve", "SECP384R1", "P-384"),
        ("curve", "SECP256K1", "P-256K"),
        ("curve", "p-521", "P-521"),
        ("operations", ["wrap_key"], "wrapKey"),
        ("operations", ["UnwrapKey"], "unwrapKey"),
    ],
)
def test_a_value_of_az_terraform_or_openssl_is_answered_by_ours(
    field: str, value: t.Any, meant: str
) -> None:
    assert problems_of({**RSA, field: value})[0].endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("kty", "type"),
        ("key_type", "type"),
        ("key_ops", "operations"),
        ("key_opts", "operations"),
        ("ops", "operations"),
        ("key_size", "size"),
        ("crv", "curve"),
        ("curve_name", "curve"),
        ("curve-name", "curve"),
        ("expiration_date", "expires"),
        ("not_before_date", "not_before"),
        ("notBefore", "not_before"),
    ],
)
def test_a_field_of_az_or_terraform_is_answered_by_ours(field: str, meant: str) -> None:
    told = f"keys[0] (k): {field} is not a field; did you mean {meant}?"
    assert told in problems_of({**RSA, field: "x"})


@pytest.mark.parametrize(("beginning", "key"), BEGINNING.items())
def test_what_does_not_fit_together_is_told_with_key_and_path(beginning: str, key: t.Any) -> None:
    [told] = problems_of(key)
    assert told.startswith(beginning)


def test_all_problems_are_told_at_once() -> None:
    key = {
        "name": "k",
        "type": "EC",
        "curve": "P-256",
        "operations": ["wrapKey"],
        "tags": {"keyferry-a": "b"},
        "enabled": 1,
    }
    assert [problem.split()[2].rstrip(":") for problem in problems_of(key)] == [
        "enabled",
        "operations",
        "tags",
    ]


def test_no_more_is_told_than_somebody_reads() -> None:
    problems: list[str] = []
    read_keys([{f"x{number}": 1 for number in range(100)}] * 100, NO_DEFAULTS, str, problems)
    assert MOST_PROBLEMS <= len(problems) < MOST_PROBLEMS + 5
    assert len(problems_of({**RSA, "tags": {"a" * 10**6: None}})[0]) < 200


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "k" * 10**6},
        {"expires": "2" * 10**6},
        {"expires": "\u0662\u0660\u0662\u0667-01-01T00:00:00Z"},
        {"not_before": "99999-01-01T00:00:00Z"},
        {"rotation": {"every": f"P{'9' * 5000}D"}},
        {"rotation": {"every": f"P{'9' * 10**6}Y"}},
        {"rotation": {"every": "P\u0663D"}},
        {"rotation": {"every": "P999999Y"}},
        {"rotation": {"every": "P0D"}},
        {"type": "R" * 10**6},
    ],
)
def test_values_beyond_all_measure_are_refused_with_key_and_field(fields: dict[str, t.Any]) -> None:
    [told] = problems_of({**RSA, **fields})
    assert told.startswith("keys[0] (")
    assert f"): {next(iter(fields))}" in told
    assert len(told) < 700


@pytest.mark.parametrize("field", OF_ONE_KEY)
def test_what_belongs_to_one_key_can_be_no_default(field: str) -> None:
    assert problems_of(RSA, {field: "aa"}) == [
        f"defaults: {field} can be no default: it belongs to one key."
    ]


def test_defaults_are_told_once_and_do_not_apply_where_they_are_not_fit() -> None:
    problems: list[str] = []
    fit = read_defaults(
        {"size": "big", "rotation": {"evry": "P1Y"}, "enabled": False},
        "defaults",
        problems,
        exact=True,
    )
    assert fit.given == {"enabled": False}
    assert len(problems) == 2
    assert problems_of(RSA, []) == ["defaults is a list, but must be a mapping of fields."]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("size", "3072", 3072), ("enabled", "false", False), ("enabled", "True", True)],
)
def test_what_a_template_makes_a_text_of_is_taken_as_modules_take_it(
    field: str, text: str, value: t.Any
) -> None:
    assert not problems_of({**RSA, field: text}, exact=False)
    assert problems_of({**RSA, field: text}) != problems_of({**RSA, field: value}) == []


def facts_of(option: dict[str, t.Any]) -> dict[str, t.Any]:
    """What JSON Schema says of an option of a module."""
    facts: dict[str, t.Any] = {"default": option["default"]} if "default" in option else {}
    if option["type"] == "list":
        return {**facts, "type": "array", "minItems": 1, "items": {"enum": option["choices"]}}
    if "choices" in option:
        return {**facts, "enum": option["choices"]}
    return {
        **facts,
        "type": {"str": "string", "int": "integer", "bool": "boolean", "dict": "object"}[
            option["type"]
        ],
    }


def schema_of(
    options: Spec, moments: tuple[str, ...], durations: t.Collection[str]
) -> dict[str, t.Any]:
    schema = {field: facts_of(option) for field, option in options.items()}
    for form, fields in (("moment", moments), ("duration", durations)):
        for field in fields:
            del schema[field]["type"]
            schema[field]["$ref"] = f"#/$defs/{form}"
    return schema


def test_the_schema_says_what_the_modules_options_say() -> None:
    rotation = DECLARATION_OPTIONS["rotation"]["options"]
    wanted = schema_of(DECLARATION_OPTIONS, ("not_before", "expires"), ())
    wanted["name"]["pattern"] = f"^{azure._NAME.pattern}$"
    either = f"{declared_keys._CKA_ID.pattern}|{azure.THUMBPRINT.pattern}"
    wanted["generation"]["pattern"] = f"^({either})$"
    wanted["label"]["pattern"] = r"[^ \u0000]"  # as it stands in JSON
    wanted["size"] = {"enum": [*azure.RSA_SIZES, *azure.OCT_SIZES]}
    wanted["tags"] |= {
        "maxProperties": azure.MAX_OWN_TAGS,
        "propertyNames": {
            "maxLength": azure.MAX_TAG_LENGTH,
            "not": {"pattern": "^[kK][eE][yY][fF][eE][rR][rR][yY]-"},
        },
        "additionalProperties": {"type": "string", "maxLength": azure.MAX_TAG_LENGTH},
    }
    wanted["rotation"] |= {
        "properties": schema_of(
            rotation, (), [field for field in rotation if "choices" not in rotation[field]]
        ),
        "additionalProperties": False,
    }

    def without_descriptions(fields: dict[str, t.Any]) -> dict[str, t.Any]:
        assert all(field.pop("description") for field in fields.values())
        return fields

    fields = without_descriptions(json.loads(json.dumps(FIELDS)))
    without_descriptions(fields["rotation"]["properties"])
    assert fields == wanted
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_says_what_each_type_takes() -> None:
    cases = {
        case["if"]["properties"]["type"]["const"]: case["then"]["properties"]
        for case in SCHEMA["$defs"]["fields"]["allOf"]
    }
    assert cases.keys() == azure.OPERATIONS.keys()
    for kind, then in cases.items():
        assert (
            then["operations"]
            == then["token_operations"]
            == {"items": {"enum": list(azure.OPERATIONS[kind])}}
        )
    assert cases["RSA"]["size"] == {"enum": list(azure.RSA_SIZES)}
    assert cases["oct"]["size"] == {"enum": list(azure.OCT_SIZES)}


#: Values of a field, and whether a key with it is fit
JUDGED: dict[str, list[tuple[t.Any, bool]]] = {
    "name": [
        ("a-1", True),
        ("a" * 127, True),
        ("a" * 128, False),
        ("", False),
        ("a_b", False),
        ("a\nb", False),
        (7, False),
    ],
    "type": [("RSA", True), ("rsa", False), (None, False), ([], False)],
    "size": [
        (2048, True),
        (4096, True),
        (1024, False),
        (256, False),
        ("2048", False),
        (None, False),
    ],
    "curve": [("P-256", False), ("P-1", False)],
    "operations": [
        (["sign", "wrapKey"], True),
        ([], False),
        (["fly"], False),
        ("sign", False),
        ([1], False),
    ],
    "token_operations": [(["sign"], True), ([], False), (["fly"], False)],
    "label": [("Payments 2023_1", True), ("x\0", True), ("", False), (" \0", False), (7, False)],
    "generation": [
        ("aA09", True),
        ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", True),
        ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X+", False),
        ("abc", False),
        ("", False),
        ("{{ x }}", False),
        (12, False),
    ],
    "allow_external_origin": [(True, True), ("yes", False), (1, False)],
    "after_transfer": [("keep", True), ("lock", True), ("locked", False)],
    "create": [(False, True), ("no", False)],
    "derive": [(True, True), (0, False)],
    "modifiable": [(True, True), (None, False)],
    "enabled": [(True, True), (False, True), ("on", False)],
    "not_before": [
        ("2027-01-31T00:00:00Z", True),
        ("2027-01-31T00:00:00+01:00", True),
        ("2027-01-31", False),
        (2027, False),
    ],
    "expires": [
        ("2027-01-31T00:00:00Z", True),
        ("2027-01-31T00:00:00", False),
        ("soon", False),
        (False, False),
    ],
    "tags": [
        ({"a": "b", "c": "3"}, True),
        ({"a": "b", "c": 3}, False),
        ({f"t{number}": "" for number in range(10)}, True),
        ({f"t{number}": "" for number in range(11)}, False),
        ({"a" * 256: "b" * 256}, True),
        ({"a" * 257: "b"}, False),
        ({"a": "b" * 257}, False),
        ({"KEYFERRY-a": "b"}, False),
        ({"a": None}, False),
        ({"a": True}, False),
        ({"a": 1.5}, False),
        ({"a": ["b"]}, False),
        (["a"], False),
    ],
    "rotation": [
        ({}, True),
        (
            {
                "every": "P1Y",
                "overlap": "PT12H",
                "min_interval": "P1W",
                "retire": "disable",
                "on_foreign": "rotate",
            },
            True,
        ),
        ({"valid_for": "P1Y2M3W4DT5H6M7S", "before_expiry": "P30D", "notify_before": "P7D"}, True),
        ({"every": "P"}, False),
        ({"every": "P0D"}, False),
        ({"overlap": "PT0S", "retire": "disable"}, False),
        ({"every": "PT"}, False),
        ({"every": "P1YT"}, False),
        ({"every": "1Y"}, False),
        ({"every": 365}, False),
        ({"retire": "now"}, False),
        ({"on_foreign": "conflict", "evry": "P1Y"}, False),
        ([], False),
    ],
    "vaults": [(["a"], False)],
    "": [(1, False)],
}


@pytest.mark.parametrize(
    ("field", "value", "fit"), [(field, *case) for field, cases in JUDGED.items() for case in cases]
)
def test_schema_and_check_agree(field: str, value: t.Any, fit: bool) -> None:
    key = {**RSA, field: value}
    assert (not problems_of(key)) == fit
    assert (
        jsonschema.Draft202012Validator({"$defs": SCHEMA["$defs"], "$ref": "#/$defs/key"}).is_valid(
            key
        )
        == fit
    )


def test_every_field_is_judged() -> None:
    assert JUDGED.keys() - {""} == DECLARATION_OPTIONS.keys() | PLACE_OPTIONS.keys() - {"token"}


def test_the_schema_knows_files_and_their_defaults() -> None:
    judge = jsonschema.Draft202012Validator(SCHEMA)
    file = {"defaults": {"type": "RSA", "size": 3072}, "vaults": ["a*"], "token": "t"}
    for more, fit in (
        ({"keys": []}, True),
        ({"keys": [{"name": "k", "vaults": ["b"], "token": "t"}]}, True),
        ({"keys": [{"name": "k", "vaults": []}]}, False),
        ({"keys": [{"name": "k", "vaultz": ["b"]}]}, False),
        ({"keys": [{"type": "RSA"}]}, False),
        ({"keys": {}}, False),
        ({}, False),
        ({"keys": [], "plugin": "x"}, False),
        ({"keys": [], "defaults": {"name": "k"}}, False),
        ({"keys": [], "defaults": {"vaults": ["b"]}}, False),
    ):
        assert judge.is_valid({**file, **more}) == fit, more
