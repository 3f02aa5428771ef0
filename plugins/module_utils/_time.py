# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Moments and durations as users write them: ISO 8601, in UTC; pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)


def parse_moment(text: str) -> datetime:
    """Read an ISO 8601 moment such as ``2027-01-31T00:00:00Z``; whole seconds, as Azure keeps them.

    :raises ByokError: when it is not one, or names no time zone
    """
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ByokError(f"{text!r} is not a moment with a time zone", "Write it as ISO 8601 in UTC, such as 2027-01-31T00:00:00Z")
    return moment.astimezone(timezone.utc).replace(microsecond=0)


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds, such as ``PT4H`` or ``P2DT12H``.

    :raises ByokError: when it is not one, or is zero
    """
    match = _DURATION.fullmatch(text.strip())
    duration = timedelta(**{unit: int(n) for unit, n in match.groupdict(default="0").items()}) if match else timedelta()
    if not duration:
        raise ByokError(
            f"{text!r} is not a duration of weeks, days, hours, minutes or seconds",
            "Write it as ISO 8601, such as PT4H for four hours or P2D for two days",
        )
    return duration


def format_moment(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, whole seconds: ``2027-01-31T00:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
