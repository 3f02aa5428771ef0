# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Work in a child process, because a vendor's library can crash or hang.

The child notes in shared memory which function of the library it calls, and for what. When it dies,
or a call takes too long, the parent reads there what to tell.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import select
import signal
import struct
import sys
import threading
import time
import typing as t
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome

_NOTE = struct.Struct("=d64s944s")  # since when, by the monotonic clock; function; purpose
_NOTES = 64  # calls at the same time
_LOOK = 0.2  # seconds between two looks at the child
_LENGTH = struct.Struct("=?Q")  # of what the child sends: whether it is the last; bytes
_PR_SET_PDEATHSIG = 1  # prctl(2)

#: Signals by which the kernel or the C library ends a program that went wrong
_CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "SIGSYS", "SIGTRAP")

_AGAIN = (
    "Run again: a key that was made whole is found again. If it recurs, update the token's client "
    "software, or report it to its vendor"
)
_SLOW = "If the token is only slow, increase library_timeout. Otherwise check the token and its log"

Work = t.Callable[[Outcome], None]
T = t.TypeVar("T")


@dataclass(frozen=True)
class _Call:
    """A call of the library that has not returned.

    :ivar since: seconds of the monotonic clock
    :ivar purpose: what it is for, as ``Wrapping the key signing-key``
    """

    since: float
    function: str
    purpose: str


class _Board:
    """The calls of the library that have not returned, in memory that parent and child share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NOTE.size * _NOTES)
        self._free = deque(range(_NOTES))

    def begin(self, function: str, purpose: str) -> int | None:
        """Note a call; returns where, None where there is no room left."""
        try:
            place = self._free.pop()
        except IndexError:
            return None
        texts = function.encode(), purpose.encode("utf-8", "replace")
        _NOTE.pack_into(self._memory, place * _NOTE.size, time.monotonic(), *texts)
        return place

    def end(self, place: int) -> None:
        """Take the note of a call away, because it has returned."""
        _NOTE.pack_into(self._memory, place * _NOTE.size, 0.0, b"", b"")
        self._free.append(place)

    def calls(self) -> list[_Call]:
        """Return the calls that have not returned."""
        notes = _NOTE.iter_unpack(self._memory[:])
        return [
            _Call(since, *(text.rstrip(b"\0").decode("utf-8", "ignore") for text in texts))
            for since, *texts in notes
            if since
        ]


class _Here(threading.local):
    """What this thread uses the library for."""

    purpose = ""


_here = _Here()
_board: _Board | None = None  # in a child
_begin: t.Callable[[], None] | None = None  # in a child that has not used the library yet


@contextmanager
def purpose(text: str) -> t.Iterator[None]:
    """Say what the library is used for inside."""
    global _begin
    if _begin:
        first, _begin = _begin, None
        first()
    before, _here.purpose = _here.purpose, text
    try:
        yield
    finally:
        _here.purpose = before


def noted(function: str, call: t.Callable[[], T]) -> T:
    """Call a function of the library, and note that while it lasts."""
    if _board is None:
        return call()
    place = _board.begin(function, _here.purpose)
    try:
        return call()
    finally:
        if place is not None:
            _board.end(place)


def in_a_child(work: Work, library: str, limit: float) -> tuple[Outcome, ByokError | None]:
    """Do work that uses a vendor's library in a child process.

    :param library: its path
    :param limit: seconds that one call of the library may take; 0 for any time
    :returns: what was done, and what the work raised; of a child that died, what had been done when
        it first used the library, and which of its functions it died in
    """
    board = _Board()
    reader, writer = os.pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide the cause
    parent, child = os.getpid(), os.fork()
    if not child:
        os.close(reader)
        _live(work, board, writer, parent)
    os.close(writer)
    try:
        received = _Received(reader)
        overdue = _attend(received, board, child, limit)
    finally:
        os.close(reader)
        # It has sent all, is dead, or is stopped here.
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _child, status = os.waitpid(child, 0)
    outcome, error = received.last or (Outcome(), None)
    if received.complete:
        return outcome, error
    if overdue:
        return outcome, _hangs(library, overdue, limit)
    return outcome, _died(library, board.calls(), status)


def _live(work: Work, board: _Board, writer: int, parent: int) -> t.NoReturn:
    """Be the child: work, send what came of it, and end without what the parent has to do."""
    global _board, _begin
    try:
        _die_with(parent)
        outcome, error = Outcome(), None
        _board, _begin = board, partial(_send, writer, (outcome, None), last=False)
        try:
            work(outcome)
        except Exception as raised:
            error = as_byok_error(raised)
        _send(writer, (outcome, error), last=True)
    finally:
        os._exit(1)  # by now the parent has all, or nothing more is told


def _die_with(parent: int) -> None:
    """Let the kernel end this process together with its parent, which alone can tell what it does.

    :param parent: its process id
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _send(writer: int, what: tuple[Outcome, ByokError | None], *, last: bool) -> None:
    octets = pickle.dumps(what)
    octets = _LENGTH.pack(last, len(octets)) + octets
    while octets:
        octets = octets[os.write(writer, octets) :]


class _Received:
    """What the child has sent so far.

    :ivar last: the newest of it
    :ivar complete: whether it is the end
    """

    def __init__(self, reader: int) -> None:
        self.reader = reader
        self.last: tuple[Outcome, ByokError | None] | None = None
        self.complete = False
        self._octets = bytearray()

    def more(self) -> bool:
        """Read on; returns whether there can be more."""
        chunk = os.read(self.reader, 1 << 20)
        self._octets += chunk
        while len(self._octets) >= _LENGTH.size:
            self.complete, length = _LENGTH.unpack_from(self._octets)
            end = _LENGTH.size + length
            if len(self._octets) < end:
                self.complete = False
                break
            self.last = pickle.loads(self._octets[_LENGTH.size : end])
            del self._octets[:end]
        return bool(chunk) and not self.complete


def _attend(received: _Received, board: _Board, child: int, limit: float) -> list[_Call]:
    """Wait until the child has sent all, has died, or is in a call for longer than ``limit``.

    :returns: the calls that take too long
    """
    while True:
        readable, _writable, _other = select.select([received.reader], [], [], _LOOK)
        if readable:
            if not received.more():
                return []
            continue
        # What the library itself started may hold the pipe open after the child's death.
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return []
        now = time.monotonic()
        overdue = [call for call in board.calls() if limit and now - call.since > limit]
        if overdue:
            return overdue


def _hangs(library: str, calls: list[_Call], limit: float) -> ByokError:
    return ByokError(
        f"{_purposes(calls)} failed: {_functions(calls)} of the PKCS#11 library {library} did not "
        f"return within {limit:g} seconds, so the process was stopped",
        f"{_SLOW}. {_AGAIN}",
        code="library_crashed",
    )


def _died(library: str, calls: list[_Call], status: int) -> ByokError:
    """Return the sentence about a child that is dead.

    :param calls: those that it died in
    :param status: as waitpid() returns it
    """
    cause = f"exit code {os.waitstatus_to_exitcode(status)}"
    verb = "ended the process"
    if os.WIFSIGNALED(status):
        cause = signal.Signals(os.WTERMSIG(status)).name
        verb = "crashed" if cause in _CRASHES else "was stopped"
    if calls:
        what = (
            f"{_purposes(calls)} failed: the PKCS#11 library {library} {verb} in "
            f"{_functions(calls)} ({cause})"
        )
    else:
        what = f"The process that used the PKCS#11 library {library} ended between calls ({cause})"
    return ByokError(what, _AGAIN, code="library_crashed")


def _purposes(calls: list[_Call]) -> str:
    return _either(call.purpose or "Using the token" for call in calls)


def _functions(calls: list[_Call]) -> str:
    return _either(call.function for call in calls)


def _either(texts: t.Iterable[str]) -> str:
    """Return the texts as alternatives: of several calls at once, nobody knows which it was."""
    return " or ".join(dict.fromkeys(texts))
