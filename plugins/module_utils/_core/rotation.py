# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How a key is rotated, as its declaration says, and when that is due; pure."""

from __future__ import annotations

import typing as t
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    Duration,
    parse_duration,
)

#: To compare durations with calendar months, which have no length of their own: a leap year and one that is none
_SOME_DAYS = [
    datetime(year, month, day, tzinfo=timezone.utc)
    for year in (2027, 2028)
    for month in range(1, 13)
    for day in (1, *range(28, monthrange(year, month)[1] + 1))
]

#: Key Vault, "Configure key auto-rotation": the least that a notification may be before the expiry
_LEAST_NOTICE = parse_duration("P7D")

_DURATIONS = ("every", "valid_for", "before_expiry", "overlap", "min_interval", "notify_before")


@dataclass(frozen=True)
class Rotation:
    """The ``rotation`` of a declared key.

    :ivar every: a version of ours that is older is due
    :ivar valid_for: from import to expiry of a new version
    :ivar before_expiry: a version whose expiry is nearer is due
    :ivar overlap: how long a newer version is there before an older one may be disabled
    :ivar min_interval: between two generations at least
    :ivar notify_before: when Azure shall announce the expiry; None leaves that as it is
    :ivar retire: ``keep`` or ``disable`` what is older
    :ivar on_foreign: ``conflict`` or ``rotate`` where the newest version is not of this token
    """

    every: Duration | None
    valid_for: Duration | None
    before_expiry: Duration | None
    overlap: Duration
    min_interval: Duration
    notify_before: Duration | None
    retire: str
    on_foreign: str

    def due_at(self, created: datetime, expires: datetime | None) -> datetime | None:
        """Return when a version is due to be replaced; None for never."""
        moments = (
            self.every and self.every.after(created),
            self.before_expiry and expires and self.before_expiry.before(expires),
        )
        return min((moment for moment in moments if moment), default=None)


def parse_rotation(
    name: str, options: t.Mapping[str, t.Any] | None, expires: datetime | None
) -> Rotation | None:
    """Read the ``rotation`` of a key.

    :param expires: the moment that its declaration has
    :raises ByokError: when it is no duration, or what it says does not fit together
    """
    if options is None:
        return None
    durations = {field: options[field] and parse_duration(options[field]) for field in _DURATIONS}
    every, valid_for, before_expiry, notice = (
        durations[field] for field in ("every", "valid_for", "before_expiry", "notify_before")
    )

    def refuse(what: str, remedy: str) -> t.NoReturn:
        raise ByokError(f"The rotation of the key {name} {what}", remedy)

    if valid_for and expires:
        refuse(
            f"says valid_for {valid_for}, and the key has a fixed moment as well",
            "Declare either expires or rotation.valid_for",
        )
    if before_expiry and not (valid_for or expires):
        refuse(
            f"says before_expiry {before_expiry}, but no version of it would expire",
            "Declare valid_for, or rotate by every alone",
        )
    if before_expiry and expires:
        refuse(
            f"says before_expiry {before_expiry}, and every version of it expires at one fixed moment, so a new one would be due "
            "at once",
            "Declare rotation.valid_for instead of expires",
        )
    if valid_for and before_expiry and not _is_shorter(before_expiry, valid_for):
        refuse(
            f"says before_expiry {before_expiry}, so a version valid for {valid_for} would be due at once",
            "Make it shorter",
        )
    if every and valid_for and not before_expiry and not _is_shorter(every, valid_for):
        refuse(
            f"says every {every}, when a version valid for {valid_for} has expired already",
            "Let it be valid for longer, or declare before_expiry",
        )
    if notice and not (valid_for or expires):
        refuse(
            f"says notify_before {notice}, but no version of it would expire",
            "Declare valid_for, or leave notify_before out",
        )
    if notice and _is_shorter(notice, _LEAST_NOTICE):
        refuse(f"says notify_before {notice}", f"Azure takes {_LEAST_NOTICE} at least")
    return Rotation(**durations, retire=options["retire"], on_foreign=options["on_foreign"])


#: Of a key that declares no rotation, and is replaced only where somebody forces it
UNSCHEDULED = Rotation(
    None, None, None, parse_duration("P2D"), parse_duration("P1D"), None, "keep", "conflict"
)


@lru_cache
def _is_shorter(one: Duration, other: Duration) -> bool:
    """Tell whether it is that whenever they begin or end: P1M is longer than P30D only in some months."""
    return all(
        one.after(day) < other.after(day) and one.before(other.after(day)) > day
        for day in _SOME_DAYS
    )
