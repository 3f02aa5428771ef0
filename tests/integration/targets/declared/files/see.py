# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that nothing of what plant.py planted was rendered.

usage: see.py FOLDER VAULT_KEYS_SCRIPT
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path


def main(folder: Path, vault_keys_script: str) -> None:
    """Exit with what is not as it should be."""
    planted = json.loads((folder / "planted.json").read_text())
    key = planted["key"]

    told = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-inventory",
            "--inventory",
            folder / "bad.byok.yml",
            "--list",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    if told.returncode == 0:
        sys.exit("The declarations that cannot be were taken.")
    # Ansible breaks lines where it likes
    text = re.sub(r"\s", "", told.stderr)
    for number in range(len(planted["forms"])):
        keys = {int(key) for key in re.findall(rf"bad/{number}\.yml:(?:\d+:)?keys\[(\d+)\]", text)}
        if keys != set(range(planted["keys"])):
            sys.exit(
                f"{planted['forms'][number]} is not told of every key, but of {sorted(keys)}: "
                f"{told.stderr}"
            )
        for place in (
            r"-top\.yml:defaults:",
            r"-top\.yml:[\"']",
            r"-top\.yml:1:keys\[0\]",
            r"-text\.yml",
            r"-defaults\.yml:defaults",
        ):
            if not re.search(f"bad/{number}{place}", text):
                sys.exit(f"{planted['forms'][number]} is not told of {place}: {told.stderr}")

    for inventory in ("good.byok.yml", "exported.sh"):
        seen = json.loads((folder / f"seen-{inventory}.json").read_text())
        if seen != {
            "same": [[key]] * 4,
            "tags": [key["tags"]] * 2,
            "defaulted": [{**key, "enabled": True}],
        }:
            sys.exit(f"By {inventory}, a play sees {seen}, and was declared as {key}.")

    url = "https://keyferry-lab-declared-p.vault.azure.net"
    arrived = json.loads(subprocess.check_output([sys.executable, vault_keys_script, url]))[
        key["name"]
    ]["tags"]
    if {tag: value for tag, value in arrived.items() if not tag.startswith("keyferry-")} != key[
        "tags"
    ]:
        sys.exit(f"What arrived has the tags {arrived}, and was declared as {key}.")

    made = {path.name for path in folder.rglob("*")} & {"control", "rendered"}
    if made != {"control"}:
        sys.exit(f"Of what is code and of what is data, this was rendered: {made}.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
