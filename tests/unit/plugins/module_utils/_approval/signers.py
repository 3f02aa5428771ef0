# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""People with SSH keys of their own, who sign as people do: by ssh-keygen."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import NAMESPACE


class Signer:
    """A key in a folder of the test's own."""

    def __init__(self, folder: Path, name: str, kind: str = "ed25519") -> None:
        self.path = folder / name
        make = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(self.path)]
        subprocess.run(make, check=True)

    @property
    def public(self) -> str:
        """Type and key, as a line of allowed_signers ends."""
        return " ".join((self.path.with_suffix(".pub")).read_text().split()[:2])

    def sign(self, line: str, namespace: str = NAMESPACE) -> str:
        """Return the signature of a line, such as ``kek 3d8f...``."""
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.path)]
        done = subprocess.run(command, input=f"{line}\n".encode(), capture_output=True, check=True)
        return done.stdout.decode()


def allowed_signers(path: Path, **lines: str) -> str:
    """Write a file allowed_signers, of which only its owner may write; returns its path.

    :param lines: what follows the name of each person
    """
    path.write_text("".join(f"{name} {rest}\n" for name, rest in lines.items()))
    path.chmod(0o600)
    return str(path)
