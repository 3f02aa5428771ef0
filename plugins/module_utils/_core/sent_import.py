# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""An import on its way: what the journal says of it, and how long it may still arrive; pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape

#: What a diff says of an import that a run finishes for an interrupted one
INTERRUPTED, FINISHED = {"import": "interrupted"}, {"import": "finished"}

#: Seconds between two looks: soon at first, as most requests are carried out at once
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 16.0


@dataclass(frozen=True)
class SentImport(Shape):
    """An import that a process sent, as far as another one needs it to finish the work.

    :ivar sent: by the clock of the host that sends
    :ivar package_sha256: of the package, which a tag of the new version tells
    :ivar versions_before: those that the key had
    :ivar origin: why the package was believed to hold the key
    :ivar challenge: for oct keys what byok_wrap made in the token
    :ivar prove: whether the key is proved where its public key can be compared as well
    :ivar receipt: what is known of the transfer so far
    :ivar receipt_path: where it goes as well
    :ivar receipt_told_by: ``run``, ``receipt`` or ``carrier``, as Import has it
    :ivar envelope: in which the receipt came
    """

    vault_url: str
    name: str
    sent: datetime
    package_sha256: str
    versions_before: tuple[str, ...]
    generation: str | None
    thumbprint: str | None
    origin: str
    challenge: Mapping[str, t.Any] | None
    prove: bool
    receipt: Mapping[str, t.Any] | None
    receipt_path: str | None
    receipt_told_by: str = "run"
    envelope: str | None = None

    def seconds_left(self, now: datetime, answered_within: float, settle_time: float) -> float:
        """Return for how many seconds from now on the import may still be carried out.

        The settle time begins when the request got lost. That is when its process died, of which
        is known only that it was before now, or when nobody waited for the answer any more.

        :param answered_within: seconds that a process waits for the answer
        :param settle_time: seconds after which a lost request counts as not carried out
        """
        lost = min(now, self.sent + timedelta(seconds=answered_within))
        if self.sent > now:  # the clock was set back
            lost = now
        return max(0.0, settle_time - (now - lost).total_seconds())


def pauses(seconds: float) -> t.Iterator[float]:
    """Yield pauses that add up to ``seconds``, for a look after each."""
    pause = _FIRST_PAUSE
    while seconds > 0:
        yield min(pause, seconds)
        seconds, pause = seconds - pause, min(2 * pause, _LONGEST_PAUSE)
