# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import SentImport
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal

VAULT = "https://contoso.vault.azure.net"
SENT = SentImport(
    vault_url=VAULT,
    name="Signing-Key",
    sent=datetime(2026, 11, 22, 12, tzinfo=timezone.utc),
    package_sha256="ab" * 32,
    versions_before=("0123",),
    generation="01",
    thumbprint=None,
    origin="token",
    challenge={"algorithm": "A256CBC"},
    prove=False,
    receipt=None,
    receipt_path=None,
)


def open_journal(folder: Path, vault_url: str = VAULT) -> Journal:
    journal = Journal(str(folder), vault_url)
    journal.prepare()
    return journal


def test_what_is_noted_is_found_by_the_next_run_and_by_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "keyferry"
    journal = open_journal(folder)
    assert (journal.has("Signing-Key"), journal.find("Signing-Key")) == (False, None)
    journal.note(SENT)
    journal.note(replace(SENT, package_sha256="cd" * 32))
    # Azure's names of keys have no case
    assert open_journal(folder).find("signing-key") == replace(SENT, package_sha256="cd" * 32)
    assert journal.has("signing-KEY")
    assert open_journal(folder, "https://contoso.managedhsm.azure.net").find(SENT.name) is None
    assert journal.find("signing") is None
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_is_done_goes_when_it_is_told_and_stays_where_the_process_dies(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path)
    other = replace(SENT, name="other")

    def end(error: type[BaseException]) -> None:
        with journal.until_told():
            journal.done(SENT.name)
            assert journal.has(SENT.name)
            raise error

    for error in (KeyboardInterrupt, ValueError):
        journal.note(SENT)
        journal.note(other)
        with pytest.raises(error):
            end(error)
        assert journal.has(SENT.name) == (error is KeyboardInterrupt)
    with journal.until_told():
        journal.done("other")
        journal.note(other)  # sent once more
        journal.done("never sent")
    assert journal.has("other")
    with journal.until_told():
        journal.done("other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": 1}'])
def test_a_file_that_is_no_journal_stops_the_key(tmp_path: Path, content: str) -> None:
    journal = open_journal(tmp_path)
    journal.note(SENT)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    with pytest.raises(ByokError, match=f"Signing-Key.*{file}.*no journal of an import.*remove"):
        journal.find(SENT.name)
    assert journal.has(SENT.name)


def test_a_link_and_a_file_of_another_user_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path)
    journal.note(SENT)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ByokError, match="belongs to another user"):
        journal.find(SENT.name)
    monkeypatch.undo()
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ByokError, match="cannot be used"):
        journal.find(SENT.name)
    assert journal.has(SENT.name)


def test_a_directory_that_cannot_be_made_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ByokError, match=r"state directory .*/file/state cannot be made.*state_dir"):
        Journal(str(tmp_path / "file" / "state"), VAULT).prepare()
