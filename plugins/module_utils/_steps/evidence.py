# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an import leaves as evidence: what the hardware states of the key, and the statements of
both sides in the evidence folder.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import Roots
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.target import (
    TargetAttestation,
    judge_target,
    not_fetched,
    read_roots,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import KeyId
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    fingerprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    envelope_beside,
    environment,
    tools,
    wrapped_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    envelope_of,
    parse_envelope,
    signed,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import keyid_of
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._vault.attestation import (
    fetch_attestation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.evidence_signer import (
    VaultSigner,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import (
    Import,
    WrappedStatement,
)

Params = t.Mapping[str, t.Any]
Warn = t.Callable[[str], None]

#: What differs between two statements of one import, whatever they tell of the key
_OF_THE_MOMENT = {
    *("time", "clock", "request_id", "interrupted_at"),
    *("attestation", "environment", "tools"),
}


@dataclass(frozen=True)
class Evidence:
    """What the imports of a run leave, and by whose word they go.

    :ivar roots: whose attestations count
    :ivar trusted: evidence keys whose signature counts on a package, as PEM by their keyids
    :ivar kek_attestation: what the hardware stated of the KEK, as byok_wrap judged it
    :ivar signer: signs what this side states; None for nobody
    """

    folder: EvidenceFolder
    roots: Roots = field(default_factory=lambda: Roots({}))
    trusted: t.Mapping[str, str] = field(default_factory=dict)
    kek_attestation: str | None = None
    signer: VaultSigner | None = None

    @classmethod
    def of(
        cls,
        params: Params,
        vault_url: str,
        kek_attestation: str | None,
        signer: VaultSigner | None = None,
    ) -> Evidence:
        """Read the options of a module that imports.

        :raises ByokError: for what is no root, and no evidence key
        """
        return cls(
            EvidenceFolder(params["receipt_directory"], vault_url),
            read_roots(params["attestation_owner_roots"], params["attestation_maker_roots"]),
            {keyid_of(pem): pem for pem in params.get("trusted_evidence_keys") or []},
            kek_attestation,
            signer,
        )

    def stated(
        self, name: str, wrapped: Params | None, path: str | None
    ) -> WrappedStatement | None:
        """Return what came in an envelope with a package; None where nothing did.

        :param wrapped: byok_wrap's result for the key
        :param path: of the package, beside which the envelope may be
        :raises ByokError: for what is no statement of byok_wrap
        """
        where, line = f"The envelope of {name} in packages", (wrapped or {}).get("envelope")
        if not line and path:
            beside = envelope_beside(path)
            where = f"The file {beside}"
            line = (read_text(beside) or "").rstrip("\n").rpartition("\n")[2]
        if not line:
            return None
        envelope = parse_envelope(line, where)
        kind, statement = statements.read(envelope, where)
        if kind != "wrapped":
            raise Malformed(where, f"it is {kind}/v1 and not what byok_wrap states")
        return WrappedStatement(statement, line, bool(envelope.signers(self.trusted)))

    def attest(
        self, vault: Vault, name: str, version: Version, warn: Warn
    ) -> TargetAttestation | None:
        """Ask a Managed HSM's hardware about a key that was imported; None for a vault.

        Nothing fails for it. The answer is kept.

        :param version: which is the token's key, as far as its public key shows
        :param warn: is told what somebody should look into
        """
        if not vault.address.managed_hsm:
            return None
        try:
            return self._attest(vault, name, version, warn)
        except Exception as error:  # the key is there, whatever becomes of this
            return not_fetched(str(as_byok_error(error)))

    def _attest(self, vault: Vault, name: str, version: Version, warn: Warn) -> TargetAttestation:
        refusals: list[str] = []
        text = fetch_attestation(vault, name, version.version, refusals.append)
        if text is None:
            refusals.append("The Managed HSM offers no attestation in this api-version.")
            return not_fetched(refusals[0])
        kid = KeyId(vault.address.url, name, version.version.lower())
        now = vault.clock.look().time
        verdict = judge_target(text, kid, version.public_key, self.roots, now)
        if verdict.alarms:
            warn(f"{name}: what the hardware states of the imported key is wrong: {verdict.told}")
        self._keep(name, text, warn)
        return verdict

    def _keep(self, name: str, attestation: str, warn: Warn) -> None:
        try:
            self.folder.keep_attestation(attestation)
        except ByokError as error:
            warn(f"{name}: an attestation is not kept: {error}")

    def record(
        self,
        vault: Vault,
        wanted: Import,
        version: Version,
        entry: dict[str, t.Any],
        attestation: TargetAttestation | None,
        warn: Warn,
    ) -> None:
        """Write what both sides state of an import, unless a run that died wrote the same.

        :param entry: the ImportedKey of the results; gets the statement of this side
        :raises ByokError: when it cannot be written
        """
        name, key = wanted.declaration.name, version.public_key
        ours = _envelope_of(wanted)
        predicate = _predicate(vault, wanted, version, entry)
        predicate["attestation"] = attestation.to_dict() if attestation else None
        imported = envelope_of(
            statements.imported(
                predicate,
                package=wanted.sha256,
                public_key=fingerprint(to_pem(key)) if key else None,
                wrapped=ours.digest if ours else None,
            )
        )
        there = list(envelopes_in(self.folder.receipts(name).whole))
        same = next((each for each in there if _tells_the_same(each, imported)), None)
        if not same:
            imported = self._signed(name, imported, warn)
        new = [
            *([ours] if ours and not any(_holds(each, ours) for each in there) else []),
            *([] if same else [imported]),
        ]
        if new:
            self.folder.add_receipts(name, *(each.to_line() for each in new))
        entry["envelope"] = (same or imported).to_line()
        entry["wrapped_sha256"] = ours.digest if ours else None
        if self.kek_attestation and _judged(wanted) == _sha256(self.kek_attestation):
            self._keep(name, self.kek_attestation, warn)

    def _signed(self, name: str, imported: Envelope, warn: Warn) -> Envelope:
        """Return a statement with this side's signature, or without it: the key is there."""
        if self.signer is None:
            return imported
        try:
            envelope = signed(imported, self.signer)
            if envelope.signers({self.signer.keyid: self.signer.pem}):
                return envelope
            why = "what the vault returned is no signature of the evidence key."
        except Exception as error:
            why = str(as_byok_error(error))
        warn(f"{name}: what this run states of the import is not signed: {why}")
        return imported


def envelopes_in(lines: t.Iterable[str]) -> t.Iterator[Envelope]:
    """Yield the envelopes of a file; what is none is told by whoever verifies the file."""
    for line in lines:
        try:
            yield parse_envelope(line, "A line")
        except Malformed:
            continue


def _envelope_of(wanted: Import) -> Envelope | None:
    """Return what the token's side states of a package: as it came, or else as nobody signed it."""
    if wanted.envelope:
        return parse_envelope(wanted.envelope, f"The envelope of {wanted.declaration.name}")
    return envelope_of(wrapped_of(wanted.receipt)) if wanted.receipt else None


def _predicate(
    vault: Vault, wanted: Import, version: Version, entry: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """Return what Azure's side tells of an import, but for the attestation."""
    now = vault.clock.look()  # no statement of what is there fails for a clock
    told = ("identity", "origin", "proof", "replaced", "request_id", "interrupted_at")
    return {
        "key": {
            "name": wanted.declaration.name,
            "generation": wanted.generation,
            "thumbprint": version.thumbprint,
        },
        "vault": vault.address.url,
        "kid": version.kid,
        "type": version.type,
        "hsm_platform": version.hsm_platform,
        "attributes": version.attributes(),
        "compared": "thumbprint" if version.public_key else "challenge",
        "source": wanted.receipt_told_by,
        "time": format_moment(now.time),
        "clock": now.source,
        "environment": environment(os.environ),
        "tools": tools("azure-keyvault-keys", "azure-identity", "cryptography"),
        **{fact: entry[fact] for fact in told},
    }


def _tells_the_same(there: Envelope, imported: Envelope) -> bool:
    """Tell whether an envelope states of the same import what another one states."""
    return bool(_timeless(there) == _timeless(imported))


def _timeless(envelope: Envelope) -> t.Any:
    try:
        statement = envelope.statement()
    except Malformed:
        return None
    predicate = statement.get("predicate")
    if statement.get("predicateType") != statements.IMPORTED or not isinstance(predicate, dict):
        return None
    lasting = {name: told for name, told in predicate.items() if name not in _OF_THE_MOMENT}
    proof = lasting.get("proof")
    if isinstance(proof, dict) and "unprovable" in proof:  # why has the id of a request
        lasting["proof"] = "unprovable"
    return {**statement, "predicate": lasting}


def _holds(there: Envelope, ours: Envelope) -> bool:
    return there.payload == ours.payload and set(ours.signatures) <= set(there.signatures)


def _judged(wanted: Import) -> str | None:
    """Return the SHA-256 of the KEK's attestation that byok_wrap says it judged."""
    return wanted.receipt["predicate"]["kek"]["attestation"] if wanted.receipt else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
