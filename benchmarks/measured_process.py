# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that is run to its end: how long it took, and how much memory it had.

The memory is the most that it and its children had at one time.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAUSE = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Run:
    """What a process took.

    :ivar cpu: seconds of processor time, of it and its children
    :ivar memory: most bytes at one time of all processes, pages that several share counted once
        (PSS); 0 where nobody looked
    """

    seconds: float
    cpu: float
    memory: int
    output: str


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, memory: bool = False
) -> Run:
    """Run a command.

    :raises RuntimeError: with its output, when it fails
    """
    start, before = time.perf_counter(), _cpu()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    most = 0
    while memory and process.poll() is None:
        most = max(most, sum(map(_memory, _tree(process.pid))))
        time.sleep(_PAUSE)
    output, _nothing = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} returned {process.returncode}:\n{output[-3000:]}")
    return Run(seconds, _cpu() - before, most, output)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):  # it has ended
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
