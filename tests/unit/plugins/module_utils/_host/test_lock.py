# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host import lock
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_second_waits_and_then_says_what_it_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    with process_lock("keys 1234", str(tmp_path), 5):
        with (
            pytest.raises(
                ByokError, match=r"keyferry-byok-keys-1234\.lock for more than 5 seconds"
            ),
            process_lock("keys 1234", str(tmp_path), 5, clock.sleep, clock),
        ):
            pytest.fail("two at a time")
        with process_lock("keys 5678", str(tmp_path), 0):
            pass
    assert 5 <= clock.now < 6
    with process_lock("keys 1234", str(tmp_path), 0):
        pass


def test_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("x")
    (tmp_path / "keyferry-byok-keys.lock").symlink_to(target)
    with pytest.raises(ByokError, match="lock_directory"), process_lock("keys", str(tmp_path), 0):
        pytest.fail("followed a link")


def test_a_directory_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ByokError, match="lock_directory"),
        process_lock("keys", str(tmp_path / "none"), 0),
    ):
        pytest.fail("locked nothing")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "keyferry-byok-keys.lock")
    with (
        pytest.raises(ByokError, match="is not a regular file"),
        process_lock("keys", str(tmp_path), 0),
    ):
        pytest.fail("locked a pipe")


def hold_and_remove(directory: Path, error: Exception | None = None) -> None:
    """What another run may do when somebody removes the lock file of this one."""
    with process_lock("keys", str(directory), 0):
        (directory / "keyferry-byok-keys.lock").unlink()
        with process_lock("keys", str(directory), 0):
            if error:
                raise error


def test_a_lock_that_is_removed_while_it_is_held_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ByokError, match="was removed while this run held it") as told:
        hold_and_remove(tmp_path)
    assert told.value.reason == "busy"


def test_an_error_inside_comes_before_a_removed_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        hold_and_remove(tmp_path, KeyError())


def test_who_waited_for_a_file_that_was_removed_locks_the_new_one(tmp_path: Path) -> None:
    """Or else it would hold a lock that nobody else can find."""
    path = tmp_path / "keyferry-byok-keys.lock"
    clock = Clock()
    holder = process_lock("keys", str(tmp_path), 0)
    holder.__enter__()

    def remove(seconds: float) -> None:
        clock.sleep(seconds)
        path.unlink()

    with process_lock("keys", str(tmp_path), 5, remove, clock):
        assert path.exists()
        with (
            pytest.raises(ByokError, match="holds the lock"),
            process_lock("keys", str(tmp_path), 0),
        ):
            pytest.fail("two at a time")
    with pytest.raises(ByokError, match="was removed"):
        holder.__exit__(None, None, None)


def test_what_removes_old_files_leaves_a_lock_that_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "keyferry-byok-keys.lock"
    path.touch()
    os.utime(path, (0, 0))
    with process_lock("keys", str(tmp_path), 0):
        assert path.stat().st_mtime > 0


def test_by_default_locks_are_where_the_administrator_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "keyferry"
    monkeypatch.setattr(lock, "_OWN_DIRECTORY", str(own))
    assert lock.default_directory() == "/tmp"
    own.mkdir()
    with process_lock("keys", None, 0):
        assert (own / "keyferry-byok-keys.lock").exists()
