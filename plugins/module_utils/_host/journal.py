# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The journal: which imports this host sent, until it is known what became of them.

Azure has no conditional import, and a request of a process that died can be carried out later. So
there is a private file for each import on its way. It is no state: it goes as soon as somebody
looked, and without it a run knows less but does nothing wrong.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from contextlib import contextmanager, suppress

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.sent_import import SentImport
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import write_private


class Journal:
    """The imports of one vault that are on their way."""

    def __init__(self, directory: str, vault_url: str) -> None:
        self._directory = directory
        host = re.sub(r"[^0-9a-z]+", "-", vault_url.lower().removeprefix("https://"))
        self._prefix = f"keyferry-import-{host}-"
        self._done: set[str] = set()

    def prepare(self) -> None:
        """Make the directory, before there is something to write.

        :raises ByokError: when it cannot be made or written
        """
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._refused(str(error.strerror)) from error
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise self._refused("permission denied")

    def note(self, sent: SentImport) -> None:
        """Write down an import that is about to be sent.

        :raises ByokError: when it cannot be written
        """
        self._done.discard(sent.name)
        write_private(self._path(sent.name), json.dumps(sent.to_dict()) + "\n")

    def has(self, name: str) -> bool:
        """Tell whether an import of a key is on its way, or a run that sent one was interrupted."""
        return os.path.lexists(self._path(name))

    def find(self, name: str) -> SentImport | None:
        """Return the import of a key that is on its way.

        :raises ByokError: for a file of another user, and for one that is no such file
        """
        path = self._path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(name, path, str(error.strerror)) from error
        with os.fdopen(descriptor, encoding="utf-8") as file:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise _unreadable(name, path, "it belongs to another user")
            try:
                return SentImport.from_dict(json.load(file))
            except (ValueError, ByokError) as error:
                raise _unreadable(name, path, "it is no journal of an import") from error

    def done(self, name: str) -> None:
        """Say that all is known of what became of an import, which has yet to be told."""
        self._done.add(name)

    @contextmanager
    def until_told(self) -> t.Iterator[None]:
        """Remove what is done when a run ends, also with an error: then its results are returned.

        A process that dies returns nothing, so what it has done stays noted.
        """
        try:
            yield
        except Exception:
            self._remove_done()
            raise
        self._remove_done()

    def _remove_done(self) -> None:
        for name in self._done:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))
        self._done.clear()

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, f"{self._prefix}{name.lower()}.json")

    def _refused(self, why: str) -> ByokError:
        return ByokError(
            f"The state directory {self._directory} cannot be made or written ({why}), so an "
            "interrupted import would be sent twice",
            "Set state_directory to a directory that the user who runs the module can write",
        )


def _unreadable(name: str, path: str, why: str) -> ByokError:
    return ByokError(
        f"An interrupted run may have imported the key {name}, and its file {path} cannot be used "
        f"({why}), so nothing is imported",
        "Run as the user whose run was interrupted. Or look at the versions of the key in the "
        "vault, then remove the file",
        code="uncertain",
    )
