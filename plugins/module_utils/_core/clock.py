# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What time it is for a run: the vault's Date, else Entra ID's, else this host's clock; pure.

Vaults and Entra ID send a Date header. A Managed HSM sends none, in all recordings of Microsoft's
own SDK and CLI tests from 2020 to 2026.
"""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment

VAULT, ENTRA, HOST = "vault", "entra", "host"

#: How far two clocks may be apart: more than NTP ever leaves, and less than any rotation waits
MOST_DIFFERENCE = timedelta(hours=1)

#: Seconds since 1970 by this host; tests alone put another one here
_system_clock: t.Callable[[], float] = time.time

_DATE = re.compile(
    r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_REMEDY = (
    "Set the clock of this host (NTP). If it is right, check the proxy between this host and Azure,"
    " which may set a Date"
)


class WrongClock(ByokError):
    """A moment from outside is too far from this host's clock, so one of the two is wrong."""


@dataclass(frozen=True)
class Now:
    """What time it is.

    :ivar source: ``vault``, ``entra`` or ``host``
    :ivar difference: by how much that clock is ahead of this host's
    """

    source: str
    time: datetime
    difference: timedelta


def host_clock() -> datetime:
    """Return what this host's clock says, in UTC."""
    return datetime.fromtimestamp(_system_clock(), timezone.utc)


def read_date(header: str | None) -> datetime | None:
    """Read a Date header (RFC 9110, 5.6.7); None where there is none, or one that makes no sense.

    Not by the email package, for which the year 0001 is 2001, nor by strptime(), which reads the
    user's language.
    """
    match = _DATE.fullmatch(header or "")
    if match is None:
        return None
    day, month, *rest = match.groups()
    year, hour, minute, second = map(int, rest)
    try:
        moment = datetime(
            year, _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=timezone.utc
        )
    except ValueError:
        return None
    # What is reckoned from a moment has to stay within datetime; Azure's own times begin in 1970.
    return moment if 1970 <= moment.year < datetime.max.year else None


def refuse_far(moment: datetime, what: str, remedy: str, host: datetime) -> None:
    """Refuse a moment that is more than an hour from this host's clock.

    :param what: says the moment, as in ``The Date header of the vault x``
    :raises WrongClock: naming both
    """
    if abs(moment - host) > MOST_DIFFERENCE:
        raise WrongClock(
            f"{what} says {format_moment(moment)}, and the clock of this host says "
            f"{format_moment(host)}: they are more than one hour apart, so one of them is wrong",
            remedy,
        )


class Clock:
    """What time it is for one run.

    The first Date of a source counts, and the time that passed since then is added: so no later
    answer moves a run's time after it was checked.
    """

    def __init__(
        self,
        host: t.Callable[[], datetime] = host_clock,
        monotonic: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._monotonic = host, monotonic
        self._heard: dict[str, tuple[datetime, float]] = {}

    def hear(self, source: str, header: str | None) -> None:
        """Take the Date header of an answer; None and what cannot be read are passed over.

        :param source: ``vault`` or ``entra``
        """
        moment = read_date(header)
        if moment:
            self._heard.setdefault(source, (moment, self._monotonic()))

    def look(self) -> Now:
        """Return what time it is, however far that is from this host's clock."""
        host = self._host()
        for source in (VAULT, ENTRA):
            if source in self._heard:
                moment, since = self._heard[source]
                now = moment + timedelta(seconds=self._monotonic() - since)
                return Now(source, now, now - host)
        return Now(HOST, host, timedelta())

    def now(self, vault: str) -> datetime:
        """Return what time it is.

        :param vault: names the vault in an error
        :raises WrongClock: where it is more than an hour from this host's clock
        """
        now = self.look()
        whose = f"the {vault}" if now.source == VAULT else "Entra ID"
        refuse_far(now.time, f"The Date header of {whose}", _REMEDY, now.time - now.difference)
        return now.time
