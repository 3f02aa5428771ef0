# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Lock files: what one process at a time may do on a host."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
import typing as t
from contextlib import contextmanager, suppress

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: Made by an administrator, for users who should find each other's locks and nobody else
_OWN_DIRECTORY = "/var/lib/keyferry"


@contextmanager
def process_lock(
    purpose: str,
    directory: str | None,
    timeout: float,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> t.Iterator[float]:
    """Hold the lock file for ``purpose``; yields the seconds that another run was waited for.

    :param directory: where it is; None for :func:`default_directory`
    :param timeout: seconds to wait for another run
    :raises ByokError: when it is still held then, or the file cannot be opened; also at the end,
        when the file was removed meanwhile, so that another run may have been at work
    """
    name = f"keyferry-byok-{re.sub(r'[^0-9A-Za-z]+', '-', purpose)}.lock"
    path = os.path.join(directory or default_directory(), name)
    started = clock()
    descriptor = _open(path)
    try:
        while not (_take(descriptor) and _is_at(path, descriptor)):
            if clock() >= started + timeout:
                raise ByokError(
                    f"Another run holds the lock {path} for more than {timeout:g} seconds",
                    "Wait until it ends, or increase lock_timeout",
                    code="busy",
                )
            if _is_at(path, descriptor):
                sleep(0.2)
                continue
            # A lock on a file that somebody removed would keep nobody out.
            removed, descriptor = descriptor, _open(path)
            os.close(removed)
        yield clock() - started
        if not _is_at(path, descriptor):
            raise ByokError(
                f"The lock {path} was removed while this run held it, so another run may have done "
                "the same work at the same time",
                "Find out what removes files there, or set lock_directory to a directory where "
                "nothing does. Compare the generations and versions of your keys with the playbook "
                "show, then run again",
                code="busy",
            )
    finally:
        os.close(descriptor)


def default_directory() -> str:
    """Return where lock files go: the administrator's directory if it exists, else /tmp.

    It does not depend on who runs, because the runs of all users have to find each other's locks.
    """
    return _OWN_DIRECTORY if os.path.isdir(_OWN_DIRECTORY) else "/tmp"


def _open(path: str) -> int:
    """Open the lock file, and make it if need be.

    This is never done through a link that somebody laid in a shared directory, and a pipe is not
    waited for.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        while True:
            # Not O_CREAT at once: Linux refuses that for another user's file in a sticky directory.
            with suppress(FileNotFoundError):
                descriptor = os.open(path, flags)
                break
            with suppress(FileExistsError):
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL)
                # Readable by all, whatever the umask, because all have to lock it.
                os.fchmod(descriptor, 0o644)
                break
    except OSError as error:
        raise ByokError(
            f"The lock file {path} cannot be opened ({error.strerror})",
            "Set lock_directory to one that can be written",
        ) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ByokError(
        f"The lock file {path} is not a regular file",
        "Remove it, and find out who made it; or set lock_directory to one of your own",
    )


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with suppress(OSError):  # another user's file
        os.utime(descriptor)  # so that what removes old files leaves it
    return True


def _is_at(path: str, descriptor: int) -> bool:
    """Tell whether an open file is still the one at a path."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
