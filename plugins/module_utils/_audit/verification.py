# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What the verification of a receipt folder finds: the shapes, and how verdicts add up; pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._audit.time_stamp import TimeStamp
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import Deviation

Verdict: t.TypeAlias = t.Literal["whole", "incomplete", "broken"]

#: From the best to the worst; the position is the exit code
VERDICTS: tuple[Verdict, ...] = ("whole", "incomplete", "broken")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts; ``whole`` for none."""
    return max(verdicts, key=VERDICTS.index, default="whole")


@dataclass(frozen=True)
class Problem(Shape):
    """Why something is not whole.

    :ivar code: for programs, one of PROBLEMS or FAILURES of ``_core/reasons.py``
    :ivar verdict: what it makes of that which it is about: ``incomplete`` or ``broken``
    :ivar where: file and line in the folder (``HOST/keys/NAME.intoto.jsonl:2``), or another input
    :ivar msg: for people, a sentence without its full stop
    :ivar key: the key that it is about, in lower case; None for none
    :ivar kid: the version that it is about; None for none
    """

    code: str
    verdict: Verdict
    where: str
    msg: str
    key: str | None = None
    kid: str | None = None

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.msg} ({self.code})")


@dataclass(frozen=True)
class AttestationVerdict(Shape):
    """What the raw answer of a Managed HSM shows, judged anew.

    :ivar verdict: ``attested``; ``root_not_pinned`` where the trust folder has no root of the pool;
        ``wrong`` where it shows something else; ``none`` where there is no answer to judge
    :ivar told: the same as a sentence
    :ivar code: why it is not attested, one of FAILURES of ``_core/reasons.py``; None otherwise
    :ivar maker: ``Marvell`` or ``not Marvell``; None where it is not attested
    """

    verdict: t.Literal["attested", "root_not_pinned", "wrong", "none"]
    told: str
    code: str | None = None
    maker: str | None = None


@dataclass(frozen=True)
class VersionVerdict(Shape):
    """One transfer of a key, or a version that was found without one.

    :ivar kid: None where nothing states that the package was imported
    :ivar version: the last part of kid
    :ivar generation: CKA_ID in hexadecimal digits
    :ivar code: of the worst problem; ``whole`` where there is none
    :ivar wrapped: the predicate of wrapped/v1, and with it ``signed_by`` (keyids of trusted keys),
        ``named_by`` (numbers of the trusted runs that name it) and ``sha256`` (of the payload)
    :ivar imported: the same of imported/v1
    :ivar found: the same of found/v1
    :ivar attestation: of the key in the pool
    :ivar kek_attestation: of the KEK
    :ivar events: what runs did with it, as their manifests have it, with ``run``, the manifest's
        number, and ``signed_by``
    """

    kid: str | None
    version: str | None
    thumbprint: str | None
    generation: str | None
    verdict: Verdict
    code: str
    told: str
    wrapped: Mapping[str, t.Any] | None
    imported: Mapping[str, t.Any] | None
    found: Mapping[str, t.Any] | None
    attestation: AttestationVerdict
    kek_attestation: AttestationVerdict
    deviations: tuple[Deviation, ...] = ()
    events: tuple[Mapping[str, t.Any], ...] = ()


@dataclass(frozen=True)
class KeyVerdict(Shape):
    """A key of a vault.

    :ivar name: as statements write it
    :ivar code: of its worst problem; ``whole`` where there is none
    :ivar versions: oldest first
    :ivar events: those that name none of these versions, with ``run``
    :ivar copies: escrow packages: predicates of wrapped/v1, as VersionVerdict has them
    """

    name: str
    verdict: Verdict
    code: str
    told: str
    versions: tuple[VersionVerdict, ...]
    events: tuple[Mapping[str, t.Any], ...] = ()
    copies: tuple[Mapping[str, t.Any], ...] = ()


@dataclass(frozen=True)
class ChainVerdict(Shape):
    """The manifests of a vault's runs.

    :ivar verdict: ``whole``, ``whole up to N`` or ``broken at N``
    :ivar head: ``number`` and ``sha256`` of the last manifest; None where there is none
    :ivar runs: their predicates, oldest first, with ``signed_by`` and ``sha256`` each
    :ivar stamps: what time-stamping authorities state of them, in the order of the runs
    """

    verdict: str
    told: str
    head: Mapping[str, t.Any] | None
    runs: tuple[Mapping[str, t.Any], ...]
    stamps: tuple[TimeStamp, ...] = ()

    @property
    def stamps_told(self) -> list[str]:
        """What authorities state of which run, as sentences without their full stop."""
        numbers = {run["sha256"]: run["number"] for run in self.runs}
        return [f"Run {numbers[stamp.sha256]}: {stamp.told}" for stamp in self.stamps]


@dataclass(frozen=True)
class VaultVerdict(Shape):
    """What the folder has of a vault.

    :ivar vault: its host
    """

    vault: str
    verdict: Verdict
    chain: ChainVerdict
    keys: tuple[KeyVerdict, ...]


@dataclass(frozen=True)
class Verification(Shape):
    """The whole of it.

    :ivar generated: when this was verified, by the clock of the host
    :ivar trust: how many ``evidence_keys``, ``azure_keys``, ``owner_roots``, ``maker_roots`` and
        ``heads`` were trusted, ``keyids`` with the name of each key's file, and whether there was a
        ``listing`` and an export of the ``vaults``
    :ivar problems: the worst first
    """

    generated: datetime
    trust: Mapping[str, t.Any]
    verdict: Verdict
    problems: tuple[Problem, ...]
    vaults: tuple[VaultVerdict, ...]

    @property
    def exit(self) -> int:
        """0 for whole, 1 for incomplete, 2 for broken."""
        return VERDICTS.index(self.verdict)

    def to_dict(self) -> dict[str, t.Any]:
        """Return it as JSON takes it, with ``exit``."""
        return {**super().to_dict(), "exit": self.exit}
