# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The heads of chains: on the token's host, the last run manifest of each vault that it signed.

The host that reaches Azure keeps the manifests. Without a note of its own, the token's side could
be shown an older one as the last, and would sign a second chain.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_shape import (
    NUMBER,
    SHA256,
    TEXT,
    difference,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import (
    read_text,
    write_private,
)

#: How many manifests that were not stored are kept; each run that finds one warns
_MOST_NOTED = 64

_NOTE: t.Final = {
    "number": NUMBER,
    "sha256": SHA256,
    "runs": [{"line": TEXT, "statements": [TEXT]}],
}

_HOST = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}")


@dataclass(frozen=True)
class NotedRun:
    """A manifest that was signed here.

    :ivar line: its envelope
    :ivar statements: lines that it names and the other host had yet to store
    """

    line: str
    statements: tuple[str, ...] = ()


class HeadFile:
    """The note of one vault.

    :ivar host: of the vault, in lower case
    :raises ByokError: for what is no URL of a vault
    """

    def __init__(self, state_directory: str, vault_url: str) -> None:
        self.host = comparable_url(vault_url).removeprefix("https://")
        if not _HOST.fullmatch(self.host):
            raise ByokError(
                f"vault_url {vault_url!r} names no host", "Give the URL of a vault or Managed HSM"
            )
        self._directory = os.path.join(state_directory, "heads")
        self.path = os.path.join(self._directory, f"{self.host}.json")

    def prepare(self) -> None:
        """Make the directory, before there is something to write.

        :raises ByokError: when it cannot be made or written
        """
        if not os.path.isabs(self._directory):  # ~ of a user without a home
            raise self._refused("it is no absolute path")
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._refused(str(error.strerror)) from error
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise self._refused("permission denied")

    def read(self) -> list[NotedRun]:
        """Return the last manifest that was signed here, after those that were not stored when it
        was, oldest first; empty where none was signed.

        :raises ByokError: for a file that cannot be read or is no such note
        """
        text = read_text(self.path, "note of the last run manifest")
        if text is None:
            return []
        try:
            note = parse_json(text)
        except ValueError:
            note = None
        if difference(note, _NOTE) or not note["runs"]:
            raise ByokError(
                f"The file {self.path} is no note of the last run manifest of {self.host}",
                "Restore it from a backup. If there is none, compare the last manifest on the "
                "host that reaches Azure with a copy, then remove the file",
                code="conflict",
            )
        return [NotedRun(each["line"], tuple(each["statements"])) for each in note["runs"]]

    def write(self, runs: t.Sequence[NotedRun], number: int, sha256: str) -> None:
        """Note the last manifest.

        :param runs: it, after those that the other host does not have yet: it may die before it has
            stored them
        :param number: of it, and its digest, for people who look
        :raises ByokError: when it cannot be written
        """
        kept = [
            {"line": run.line, "statements": list(run.statements)} for run in runs[-_MOST_NOTED:]
        ]
        note = {"number": number, "sha256": sha256, "runs": kept}
        write_private(self.path, json.dumps(note, indent=2) + "\n")

    def _refused(self, why: str) -> ByokError:
        return ByokError(
            f"The directory {self._directory} cannot be made or written ({why}), so a second chain "
            "of run manifests could begin",
            "Set state_directory to a directory that the user who runs the module can write",
        )
