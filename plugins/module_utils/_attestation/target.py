# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a Managed HSM's hardware states of a key that was imported into it: a verdict, and never an
error, because the key has arrived; pure.
"""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    Attested,
    Roots,
    judge,
    parse_answer,
    refuse_other_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_makers,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import KeyId
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import PublicKey

#: ``differs``: the hardware states something else than what was imported, or another one states it
Verdict = t.Literal["attested", "root_not_pinned", "differs", "unreadable", "not_fetched"]

_BY_REASON: t.Mapping[str, Verdict] = {
    "attestation_malformed": "unreadable",
    "attestation_owner_unpinned": "root_not_pinned",
}


@dataclass(frozen=True)
class TargetAttestation:
    """What came of asking the hardware about an imported key.

    :ivar told: why, as a sentence
    :ivar sha256: of the answer as it came; None where there is none
    :ivar owner_root: SHA-256 of the pinned root that the answer leads to
    :ivar maker: of the adapter: ``Marvell`` or ``not Marvell``
    """

    verdict: Verdict
    told: str
    sha256: str | None = None
    owner_root: str | None = None
    maker: str | None = None

    @property
    def alarms(self) -> bool:
        """Whether somebody should look into it at once."""
        return self.verdict == "differs"

    def to_dict(self) -> dict[str, t.Any]:
        """Return it as the statement of the import has it."""
        return asdict(self)


def read_roots(owner_roots: t.Mapping[str, str], maker_roots: Sequence[str]) -> Roots:
    """Read whose signatures count, before there is something to judge.

    :param owner_roots: by the pool's name, host or URL: the SHA-256 of its owner's root
    :param maker_roots: PEM texts of the roots of makers beside Marvell
    :raises ByokError: for what is no fingerprint, and no certificate
    """
    pinned = {pool: str(root) for pool, root in owner_roots.items()}
    roots = Roots(pinned, read_makers(maker_roots))
    roots.pinned("")  # which reads all of them
    return roots


def not_fetched(why: str) -> TargetAttestation:
    """Return the verdict where there is no answer.

    :param why: a sentence
    """
    return TargetAttestation("not_fetched", why)


def judge_target(
    text: str, kid: KeyId, key: PublicKey | None, roots: Roots, now: datetime
) -> TargetAttestation:
    """Return what the hardware states of a key that was imported.

    That the key was not made in the pool is right for it: LOCAL may be false, and if it is true,
    the verdict says so.

    :param text: Azure's answer
    :param key: its public key, which is the token's; None for oct keys
    :param now: when the certificates have to be in force
    """
    sha256 = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    try:
        attested = _judged(text, kid, key, roots, now)
    except Exception as error:  # nothing that a host answers may fail what has arrived
        failure = as_byok_error(error)
        verdict = _BY_REASON.get(failure.reason, "differs")
        if not isinstance(error, ByokError):
            verdict = "unreadable"
        return TargetAttestation(verdict, f"{failure.what}.", sha256)
    maker = attested.maker or "not Marvell"
    inside = (
        ", and that it was made in the pool, which an imported key is not"
        if attested.made_inside
        else ""
    )
    return TargetAttestation(
        "attested",
        f"An adapter by {attested.maker or 'a maker that is not Marvell'} states that the pool "
        f"{attested.pool} has this key and that it cannot leave{inside}.",
        sha256,
        attested.owner_root,
        maker,
    )


def _judged(text: str, kid: KeyId, key: PublicKey | None, roots: Roots, now: datetime) -> Attested:
    """:raises ByokError: where the answer does not show that the pool has the key"""
    answer = parse_answer(text)
    if roots.pinned(kid.vault) is None:  # another key alarms, whoever states it
        refuse_other_key(answer, kid, key)
    return judge(answer, kid, key, roots, now, made_inside=False)
