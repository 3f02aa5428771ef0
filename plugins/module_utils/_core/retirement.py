# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which older versions of a key may be disabled; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import InToken
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import Duration
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version

#: What a version is still needed for when data was encrypted or wrapped under it
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
    """Return which versions may be disabled: older ones of this token, once a newer one has been there for the overlap.

    :param versions: the newest, and all others that are enabled, newest first
    :param now: by the vault's Date header
    :param data_reencrypted: nothing is encrypted or wrapped under the older versions any more
    :param is_proved: tells whether a version without a public key is shown to be the token's
    """
    rotation, retirement = declaration.rotation or UNSCHEDULED, Retirement()
    if rotation.retire != "disable":
        return retirement
    newest_is_ours = bool(versions) and in_token.holder_of(versions[0]) is not None
    succeeded = False
    for number, version in enumerate(versions):
        if number and version.enabled:
            reason = _why_kept(
                in_token, version, newest_is_ours, succeeded, data_reencrypted, rotation.overlap
            )
            if reason:
                retirement.kept[version.version] = reason
            else:
                retirement.disabled.append(version)
        if succeeded or version is versions[-1]:
            continue  # whether it is proved, nobody asks
        usable_since = max(
            (moment for moment in (version.created, version.not_before) if moment), default=now
        )
        adopted = rotation.overlap.after(usable_since) <= now
        lives = version.enabled and not (version.expires and version.expires <= now)
        holder = in_token.holder_of(version)
        ours = lives and adopted and holder is not None and not holder.withdrawn
        succeeded = ours and (version.public_key is not None or is_proved(version))
    return retirement


def _why_kept(
    in_token: InToken,
    version: Version,
    newest_is_ours: bool,
    succeeded: bool,
    data_reencrypted: bool,
    overlap: Duration,
) -> str | None:
    if not newest_is_ours:
        return "the newest version is not of this token"
    if in_token.holder_of(version) is None:
        return "it is not of this token"
    if not succeeded:
        return f"no newer version that is enabled, verified and of this token has been there for {overlap}"
    needed = sorted(_NEEDED_FOR_OLD_DATA & set(version.operations))
    if needed and not data_reencrypted:
        return f"it may {' and '.join(needed)}, and nobody said that no data is under it any more (data_reencrypted)"
    return None
