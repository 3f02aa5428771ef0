# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policies as files: who may have written them, and in which form."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host import policy_files
from ansible_collections.keyferry.azure.plugins.module_utils._host.policy_files import (
    read_policies,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.protected_file import (
    read_protected,
)

POLICY = {"version": 1, "rules": []}


@pytest.fixture
def keyferry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc/keyferry."""
    folder = tmp_path / "keyferry"
    folder.mkdir(mode=0o755)
    places = [Path(place) for place in policy_files.DEFAULT_PLACES]
    assert {str(place.parent) for place in places} == {"/etc/keyferry"}
    monkeypatch.setattr(
        policy_files, "DEFAULT_PLACES", tuple(str(folder / place.name) for place in places)
    )
    return folder


def write(path: Path, text: str = json.dumps(POLICY), mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refused() -> str:
    with pytest.raises(ByokError) as error:
        read_policies(None)
    assert error.value.reason == "policy_unusable"
    return str(error.value)


def test_a_host_without_a_policy(keyferry: Path) -> None:
    assert read_policies(None) == []
    keyferry.rmdir()
    assert read_policies(None) == []


@pytest.mark.parametrize("name", ["policy.json", "policy.yml", "policy.yaml"])
def test_a_policy_at_its_place_counts(keyferry: Path, name: str) -> None:
    write(keyferry / name)
    (found,) = read_policies(None)
    assert (found.path, found.document) == (str(keyferry / name), POLICY)
    assert len(found.sha256) == 64


def test_another_policy_can_only_come_beside_it(keyferry: Path, tmp_path: Path) -> None:
    write(keyferry / "policy.json")
    write(keyferry / "policy.yml", "version: 1\nrules: []\n")
    further = write(tmp_path / "further.json", '{"version": 1, "rules": [], "make": ["*"]}')
    assert [Path(found.path).name for found in read_policies(str(further))] == [
        "policy.yml",
        "policy.json",
        "further.json",
    ]
    with pytest.raises(ByokError, match=r"There is no wrapping policy .*\(policy_file\)") as error:
        read_policies(str(tmp_path / "missing.json"))
    assert error.value.reason == "not_found"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_policy_that_others_can_write(keyferry: Path, mode: int) -> None:
    write(keyferry / "policy.json", mode=mode)
    assert "can be written by others than its owner" in refused()


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_directory_that_others_can_write(keyferry: Path, mode: int) -> None:
    write(keyferry / "policy.json")
    keyferry.chmod(mode)
    assert f"its directory {keyferry} can be written by others than its owner" in refused()


def test_a_directory_above_that_others_can_write(keyferry: Path) -> None:
    write(keyferry / "policy.json")
    keyferry.parent.chmod(0o777)
    assert f"its directory {keyferry.parent} can be written" in refused()
    keyferry.parent.chmod(0o1777)  # as /tmp: others cannot rename what is not theirs
    assert len(read_policies(None)) == 1


def test_a_policy_of_another_user(keyferry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(keyferry / "policy.json")
    owner = os.stat(keyferry).st_uid
    if owner == 0:
        os.chown(keyferry / "policy.json", 12345, -1)
        assert "belongs to the user with the number 12345" in refused()
        os.chown(keyferry / "policy.json", 0, -1)
        os.chown(keyferry, 12345, -1)
        assert f"its directory {keyferry} belongs to the user with the number 12345" in refused()
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        assert f"belongs to the user with the number {owner}" in refused()


def test_a_link_is_no_policy(keyferry: Path, tmp_path: Path) -> None:
    (keyferry / "policy.json").symlink_to(write(tmp_path / "other.json"))
    assert "is a symbolic link" in refused()
    (tmp_path / "other.json").unlink()
    assert "is a symbolic link" in refused()


def test_what_is_no_file_is_no_policy(keyferry: Path) -> None:
    os.mkfifo(keyferry / "policy.json", 0o600)
    assert "is no regular file" in refused()
    (keyferry / "policy.json").unlink()
    (keyferry / "policy.json").mkdir()
    assert "is no regular file" in refused()


def test_a_policy_that_cannot_be_read_lets_nothing_out(
    keyferry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(keyferry / "policy.json")

    def forbid(*_arguments: t.Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbid)
    assert "cannot be read (Permission denied)" in refused()


def test_a_policy_that_is_too_large(keyferry: Path) -> None:
    write(keyferry / "policy.json", " " * (1 << 20) + json.dumps(POLICY))
    assert "has more than 1048576 bytes" in refused()


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("policy.json", "version: 1", "cannot be read"),
        ("policy.json", '{"version": 1, "rules": [], "rules": []}', "a member is there twice"),
        ("policy.yml", "version: 1\nrules: []\nrules: [{}]\n", "a member is there twice"),
        ("policy.yml", "rules:\n- {names: [a], names: [b]}\n", "a member is there twice"),
        ("policy.yml", "rules: [\n", "line 2: "),
        (
            "policy.yml",
            "rules: !!python/object:os.system {}\n",
            "could not determine a constructor",
        ),
        ("policy.yml", "\x00", "is UTF-16"),
    ],
)
def test_a_text_that_is_no_policy(keyferry: Path, name: str, text: str, why: str) -> None:
    write(keyferry / name, text)
    with pytest.raises(ByokError) as error:
        read_policies(None)
    assert why in str(error.value)


def test_a_host_without_a_reader_of_yaml(keyferry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(keyferry / "policy.yml", "version: 1\nrules: []\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    told = refused()
    assert "this host's Python has no PyYAML" in told
    assert "write the policy as JSON" in told


def test_what_was_checked_is_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "file", "text")
    assert read_protected(str(path), "file", 4) == "text"
    assert read_protected(str(tmp_path / "none"), "file", 4) is None
    assert read_protected(str(path / "below"), "file", 4) is None
