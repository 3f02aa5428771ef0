# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a step did or would do: results, changes for a diff, failures of single keys; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import Failures


@dataclass
class Change:
    """What becomes of one thing, in public facts.

    :ivar where: names it in a diff, with its vault or token
    """

    where: str
    before: t.Mapping[str, t.Any]
    after: t.Mapping[str, t.Any]


@dataclass
class Outcome:
    """What a module did, or would do in check mode.

    :ivar result: the return values
    :ivar changes: empty when nothing changed
    :ivar planned: what a later step would change; shown in the diff as well
    :ivar failures: keys that failed while others went on
    """

    result: dict[str, t.Any]
    changes: list[Change] = field(default_factory=list)
    planned: list[Change] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    warnings: list[str] = field(default_factory=list)

    def absorb(self, other: Outcome, *, with_changes: bool = True) -> None:
        """Take over what a step did, but for its results."""
        self.failures.take_over(other.failures)
        self.warnings += [warning for warning in other.warnings if warning not in self.warnings]
        if with_changes:
            self.changes += other.changes
            self.planned += other.planned
