# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host import lock
from ansible_collections.keyferry.azure.plugins.module_utils._token.refused_pin import RefusedPin

NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


def note(directory: Path, seconds: float = 0, label: str = "byok", pin: str = "1234") -> RefusedPin:
    options = {"lock_directory": str(directory), "pin": pin, "pin_file": None}
    return RefusedPin(options, {"label": label}, lambda: NOW + timedelta(seconds=seconds))


def is_refused(pin: RefusedPin) -> bool:
    try:
        pin.refuse("token byok")
    except ByokError:
        return True
    return False


def test_a_note_lasts_a_minute_from_the_last_one_that_believed_it(tmp_path: Path) -> None:
    assert not is_refused(note(tmp_path))
    note(tmp_path).keep()
    assert not is_refused(note(tmp_path, label="other"))
    assert [is_refused(note(tmp_path, seconds)) for seconds in (1, 59, 118)] == [True] * 3
    assert not is_refused(note(tmp_path, 118 + 60))
    assert not is_refused(note(tmp_path, -3600))  # a clock that was set back


def test_another_pin_is_tried_at_once_and_none_can_be_read_from_the_note(tmp_path: Path) -> None:
    note(tmp_path, pin="mistaken-pin").keep()
    [path] = tmp_path.iterdir()
    source = json.loads(path.read_text())["source"]
    assert "mistaken" not in path.read_text()
    assert 0 <= source[2] < 256  # 8 bits alone
    assert is_refused(note(tmp_path, pin="mistaken-pin"))
    others = [is_refused(note(tmp_path, pin=f"other-{number}")) for number in range(8)]
    assert others.count(True) <= 2  # one in 256 is taken for the same


def test_a_note_is_where_the_locks_are_unless_a_directory_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_OWN_DIRECTORY", str(tmp_path))
    RefusedPin({"lock_directory": None, "pin": "1234", "pin_file": None}, {"label": "byok"}).keep()
    [path] = tmp_path.iterdir()
    assert path.name.startswith("keyferry-byok-pin-")


def test_a_note_of_others_or_in_a_strange_form_is_none(tmp_path: Path) -> None:
    note(tmp_path).keep()
    [path] = tmp_path.iterdir()
    kept = path.read_text()
    for text in ("", "[]", "{}", '{"source": ["pin"], "time": "x"}', "\0"):
        path.write_text(text)
        assert not is_refused(note(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(kept)
    path.unlink()
    path.symlink_to(elsewhere)
    assert not is_refused(note(tmp_path))
    note(tmp_path).keep()  # replaces the link, and does not write through it
    assert not path.is_symlink()
    path.unlink()
    os.mkfifo(path)
    assert not is_refused(note(tmp_path))


def test_a_directory_that_cannot_be_written_stops_no_login(tmp_path: Path) -> None:
    gone = note(tmp_path / "nowhere")
    gone.keep()
    gone.forget()
    assert not is_refused(gone)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_note_that_another_user_laid_is_none(tmp_path: Path) -> None:
    note(tmp_path).keep()
    [path] = tmp_path.iterdir()
    os.chown(path, 12345, -1)
    assert not is_refused(note(tmp_path))
