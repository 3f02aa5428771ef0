# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A KEK is the pool's own because the pool's hardware says so; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    NotAttested,
    Roots,
    judge,
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_makers,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.makers import NOT_MARVELL
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    Kek,
    UntrustedKek,
    Verdict,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid

#: In the host of each Managed HSM, whatever its cloud
_MANAGED_HSM = ".managedhsm."


@dataclass(frozen=True)
class AttestedByHardware:
    """The pool's hardware states that the KEK was made in the pool and cannot leave it.

    Where the root of a pool is pinned, a KEK of that pool has to be attested: an attestation that
    is missing or wrong is a reason to stop.

    :ivar roots: whose signatures count
    :ivar now: when the certificates have to be in force
    """

    roots: Roots
    now: datetime

    def judge(self, kek: Kek) -> Verdict | None:
        """Return ``attested``.

        :raises UntrustedKek: for a KEK without an attestation
        :raises ByokError: when the attestation cannot be read or shows something else
        """
        kid = parse_kid(kek.kid)
        if kek.attestation is None or kek.public_key is None:
            raise UntrustedKek(
                f"The KEK {kek.kid} is not attested, and the root of its pool is pinned",
                "Give the attestation as kek_attestation, as byok_kek returns it. If it returns "
                "none, find out why the Managed HSM gives none",
            )
        attested = judge(parse_answer(kek.attestation), kid, kek.public_key, self.roots, self.now)
        by = attested.maker or "a maker that is not Marvell"
        return Verdict(
            "attested",
            f"an adapter by {by} (serial number {attested.adapter}) states that it was made in the "
            f"pool {attested.pool} and cannot leave it",
            {
                "attestation": attested.sha256,
                "owner_root": attested.owner_root,
                "maker": attested.maker or NOT_MARVELL,
            },
        )


def policy_for(
    vault_url: str,
    owner_roots: t.Mapping[str, t.Any],
    maker_roots: t.Sequence[str],
    now: datetime,
) -> AttestedByHardware | None:
    """Return the policy for KEKs of a vault; None for one that attests nothing, or if no root is
    pinned at all.

    :param owner_roots: by the pool's name, host or URL: the SHA-256 of its owner's root
    :param maker_roots: PEM texts of the roots of makers beside Marvell
    :raises ByokError: for what is no fingerprint, and no certificate
    :raises NotAttested: for a Managed HSM whose root is not among those that are pinned, because
        its name may be misspelt there
    """
    for pool, root in owner_roots.items():
        if not isinstance(root, str):
            raise ByokError(
                f"The root that is pinned for {pool} is no text",
                "Quote the fingerprint in attestation_owner_roots",
            )
    if Roots(owner_roots).pinned(vault_url) is None:
        if owner_roots and _MANAGED_HSM in vault_url.lower():
            raise NotAttested(
                f"attestation_owner_roots pins {', '.join(owner_roots)}, and not {vault_url}",
                "Correct the name. For a Managed HSM that need not attest its KEKs, leave "
                "attestation_owner_roots empty",
                code="attestation_owner_unpinned",
            )
        return None
    # One that is given twice would be two makers.
    makers = tuple({each.fingerprint: each for each in read_makers(maker_roots)}.values())
    return AttestedByHardware(Roots(owner_roots, makers), now)
