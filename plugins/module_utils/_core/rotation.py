# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""How a key is rotated, as its declaration says, and when that is due; pure."""

from __future__ import annotations

import typing as t
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from itertools import product

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    Duration,
    parse_duration,
)

#: Key Vault, "Configure key auto-rotation": the least that a notification may be before the expiry
_LEAST_NOTICE = parse_duration("P7D")

#: Azure Storage looks for a new version once a day, and fails with a disabled one until then
#: (Microsoft, "Customer-managed keys for Azure Storage encryption"; azure-docs issue 92190)
_LEAST_OVERLAP = parse_duration("P1D")

_DURATIONS = ("every", "valid_for", "before_expiry", "overlap", "min_interval", "notify_before")


@dataclass(frozen=True)
class Rotation:
    """The ``rotation`` of a declared key.

    :ivar every: a version of this token is due once it is older
    :ivar valid_for: from the import of a version to its expiry
    :ivar before_expiry: a version is due once its expiry is nearer
    :ivar overlap: how long a newer version must be usable before an older one may be disabled
    :ivar min_interval: the least time between two generations
    :ivar notify_before: how long before the expiry Azure announces it; None leaves that unchanged
    :ivar retire: ``keep`` or ``disable`` older versions
    :ivar on_foreign: ``conflict`` or ``rotate`` if the newest version is not of this token
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
        moments = []
        if self.every:
            moments.append(self.every.after(created))
        if self.before_expiry and expires:
            moments.append(self.before_expiry.before(expires))
        return min(moments, default=None)


def parse_rotation(
    name: str, options: t.Mapping[str, t.Any] | None, expires: datetime | None
) -> Rotation | None:
    """Read the ``rotation`` of a key.

    :param name: the key's
    :param options: as declared; durations are texts or None
    :param expires: the moment at which its declaration lets every version expire
    :raises ByokError: when a text is no duration, or the options contradict each other
    """
    if options is None:
        return None
    durations: dict[str, t.Any] = {}
    for option in _DURATIONS:
        text = options[option]
        durations[option] = parse_duration(text) if text else None
    rotation = Rotation(**durations, retire=options["retire"], on_foreign=options["on_foreign"])
    contradiction = _find_contradiction(rotation, expires)
    if contradiction:
        what, remedy = contradiction
        raise ByokError(f"The rotation of the key {name} {what}", remedy)
    return rotation


def short_overlap(name: str, rotation: Rotation | None) -> str | None:
    """Return a warning where services may not have found a newer version before an older one is
    disabled.

    :param name: the key's
    """
    if not rotation or rotation.retire != "disable":
        return None
    if not _is_shorter(rotation.overlap, _LEAST_OVERLAP):
        return None
    return (
        f"The rotation of the key {name} disables an older version {rotation.overlap} after a "
        "newer one. Services such as Azure Storage look for a new version once a day, and fail "
        f"with a disabled one until then. Declare an overlap of {_LEAST_OVERLAP} or more."
    )


#: Of a key that declares no rotation: it is replaced only if somebody forces it
UNSCHEDULED = Rotation(
    every=None,
    valid_for=None,
    before_expiry=None,
    overlap=parse_duration("P2D"),
    min_interval=parse_duration("P1D"),
    notify_before=None,
    retire="keep",
    on_foreign="conflict",
)


def _find_contradiction(rotation: Rotation, expires: datetime | None) -> tuple[str, str] | None:
    """Return what a rotation says that does not fit together, and the remedy."""
    every, valid_for, before_expiry = rotation.every, rotation.valid_for, rotation.before_expiry
    notice = rotation.notify_before
    no_version_expires = valid_for is None and expires is None
    if valid_for and expires:
        return (
            f"says valid_for {valid_for}, and the key has a fixed moment as well",
            "Declare either expires or rotation.valid_for",
        )
    if before_expiry and no_version_expires:
        return (
            f"says before_expiry {before_expiry}, but no version of it would expire",
            "Declare valid_for, or rotate by every alone",
        )
    if before_expiry and expires:
        return (
            f"says before_expiry {before_expiry}, and every version of it expires at one fixed "
            "moment, so a new one would be due at once",
            "Declare rotation.valid_for instead of expires",
        )
    if before_expiry and valid_for and not _is_shorter(before_expiry, valid_for):
        return (
            f"says before_expiry {before_expiry}, so a version valid for {valid_for} would be due "
            "at once",
            "Make it shorter",
        )
    if every and valid_for and not before_expiry and not _is_shorter(every, valid_for):
        return (
            f"says every {every}, when a version valid for {valid_for} has expired already",
            "Let it be valid for longer, or declare before_expiry",
        )
    if notice and no_version_expires:
        return (
            f"says notify_before {notice}, but no version of it would expire",
            "Declare valid_for, or leave notify_before out",
        )
    if notice and _is_shorter(notice, _LEAST_NOTICE):
        return f"says notify_before {notice}", f"Azure takes {_LEAST_NOTICE} at least"
    return None


@lru_cache
def _is_shorter(one: Duration, other: Duration) -> bool:
    """Tell whether it is that at any time of any year: P1M is longer than P30D in some months."""
    return all(
        one.after(day) < other.after(day) and one.before(other.after(day)) > day
        for day in _some_days()
    )


@lru_cache
def _some_days() -> tuple[datetime, ...]:
    """Return first and last days of months, of a leap year and of one that is none.

    Calendar months have no length of their own, so only such days tell which duration is shorter.
    """
    days = []
    for year, month in product((2027, 2028), range(1, 13)):
        last = monthrange(year, month)[1]
        for day in (1, *range(28, last + 1)):
            days.append(datetime(year, month, day, tzinfo=timezone.utc))
    return tuple(days)
