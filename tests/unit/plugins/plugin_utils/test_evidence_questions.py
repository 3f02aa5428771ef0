# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer


def test_a_folder_is_verified_with_sentences_for_people(tmp_path: Path) -> None:
    (tmp_path / "receipts").mkdir()
    (tmp_path / "trust").mkdir()
    (tmp_path / "receipts/{{ 1 + 1 }}").touch()
    told = answer("verify", str(tmp_path / "receipts"), [str(tmp_path / "trust")], {})
    assert told["verdict"] == told["result"]["verdict"] == "incomplete"
    assert told["summary"][0].startswith("incomplete: 0 keys")
    assert told["problems"] == told["summary"][1:]
    assert any("{{ 1 + 1 }}" in problem for problem in told["problems"])
    assert json.loads(json.dumps(told)) == told


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ByokError, match=r"The receipt folder .* cannot be read"):
        answer("verify", str(tmp_path / "nowhere"), [str(tmp_path)], {})
