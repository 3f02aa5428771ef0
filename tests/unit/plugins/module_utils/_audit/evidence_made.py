# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small receipt folder as runs leave it, made for tests: a pool and a vault, RSA, EC and oct
keys, a rotation, an escrow copy, and the attestations of the lab's adapters.
"""

from __future__ import annotations

import hashlib
import json
import sys
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_certificate,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit import receipt_folder
from ansible_collections.keyferry.azure.plugins.module_utils._audit.judge_folder import (
    judge_folder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.observed import observed
from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import (
    Trust,
    parse_trust,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    fingerprint,
    from_pem,
    thumbprint,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Head,
    head_of,
    next_manifest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    envelope_of,
    signed,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import keyid_of
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

# The lab is beside the tests, and no package of the collection
sys.path.append(str(Path(__file__).resolve().parents[5]))
from lab import adapter
from lab.material import from_private_key

POOL, VAULT = "contoso.managedhsm.azure.net", "fabrikam.vault.azure.net"
MADE = datetime(2026, 11, 1, tzinfo=timezone.utc)
NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)

PrivateKey: t.TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_FLAGS = (
    "CKA_LOCAL",
    "CKA_ALWAYS_SENSITIVE",
    "CKA_SENSITIVE",
    "CKA_EXTRACTABLE",
    "CKA_NEVER_EXTRACTABLE",
)


def pem_of(key: PrivateKey) -> str:
    """The PEM of a key's public half."""
    public = key.public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(encoding, form).decode()


@dataclass(frozen=True)
class SoftwareKey:
    """An evidence key that signs as a token does: r and s side by side."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, secret: int) -> SoftwareKey:
        return cls(ec.derive_private_key(secret, ec.SECP256R1()))

    @property
    def pem(self) -> str:
        return pem_of(self.key)

    @property
    def keyid(self) -> str:
        return keyid_of(self.pem)

    def sign(self, digest: bytes) -> bytes:
        der = self.key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in utils.decode_dss_signature(der))


TOKEN, AZURE, STRANGER = (SoftwareKey.of(secret) for secret in (0xBEEF, 0xCAFE, 0xBAD))


@cache
def rsa_key(number: int, size: int = 2048) -> rsa.RSAPrivateKey:
    """One of some RSA keys."""
    return rsa.generate_private_key(65537, size)


@cache
def maker() -> adapter.Root:
    """The root of the lab's maker of adapters."""
    return adapter.Root.new("Keyferry lab, no maker of adapters", MADE)


@cache
def pool(name: str = "contoso") -> adapter.Pool:
    """A pool with an owner's root of its own."""
    return adapter.Pool.new(adapter.Root.new(name, MADE), maker(), MADE)


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


@dataclass(frozen=True)
class Key:
    """A generation of a key in the token; an oct key has no private half here."""

    name: str
    kind: str
    generation: str
    private: PrivateKey | None = None

    @property
    def pem(self) -> str | None:
        return pem_of(self.private) if self.private else None

    @property
    def thumbprint(self) -> str | None:
        key = from_pem(self.pem) if self.pem else None
        return thumbprint(key) if key else None

    @property
    def spki(self) -> str | None:
        return fingerprint(self.pem) if self.pem else None


def generation(number: int) -> str:
    """A CKA_ID."""
    return f"019ac000000070008000{number:012x}"


WEB = [
    Key("web", "P-256", generation(each), ec.derive_private_key(100 + each, ec.SECP256R1()))
    for each in (1, 2)
]
PAYMENTS = Key("Payments", "RSA-2048", generation(3), rsa_key(3))
TOKENS = Key("tokens", "AES-256", generation(4))
DATABASE = Key("database", "P-384", generation(5), ec.derive_private_key(105, ec.SECP384R1()))


@dataclass
class Made:
    """A folder on its way.

    :ivar lines: envelopes by their files
    :ivar raw: other files
    """

    lines: dict[str, list[Envelope]] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    day: int = 1

    @property
    def time(self) -> str:
        return f"2026-11-{self.day:02}T12:00:00Z"

    def attest(self, host: str, key: Key, kid: str, *, made_here: bool) -> str | None:
        """Store what the pool's hardware states; a vault attests nothing."""
        if host != POOL or key.private is None:
            return None
        *_rest, name, version = kid.split("/")
        family = "RSA" if isinstance(key.private, rsa.RSAPrivateKey) else "EC"
        held = adapter.HeldKey(family, name, version, from_private_key(key.private), made_here)
        stated = adapter.state(pool().partitions[self.day % 2], held, 2 + self.day % 2)
        text = json.dumps({"attributes": {"attestation": stated}})
        self.raw[f"{host}/attestations/{sha256(text)}.json"] = text.encode()
        return sha256(text)

    def wrap(self, host: str | None, key: Key, **changes: t.Any) -> Envelope:
        """The token's side; for an escrow key where there is no host."""
        kek: dict[str, t.Any] = {
            "kid": None,
            "fingerprint": "e" * 64,
            "trust": "pinned",
            "size": 4096,
        }
        if host:
            kek_key = Key("kek", "RSA-2048", "", rsa_key(0 if host == POOL else 1))
            kid = f"https://{host}/keys/kek/{'1' * 32}"
            kek |= {"kid": kid, "fingerprint": kek_key.spki, "size": 2048}
            answer = self.attest(host, kek_key, kid, made_here=True)
            if answer:
                root = read_certificate(pool().owner.certificate).fingerprint
                kek |= {"trust": "attested", "attestation": answer}
                kek |= {"owner_root": root, "maker": "not Marvell"}
        facts = ("label", "serial", "manufacturer", "model", "firmware", "library")
        statement = receipt.begin(
            key={
                "name": key.name,
                "kind": key.kind,
                "generation": key.generation,
                "thumbprint": key.thumbprint,
                **({"sha256": key.spki} if key.spki else {}),
            },
            package_sha256=sha256(f"{host} {key.generation} {self.day}"),
            token=dict.fromkeys(facts, "lab"),
            evidence={"origin": "token", **dict.fromkeys(_FLAGS), "CKA_KEY_GEN_MECHANISM": None},
            kek=kek,
            wrap={
                "oaep": "SHA-1, MGF1 with SHA-1",
                "aes_bits": 256,
                "rehearsal": dict.fromkeys(("profile", "mechanism", "parameter", "finding"), "x"),
                "time": self.time,
            },
        )
        return envelope_of(changed(statement, changes))

    def bring(self, host: str, key: Key, wrapped: Envelope | None, **changes: t.Any) -> Envelope:
        """Azure's side."""
        kid = f"https://{host}/keys/{key.name}/{sha256(key.generation + host)[:32]}"
        answer = self.attest(host, key, kid, made_here=False)
        attestation = answer and {
            "verdict": "attested",
            "told": "An adapter states it",
            "sha256": answer,
            "owner_root": read_certificate(pool().owner.certificate).fingerprint,
            "maker": "not Marvell",
        }
        predicate: dict[str, t.Any] = {
            "key": {
                "name": key.name,
                "generation": key.generation,
                "thumbprint": key.thumbprint,
            },
            "vault": f"https://{host}",
            "kid": kid,
            "type": "EC-HSM",
            "hsm_platform": "2",
            "attributes": {
                "operations": ["sign"],
                "enabled": True,
                "not_before": None,
                "expires": None,
                "tags": {},
            },
            "compared": "thumbprint" if key.private else "challenge",
            "identity": "public_key" if key.private else "proved",
            "origin": "token",
            "proof": None,
            "replaced": None,
            "request_id": f"request-{self.day}",
            "source": "run",
            "time": self.time,
            "clock": "vault" if host == VAULT else "entra",
            "interrupted_at": None,
            "attestation": attestation,
            "environment": {"proxy": False, "ca_override": False},
            "tools": {"python": "3.12"},
        }
        package = None
        if wrapped:
            package = wrapped.statement()["subject"][0]["digest"]["sha256"]
        statement = statements.imported(
            predicate,
            package=package,
            public_key=key.spki,
            wrapped=wrapped.digest if wrapped else None,
        )
        return envelope_of(changed(statement, changes))

    def find(self, host: str, key: Key) -> Envelope:
        """What is stated of a version in place without a receipt."""
        kid = f"https://{host}/keys/{key.name}/{sha256(key.generation + host)[:32]}"
        return envelope_of(
            statements.found(
                {
                    "key": {
                        "name": key.name,
                        "generation": key.generation,
                        "thumbprint": key.thumbprint,
                    },
                    "vault": f"https://{host}",
                    "kid": kid,
                    "identity": "public_key",
                    "kek": "unknown",
                    "told": "found in place",
                    "time": self.time,
                    "clock": "vault",
                },
                public_key=key.spki,
            )
        )

    def keep(self, host: str, name: str, *envelopes: Envelope) -> None:
        """Add lines to the file of a key."""
        self.lines.setdefault(f"{host}/keys/{name.lower()}.intoto.jsonl", []).extend(envelopes)

    def transfer(self, host: str, key: Key, *signers: SoftwareKey) -> list[dict[str, str]]:
        """Wrap and import a key; returns what the manifest of the run names."""
        wrapped = self.wrap(host, key)
        imported = self.bring(host, key, wrapped)
        self.keep(host, key.name, by(wrapped, *signers), by(imported, *signers))
        return [named(key, "wrapped", wrapped), named(key, "imported", imported)]

    def run(
        self,
        host: str,
        receipts: list[dict[str, str]],
        signer: SoftwareKey | None = TOKEN,
        **changes: t.Any,
    ) -> Head:
        """Add the manifest of a run; each run is on a day of its own."""
        file = f"{host}/runs.intoto.jsonl"
        lines = self.lines.setdefault(file, [])
        predicate: dict[str, t.Any] = {
            "vault": f"https://{host}",
            "job": "transfer",
            "begun": self.time,
            "ended": self.time,
            "clock": "host",
            "who": dict.fromkeys(("user", "controller", "job_id", "commit", "ticket")),
            "plan": sha256("plan"),
            "receipts": receipts,
            **{
                name: [] for name in ("left_alone", "failures", "events", "approvals", "deviations")
            },
            **changes,
        }
        head = head_of(lines[-1], "It") if lines else None
        manifest = envelope_of(next_manifest(predicate, head, signer.keyid if signer else None))
        lines.append(by(manifest, *filter(None, [signer])))
        self.day += 1
        return self.head(host)

    def head(self, host: str) -> Head:
        return head_of(self.lines[f"{host}/runs.intoto.jsonl"][-1], "It")

    def files(self) -> dict[str, bytes]:
        """All files of the folder."""
        texts = {
            path: "".join(f"{each.to_line()}\n" for each in envelopes).encode()
            for path, envelopes in self.lines.items()
        }
        return {**texts, **self.raw}


def by(envelope: Envelope, *signers: SoftwareKey) -> Envelope:
    """An envelope with the signatures of some keys."""
    for signer in signers:
        envelope = signed(envelope, signer)
    return envelope


def named(key: Key, kind: str, envelope: Envelope) -> dict[str, str]:
    """How a manifest names a statement."""
    return {"key": key.name, "kind": kind, "sha256": envelope.digest}


def changed(statement: dict[str, t.Any], changes: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A statement with other members of its predicate, by paths such as ``key__name``."""
    copied = t.cast("dict[str, t.Any]", json.loads(json.dumps(statement)))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = copied["predicate"]
        for parent in parents:
            place = place[parent]
        place[last] = value
    return copied


def small() -> Made:
    """Two vaults, four keys, a rotation and an escrow copy, all of it signed and in runs."""
    made = Made()
    receipts = made.transfer(POOL, WEB[0], TOKEN)
    receipts += made.transfer(POOL, PAYMENTS, TOKEN, AZURE)
    copy = made.wrap(None, PAYMENTS)
    made.keep(POOL, PAYMENTS.name, by(copy, TOKEN))
    made.run(POOL, [*receipts, named(PAYMENTS, "escrow", copy)])
    made.run(POOL, made.transfer(POOL, WEB[1], TOKEN), job="rotate")
    made.run(VAULT, made.transfer(VAULT, TOKENS, TOKEN) + made.transfer(VAULT, DATABASE, TOKEN))
    return made


def trust_files() -> dict[str, bytes]:
    """A trust folder."""
    root = read_certificate(pool().owner.certificate).fingerprint
    return {
        "evidence-keys/token.pem": TOKEN.pem.encode(),
        "azure-keys/azure.pem": AZURE.pem.encode(),
        "owner-roots.json": json.dumps({"contoso": root}).encode(),
        "maker-roots/lab.pem": adapter.pem([maker().certificate]).encode(),
    }


def trust(made: Made | None = None) -> Trust:
    """What the auditor trusts; with a folder, also the heads of its chains."""
    trusted = parse_trust(trust_files(), {})
    if made is None:
        return trusted
    hosts = [path.partition("/")[0] for path in made.lines if path.endswith("/runs.intoto.jsonl")]
    return trusted.with_heads((host, made.head(host)) for host in hosts)


def verified(
    files: Mapping[str, bytes],
    trusted: Trust,
    listings: Mapping[str, str] | None = None,
    vaults: Mapping[str, str] | None = None,
) -> Verification:
    """Verify files as they are read from a folder."""
    known = {path: text for path, text in files.items() if receipt_folder.FILES.fullmatch(path)}
    strange = {path: "its name or place is unknown" for path in files if path not in known}
    folder = receipt_folder.parse_folder(known, strange)
    return judge_folder(folder, trusted, observed(listings or {}, vaults or {}), NOW)
