# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab for one measurement: a new token and empty vaults.

They are in memory where that is possible, so that no disk is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
UNLIMITED = 1e6  # times the documented rates
_MEMORY = Path("/dev/shm")


class RunningLab:
    """A lab that runs while this context lasts."""

    def __init__(self, rate_factor: float = UNLIMITED) -> None:
        self._folder = tempfile.TemporaryDirectory(
            dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None, prefix="keyferry-bench-"
        )
        self.path = Path(self._folder.name) / "lab"
        # What runs leave is written to the disk, as it is for users
        self._left = tempfile.TemporaryDirectory(prefix="keyferry-bench-")
        self.receipts, self.state = (Path(self._left.name) / each for each in ("receipts", "state"))
        self.receipts.mkdir()
        self._rate_factor = rate_factor
        self.environment: dict[str, str] = {}

    def __enter__(self) -> RunningLab:
        self._lab(
            "start",
            "--port",
            "0",
            "--tolerate-trailing-zeros",
            "--rate-factor",
            str(self._rate_factor),
            "--delete-delay",
            "0",
        )
        variables = json.loads(self._lab("env", "--json"))
        variables["AZURE_SECRET"] = Path(variables.pop("AZURE_SECRET_FILE")).read_text().strip()
        self.environment = {**os.environ, **variables}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lab("stop")
        self._folder.cleanup()
        self._left.cleanup()

    def requests(self) -> list[dict[str, Any]]:
        """Return what the vaults answered so far, but for challenges."""
        state = json.loads((self.path / "lab.json").read_text())["control"]
        request = urllib.request.Request(
            f"{state['url']}/requests", headers={"Authorization": f"Bearer {state['key']}"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            answers: list[dict[str, Any]] = json.load(answer)
        return [each for each in answers if "vault" in str(each["vault"])]

    def moments(self, method: str) -> list[float]:
        """Return when requests of this method were answered, in seconds."""
        lines = [line.split(" ", 3) for line in (self.path / "lab.log").read_text().splitlines()]
        found = [f"{line[0]} {line[1]}" for line in lines if line[2:3] == [method]]
        return [datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f").timestamp() for moment in found]

    def _lab(self, command: str, *arguments: str) -> str:
        line = [sys.executable, "-m", "lab", command, "--dir", str(self.path), *arguments]
        return subprocess.run(line, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


def count_operations(requests: list[dict[str, Any]], vault: str) -> Counter[str]:
    """Count the requests to one vault by operation."""
    return Counter(each["operation"] for each in requests if each["vault"] == vault)
