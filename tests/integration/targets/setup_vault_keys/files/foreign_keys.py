# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make keys in vaults as somebody else would, by the lab's control endpoint.

argv: lab.json, and JSON of HOST: NAME: request.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def make(control: dict[str, str], host: str, name: str, body: dict[str, object]) -> str:
    headers = {"Authorization": f"Bearer {control['key']}", "Content-Type": "application/json"}
    with urlopen(
        Request(f"{control['url']}/keys/{host}/{name}", json.dumps(body).encode(), headers)
    ) as answer:
        return str(json.load(answer)["key"]["kid"])


def main() -> None:
    control = json.loads(Path(sys.argv[1]).read_text())["control"]
    wanted = json.loads(sys.argv[2])
    print(
        json.dumps(
            {
                name: make(control, host, name, body)
                for host in wanted
                for name, body in wanted[host].items()
            }
        )
    )


if __name__ == "__main__":
    main()
