# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure_token.py COMMAND...: run a command with the job's OIDC token in a private file.

AZURE_FEDERATED_TOKEN_FILE names the file. On GitHub the token is fetched, and fetched anew while
the command runs: it is good for a few minutes, and every Ansible task shows it to Entra ID. On
GitLab it comes in AZURE_ID_TOKEN (id_tokens: in .gitlab-ci.yml).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

AUDIENCE = "api://AzureADTokenExchange"
RENEW_EVERY = 120  # seconds


def fetch() -> str:
    """Return a token of this job for Entra ID."""
    if given := os.environ.get("AZURE_ID_TOKEN"):
        return given
    url = f"{os.environ['ACTIONS_ID_TOKEN_REQUEST_URL']}&audience={AUDIENCE}"
    bearer = f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    with urllib.request.urlopen(
        urllib.request.Request(url, headers={"Authorization": bearer}), timeout=30
    ) as answer:
        return str(json.load(answer)["value"])


def write(file: Path) -> None:
    """Put a token into the file, whole at any moment."""
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(fetch())
    new.replace(file)


def renew(file: Path, ended: threading.Event) -> None:
    """Renew the token until the command has ended; if one cannot be fetched, try again."""
    while not ended.wait(RENEW_EVERY):
        try:
            write(file)
        except (OSError, ValueError) as error:
            print(f"The token was not renewed: {error}", file=sys.stderr)


def main(command: list[str]) -> int:
    """Run the command and return its exit code; 1 if it was killed."""
    with tempfile.TemporaryDirectory() as folder:
        file, ended = Path(folder) / "token", threading.Event()
        write(file)
        hidden = ("AZURE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        threading.Thread(target=renew, args=(file, ended), daemon=True).start()
        try:
            code = subprocess.call(
                command, env=environment | {"AZURE_FEDERATED_TOKEN_FILE": str(file)}
            )
            return code if code >= 0 else 1
        finally:
            ended.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
