# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifications of any size, as the folder of a bank could give them: for tests of the report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    AttestationVerdict,
    ChainVerdict,
    KeyVerdict,
    Problem,
    VaultVerdict,
    Verdict,
    Verification,
    VersionVerdict,
    worst,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import make_id
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    deviations_of,
)

NOW = datetime(2026, 11, 30, 18, 0, tzinfo=timezone.utc)
START = datetime(2026, 1, 5, 8, 0, tzinfo=timezone.utc)
KINDS = ("RSA-3072", "P-256", "P-384", "AES-256", "P-256K")
EVIDENCE_KEY = hashlib.sha256(b"evidence key").hexdigest()
VAULTS = ("contoso-hsm.managedhsm.azure.net", "contoso-premium.vault.azure.net")

NONE = AttestationVerdict("none", "There is no attestation to judge")
ATTESTED = AttestationVerdict(
    "attested", "The hardware of the Managed HSM attests the key", maker="Marvell"
)


def digest(*parts: object) -> str:
    """A SHA-256 that looks like any other, and is the same in each run."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True)
class Transfer:
    """One transfer, made up.

    :ivar number: the how many-th of its key
    :ivar day: days since START
    :ivar label: of the token
    :ivar signers: of both statements
    """

    vault: str
    name: str
    number: int = 0
    day: int = 0
    kind: str = "P-256"
    label: str = "payments"
    tags: Mapping[str, str] | None = None
    expires: datetime | None = None
    signers: tuple[str, ...] = (EVIDENCE_KEY,)
    run: int = 1

    @property
    def moment(self) -> datetime:
        return START + timedelta(days=self.day, minutes=len(self.name))

    @property
    def generation(self) -> str:
        seed = bytes.fromhex(digest(self.name, self.number))[:10]
        made = int((self.moment - timedelta(minutes=3)).timestamp() * 1000)
        return make_id(made, seed, []).hex()

    @property
    def thumbprint(self) -> str | None:
        return None if self.kind == "AES-256" else digest(self.name, self.number, "tp")[:43]

    @property
    def version(self) -> str:
        return digest(self.vault, self.name, self.number, "version")[:32]

    @property
    def kid(self) -> str:
        return f"https://{self.vault}/keys/{self.name}/{self.version}"

    @property
    def attested(self) -> bool:
        return ".managedhsm." in self.vault

    @property
    def key(self) -> dict[str, Any]:
        return {"name": self.name, "generation": self.generation, "thumbprint": self.thumbprint}

    @property
    def answer(self) -> dict[str, Any] | None:
        """What Azure's side says of the attestation that it fetched."""
        if not self.attested:
            return None
        return {
            "verdict": "attested",
            "told": ATTESTED.told,
            "sha256": digest(self.kid, "answer"),
            "owner_root": digest("root"),
            "maker": "Marvell",
        }

    def wrapped(self, *, escrow: bool = False) -> dict[str, Any]:
        kek = f"https://{self.vault}/keys/byok-kek/{digest(self.vault, 'kek')[:32]}"
        return {
            "key": {**self.key, "kind": self.kind},
            "token": {
                "label": self.label,
                "serial": "1383249500921",
                "manufacturer": "Thales",
                "model": "Luna K7",
                "firmware": "7.8.4",
                "library": "10.7.2",
            },
            "evidence": {
                "origin": "token",
                "CKA_LOCAL": True,
                "CKA_ALWAYS_SENSITIVE": True,
                "CKA_SENSITIVE": True,
                "CKA_EXTRACTABLE": True,
                "CKA_NEVER_EXTRACTABLE": False,
                "CKA_KEY_GEN_MECHANISM": 0x1040,
            },
            "kek": {
                "kid": None if escrow else kek,
                "fingerprint": digest(self.vault, "escrow" if escrow else "kek"),
                "trust": "attested" if self.attested and not escrow else "pinned",
                "size": 4096,
                "attestation": digest("answer") if self.attested else None,
                "owner_root": digest("root") if self.attested else None,
                "maker": "Marvell" if self.attested else None,
            },
            "wrap": {
                "oaep": "SHA-1, MGF1 with SHA-1",
                "aes_bits": 256,
                "rehearsal": {
                    "profile": "luna",
                    "mechanism": "CKM_RSA_AES_KEY_WRAP",
                    "parameter": "A65959A6",
                    "finding": "RFC 5649 over PKCS#8",
                },
                "time": format_moment(self.moment),
                "clock": "host",
                "tools": {"keyferry.azure": "0.1.0"},
            },
            "signed_by": list(self.signers),
            "named_by": [self.run],
            "sha256": digest(self.kid, "escrow" if escrow else "wrapped"),
        }

    def imported(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "vault": f"https://{self.vault}",
            "kid": self.kid,
            "type": "EC-HSM" if self.kind.startswith("P-") else "RSA-HSM",
            "hsm_platform": "2",
            "attributes": {
                "operations": ["sign", "verify"],
                "enabled": True,
                "not_before": None,
                "expires": format_moment(self.expires) if self.expires else None,
                "tags": dict(self.tags or {}),
            },
            "compared": "thumbprint" if self.thumbprint else "challenge",
            "identity": "public_key" if self.thumbprint else "proved",
            "origin": "token",
            "proof": {"operation": "sign", "algorithm": "ES256"},
            "replaced": None,
            "request_id": "5f1c1c4e-7a3a-4c39-8d0e-0a0b5d1f3b11",
            "source": "run",
            "time": format_moment(self.moment + timedelta(seconds=9)),
            "clock": "entra" if self.attested else "vault",
            "interrupted_at": None,
            "attestation": self.answer,
            "environment": {"proxy": False, "ca_override": False},
            "tools": {"keyferry.azure": "0.1.0"},
            "signed_by": list(self.signers),
            "named_by": [self.run],
            "sha256": digest(self.kid, "imported"),
        }

    def judged(self, **changes: Any) -> VersionVerdict:
        """The version with both statements, and whatever is told to be different."""
        wrapped, imported = self.wrapped(), self.imported()
        attestation = ATTESTED if self.attested else NONE
        facts: dict[str, Any] = {
            "kid": self.kid,
            "version": self.version,
            "thumbprint": self.thumbprint,
            "generation": self.generation,
            "verdict": "whole",
            "code": "whole",
            "told": "Both sides of the transfer are signed, and fit each other",
            "wrapped": wrapped,
            "imported": imported,
            "found": None,
            "attestation": attestation,
            "kek_attestation": attestation,
            "deviations": deviations_of(wrapped, imported),
            **changes,
        }
        return VersionVerdict(**facts)

    def found(self) -> VersionVerdict:
        """The same version, of which no transfer is known."""
        found = {
            "key": self.key,
            "vault": f"https://{self.vault}",
            "kid": self.kid,
            "identity": "public_key",
            "kek": "unknown",
            "told": "found in place",
            "time": format_moment(self.moment),
            "clock": "vault",
            "signed_by": list(self.signers),
            "named_by": [self.run],
            "sha256": digest(self.kid, "found"),
        }
        return self.judged(
            verdict="incomplete",
            code="found_in_place",
            told="The version was found in place, and no statement tells how it came there",
            wrapped=None,
            imported=None,
            found=found,
            deviations=(),
        )


def key_of(name: str, *versions: VersionVerdict, **changes: Any) -> KeyVerdict:
    """A key, with the worst verdict of its versions."""
    verdict = worst(version.verdict for version in versions)
    first = next((version for version in versions if version.verdict == verdict), None)
    facts: dict[str, Any] = {
        "name": name,
        "verdict": verdict,
        "code": first.code if first else "whole",
        "told": first.told if first else "",
        "versions": versions,
        **changes,
    }
    return KeyVerdict(**facts)


def run_of(vault: str, number: int, day: int, **changes: Any) -> dict[str, Any]:
    """The predicate of a run's manifest."""
    begun = START + timedelta(days=day)
    return {
        "number": number,
        "previous": digest(vault, "run", number - 1) if number > 1 else None,
        "vault": f"https://{vault}",
        "job": "transfer",
        "begun": format_moment(begun),
        "ended": format_moment(begun + timedelta(minutes=2)),
        "clock": "host",
        "who": {"user": "svc-byok", "controller": "aap-3", "job_id": "4711"},
        "plan": digest(vault, "plan", number),
        "receipts": [],
        "left_alone": [],
        "failures": [],
        "events": [],
        "approvals": [
            {"subject": "kek", "digest": digest(vault, "kek"), "principals": ["ana", "bo"]}
        ],
        "deviations": [],
        "evidence_key": EVIDENCE_KEY,
        "signed_by": [EVIDENCE_KEY],
        "sha256": digest(vault, "run", number),
        **changes,
    }


def chain_of(vault: str, *runs: dict[str, Any], verdict: str | None = None) -> ChainVerdict:
    """The chain of some runs."""
    last = runs[-1]
    return ChainVerdict(
        verdict or f"whole up to {last['number']}",
        "Each record names the one before; nothing shows whether more followed",
        {"number": last["number"], "sha256": last["sha256"]},
        runs,
    )


def verification_of(*vaults: VaultVerdict, problems: tuple[Problem, ...] = ()) -> Verification:
    """The whole of some vaults."""
    verdict = worst([*(vault.verdict for vault in vaults), *(each.verdict for each in problems)])
    trust = {
        "evidence_keys": 1,
        "owner_roots": 1,
        "maker_roots": 0,
        "heads": 0,
        "keyids": {EVIDENCE_KEY: "payments-luna.pem"},
        "listing": False,
        "vaults": [],
    }
    return Verification(NOW, trust, verdict, problems, vaults)


def vault_of(vault: str, *keys: KeyVerdict, chain: ChainVerdict | None = None) -> VaultVerdict:
    """A vault with its keys and its chain; by default one of two good runs."""
    verdict: Verdict = worst(key.verdict for key in keys)
    runs = (run_of(vault, 1, 0), run_of(vault, 2, 180))
    return VaultVerdict(vault, verdict, chain or chain_of(vault, *runs), keys)


def bank(count: int) -> Verification:
    """A bank's keys: most of them whole, some rotated, some found, unsigned, broken, and so on."""
    keys: dict[str, list[KeyVerdict]] = {vault: [] for vault in VAULTS}
    for number in range(count):
        vault = VAULTS[number % 2]
        keys[vault].append(_key_of_the_bank(vault, number))
    lost = Problem(
        "lost_file",
        "incomplete",
        f"{VAULTS[0]}/attestations",
        "One attestation that a statement names is not in the folder",
    )
    return verification_of(
        *(vault_of(vault, *found) for vault, found in keys.items() if found), problems=(lost,)
    )


def _key_of_the_bank(vault: str, number: int) -> KeyVerdict:
    name = f"{('payments', 'ledger', 'tls', 'disks', 'backups')[number % 5]}-{number:04}"
    kind = KINDS[number % 5]
    tags = {"owner": f"team-{number % 7}", "purpose": "card data"}
    expires = NOW + timedelta(days=400 - number % 410)
    first = Transfer(vault, name, 0, number % 120, kind, tags=tags, expires=expires)
    special = number % 20
    if special == 2:
        second = Transfer(vault, name, 1, 180, kind, tags=tags, expires=expires, run=2)
        retired = {
            "key": name,
            "what": "retired",
            "generation": first.generation,
            "kid": first.kid,
            "time": format_moment(START + timedelta(days=181)),
            "run": 2,
            "signed_by": [EVIDENCE_KEY],
        }
        return key_of(name, first.judged(events=(retired,)), second.judged())
    if special == 3:
        return key_of(name, first.judged(), copies=(first.wrapped(escrow=True),))
    if special == 4:
        return key_of(
            name,
            first.judged(
                verdict="broken",
                code="bad_signature",
                told="The signature of the statement imported is not one over its text",
            ),
        )
    if special == 5:
        return key_of(name, first.found())
    if special == 6:
        wrapped = {**first.wrapped(), "signed_by": [], "named_by": []}
        return key_of(
            name,
            first.judged(
                verdict="incomplete",
                code="unsigned",
                told="No trusted key signed the statement wrapped",
                wrapped=wrapped,
            ),
        )
    if special == 7:
        return key_of(
            name,
            first.judged(
                verdict="incomplete",
                code="imported_missing",
                told="The package was wrapped, and nothing states that it was imported",
                kid=None,
                version=None,
                imported=None,
                deviations=deviations_of(first.wrapped(), None),
            ),
        )
    return key_of(name, first.judged())
