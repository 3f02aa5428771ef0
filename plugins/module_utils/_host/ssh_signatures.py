# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Checking signatures by ssh-keygen, which knows SSH's keys, security keys and allowed_signers."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host.protected_file import (
    read_protected,
)

#: Where ssh-keygen is looked for: the PATH of a task may be another's choice
PLACES = "/usr/bin:/bin:/usr/local/bin"

_MOST_BYTES = 1 << 20  # of allowed_signers
_SECONDS = 30  # for one call, which takes 4 ms
_MOST_TOLD = 500  # characters of what it says
_COPY = "allowed-signers"  # what messages of ssh-keygen call the private copy


@dataclass(frozen=True)
class Told:
    """What a call of ssh-keygen gave.

    :ivar succeeded: it ended with 0
    :ivar output: its standard output
    :ivar told: its standard error, on one line
    """

    succeeded: bool
    output: str
    told: str


class SshKeygen:
    """ssh-keygen with a private copy of one allowed_signers; made by :func:`ssh_keygen`."""

    def __init__(self, program: str, directory: Path, namespace: str, now: datetime) -> None:
        self._program = program
        self._directory = directory
        self._namespace = namespace
        # Before OpenSSH 9.1 this option has no time zone. Neither this host's nor a task's counts.
        self._now = f"-Overify-time={now.astimezone(timezone.utc):%Y%m%d%H%M%S}"

    def check(self, signature: str, message: bytes) -> Told:
        """Tell whether a signature is of this message, by whomever."""
        return self._run("check-novalidate", signature, message, "-n", self._namespace)

    def find_principals(self, signature: str) -> Told:
        """Tell who signed, one name a line."""
        return self._run("find-principals", signature, b"", self._now, "-f", _COPY)

    def verify(self, signature: str, message: bytes, principal: str) -> Told:
        """Tell whether this person may sign at the time that counts, and signed this message."""
        signers = ("-n", self._namespace, "-f", _COPY, "-I", principal)
        return self._run("verify", signature, message, self._now, *signers)

    def _run(self, what: str, signature: str, message: bytes, *options: str) -> Told:
        """Run ssh-keygen in its directory, without a shell and without variables of others.

        :raises ByokError: when it cannot be run, or is too old
        """
        (self._directory / "signature").write_text(signature, encoding="utf-8")
        try:
            done = subprocess.run(
                [self._program, "-Y", what, "-s", "signature", *options],
                input=message,
                capture_output=True,
                cwd=self._directory,
                env={"LC_ALL": "C", "TZ": "UTC0"},
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ByokError(
                f"{self._program} could not check a signature ({type(error).__name__})",
                "Check that ssh-keygen works on this host",
                code="missing_program",
            ) from None
        told = " ".join(done.stderr.decode("utf-8", "replace").split())
        if "unknown option" in told or "Unsupported operation" in told:
            raise ByokError(
                f"{self._program} is too old to check signatures ({told[:_MOST_TOLD]})",
                "Install OpenSSH 8.9 or later on this host",
                code="missing_program",
            )
        output = done.stdout.decode("utf-8", "replace")
        return Told(done.returncode == 0, output, told[:_MOST_TOLD])


@contextmanager
def ssh_keygen(allowed_signers: str, namespace: str, now: datetime) -> t.Iterator[SshKeygen]:
    """Give what checks signatures against a file allowed_signers.

    :param allowed_signers: its path on this host
    :param now: when keys of signers have to be valid
    :raises ByokError: when ssh-keygen is missing, or others could have written the file
    """
    program = shutil.which("ssh-keygen", path=PLACES)
    if program is None:
        raise ByokError(
            "Approvals cannot be checked: this host has no ssh-keygen",
            "Install OpenSSH's client on the host that acts (Debian: openssh-client, Red Hat: "
            "openssh)",
            code="missing_program",
        )
    text = read_protected(allowed_signers, "file of allowed signers", _MOST_BYTES)
    if text is None:
        raise ByokError(
            f"There is no file of allowed signers {allowed_signers}, so nobody can approve",
            "Put it there on the host that acts, as docs/approvals.md shows",
            code="not_found",
        )
    with tempfile.TemporaryDirectory(prefix="keyferry-") as directory:  # its mode is 0700
        (Path(directory) / _COPY).write_text(text, encoding="utf-8")
        yield SshKeygen(program, Path(directory), namespace, now)
