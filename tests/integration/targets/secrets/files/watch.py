# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command, and record what ps shows meanwhile: every command line and environment.

Writes the command's output to argv[1], and what ps shows to argv[2].

usage: watch.py OUTPUT PROCESSES COMMAND...; ends with the command's return code
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path


def sample(seen: set[bytes]) -> None:
    for process, name in itertools.product(
        filter(str.isdecimal, os.listdir("/proc")), ("cmdline", "environ")
    ):
        try:
            seen.add(Path("/proc", process, name).read_bytes())
        except OSError:  # it has ended, or it is another user's
            continue


def main() -> int:
    seen: set[bytes] = set()
    with open(sys.argv[1], "wb") as output:
        process = subprocess.Popen(
            sys.argv[3:], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            sample(seen)
            time.sleep(0.02)
    Path(sys.argv[2]).write_bytes(b"\n".join(seen))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
