# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set the lab's faults.

argv: lab.json, and as JSON a list of items that have a key with its name, and a fault.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def main() -> None:
    control = json.loads(Path(sys.argv[1]).read_text())["control"]
    headers = {"Authorization": f"Bearer {control['key']}", "Content-Type": "application/json"}
    for case in json.loads(sys.argv[2]):
        body = json.dumps({"key": case["key"]["name"], **case["fault"]}).encode()
        urlopen(Request(f"{control['url']}/faults", body, headers)).close()


if __name__ == "__main__":
    main()
