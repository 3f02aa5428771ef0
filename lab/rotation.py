# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation policies: what one may say, and when it makes a key due; pure.

Sources: "Configure cryptographic key auto-rotation" (Key Vault), "Configure key autorotation"
(Managed HSM), KeyRotationPolicy in the references of Azure's SDKs, recordings. No refusal of a
policy or a rotation was found recorded: texts are the lab's own.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from lab.hosts import Kind
from lab.refusals import bad_parameter
from lab.rules import DAY, IMPORT

_ROTATE, _NOTIFY = "Rotate", "Notify"
_AFTER_CREATE, _BEFORE_EXPIRY = "timeAfterCreate", "timeBeforeExpiry"
# Documented: what lies at least between two versions that a policy makes, and before a rotated
# version expires.
_SHORTEST_INTERVAL = {Kind.VAULT: 7 * DAY, Kind.MANAGED_HSM: 28 * DAY}
_SHORTEST_EXPIRY = 28 * DAY
# Documented for vaults alone: a rotation keeps this distance from the expiry of the version before.
_DISTANCE_FROM_EXPIRY = 7 * DAY
# Documented: years, months and days. Whether ISO 8601's hours are taken is not known: not here.
_DURATION = re.compile(r"P(?=\d)(?:(\d{1,3})Y)?(?:(\d{1,3})M)?(?:(\d{1,4})W)?(?:(\d{1,5})D)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = 2**37  # seconds, in the year 6325: with any duration still a date


@dataclass(frozen=True)
class Action:
    """What happens (Rotate or Notify), and when.

    The moment is a duration after `timeAfterCreate` or before `timeBeforeExpiry`.
    """

    type: str
    trigger: str
    duration: str


# Recorded: a vault adds this to every policy that has no Notify.
_DEFAULT_NOTIFY = Action(_NOTIFY, _BEFORE_EXPIRY, "P30D")


@dataclass(frozen=True)
class Policy:
    """The policy of a key.

    Its actions in the order of the request, and how long a rotated version is good.
    """

    actions: tuple[Action, ...]
    expiry_time: str | None
    created: int | None = None
    updated: int | None = None

    @property
    def rotation(self) -> Action | None:
        """The action that makes versions."""
        return next((action for action in self.actions if action.type == _ROTATE), None)

    def expiry(self, created: int) -> int | None:
        """When a version that this policy makes expires; others are not touched (documented)."""
        return _shifted(created, self.expiry_time) if self.expiry_time else None

    def due(self, created: int, expires: int | None) -> int | None:
        """When the next version is due, by the times of the newest one; None where never."""
        action = self.rotation
        if action and action.trigger == _AFTER_CREATE:
            return _shifted(created, action.duration)
        # Documented: a rotation before the expiry waits for a key that has one.
        return _shifted(expires, action.duration, -1) if action and expires is not None else None

    def shown(self, kind: Kind) -> dict[str, Any]:
        """The policy as an answer has it, but for its id.

        Recorded: a Managed HSM writes the type of an action in lower case.
        """
        write = str.lower if kind is Kind.MANAGED_HSM else str
        times = {"expiryTime": self.expiry_time, "created": self.created, "updated": self.updated}
        return {
            "lifetimeActions": [
                {
                    "trigger": {action.trigger: action.duration},
                    "action": {"type": write(action.type)},
                }
                for action in self.actions
            ],
            "attributes": {name: value for name, value in times.items() if value is not None},
        }


def default(kind: Kind) -> Policy:
    """What a key without a policy shows.

    A vault shows what it makes of an empty one (recorded, but for the times); what a Managed HSM
    shows is not known.
    """
    return Policy((_DEFAULT_NOTIFY,) if kind is Kind.VAULT else (), None)


def policy(
    kind: Kind, body: dict[str, Any], present: Policy | None, key_ops: list[str], now: int
) -> Policy | None:
    """Read a policy that is to replace the present one.

    Returns None where it removes the present one (documented of Managed HSM).
    """
    given, attributes = body.get("lifetimeActions") or [], body.get("attributes") or {}
    if not isinstance(given, list) or not isinstance(attributes, dict):
        raise bad_parameter("A rotation policy has a list of lifetimeActions, and attributes.")
    actions = [_action(kind, each) for each in given]
    if len({action.type for action in actions}) < len(actions):
        # Documented as the two kinds of actions; that each comes once is not.
        raise bad_parameter("A rotation policy has at most one Rotate and one Notify.")
    expiry_time = (
        _duration("expiryTime", attributes["expiryTime"]) if attributes.get("expiryTime") else None
    )
    if kind is Kind.MANAGED_HSM and not actions and not expiry_time:
        return None
    if kind is Kind.VAULT and not any(action.type == _NOTIFY for action in actions):
        actions.append(_DEFAULT_NOTIFY)
    created = now if present is None or present.created is None else present.created
    read = Policy(tuple(actions), expiry_time, created, now)
    _check_times(kind, read, now)
    if read.rotation:
        rotatable(kind, read, key_ops)
    return read


def rotatable(kind: Kind, present: Policy | None, key_ops: list[str]) -> None:
    """Refuse a rotation that the service refuses (documented).

    That is one of a key exchange key, and in a Managed HSM one of a key without a policy.
    """
    if key_ops == [IMPORT]:
        raise bad_parameter(
            "What a rotation does to a key exchange key is not known: the lab refuses it."
        )
    if kind is Kind.MANAGED_HSM and present is None:
        raise bad_parameter("A Managed HSM rotates a key only after its rotation policy was set.")


def _action(kind: Kind, given: object) -> Action:
    """Read one action.

    A trigger that is null or empty is none: Microsoft's own examples have those.
    """
    if (
        not isinstance(given, dict)
        or not isinstance(given.get("action"), dict)
        or not isinstance(given.get("trigger"), dict)
    ):
        raise bad_parameter("A lifetime action has an action and a trigger.")
    type_ = str(given["action"].get("type")).capitalize()
    if type_ not in (_ROTATE, _NOTIFY):
        raise bad_parameter(
            f"A lifetime action of the type {type_} is not known. "
            f"Supported values are {_ROTATE}, {_NOTIFY}."
        )
    if type_ == _NOTIFY and kind is Kind.MANAGED_HSM:
        # Documented: "does not support Event Grid Notifications".
        raise bad_parameter(
            "A Managed HSM has no Notify; what it answers to one is not known: the lab refuses it."
        )
    triggers = {
        name: given["trigger"][name]
        for name in (_AFTER_CREATE, _BEFORE_EXPIRY)
        if given["trigger"].get(name)
    }
    if len(triggers) != 1:
        raise bad_parameter(
            f"A lifetime action has one trigger: {_AFTER_CREATE} or {_BEFORE_EXPIRY}."
        )
    ((trigger, duration),) = triggers.items()
    if (type_, trigger) == (_NOTIFY, _AFTER_CREATE):
        raise bad_parameter(f"{_AFTER_CREATE} applies to {_ROTATE} only.")  # documented
    return Action(type_, trigger, _duration(trigger, duration))


def _duration(name: str, text: object) -> str:
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise bad_parameter(
            f"{name} {text} is no ISO 8601 duration in years, months and days, such as P90D."
        )
    return text


def _check_times(kind: Kind, read: Policy, now: int) -> None:
    """Refuse what is documented as too short.

    A Notify is documented to need an expiryTime, but recorded without.
    """
    lasts = _shifted(now, read.expiry_time) - now if read.expiry_time else None
    if lasts is not None and lasts < _SHORTEST_EXPIRY:
        raise bad_parameter(
            f"expiryTime {read.expiry_time} is shorter than {_SHORTEST_EXPIRY // DAY} days."
        )
    if not (action := read.rotation):
        return
    length = _shifted(now, action.duration) - now
    if action.trigger == _AFTER_CREATE:
        after_create, before_expiry = length, None if lasts is None else lasts - length
    elif lasts is None:
        raise bad_parameter(f"A {_ROTATE} by {_BEFORE_EXPIRY} needs an expiryTime.")
    else:
        after_create, before_expiry = lasts - length, length
    if after_create < _SHORTEST_INTERVAL[kind]:
        days = _SHORTEST_INTERVAL[kind] // DAY
        raise bad_parameter(
            f"{action.trigger} {action.duration} rotates earlier than "
            f"{days} days after the creation."
        )
    if kind is Kind.VAULT and before_expiry is not None and before_expiry < _DISTANCE_FROM_EXPIRY:
        days = _DISTANCE_FROM_EXPIRY // DAY
        raise bad_parameter(
            f"{action.trigger} {action.duration} rotates later than {days} days before the expiry."
        )


def _shifted(moment: int, duration: str, direction: int = 1) -> int:
    """Add a duration to a moment, by the calendar.

    Where a month does not have the day, its last day is taken.
    """
    match = _DURATION.fullmatch(duration)
    assert match
    years, months, weeks, days = (int(number or 0) for number in match.groups())
    start = _EPOCH + timedelta(seconds=max(0, min(moment, _LATEST)))
    year, month = divmod(12 * start.year + start.month - 1 + direction * (12 * years + months), 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    end = start.replace(year=year, month=month + 1, day=day) + direction * timedelta(
        weeks=weeks, days=days
    )
    return int((end - _EPOCH).total_seconds())
