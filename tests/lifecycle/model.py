# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What policies ask for: which versions daily runs leave.

From the documentation's words and by none of the collection's code.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

#: A run acts some seconds after the moment that the model knows; nothing may hang on less than this
BLUR = timedelta(minutes=4)


@dataclass(frozen=True)
class Span:
    """A duration such as P3W or P6M."""

    text: str

    def after(self, moment: datetime, direction: int = 1) -> datetime:
        count = {unit: int(number) for number, unit in re.findall(r"(\d+)([YMWD])", self.text)}
        months = 12 * count.get("Y", 0) + count.get("M", 0)
        year, month = divmod(12 * moment.year + moment.month - 1 + direction * months, 12)
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        days = 7 * count.get("W", 0) + count.get("D", 0)
        return moment.replace(year=year, month=month + 1, day=day) + direction * timedelta(
            days=days
        )

    def before(self, moment: datetime) -> datetime:
        return self.after(moment, -1)


@dataclass(frozen=True)
class Policy:
    """The ``rotation`` of a key; that of a key without one says nothing."""

    every: Span | None = None
    valid_for: Span | None = None
    before_expiry: Span | None = None
    overlap: Span = Span("P2D")
    min_interval: Span = Span("P1D")
    retire: str = "keep"
    on_foreign: str = "conflict"


def read_policy(rotation: dict[str, str]) -> Policy:
    """Read what a declaration says."""
    fields: dict[str, Any] = {}
    for name, value in rotation.items():
        fields[name] = value if name in ("retire", "on_foreign") else Span(value)
    return Policy(**fields)


@dataclass
class Generation:
    made: datetime
    withdrawn: bool = False


@dataclass
class Version:
    """:ivar generation: its number, from 0; None for a version that somebody else made"""

    generation: int | None
    created: datetime
    expires: datetime | None = None
    enabled: bool = True


@dataclass(frozen=True)
class Step:
    """What a run shall do with a key.

    :ivar action: as byok_rotate calls it
    :ivar makes: it takes a new generation
    """

    action: str
    makes: bool = False

    @property
    def brings(self) -> bool:
        return self.action in ("transfer", "rotate")


@dataclass
class Key:
    """A key, and what there is of it.

    :ivar needed: data may be under its older versions
    :ivar generations: in the token, oldest first
    :ivar versions: in each vault that declares it, oldest first
    """

    policy: Policy
    needed: bool
    generations: list[Generation] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=dict)

    @property
    def newest(self) -> int | None:
        """The youngest generation that was not withdrawn."""
        return max(
            (number for number, each in enumerate(self.generations) if not each.withdrawn),
            default=None,
        )

    def rotation(self, vault: str, now: datetime, forced: int | None = None) -> Step:
        """What a run that rotates shall do.

        :param forced: the generation that shall be replaced although it is not due
        """
        versions, newest = self.versions[vault], self.newest
        if not versions:
            return Step("transfer", makes=newest is None)
        current = versions[-1]
        if current.generation is None:
            if self.policy.on_foreign != "rotate":
                return Step("conflict")
            if newest is not None and newest > max(
                (each.generation for each in versions if each.generation is not None), default=-1
            ):
                return Step("transfer")
            return Step("conflict") if self._too_early(now) else Step("rotate", makes=True)
        if newest is not None and newest > current.generation:
            return Step("transfer")
        if current.generation != forced and not any(
            _is_past(due, now) for due in self._due(current)
        ):
            return Step("none")
        if self._too_early(now):
            return Step("conflict" if current.generation == forced else "none")
        return Step("rotate", makes=True)

    def retirement(self, vault: str, now: datetime) -> list[Version]:
        """Which versions a run that retires shall disable."""
        versions = self.versions[vault]
        if (
            self.policy.retire != "disable"
            or self.needed
            or not versions
            or versions[-1].generation is None
        ):
            return []
        followed = (
            (each, [later for later in versions[number + 1 :] if self._replaces(later, now)])
            for number, each in enumerate(versions)
        )
        return [
            each
            for each, followers in followed
            if each.enabled and each.generation is not None and followers
        ]

    def make(self, now: datetime) -> None:
        self.generations.append(Generation(now))

    def bring(self, vault: str, now: datetime) -> None:
        valid_for = self.policy.valid_for
        self.versions[vault].append(
            Version(self.newest, now, valid_for.after(now) if valid_for else None)
        )

    def plant(self, vault: str, now: datetime) -> None:
        """Somebody else makes a version."""
        self.versions[vault].append(Version(None, now))

    def moments(self) -> Iterator[datetime]:
        """When something of what is there changes what a run shall do."""
        if self.generations:
            yield self.policy.min_interval.after(self.generations[-1].made)
        for versions in self.versions.values():
            yield from (due for each in versions[-1:] for due in self._due(each))
            if self.policy.retire == "disable":
                for each in versions:
                    yield self.policy.overlap.after(each.created)
                    yield from (each.expires,) if each.expires else ()

    def _due(self, version: Version) -> Iterator[datetime]:
        if self.policy.every:
            yield self.policy.every.after(version.created)
        if self.policy.before_expiry and version.expires:
            yield self.policy.before_expiry.before(version.expires)

    def _too_early(self, now: datetime) -> bool:
        return bool(self.generations) and not _is_past(
            self.policy.min_interval.after(self.generations[-1].made), now
        )

    def _replaces(self, version: Version, now: datetime) -> bool:
        """Whether older versions are not needed beside it any more."""
        lives = version.enabled and not (version.expires and _is_past(version.expires, now))
        return (
            version.generation is not None
            and lives
            and _is_past(self.policy.overlap.after(version.created), now)
        )


def _is_past(moment: datetime, now: datetime) -> bool:
    assert abs(moment - now) >= BLUR, f"at {now} it cannot be known whether it is {moment}"
    return moment < now
