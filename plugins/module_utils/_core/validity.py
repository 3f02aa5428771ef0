# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Whether a version of a key can be used at a moment, by its own dates; pure.

Azure goes on naming an expired version as the newest one, so the dates have to be looked at.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    Duration,
    format_moment,
)

Validity: t.TypeAlias = t.Literal["expired", "expires_soon", "not_yet_valid"]

#: The worst first, as people read them
VALIDITIES: tuple[Validity, ...] = t.get_args(Validity)

#: The states in words, of one key and of several
WORDS: t.Mapping[str, str] = {
    "expired": "expired",
    "expires_soon": "expires soon",
    "not_yet_valid": "not yet valid",
}
_SENTENCES: t.Mapping[str, str] = {
    "expired": "has expired, at",
    "expires_soon": "expires soon, at",
    "not_yet_valid": "is not yet valid, until",
}
OF_SEVERAL: t.Mapping[str, str] = {
    "expired": "have expired",
    "expires_soon": "expire soon",
    "not_yet_valid": "are not yet valid",
}


@dataclass(frozen=True)
class Dated:
    """A state, and its moment.

    :ivar validity: None for a version without a state
    :ivar at: when it expires or expired, or from when on it is valid
    """

    validity: Validity | None = None
    at: datetime | None = None

    @property
    def sentence(self) -> str | None:
        """The state as the end of a sentence about a version; None for one without a state."""
        if self.validity is None or self.at is None:
            return None
        return f"{_SENTENCES[self.validity]} {format_moment(self.at)}"


def state_of(
    not_before: datetime | None, expires: datetime | None, now: datetime, soon: Duration
) -> Dated:
    """Return the state of a version; none for one that can be used, and for longer than ``soon``.

    :param now: as the vault's clock decides it
    """
    if expires is not None and expires <= now:
        return Dated("expired", expires)
    if not_before is not None and not_before > now:
        return Dated("not_yet_valid", not_before)
    if expires is not None and soon.before(expires) <= now:
        return Dated("expires_soon", expires)
    return Dated()
