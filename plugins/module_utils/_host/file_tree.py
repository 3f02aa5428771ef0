# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Folders that came from elsewhere, read as data: no link is followed, nothing is unbounded, and
what is not expected is told instead of read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: In bytes; what runs may write (``evidence_folder.py``) has to be read
MOST_OF_A_FILE = 1 << 28
MOST_OF_ALL = 1 << 31

_MOST_FILES = 1 << 20


@dataclass
class FileTree:
    """What a folder holds.

    :ivar files: what was read, by its path in the folder
    :ivar strange: what was not, by its path: why, to end a sentence
    """

    files: dict[str, bytes] = field(default_factory=dict)
    strange: dict[str, str] = field(default_factory=dict)


def read_tree(
    directory: str, what: str, directories: re.Pattern[str], files: re.Pattern[str]
) -> FileTree:
    """Read a folder.

    :param what: what the folder is, for an error
    :param directories: the paths of directories that are entered, with slashes between
    :param files: the paths of files that are read
    :raises ByokError: for a folder that cannot be read, or holds too much
    """
    tree, left = FileTree(), MOST_OF_ALL
    for number, (path, entry) in enumerate(_walk(directory, what, directories, tree)):
        if number > _MOST_FILES:
            raise _too_much(directory, what)
        if not files.fullmatch(path):
            tree.strange[path] = "its name or place is unknown"
            continue
        content = _read(entry, tree, path)
        if content is not None:
            tree.files[path] = content
            left -= len(content)
        if left < 0:
            raise _too_much(directory, what)
    return tree


def _walk(
    directory: str, what: str, directories: re.Pattern[str], tree: FileTree
) -> Iterator[tuple[str, str]]:
    """Yield the path in the folder and the whole path of each regular file."""
    todo = [""]
    while todo:
        inside = todo.pop()
        try:
            with os.scandir(os.path.join(directory, inside)) as entries:
                found = sorted(entries, key=lambda each: each.name)
        except OSError as error:
            if not inside:
                raise ByokError(
                    f"The {what} {directory} cannot be read ({error.strerror})",
                    "Give a directory that the user who runs this can read",
                ) from None
            tree.strange[inside] = f"it cannot be read ({error.strerror})"
            continue
        for entry in found:
            path = f"{inside}/{entry.name}".lstrip("/")
            if entry.is_symlink():
                tree.strange[path] = "it is a link, and no link is followed"
            elif entry.is_file(follow_symlinks=False):
                yield path, entry.path
            elif entry.is_dir(follow_symlinks=False) and directories.fullmatch(path):
                todo.append(path)
            else:
                tree.strange[path] = "it is no file and no directory that belongs there"


def _read(whole_path: str, tree: FileTree, path: str) -> bytes | None:
    """Return what a file holds; None for one that becomes strange."""
    try:
        # A pipe that took its place is not waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(whole_path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(0, "it is no regular file")
            content = file.read(MOST_OF_A_FILE + 1)
    except OSError as error:
        tree.strange[path] = f"it cannot be read ({error.strerror})"
        return None
    if len(content) > MOST_OF_A_FILE:
        tree.strange[path] = f"it has more than {MOST_OF_A_FILE >> 20} MiB"
        return None
    return content


def _too_much(directory: str, what: str) -> ByokError:
    return ByokError(
        f"The {what} {directory} has more than {_MOST_FILES} files or {MOST_OF_ALL >> 30} GiB",
        "Give the folder itself, and not one above it",
    )
