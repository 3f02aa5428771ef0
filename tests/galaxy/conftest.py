# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as Galaxy gets it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path = ROOT, **environment: str) -> str:
    """What a command says, on either channel."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.fixture(scope="session")
def files() -> set[str]:
    """What git tracks or would track."""
    listed = run("git", "ls-files", "-coz", "--exclude-standard").split("\0")[:-1]
    return {name for name in listed if os.path.lexists(ROOT / name)}


@pytest.fixture(scope="session")
def tree(files: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that."""
    copy = tmp_path_factory.mktemp("tree")
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def galaxy_yml() -> dict[str, Any]:
    """What galaxy.yml says."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    return content


@pytest.fixture(scope="session")
def tarball(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, built."""
    folder = tmp_path_factory.mktemp("built")
    run("ansible-galaxy", "collection", "build", "--output-path", str(folder), cwd=tree)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of collections into which it is installed."""
    folder = tmp_path_factory.mktemp("installed")
    install = [
        "ansible-galaxy",
        "collection",
        "install",
        "--offline",
        "--force",
        "--collections-path",
        str(folder),
    ]
    run(*install, str(tarball))
    return folder
