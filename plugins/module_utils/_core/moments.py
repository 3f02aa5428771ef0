# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Moments and durations as users write them: ISO 8601, in UTC; pure."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import quoted

#: A thousand years have eleven digits of seconds
_N = "[0-9]{1,11}"
_DURATION = re.compile(
    rf"P(?:(?P<years>{_N})Y)?(?:(?P<months>{_N})M)?(?:(?P<weeks>{_N})W)?(?:(?P<days>{_N})D)?"
    rf"(?:T(?=[0-9])(?:(?P<hours>{_N})H)?(?:(?P<minutes>{_N})M)?(?:(?P<seconds>{_N})S)?)?"
)

#: A moment is shorter, with its fraction of a second and its time zone
_LONGEST_MOMENT = 40

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: More than any key lives for, and less than datetime holds
_MOST_YEARS = 1000


@dataclass(frozen=True)
class Duration:
    """A duration as it was written; years and months are those of the calendar.

    :ivar text: ISO 8601, such as ``P6M``
    :ivar months: twelve of them are a year
    :ivar rest: what is longer or shorter independent of the calendar
    """

    text: str
    months: int
    rest: timedelta

    def __str__(self) -> str:
        return self.text

    def after(self, moment: datetime) -> datetime:
        """Return the moment so long after another one.

        A day that its month does not have is the month's last. The calendar ends in year 9999.
        """
        try:
            return _add_months(moment, self.months) + self.rest
        except (OverflowError, ValueError):
            return datetime.max.replace(microsecond=0, tzinfo=moment.tzinfo)

    def before(self, moment: datetime) -> datetime:
        """Return the moment so long before another one; the calendar begins in year 1."""
        try:
            return _add_months(moment, -self.months) - self.rest
        except (OverflowError, ValueError):
            return datetime.min.replace(tzinfo=moment.tzinfo)


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 moment such as ``2027-01-31T00:00:00Z``; whole seconds, as Azure keeps them.

    :raises ByokError: when it is not one, names no time zone, or is before 1970, where the seconds
        begin that Azure counts
    """
    in_utc = _in_utc(text.strip())
    if in_utc is None or in_utc < _EPOCH:
        what = "not a moment with a time zone" if in_utc is None else "before 1970"
        raise ByokError(
            f"{quoted(text)} is {what}", "Write it as ISO 8601 in UTC, such as 2027-01-31T00:00:00Z"
        )
    return in_utc


def _in_utc(text: str) -> datetime | None:
    """Return an ISO 8601 moment in UTC; None where the text is none, or names no time zone."""
    if not text.isascii() or len(text) > _LONGEST_MOMENT:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if moment.tzinfo is None:
            return None
        return moment.astimezone(timezone.utc).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None


@lru_cache
def parse_duration(text: str) -> Duration:
    """Read an ISO 8601 duration, such as ``P90D``, ``P6M``, ``P2Y`` or ``PT4H``.

    :raises ByokError: when it is not one, is zero, or is longer than a thousand years
    """
    match = _DURATION.fullmatch(text.strip())
    numbers = match.groupdict(default="0") if match else {}
    parts = {unit: int(number) for unit, number in numbers.items()}
    months = 12 * parts.pop("years", 0) + parts.pop("months", 0)
    try:
        rest = timedelta(**parts)
    except OverflowError:
        rest = timedelta.max
    if match and any(match.groups()) and not (months or rest):
        raise ByokError(
            f"{quoted(text)} is a duration of zero",
            "Leave it out, or write a longer one as ISO 8601, such as P2D for two days",
        )
    if not (months or rest) or months / 12 + rest.days / 365 > _MOST_YEARS:
        raise ByokError(
            f"{quoted(text)} is not a duration",
            "Write it as ISO 8601, such as PT4H for four hours, P2D for two days, P6M for six "
            "months or P2Y for two years",
        )
    return Duration(text.strip(), months, rest)


def format_moment(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, whole seconds: ``2027-01-31T00:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(12 * moment.year + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)
