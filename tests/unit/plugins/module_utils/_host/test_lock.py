# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
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
