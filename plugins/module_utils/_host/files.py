# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Files that a run leaves or is given.

What it leaves is written whole or not at all, and can be read by its owner only.
"""

from __future__ import annotations

import os
import tempfile

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text


def write_private(path: str, text: str) -> None:
    """Write ``text`` to ``path`` atomically, with mode 0600.

    :raises ByokError: when it cannot be written
    """
    temporary = None
    try:
        # mkstemp gives the mode 0600.
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".byok-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise ByokError(
            f"The file {path} cannot be written ({error.strerror})",
            "Give a path in a directory that can be written",
        ) from error


def see_directory(path: str, what: str) -> None:
    """Check that files can be made in a directory, before there is something to write.

    :param what: what goes there, for an error
    :raises ByokError: when they cannot
    """
    if not (os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)):
        raise ByokError(
            f"The directory {path} for {what} does not exist or cannot be written",
            "Create it, or set another directory",
        )


def read_text(path: str, what: str = "file") -> str | None:
    """Return what a text file from elsewhere holds; None when there is none.

    :param what: what the file is, for an error
    :raises ByokError: when it is there and cannot be read, or is no UTF-8
    """
    content = read_bytes(path, what)
    return None if content is None else decode_text(content, f"The {what} {path}")


def read_bytes(path: str, what: str = "file", most: int | None = None) -> bytes | None:
    """Return what a file from elsewhere holds; None when there is none.

    :param what: what the file is, for an error
    :param most: how many bytes it can have; None for any number
    :raises ByokError: when it is there and cannot be read, or is larger
    """
    try:
        with open(path, "rb") as file:
            content = file.read() if most is None else file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ByokError(
            f"The {what} {path} cannot be read ({error.strerror})",
            "Check that it is the right file and that the user who runs the module can read it",
        ) from None
    if most is not None and len(content) > most:
        raise ByokError(
            f"The {what} {path} has more than {most} bytes", "Check that it is the right file"
        )
    return content
