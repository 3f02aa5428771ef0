# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a step did or would do: results, changes for a diff, failures of single keys; pure."""

from __future__ import annotations

import re
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape


class Failures:
    """The errors of single keys, collected so that one bad key does not stop the others."""

    def __init__(self) -> None:
        self._errors: dict[str, ByokError] = {}

    def add(self, name: str, error: Exception) -> None:
        """Remember that the key ``name`` failed; of several errors, the first one counts."""
        self._errors.setdefault(name, as_byok_error(error))

    @contextmanager
    def of(self, name: str) -> t.Iterator[None]:
        """Make whatever is raised inside the failure of the key ``name`` alone."""
        try:
            yield
        except Exception as error:
            self.add(name, error)

    def take_over(self, others: Failures) -> None:
        """Remember the failures of a step as well."""
        for name, error in others._errors.items():
            self.add(name, error)

    def __bool__(self) -> bool:
        return bool(self._errors)

    def __contains__(self, name: str) -> bool:
        return name in self._errors

    def __iter__(self) -> t.Iterator[Failure]:
        for name, error in self._errors.items():
            yield Failure(name, str(error), error.reason)

    def as_result(self) -> list[dict[str, t.Any]]:
        """Return what the modules return as ``failures``."""
        return [failure.to_dict() for failure in self]


#: What differs in sentences on the same answer of Azure
_REQUEST = re.compile(r"\brequest [0-9A-Za-z-]{8,}")


def told(failures: t.Iterable[Failure]) -> list[str]:
    """Return printable lines for people: keys that failed for one reason are told together.

    The reason is one if sentences differ in nothing but the key's name and Azure's request id.
    """
    alike: dict[str, list[Failure]] = {}
    for failure in failures:
        name = re.compile(rf"(?<![\w-]){re.escape(failure.name)}(?![\w-])")
        alike.setdefault(_REQUEST.sub("", name.sub("", failure.msg)), []).append(failure)
    lines = []
    for first, *others in alike.values():
        same = [first.name, *(other.name for other in others if other.msg == first.msg)]
        lines.append(f"{', '.join(same)}: {first.msg}")
        rest = [other.name for other in others if other.msg != first.msg]
        if rest:
            lines.append(f"{', '.join(rest)}: the same reason as {first.name}.")
    return [printable(line) for line in lines]


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
    """What a module did, or would do in check mode; it is there from the first line on.

    A step fills it as it goes, so that what was done is told whatever is raised after it.

    :ivar result: the return values
    :ivar changes: empty when nothing changed
    :ivar planned: what a later step would change; shown in the diff as well
    :ivar failures: keys that failed while others went on
    """

    result: dict[str, t.Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    planned: list[Change] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, shape: Shape) -> dict[str, t.Any]:
        """Append an entry to the list that is returned under ``name``, and return it."""
        entry = shape.to_dict()
        self.result.setdefault(name, []).append(entry)
        return entry

    def absorb(self, other: Outcome, *, with_changes: bool = True) -> None:
        """Take over what a step did, but for its results."""
        self.failures.take_over(other.failures)
        self.warnings += [warning for warning in other.warnings if warning not in self.warnings]
        if with_changes:
            self.changes += other.changes
            self.planned += other.planned
