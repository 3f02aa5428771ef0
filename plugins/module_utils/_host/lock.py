# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Lock files: what one process at a time may do on a host."""

from __future__ import annotations

import fcntl
import os
import re
import time
import typing as t
from contextlib import contextmanager, suppress

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError


@contextmanager
def process_lock(
    purpose: str,
    directory: str,
    timeout: float,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> t.Iterator[float]:
    """Hold the lock file for ``purpose``; yields the seconds that another run was waited for.

    :param timeout: seconds to wait for another run
    :raises ByokError: when it is still held then, or the file cannot be opened
    """
    path = os.path.join(directory, f"keyferry-byok-{re.sub(r'[^0-9A-Za-z]+', '-', purpose)}.lock")
    started = clock()
    descriptor = _open(path)
    try:
        while not _take(descriptor):
            if clock() >= started + timeout:
                raise ByokError(
                    f"Another run holds the lock {path} for more than {timeout:g} seconds",
                    "Wait until it ends, or increase lock_timeout",
                    code="busy",
                )
            sleep(0.2)
        yield clock() - started
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """Open the lock file, and make it if need be.

    This is never done through a link that somebody laid in a shared directory.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        while True:
            # Not O_CREAT at once: Linux refuses that for another user's file in a sticky directory.
            with suppress(FileNotFoundError):
                return os.open(path, flags)
            with suppress(FileExistsError):
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL)
                # Readable by all, whatever the umask, because all have to lock it.
                os.fchmod(descriptor, 0o644)
                return descriptor
    except OSError as error:
        raise ByokError(
            f"The lock file {path} cannot be opened ({error.strerror})",
            "Set lock_directory to one that can be written",
        ) from error


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
