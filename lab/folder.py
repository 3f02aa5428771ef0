# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's folder: where each thing lies. Everything in it is private to its owner."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Folder:
    """Paths in the lab's folder (mode 0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def state(self) -> Path:
        """What a running lab tells of itself; it goes when the lab stops."""
        return self.path / "lab.json"

    @property
    def ca(self) -> Path:
        """The certificate that the lab's clients trust."""
        return self.path / "ca.pem"

    @property
    def maker_root(self) -> Path:
        """The root certificate of who makes the lab's HSM adapters."""
        return self.path / "maker-root.pem"

    @property
    def log(self) -> Path:
        return self.path / "lab.log"

    def make(self, *names: str) -> Path:
        """Make the folder, or one inside it, and return its path."""
        path = self.path.joinpath(*names)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def lock(self) -> int | None:
        """Take the lock that a running lab holds as long as it lives; None where one does."""
        descriptor = os.open(self.path / "lab.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def write_private(path: Path, content: str | bytes) -> Path:
    """Write a file of mode 0600."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path
