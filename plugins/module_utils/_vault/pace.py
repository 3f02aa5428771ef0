# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""How many requests go to a vault at a time, and when the next one may go."""

from __future__ import annotations

import threading
import time
import typing as t
from collections import defaultdict, deque
from contextlib import contextmanager

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: More requests at a time than that are not of use to one vault
_MOST_AT_A_TIME = 64

#: Seconds over which Key Vault and Managed HSM count calls (Key Vault service limits), and a little
#: for the way there
_WINDOW = 10.2

#: What one answer adds to the requests at a time, and to the calls in a window, after 429 has made
#: them fewer
_MORE_AT_A_TIME = 1 / 16
_MORE_IN_A_WINDOW = 0.1

#: Half of the smallest documented limit: fewer calls in a window are not learned from 429, for
#: which others may be the reason
_FEWEST_IN_A_WINDOW = 5


class Turn:
    """One request; ``throttled`` is set where the vault answered 429."""

    def __init__(self, sent: float) -> None:
        self.sent = sent
        self.throttled = False


class Pace:
    """The requests of one run to one vault, of any thread.

    Nothing is assumed of the vault's limits, because those of imports are not documented. 429
    halves the requests at a time and tells how many of that kind the vault takes in its window;
    both grow again slowly.

    :param concurrency: requests at a time
    :param max_rate: requests in a second; None for no limit
    :raises ByokError: for numbers that make no sense
    """

    def __init__(
        self,
        concurrency: int,
        max_rate: float | None,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        fits = 1 <= concurrency <= _MOST_AT_A_TIME
        if not fits or (max_rate is not None and max_rate <= 0):
            raise ByokError(
                f"A vault cannot be asked with concurrency {concurrency} and max_rate {max_rate}",
                f"Give concurrency from 1 to {_MOST_AT_A_TIME}, and a max_rate above 0 or none",
            )
        self.concurrency = concurrency
        self._gap = 1 / max_rate if max_rate else 0.0
        self._clock, self._sleep = clock, sleep
        self._changed = threading.Condition()
        self._at_a_time, self._running = float(concurrency), 0
        self._halved = self._next = clock()
        self._sent: defaultdict[str, deque[float]] = defaultdict(deque)
        self._in_a_window: dict[str, float] = {}

    @contextmanager
    def turn(self, kind: str) -> t.Iterator[Turn]:
        """Wait until a request may go.

        :param kind: requests of one kind have a limit in common
        """
        with self._changed:
            self._changed.wait_for(lambda: self._running < int(self._at_a_time))
            self._running += 1
        turn = None
        try:
            while (pause := self._pause(kind)) > 0:
                self._sleep(pause)
            turn = Turn(self._sent[kind][-1])
            yield turn
        finally:
            with self._changed:
                self._running -= 1
                if turn:
                    self._learn(kind, turn)
                self._changed.notify_all()

    def _pause(self, kind: str) -> float:
        """Return the seconds until the next request may go; with 0, it counts as sent."""
        with self._changed:
            now, sent = self._clock(), self._sent[kind]
            while sent and sent[0] <= now - _WINDOW:
                sent.popleft()
            free_at = now
            most = int(self._in_a_window.get(kind, 0))
            if most and len(sent) >= most:
                free_at = sent[-most] + _WINDOW
            pause = max(free_at, self._next) - now
            if pause <= 0:
                self._next = now + self._gap
                sent.append(now)
            return pause

    def _learn(self, kind: str, turn: Turn) -> None:
        if not turn.throttled:
            self._at_a_time = min(self.concurrency, self._at_a_time + _MORE_AT_A_TIME)
            if kind in self._in_a_window:
                self._in_a_window[kind] += _MORE_IN_A_WINDOW
            return
        sent = self._sent[kind]
        if turn.sent in sent:
            sent.remove(turn.sent)  # documented: a refused call does not count
        self._in_a_window[kind] = max(_FEWEST_IN_A_WINDOW, len(sent))
        if turn.sent > self._halved:  # those that were sent together are refused together
            self._at_a_time, self._halved = max(1, self._at_a_time / 2), self._clock()
