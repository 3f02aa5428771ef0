# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import re
import typing as t
from dataclasses import fields, replace
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import Mechanism
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile_file import (
    _FIELDS,
    read_profile,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profiles import PROFILES
from hypothesis import given
from hypothesis import strategies as st

OTHER = (Path(__file__).resolve().parents[5] / "docs/hsm/other.md").read_text()
[EXAMPLE_TEXT] = re.findall(r"```json\n(.*?)```", OTHER, re.DOTALL)
EXAMPLE: dict[str, t.Any] = json.loads(EXAMPLE_TEXT)


def read(**changes: t.Any) -> Profile:
    return read_profile(json.dumps({**EXAMPLE, **changes}), "It")


def test_the_documented_example_is_a_profile() -> None:
    profile = read()
    assert profile.wrap_mechanisms[1] == Mechanism(
        "CKM_EXAMPLE_AES_KWP", 0x80001234, bytes.fromhex("a65959a6")
    )
    assert profile.return_codes == {0x80000042: "CKR_EXAMPLE_QUORUM_MISSING"}
    assert profile.public_keys_private == (True,)
    assert set(EXAMPLE) == {"format", "version", *_FIELDS}
    assert all(f"`{field}`" in OTHER for field in _FIELDS)


def written(profile: Profile) -> str:
    """A profile as its user would write it, without what only code can say."""
    default = Profile("", "")
    given = {name: getattr(profile, name) for name in _FIELDS}
    told = {name: value for name, value in given.items() if value != getattr(default, name)}
    for name in ("wrap_mechanisms", "rsa_generation"):
        told[name] = [
            {
                "name": each.name,
                "number": f"{each.number:#x}",
                **({"parameter": each.parameter.hex()} if each.parameter else {}),
            }
            for each in given[name]
        ]
    told["return_codes"] = {f"{code:#x}": name for code, name in profile.return_codes.items()}
    return json.dumps({"format": "keyferry-profile", "version": 1, **told})


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_what_this_collection_knows_of_a_vendor_could_be_such_a_file(profile: Profile) -> None:
    default = Profile("", "")
    by_code = {each.name: getattr(default, each.name) for each in fields(Profile)}
    only_file = replace(profile, **{n: by_code[n] for n in by_code if n not in _FIELDS})
    assert read_profile(written(profile), "It") == only_file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": None}, "is no profile of a vendor"),
        ({"version": 2}, "is of version 2, and 1 is known here"),
        ({"libraries": []}, "libraries is not a field; those are title, source"),
        ({"title": ""}, "title is no line of text"),
        ({"source": "a\u202eb"}, "source is no line of text"),
        ({"not_ready": "x" * 501}, "has more than 500 characters"),
        ({"wrap_mechanisms": []}, "wrap_mechanisms is no list with something in it"),
        ({"wrap_mechanisms": [{"name": "CKM_X"}]}, "no mapping of name, number, parameter"),
        ({"wrap_mechanisms": [{"name": "X", "number": 1}]}, "does not have the form CKM_"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": "12"}]}, "no number such as 0x"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": -1}]}, "no number such as 0x"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": True}]}, "no number such as 0x"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": "0x2109"}]}, "RFC 3394 without padding"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": "0x210C"}]}, "RFC 3394 over PKCS#7"),
        ({"wrap_mechanisms": [{"name": "CKM_X", "number": "0x1085"}]}, "AES in CBC mode"),
        (
            {"wrap_mechanisms": [{"name": "CKM_X", "number": "0x210b", "parameter": "01020303"}]},
            "a parameter other than a65959a6",
        ),
        (
            {"wrap_mechanisms": [{"name": "CKM_X", "number": "0x1054", "parameter": "a65959a6"}]},
            "or one of CKM_RSA_AES_KEY_WRAP",
        ),
        ({"rsa_generation": [{"name": "CKM_X", "number": 1, "parameter": "00"}]}, "no mapping of"),
        ({"public_keys_private": ["no"]}, "neither true nor false"),
        ({"most_sessions": 0}, "is no number of sessions"),
        ({"environment": ["A=B"]}, "environment holds 'A=B'"),
        ({"return_codes": {"0x5": "CKR_GENERAL_ERROR"}}, "a number below 0x80000000"),
        ({"remedies": {"CKR_TYPO": "x"}}, "has remedies for CKR_TYPO"),
    ],
)
def test_what_a_profile_must_not_say_is_told(change: dict[str, t.Any], says: str) -> None:
    with pytest.raises(ByokError) as refused:
        read(**change)
    assert str(refused.value).startswith("It ")
    assert says in str(refused.value)


@pytest.mark.parametrize("field", ["title", "source", "wrap_mechanisms"])
def test_what_it_must_say_is_told(field: str) -> None:
    without = {name: value for name, value in EXAMPLE.items() if name != field}
    with pytest.raises(ByokError, match=f"It lacks {field}"):
        read_profile(json.dumps(without), "It")


def paths(value: t.Any, path: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    inner: list[tuple[t.Any, t.Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(each for at, member in inner for each in paths(member, (*path, at)))]


@given(
    st.sampled_from(paths(EXAMPLE)[1:]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.none(), max_size=1)
    | st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
)
def test_a_changed_file_is_a_sentence_or_a_profile_that_can_be_written(
    path: tuple[t.Any, ...], value: t.Any
) -> None:
    document = copy.deepcopy(EXAMPLE)
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    try:
        profile = read_profile(json.dumps(document), "It")
    except ByokError as error:
        said = str(error)
    else:
        assert read_profile(written(profile), "It") == profile
        return
    assert said.startswith("It ")
