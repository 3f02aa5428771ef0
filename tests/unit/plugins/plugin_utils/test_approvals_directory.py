# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer

DIGEST = "ab" * 32
SIGNATURE = "-----BEGIN SSH SIGNATURE-----\nU1NI\nU0lH\n-----END SSH SIGNATURE-----"


def approvals(given: t.Any = (), directory: Path | None = None) -> list[str]:
    answered: list[str] = answer("approvals", given, [directory and str(directory)], {})
    return answered


def test_files_and_inputs_count_together(tmp_path: Path) -> None:
    (tmp_path / f"{DIGEST}.bob.sig").write_text("of bob {{ 1 + 1 }}")
    (tmp_path / f"{DIGEST}.anna@contoso.example.sig").write_text("of anna")
    (tmp_path / "README.md").write_text("Who signs here")
    assert approvals(["given"], tmp_path) == ["given", "of anna", "of bob {{ 1 + 1 }}"]
    assert approvals() == []


def test_a_survey_gives_one_text() -> None:
    assert approvals(f"{SIGNATURE}\n\n{SIGNATURE}\n") == [SIGNATURE, SIGNATURE]
    assert approvals(" ") == []


@pytest.mark.parametrize("given", ["I approve", 1, [1], {"a": "b"}])
def test_what_is_no_signature_is_said(given: t.Any) -> None:
    with pytest.raises(ByokError, match="byok_approvals holds something that is no text"):
        approvals(given)


@pytest.mark.parametrize("name", ["anna.sig", f"{DIGEST}.sig", f"{DIGEST[:-1]}.anna.sig"])
def test_a_file_that_is_named_otherwise_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(ByokError, match=r"is not named DIGEST\.PERSON\.sig"):
        approvals([], tmp_path)


def test_a_file_that_is_no_small_file(tmp_path: Path) -> None:
    path = tmp_path / f"{DIGEST}.anna.sig"
    path.write_text("x" * 16385)
    with pytest.raises(ByokError, match="has more than 16384 bytes"):
        approvals([], tmp_path)
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(ByokError, match="cannot be read"):
        approvals([], tmp_path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ByokError, match="Correct byok_approvals_directory"):
        approvals([], tmp_path / "none")
