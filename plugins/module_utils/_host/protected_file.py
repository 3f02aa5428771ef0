# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Files that say what this host allows: nobody but their owners may have written them."""

from __future__ import annotations

import errno
import os
import stat
import typing as t
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text

#: What errno says of a symbolic link that is opened with O_NOFOLLOW (open(2); FreeBSD: EMLINK)
_LINK = (errno.ELOOP, errno.EMLINK)

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_protected(path: str, what: str, most_bytes: int) -> str | None:
    """Return what a file holds that decides for this host; None when there is none.

    It is checked and read by one descriptor, so that what was checked is what was read.

    :param what: what the file is, for an error, such as "wrapping policy"
    :param most_bytes: how large it may be
    :raises ByokError: when somebody else than root and the acting user could have written it, or
        when it cannot be read
    """
    called = f"The {what} {path}"
    try:
        # Without O_NONBLOCK, a FIFO would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _LINK:
            raise _unsafe(called, "is a symbolic link", "Put the file itself there") from None
        raise _unreadable(called, error) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(called, "is no regular file", "Put a file there")
        _refuse_others(called, path, status)
        _check_way(called, Path(path).absolute().parent)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise _unreadable(called, error) from None
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise _unsafe(called, f"has more than {most_bytes} bytes", "Check that it is the right one")
    return decode_text(content, called)


def _check_way(called: str, directory: Path) -> None:
    """Check that nobody else can put another file in the place of one in this directory.

    :raises ByokError: for a directory on the way that others may write; in one above that has the
        sticky bit, as /tmp has, they cannot rename what is not theirs
    """
    try:
        directory = directory.resolve(strict=True)
        for each in (directory, *directory.parents):
            status = each.stat()
            if each != directory and status.st_mode & stat.S_ISVTX:
                continue
            _refuse_others(f"{called} is not used: its directory {each}", str(each), status)
    except OSError as error:
        raise _unreadable(called, error) from None


def _refuse_others(called: str, path: str, status: os.stat_result) -> None:
    """Refuse what others than root and the acting user own or may write.

    :param called: begins the sentence
    :raises ByokError: for it
    """
    me = os.geteuid()
    if status.st_uid not in (0, me):
        raise _unsafe(
            called,
            f"belongs to the user with the number {status.st_uid}",
            f"Let root own it: chown root {path}",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise _unsafe(
            called,
            "can be written by others than its owner",
            f"Let only its owner write it: chmod go-w {path}",
        )


def _unsafe(called: str, why: str, remedy: str) -> ByokError:
    return ByokError(f"{called} {why}", remedy, code="policy_unusable")


def _unreadable(called: str, error: OSError) -> ByokError:
    return ByokError(
        f"{called} cannot be read ({error.strerror})",
        "Let the user who runs the module read it; as long as it cannot be read, nothing is done",
        code="policy_unusable",
    )


def owner_of(path: str) -> t.Literal["root", "the acting user"]:
    """Return who may change a file that read_protected() took."""
    return "root" if os.stat(path).st_uid == 0 else "the acting user"
