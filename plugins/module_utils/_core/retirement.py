# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Which older versions of a key may be disabled; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import InToken
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import Duration
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version

#: What needs a version for as long as data exist that were encrypted or wrapped under it
_NEEDED_FOR_OLD_DATA = {"decrypt", "unwrapKey"}


@dataclass
class Retirement:
    """What becomes of the older versions of a key.

    :ivar disabled: those to disable
    :ivar kept: why others stay enabled, by version
    """

    disabled: list[Version] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def plan_retirement(
    declaration: Declaration,
    in_token: InToken,
    versions: t.Sequence[Version],
    now: datetime,
    data_reencrypted: bool,
    is_proved: t.Callable[[Version], bool],
) -> Retirement:
    """Return which versions may be disabled.

    These are older versions of this token, once a newer one has existed for the overlap.

    :param versions: the newest, and all others that are enabled, newest first
    :param now: as the vault's clock decides it
    :param data_reencrypted: nothing is encrypted or wrapped under the older versions any more
    :param is_proved: tells whether a version without a public key is shown to be the token's; it is
        asked as seldom as possible, because the vault has to answer a challenge
    """
    rotation, retirement = declaration.rotation or UNSCHEDULED, Retirement()
    if rotation.retire != "disable":
        return retirement
    judge = _Judge(in_token, versions, rotation.overlap, now, data_reencrypted, is_proved)
    succeeded = False
    for newer, version in pairwise(versions):
        succeeded = succeeded or judge.takes_over(newer)
        if not version.enabled:
            continue
        reason = judge.why_kept(version, succeeded)
        if reason:
            retirement.kept[version.version] = reason
        else:
            retirement.disabled.append(version)
    return retirement


@dataclass(frozen=True)
class _Judge:
    """Judges single versions; the fields are the parameters of plan_retirement()."""

    in_token: InToken
    versions: t.Sequence[Version]
    overlap: Duration
    now: datetime
    data_reencrypted: bool
    is_proved: t.Callable[[Version], bool]

    def takes_over(self, version: Version) -> bool:
        """Tell whether a version was usable for the overlap, and is shown to be of this token."""
        generation = self.in_token.holder_of(version)
        if generation is None or generation.withdrawn:
            return False
        if not (self._is_usable(version) and self._was_there_for_the_overlap(version)):
            return False
        return version.public_key is not None or self.is_proved(version)

    def why_kept(self, version: Version, succeeded: bool) -> str | None:
        """Return why an older version stays enabled; None if it may be disabled.

        :param succeeded: a newer version takes over from it
        """
        if self.in_token.holder_of(self.versions[0]) is None:
            return "the newest version is not of this token"
        if self.in_token.holder_of(version) is None:
            return "it is not of this token"
        if not succeeded:
            return (
                "no newer version that is enabled, verified and of this token has been there for "
                f"{self.overlap}"
            )
        needed = sorted(_NEEDED_FOR_OLD_DATA & set(version.operations))
        if needed and not self.data_reencrypted:
            return (
                f"it may {' and '.join(needed)}, and data_reencrypted does not declare that no "
                "data is under it any more"
            )
        return None

    def _is_usable(self, version: Version) -> bool:
        has_expired = version.expires is not None and version.expires <= self.now
        return version.enabled and not has_expired

    def _was_there_for_the_overlap(self, version: Version) -> bool:
        moments = [moment for moment in (version.created, version.not_before) if moment]
        usable_since = max(moments, default=self.now)
        return self.overlap.after(usable_since) <= self.now
