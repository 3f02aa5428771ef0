# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.plugin_utils import _declarations_file as file
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=10)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18) + 1, 10**18 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(params=[yaml.SafeLoader, file._LOADER], autouse=True, scope="module")
def loader(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """The parser in Python, and the one in C."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "_LOADER", request.param)
        yield


def parse(text: str) -> t.Any:
    return file.parse_document(text.encode()).value


def depth(value: t.Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, inner), default=0)


@given(PLAIN.filter(lambda value: depth(value) < 10))
def test_what_is_written_is_read(value: t.Any) -> None:
    assert parse(json.dumps(value, ensure_ascii=False)) == value
    assert parse(json.dumps(value, ensure_ascii=False, indent=1)) == value


def test_words_are_those_of_json_and_everything_else_is_text() -> None:
    text = """
    words: [true, True, TRUE, false, False, FALSE, null, Null, NULL, ~]
    texts: [yes, no, NO, on, off, y, 2027-01-01, 2027-01-01T00:00:00Z, 1:30, 0x1f, 0o17, 1_000,
      =, <<, .inf, '1', "true", 'null']
    numbers: [0, 7, -7, 123456789012345678]
    refused later: [1.10, 012, +7, 1e3, 1234567890123456789]
    2027: year
    true: word
    block: |
      5
    """
    value = parse(text)
    assert value["words"] == [True] * 3 + [False] * 3 + [None] * 4
    assert all(isinstance(each, str) for each in value["texts"])
    assert value["texts"][7] == "2027-01-01T00:00:00Z"
    assert value["numbers"] == [0, 7, -7, 123456789012345678]
    assert all(isinstance(each, float) for each in value["refused later"])
    assert (value["2027"], value["true"], value["block"]) == ("year", "word", "5\n")


def test_mappings_know_their_lines() -> None:
    assert file.parse_document(b"keys:\n- {name: a}\n\n- name: b\n  tags:\n    c: d\n").lines == {
        (): 1,
        ("keys", 0): 2,
        ("keys", 1): 4,
        ("keys", 1, "tags"): 6,
    }


REFUSED = {
    "a: &x 1": "on line 1 there is an anchor or an alias",
    "a: 1\nb: *x": "on line 2 there is an anchor or an alias",
    "- !!python/object:os.system x": "on line 1 there is a tag",
    "a: !vault x": "on line 1 there is a tag",
    "a: !unsafe x": "on line 1 there is a tag",
    "a: ! x": "on line 1 there is a tag",
    "!!map {}": "on line 1 there is a tag",
    "a: 1\n'a': 2": "on line 2 the field 'a' occurs twice",
    "a: {{ x }}": "on line 1 a field is named by a list or a mapping",
    "? [a]\n: 1": "on line 1 a field is named by a list or a mapping",
    "a: 1\n---\nb: 2": "on line 2 a second document begins",
    "[" * 100_000: "on line 1 it is nested too deep",
    "{a: " * 1_000: "on line 1 it is nested too deep",
    "- " * 100_000: "on line 1 it is nested too deep",
    "a: 'b\n\n": "It is not YAML on line",
    "a: b\n c: d": "It is not YAML on line 2: mapping values are not allowed",
    "a: \x00": "It is not YAML: it holds a character",
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=[text[:20] for text in REFUSED])
def test_what_is_not_plain_data_is_refused(text: str, told: str) -> None:
    with pytest.raises(ByokError) as error:
        parse(text)
    assert told in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a:\n  - \x93b\x94", "It is not UTF-8 in line 2, but probably Windows-1252"),
        ("keys: []".encode("utf-16"), "It is UTF-16. Save it as UTF-8"),
    ],
)
def test_what_is_not_utf_8_is_named(content: bytes, told: str) -> None:
    with pytest.raises(ByokError, match=told):
        file.parse_document(content)


def test_a_byte_order_mark_counts_for_nothing() -> None:
    assert file.parse_document(b"\xef\xbb\xbfkeys: []").value == {"keys": []}


def test_files_are_found_by_path_and_by_pattern(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yml", ".c.yml", "d.txt"):
        (tmp_path / "teams" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "teams" / name).write_text("x")
    folder = str(tmp_path)
    assert file.find_files(folder, "teams/*.yml") == ["teams/a.yml", "teams/b.yml"]
    assert file.find_files(folder, "teams/a.yml") == ["teams/a.yml"]
    assert file.find_files(f"{folder}/teams", "../teams/a.yml") == ["../teams/a.yml"]
    assert file.find_files("/nowhere", f"{folder}/teams/a.yml") == [f"{folder}/teams/a.yml"]
    assert file.read_file(f"{folder}/teams/a.yml") == b"x"
    with pytest.raises(ByokError, match="matches no file"):
        file.find_files(folder, "team/*.yml")


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/pin").write_text("1234")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.yml").symlink_to("../secret/pin")
    (tmp_path / "link").symlink_to("secret")
    for folder, pattern, link in (
        (tmp_path, "data/*.yml", "data/a.yml"),
        (tmp_path, "data/a.yml", "data/a.yml"),
        (tmp_path, "link/*", "link"),
        (tmp_path, "l*/pin", "link"),
        (tmp_path / "data", "../link/pin", "../link"),
        (tmp_path, f"{tmp_path}/link/pin", f"{tmp_path}/link"),
    ):
        with pytest.raises(ByokError, match=f"^{link} is a symbolic link"):
            file.find_files(str(folder), pattern)
    with pytest.raises(ByokError, match=r"^It cannot be read \("):
        file.read_file(str(tmp_path / "data/a.yml"))


def test_only_files_of_a_sensible_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ByokError, match="is no regular file"):
            file.read_file(str(path))
    (tmp_path / "large").write_bytes(b" " * (file.MOST_BYTES + 1))
    with pytest.raises(ByokError, match="is larger than 4 MB"):
        file.read_file(str(tmp_path / "large"))
    for path, told in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ByokError, match=told):
            file.read_file(str(path))


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A folder with declarations, and others to be sources of an inventory."""
    for name in ("project/teams/a.yml", "project/fleet.byok.yml", "other/hosts", "data/b.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("keys: []")
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "pattern", "why"),
    [
        (["project/fleet.byok.yml"], "teams/*.yml", None),
        (["other", "a,b,", "nowhere"], "teams/*.yml", None),
        (["project"], "../data/*.yml", None),
        (["project"], "nothing/*.yml", None),
        (["project"], "teams/*.yml", "lies in {}/project, a source of the inventory that is a"),
        (["other", "project/teams"], "teams/a.yml", "lies in {}/project/teams, a source"),
        (["."], "teams/*.yml", "lies in {}, a source"),
        (["link"], "teams/*.yml", "lies in {}/link, a source"),
        (["other"], "../data/*.yml", "lies in {}/other, a source"),
        (["project/teams/a.yml"], "teams/*.yml", "is a source of the inventory itself"),
        ([], "group_vars/all.yml", "lies in a folder group_vars or host_vars"),
    ],
)
def test_what_ansible_would_render_by_itself_is_found(
    sources: list[str],
    pattern: str,
    why: str | None,
    fleet: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(fleet)
    (fleet / "link").symlink_to("project")
    if "../data/*.yml" in pattern and "other" in sources:
        (fleet / "other/deep").mkdir()
        (fleet / "other/deep/linked").symlink_to("../../data")
    (fleet / "project/group_vars").mkdir()
    (fleet / "project/group_vars/all.yml").write_text("keys: []")
    told = file.read_as_code(str(fleet / "project"), pattern, file.read_by_ansible(sources))
    if why is None:
        assert told is None
    else:
        assert told is not None
        assert why.format(fleet) in told
