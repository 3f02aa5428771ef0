# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections import UserDict, UserList
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import (
    reports,
    results,
    shape,
    transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Inner(Shape):
    name: str
    at: datetime | None = None


@dataclass(frozen=True)
class Outer(Shape):
    inner: Inner
    kind: t.Literal["one", "two"] = "one"
    count: int = 0
    flag: bool = False
    many: tuple[Inner, ...] = ()
    texts: tuple[str, ...] = ()
    facts: Mapping[str, t.Any] = field(default_factory=dict)
    anything: t.Any = None


MOMENT = datetime(2026, 11, 22, 18, tzinfo=timezone.utc)
WHOLE = Outer(
    Inner("a", MOMENT),
    "two",
    3,
    True,
    (Inner("b"), Inner("c", MOMENT)),
    ("x", "y"),
    {"tags": {"owner": ["p", None]}},
    [1],
)
PLAIN: dict[str, t.Any] = {
    "inner": {"name": "a", "at": "2026-11-22T18:00:00Z"},
    "kind": "two",
    "count": 3,
    "flag": True,
    "many": [{"name": "b", "at": None}, {"name": "c", "at": "2026-11-22T18:00:00Z"}],
    "texts": ["x", "y"],
    "facts": {"tags": {"owner": ["p", None]}},
    "anything": [1],
}


def test_a_shape_leaves_as_plain_data_and_comes_back() -> None:
    assert WHOLE.to_dict() == PLAIN
    assert Outer.from_dict(json.loads(json.dumps(PLAIN))) == WHOLE
    assert Outer.from_dict({"inner": {"name": "a"}}) == Outer(Inner("a"))


def test_unknown_fields_are_left_out() -> None:
    assert Outer.from_dict({**PLAIN, "later": 1, "inner": {"name": "a", "more": 2}}).inner == Inner(
        "a"
    )


def test_containers_of_others_become_plain() -> None:
    read = Outer.from_dict(
        UserDict({**PLAIN, "texts": UserList(["x"]), "facts": UserDict(a=UserDict(b=("c",)))})
    )
    assert read.texts == ("x",)
    assert json.dumps(shape.plain(read.facts)) == '{"a": {"b": ["c"]}}'


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inner": None}, "given as Inner .*NoneType instead of a mapping"),
        ({"inner": {}}, "given as Inner .*the field name is missing"),
        ({"inner": {"name": None}}, "the field name is NoneType instead of str"),
        ({"inner": {"name": "a", "at": "yesterday"}}, "'yesterday' is not a moment"),
        ({"inner": {"name": "a", "at": 5}}, "the field at is int instead of str"),
        ({"kind": "three"}, "the field kind is 'three' instead of one of one, two"),
        ({"kind": ["one"]}, "the field kind is .* instead of one of"),
        ({"count": "3"}, "the field count is str instead of int"),
        ({"count": True}, "the field count is bool instead of int"),
        ({"flag": "yes"}, "the field flag is str instead of bool"),
        ({"many": {"name": "b"}}, "the field many is dict instead of a list"),
        ({"many": [[]]}, "given as Inner .*list instead of a mapping"),
        ({"texts": "xy"}, "the field texts is str instead of a list"),
        ({"texts": [b"x"]}, "the field texts is bytes instead of str"),
        ({"facts": []}, "the field facts is list instead of Mapping"),
    ],
)
def test_what_is_no_such_result_is_refused_with_its_field(
    change: dict[str, t.Any], says: str
) -> None:
    with pytest.raises(ByokError, match=says):
        Outer.from_dict({**PLAIN, **change})


def test_a_field_that_has_to_be_there_is_named() -> None:
    with pytest.raises(ByokError, match="the field inner is missing"):
        Outer.from_dict({})


SHAPES = [
    value
    for value in {**vars(results), **vars(reports), **vars(transfer)}.values()
    if isinstance(value, type) and issubclass(value, Shape) and value is not Shape
]

#: Whatever JSON can hold
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(data=st.data(), kind=st.sampled_from(SHAPES))
def test_whatever_another_host_made_up_is_read_or_refused(
    data: st.DataObject, kind: type[Shape]
) -> None:
    fields = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    values = data.draw(anything | st.fixed_dictionaries(dict.fromkeys(fields, anything)))
    try:
        read = kind.from_dict(values)
    except ByokError:
        return
    assert kind.from_dict(json.loads(json.dumps(read.to_dict()))) == read
