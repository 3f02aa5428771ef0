# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Approvals as files on the controller: texts that the hosts that act will judge."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: DIGEST.PERSON.sig
_NAME = re.compile(r"[0-9a-f]{64}\.[^.].*\.sig")

_SIGNATURE = re.compile(
    r"-----BEGIN SSH SIGNATURE-----[A-Za-z0-9+/=\s]+-----END SSH SIGNATURE-----"
)

#: Of one file; a signature by RSA-16384 has less than 8 KiB
_MOST_BYTES = 16 * 1024


def read_approvals(directory: str) -> list[str]:
    """Return the signatures in a directory, by the order of their files' names.

    Files that do not end with ``.sig`` are left alone.

    :raises ByokError: for a directory that cannot be read, and for a file that is named otherwise,
        because nobody would find out why it does not count
    """
    try:
        paths = sorted(path for path in Path(directory).iterdir() if path.suffix == ".sig")
        return [_read(path) for path in paths]
    except OSError as error:
        raise ByokError(
            f"The approvals in {directory} cannot be read ({error.strerror})",
            "Correct byok_approvals_directory, a directory on the controller",
        ) from None


def _read(path: Path) -> str:
    if not _NAME.fullmatch(path.name):
        raise ByokError(
            f"The approval {path} is not named DIGEST.PERSON.sig",
            "Name it by the 64 hexadecimal digits that were signed, and the person",
        )
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ByokError(
            f"The approval {path} has more than {_MOST_BYTES} bytes", "Check that it is a signature"
        )
    return content.decode("utf-8", "replace")


def approvals(given: t.Any, directory: str | None) -> list[str]:
    """Return all signatures of a run.

    :param given: those of the job's own inputs: a list, or a text that holds them, as of a survey
    :raises ByokError: for what is neither
    """
    if isinstance(given, str):
        found = _SIGNATURE.findall(given)
        given = found if found or not given.strip() else None
    if not isinstance(given, (list, tuple)) or not all(isinstance(each, str) for each in given):
        raise ByokError(
            "byok_approvals holds something that is no text of a signature",
            "Give a list of texts as ssh-keygen -Y sign writes them",
        )
    return [*given, *(read_approvals(directory) if directory else [])]
