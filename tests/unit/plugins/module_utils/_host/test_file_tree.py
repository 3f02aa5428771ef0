# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import envelope
from ansible_collections.keyferry.azure.plugins.module_utils._host import evidence_folder, file_tree
from ansible_collections.keyferry.azure.plugins.module_utils._host.file_tree import (
    FileTree,
    read_tree,
)

DIRECTORIES, FILES = re.compile(r"a(/b)?"), re.compile(r"(a/)?(b/)?[a-z]\.txt")


def read(folder: Path) -> FileTree:
    return read_tree(str(folder), "receipt folder", DIRECTORIES, FILES)


def test_what_is_expected_is_read_and_all_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("x.txt", "a/x.txt", "a/b/x.txt", "a/b/c/x.txt", "other/x.txt", "x.TXT", ".x"):
        (tmp_path / name).write_bytes(b"\xff" + name.encode())
    tree = read(tmp_path)
    assert tree.files == {
        name: b"\xff" + name.encode() for name in ("x.txt", "a/x.txt", "a/b/x.txt")
    }
    assert set(tree.strange) == {"a/b/c", "other", "x.TXT", ".x"}


def test_what_runs_may_write_can_be_read() -> None:
    assert evidence_folder.MOST_OF_A_FILE <= file_tree.MOST_OF_A_FILE
    assert evidence_folder.MOST_OF_A_LINE <= envelope.MOST_CHARACTERS


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.txt").write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").symlink_to(outside)
    (folder / "x.txt").symlink_to(outside / "x.txt")
    (folder / "y.txt").symlink_to("nowhere")
    tree = read(folder)
    assert tree.files == {}
    assert set(tree.strange) == {"a", "x.txt", "y.txt"}
    assert "no link is followed" in tree.strange["a"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.txt")
    assert set(read(tmp_path).strange) == {"x.txt"}


def test_sizes_and_numbers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "xyz":
        (tmp_path / f"{name}.txt").write_text("1234")
    monkeypatch.setattr(file_tree, "MOST_OF_A_FILE", 3)
    assert set(read(tmp_path).strange) == {"x.txt", "y.txt", "z.txt"}
    monkeypatch.setattr(file_tree, "MOST_OF_A_FILE", 4)
    monkeypatch.setattr(file_tree, "MOST_OF_ALL", 11)
    with pytest.raises(ByokError, match="receipt folder"):
        read(tmp_path)
    monkeypatch.setattr(file_tree, "MOST_OF_ALL", 12)
    assert len(read(tmp_path).files) == 3
    monkeypatch.setattr(file_tree, "_MOST_FILES", 1)
    with pytest.raises(ByokError, match="more than 1 files"):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ByokError, match=r"The receipt folder .* cannot be read"):
        read(tmp_path / "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "x.txt").chmod(0)
    (tmp_path / "a").mkdir(mode=0)
    tree = read(tmp_path)
    (tmp_path / "a").chmod(0o700)
    assert set(tree.strange) == {"a", "x.txt"}


def test_a_file_that_became_another_thing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and opening, somebody puts a link in its place."""
    (tmp_path / "x.txt").write_text("1")
    really = os.open

    def swapped(path: str, flags: int) -> int:
        Path(path).unlink()
        Path(path).symlink_to("/etc/passwd")
        return really(path, flags)

    monkeypatch.setattr(os, "open", swapped)
    tree = read(tmp_path)
    assert (tree.files, set(tree.strange)) == ({}, {"x.txt"})
