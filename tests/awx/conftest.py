# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX has: its own collection to set it up, and a lab for its jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A release of the PyPI package that has awx.awx 24.6.1 in it; the next major ones have none
ANSIBLE = "ansible==12.3.0"


@pytest.fixture(scope="session")
def awx_awx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the collection awx.awx, kept in the virtual environment.

    PyPI has it as a part of a large package only.
    """
    folder = Path(sys.prefix, ANSIBLE)
    if not folder.exists():
        download = tmp_path_factory.mktemp("pypi")
        # Its demand for a newer Python does not matter, because it is not installed
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--python-version=3.11",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", download, ANSIBLE],
            check=True,
        )
        (wheel,) = download.glob("*.whl")
        unpacked = Path(sys.prefix, f"{ANSIBLE}-{os.getpid()}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(
                unpacked,
                [
                    name
                    for name in archive.namelist()
                    if name.startswith("ansible_collections/awx/awx/")
                ],
            )
        wheel.unlink()
        unpacked.rename(folder)
    return folder


class Lab:
    """A running lab."""

    def __init__(self, folder: Path) -> None:
        self.facts: dict[str, Any] = json.loads((folder / "lab.json").read_text())
        self.operator: dict[str, str] = self.facts["clients"]["operator"]
        self.variables: dict[str, str] = json.loads(run_lab("env", "--dir", str(folder), "--json"))

    @property
    def environment(self) -> dict[str, str]:
        """What leads the jobs of a node into the lab.

        It has no credential, and of the token only what SoftHSM reads.
        """
        return {
            name: value
            for name, value in self.variables.items()
            if not name.startswith(("AZURE_", "BYOK_"))
        }

    def imported(self, *hosts: str) -> list[str]:
        """The names of the keys that were imported into these vaults."""
        control = self.facts["control"]
        request = urllib.request.Request(
            f"{control['url']}/requests", headers={"Authorization": f"Bearer {control['key']}"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=30
        ) as answer:
            answers = json.load(answer)
        return [
            each["key"]
            for each in answers
            if each["operation"] == "import" and each["vault"] in hosts and each["status"] == 200
        ]

    def keys(self, url: str) -> dict[str, Any]:
        """What a vault holds, seen by the SDK."""
        script = ROOT / "tests/integration/targets/setup_vault_keys/files/vault_keys.py"
        environment = {**os.environ, **self.variables}
        return dict(
            json.loads(
                subprocess.check_output([sys.executable, script, url], env=environment, text=True)
            )
        )

    def generations(self, *names: str) -> dict[str, set[str]]:
        """The thumbprints of the public keys that the token has under these names."""
        script = ROOT / "tests/integration/targets/setup_token/files/objects.py"
        environment = {**os.environ, **self.variables}
        output = subprocess.check_output([sys.executable, script], env=environment, text=True)
        thumbprints: dict[str, set[str]] = {name: set() for name in names}
        for item in json.loads(output):
            if item["label"] in thumbprints and "thumbprint" in item:
                thumbprints[item["label"]].add(item["thumbprint"])
        return thumbprints


def program(name: str) -> str:
    """The path of a program beside this Python."""
    return str(Path(sys.executable).with_name(name))


def run_lab(*arguments: str) -> str:
    command = [sys.executable, "-m", "lab", *arguments]
    return subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=True
    ).stdout


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("awx") / "lab"
    options = (
        "--port",
        "0",
        "--delete-delay",
        "0",
        "--rate-factor",
        "1000",
        "--tolerate-trailing-zeros",
    )
    run_lab("start", "--dir", str(folder), *options)
    yield Lab(folder)
    run_lab("stop", "--dir", str(folder))
