# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand: what the next calls of a kind suffer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from lab.refusals import Refusal, firewall, throttled, unavailable

Answer = TypeVar("Answer")

_REFUSALS: dict[str, Callable[[], Refusal]] = {
    "throttle": throttled,
    "unavailable": unavailable,
    "firewall": firewall,
}
KINDS = (*_REFUSALS, "stall", "commit_and_drop", "drop_and_commit")


@dataclass
class Fault:
    """What happens to the next `count` calls of an operation ("*": of any).

    The calls are those of any vault and key, or of those named. throttle (429), unavailable (503)
    and firewall (403) refuse. stall waits `seconds`, then goes on. commit_and_drop does the work
    and drops the connection without an answer; drop_and_commit drops it at once and does the work
    `seconds` later.
    """

    operation: str
    kind: str
    count: int = 1
    vault: str | None = None
    key: str | None = None
    seconds: float = 0.0

    def meets(self, operation: str, vault: str, key: str) -> bool:
        return (
            self.operation in ("*", operation)
            and self.vault in (None, vault)
            and self.key in (None, key)
        )


class Faults:
    """The faults that are still to come, oldest first."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def take(self, operation: str, vault: str = "", key: str = "") -> Fault | None:
        """Return the fault that this call suffers, and count it down."""
        fault = next((fault for fault in self.pending if fault.meets(operation, vault, key)), None)
        if fault:
            fault.count -= 1
            if not fault.count:
                self.pending.remove(fault)
        return fault


async def suffer(
    fault: Fault | None, work: Callable[[], Awaitable[Answer]], drop: Callable[[], None]
) -> Answer:
    """Do the work of a call as its fault wants it; `drop` ends the client's connection."""
    if fault is None:
        return await work()
    if fault.kind in _REFUSALS:
        raise _REFUSALS[fault.kind]()
    if fault.kind == "drop_and_commit":
        drop()
    await asyncio.sleep(fault.seconds)
    try:
        return await work()
    finally:
        if fault.kind == "commit_and_drop":
            drop()
