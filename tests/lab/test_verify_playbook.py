# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/verify.yml: the same verdict as the plain command, in check mode too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    POOL,
    VAULT,
    small,
    trust_files,
)

ROOT = Path(__file__).parents[2]


def playbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "playbooks/verify.yml", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mode", [(), ("--check", "--diff")], ids=["run", "check"])
def test_the_playbook_fails_with_the_sentences_unless_all_is_whole(
    tmp_path: Path, mode: tuple[str, ...]
) -> None:
    made = small()
    heads = {host: vars(made.head(host)) for host in (POOL, VAULT)}
    folders = {
        "receipts": made.files(),
        "trust": {**trust_files(), "heads.json": json.dumps(heads).encode()},
    }
    for folder, files in folders.items():
        for path, content in files.items():
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_bytes(content)
    out = tmp_path / "out.json"
    variables = {
        "byok_receipt_directory": str(tmp_path / "receipts"),
        "byok_trust_directory": str(tmp_path / "trust"),
        "byok_verify_result": str(out),
    }
    options = ("-e", json.dumps(variables), *mode)
    whole = playbook(*options)
    assert whole.returncode == 0, whole.stdout
    assert "whole: 4 keys (0 broken, 0 incomplete, 4 whole)" in whole.stdout
    assert out.exists() is not bool(mode)
    (tmp_path / "receipts" / VAULT / "keys/tokens.intoto.jsonl").unlink()
    broken = playbook(*options)
    assert broken.returncode == 2
    assert "Manifest 1 names the imported statement" in broken.stdout
    assert "(lost_receipt)" in broken.stdout
    if not mode:
        assert json.loads(out.read_text())["exit"] == 2


def test_directories_that_are_not_set_are_asked_for() -> None:
    told = playbook("-e", "byok_receipt_directory=/nowhere")
    assert told.returncode == 2
    assert "byok_trust_directory is not set" in " ".join(told.stdout.split())
