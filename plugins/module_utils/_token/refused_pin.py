# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A PIN that a token refused is tried once per run, and not once per vault of the run.

Tokens lock after a few wrong tries, and each vault of a run is a process of its own. So the first
one leaves a note for the others, which holds which file the PIN came from. Of one that came from no
file it holds 8 bits of a slow digest: enough to tell another PIN from it, too few to find it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import typing as t
from contextlib import suppress
from datetime import datetime, timedelta

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import write_private
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import default_directory

#: After which a C_Login has cost a try (PKCS#11 v3.1, 5.6.8; the last one is Thales')
WRONG_PIN = (
    "CKR_PIN_INCORRECT",
    "CKR_PIN_INVALID",
    "CKR_PIN_LEN_RANGE",
    "CKR_CHALLENGE_INCORRECT",
)

#: For how long the others of a run believe the note; each of them begins this time anew
_LASTS = timedelta(minutes=1)

#: A note is a few hundred bytes; what is longer is none
_MOST_BYTES = 10_000


class RefusedPin:
    """The note about one token's PIN.

    :param options: the token options of a module
    :param token: facts that tell the token from others
    """

    def __init__(
        self,
        options: t.Mapping[str, t.Any],
        token: t.Mapping[str, t.Any],
        clock: t.Callable[[], datetime] = host_clock,
    ) -> None:
        facts = json.dumps([os.geteuid(), sorted(token.items())])
        digest = hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()
        directory = options["lock_directory"] or default_directory()
        self._path = os.path.join(directory, f"keyferry-byok-pin-{digest[:16]}")
        self._pin = options["pin"]
        self._file = _file(options)
        self._clock = clock

    def refuse(self, token: str) -> None:
        """Refuse to try a PIN again that this token has just refused.

        :param token: in words
        :raises ByokError: for the same one, as far as that can be told
        """
        if self._noted():
            self.keep()
            raise ByokError(
                f"The {token} has just refused this PIN, so it was not tried again: a token locks "
                "after a few wrong tries",
                "Correct the PIN. A file that was changed and another PIN are tried at once; for "
                "the same one, wait a minute before you run again",
                code="token_refused",
            )

    def keep(self) -> None:
        """Note that the PIN was refused; where that cannot be written, each process tries it."""
        note = {"source": self._source(os.urandom(16)), "time": self._clock().timestamp()}
        with suppress(ByokError):
            write_private(self._path, json.dumps(note))

    def forget(self) -> None:
        """Remove the note, because the token took the PIN."""
        with suppress(OSError):
            os.unlink(self._path)

    def _noted(self) -> bool:
        try:
            note = json.loads(_read_own(self._path))
            age = self._clock().timestamp() - float(note["time"])
            if abs(age) >= _LASTS.total_seconds():
                return False
            salt = bytes.fromhex(note["source"][1]) if self._pin else b""
            return bool(note["source"] == self._source(salt))
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def _source(self, salt: bytes) -> list[t.Any]:
        """Return what tells this PIN from a corrected one.

        :param salt: for the digest of a PIN that comes from no file
        """
        if not self._pin:
            return self._file
        octets = self._pin.encode("utf-8", "surrogateescape")
        slow = hashlib.scrypt(octets, salt=salt, n=2**14, r=8, p=1)
        return ["pin", salt.hex(), slow[0]]


def _file(options: t.Mapping[str, t.Any]) -> list[t.Any]:
    """Return which file the PIN comes from, and as of when."""
    path = options["pin_file"]
    if not path:
        return ["none"]
    with suppress(OSError):
        facts = os.stat(path)
        return ["pin_file", os.path.abspath(path), facts.st_ino, facts.st_size, facts.st_mtime_ns]
    return ["pin_file", path]


def _read_own(path: str) -> bytes:
    """Return what a file of this user's own holds: in a shared directory, others may lay theirs.

    :raises OSError: for any other
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid() or not stat.S_ISREG(facts.st_mode):
            raise PermissionError(path)
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)
