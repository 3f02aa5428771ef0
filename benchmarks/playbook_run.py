# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyferry's side: a user's ansible-playbook, with an inventory that declares keys."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from measured_process import Run, run
from running_lab import ROOT, RunningLab

KINDS: dict[str, dict[str, Any]] = {
    "EC": {"type": "EC", "curve": "P-256"},
    "RSA": {"type": "RSA", "size": 2048},
}


def url(vault: str) -> str:
    """Return the URL of a vault of the lab."""
    return f"https://{host(vault)}"


def host(vault: str) -> str:
    """Return the host name of a vault of the lab."""
    return f"keyferry-lab-{vault}.vault.azure.net"


def declare(lab: RunningLab, count: int, vaults: list[str], kind: str = "EC") -> Path:
    """Write an inventory: as many keys for each vault, named after it."""
    hosts = {
        vault: {
            "byok_vault_url": url(vault),
            "byok_keys": [{"name": f"{vault}-{number}", **KINDS[kind]} for number in range(count)],
        }
        for vault in vaults
    }
    path = lab.path / f"{'-'.join(vaults)}.json"
    shared = {
        "byok_allow_trailing_zeros": True,  # SoftHSM's flaw has to be allowed
        "byok_receipt_directory": str(lab.receipts),
        "byok_state_directory": str(lab.state),
    }
    path.write_text(json.dumps({"all": {"vars": shared, "hosts": hosts}}))
    return path


def play(
    lab: RunningLab,
    inventory: Path,
    playbook: str = "byok",
    *,
    changed: bool = True,
    memory: bool = False,
) -> Run:
    """Run a playbook.

    :param changed: whether it has something to do
    :raises RuntimeError: when it fails, or does what it had not to do
    """
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(inventory),
        f"playbooks/{playbook}.yml",
    ]
    done = run(command, lab.environment, ROOT, memory=memory)
    if bool(re.search(r"changed=[1-9]", done.output)) != changed:
        raise RuntimeError(
            f"{inventory.stem}: {'nothing' if changed else 'something'} changed:\n"
            f"{done.output[-2000:]}"
        )
    return done
