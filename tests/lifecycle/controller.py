# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another controller, which rotates in a process of its own.

It does so for each line ``[driver, options, keys, offset]`` that it reads; ``offset`` is by how
many seconds the host's clock is moved.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    rotate,
    shift_host_clock,
)

if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        driver, options, keys, offset = json.loads(line)
        shift_host_clock(offset)
        try:
            answer = rotate(driver, options, keys)
        except ByokError as error:
            answer = {"msg": str(error)}
        print(json.dumps(answer, default=vars), flush=True)
