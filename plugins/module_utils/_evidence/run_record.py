# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a run leaves as evidence: its receipts and events, and from them its manifest; pure.

A driver keeps a RunRecord beside its Transfer and hands the same results over. At the end, the
token's host signs ``to_sign()`` and the manifest of ``manifest()``, and Azure's host stores both
and ``to_store()``.

Azure's host tells of each import what it says that it did. Its statement has to agree with what the
token's host wrapped for that key and with the vault of the run; one that does not is signed by
nobody, and the key fails.
"""

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import plan_digest
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import HOST
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    KeyId,
    comparable_url,
    parse_key_id,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    Approval,
    Failure,
    GenerationFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    Held,
    Result,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    deviations_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    envelope_of,
    parse_envelope,
)

Kind = t.Literal["wrapped", "imported", "found", "escrow"]
What = t.Literal["made", "locked", "retired", "deleted", "purged", "recovered", "destroyed"]

#: Who ran it, as a manifest names it
WHO = ("user", "controller", "job_id", "commit", "ticket")

_TAMPERED = (
    "Find out what happened on the host that reaches Azure (byok_azure_host), and check that it "
    "runs the same version of keyferry.azure"
)


@dataclass(frozen=True)
class Arrival(Shape):
    """What is needed here of ImportedKey."""

    name: str
    kid: str | None
    imported: bool
    envelope: str | None = None
    interrupted_at: datetime | None = None

    @property
    def is_of_this_run(self) -> bool:
        """Whether this run sent it."""
        return self.imported and self.interrupted_at is None


@dataclass(frozen=True)
class Removal(Shape):
    """What is needed here of Deletion."""

    name: str
    kid: str
    state: str

    @property
    def is_consistent(self) -> bool:
        """Whether the version is one of the key."""
        kid = parse_key_id(self.kid)
        return kid is not None and kid.name.lower() == self.name.lower()


@dataclass(frozen=True)
class Unreceipted(Shape):
    """A version in place of which no statement tells, as byok_plan reports it."""

    name: str
    kid: str
    thumbprint: str | None


@dataclass(frozen=True)
class Receipt(Shape):
    """A statement that the manifest names.

    :ivar sha256: of its payload
    :ivar line: its envelope, as far as somebody has yet to sign or to store it
    """

    key: str
    kind: Kind
    sha256: str
    line: str | None = None


@dataclass(frozen=True)
class Event(Shape):
    """Something that became of a key and has no statement of its own.

    :ivar generation: CKA_ID, for what happened in the token
    :ivar kid: the version, for what happened in the vault
    :ivar time: if the host that did it tells when
    """

    key: str
    what: What
    generation: str | None = None
    kid: str | None = None
    time: datetime | None = None


@dataclass(frozen=True)
class Noted(Shape):
    """A deviation of one key's transfer."""

    key: str
    code: str
    msg: str


@dataclass(frozen=True)
class RunRecord(Shape):
    """The evidence of a run, as far as it has come.

    :ivar begun: by the controller's clock
    :ivar last_run: the vault's last manifest, as Azure's host shows it
    """

    begun: datetime
    receipts: tuple[Receipt, ...] = ()
    events: tuple[Event, ...] = ()
    deviations: tuple[Noted, ...] = ()
    approvals: tuple[Approval, ...] = ()
    last_run: str | None = None

    # What came of it

    def is_worth_a_manifest(self, failures: int) -> bool:
        """Tell whether the run did anything, or failed to."""
        return bool(self.receipts or self.events or failures)

    def to_sign(self) -> list[str]:
        """Return the lines that the token signs; it signed what was wrapped when it was."""
        return [each.line for each in self.receipts if each.line and each.kind in _OF_AZURE]

    def to_store(self) -> list[str]:
        """Return the lines that Azure's host may not have yet: it stored what it imported."""
        return [each.line for each in self.receipts if each.line and each.kind != "imported"]

    def manifest(
        self, run: Transfer, who: Mapping[str, str | None], ended: datetime
    ) -> dict[str, t.Any]:
        """Return the predicate of run/v1, but for what whoever numbers and signs it adds.

        :param who: by the names in WHO
        """
        return {
            "vault": comparable_url(run.request.vault_url),
            "job": run.request.job,
            "begun": format_moment(self.begun),
            "ended": format_moment(ended),
            "clock": HOST,
            "who": {name: printable(who.get(name) or "") or None for name in WHO},
            "plan": _plan_digest(run),
            "receipts": [
                {"key": each.key, "kind": each.kind, "sha256": each.sha256}
                for each in self.receipts
            ],
            "left_alone": _left_alone(run),
            "failures": [
                {fact: printable(told) for fact, told in vars(each).items()}
                for each in run.unfinished()
            ],
            "events": [each.to_dict() for each in self.events],
            "approvals": [each.to_dict() for each in self.approvals],
            "deviations": _together(self.deviations),
        }

    # What the steps did

    def planned(self, run: Transfer, token: Result, plan: Result, now: datetime) -> Recorded:
        """Take in which versions have no receipt yet, and what killed runs left.

        :param run: with the plan taken in
        :param token: the result of byok_target_key that was planned by
        :param plan: the result of byok_plan
        :param now: by the controller's clock
        """
        told = plan.get("receipts") or {}
        last = told.get("last_run")  # what is none, the token's host would warn of
        record = replace(self, last_run=last if isinstance(last, str) else None)
        if run.request.looks_only:
            return Recorded(record)
        held = {key.name: key for key in run.held}
        lies, receipts = [], list(_found(run, held, token, told, now))
        for line in map(str, told.get("loose") or ()):
            try:
                receipts += _loose(run, held, line)
            except _Lie as lie:
                lies.append(lie)
        return Recorded(record._with(receipts), tuple(lies))

    def made(self, result: Result) -> RunRecord:
        """Take in what byok_target_key made."""
        return self._with_events("made", _flagged(result, "created"))

    def locking_done(self, result: Result) -> RunRecord:
        """Take in what byok_target_key locked."""
        return self._with_events("locked", _flagged(result, "locked"))

    def approved(self, result: Result) -> RunRecord:
        """Take in whose approvals the token's host has checked; it tells them with each batch."""
        told = [Approval.from_dict(each) for each in result.get("approvals") or ()]
        return replace(self, approvals=tuple(dict.fromkeys([*self.approvals, *told])))

    def retired(self, vault_url: str, result: Result) -> RunRecord:
        """Take in which versions byok_rotate disabled."""
        events = [
            Event(
                key["name"], "retired", kid=str(KeyId(comparable_url(vault_url), key["name"], each))
            )
            for key in result.get("rotations") or ()
            for each in key["retired"]
        ]
        return replace(self, events=(*self.events, *events))

    def deleted(
        self, result: Result, asked: Iterable[Mapping[str, t.Any]], states: Sequence[What]
    ) -> RunRecord:
        """Take in which keys byok_import deleted, purged or recovered.

        Of a key that it was not asked for, the host that reaches Azure has no say: the manifest
        would excuse a version that somebody removed.

        :param asked: the declarations that it was given
        :param states: what it was asked to do with them
        """
        names = {each["name"].lower() for each in asked}
        events = [
            Event(told.name, t.cast(What, told.state), kid=told.kid)
            for told in map(Removal.from_dict, result.get("deletions") or ())
            if told.name.lower() in names and told.state in states and told.is_consistent
        ]
        return replace(self.approved(result), events=(*self.events, *events))

    def brought(self, batch: Batch, wrapped: Result, imported: Result) -> Recorded:
        """Take in what byok_wrap wrapped of a batch and byok_import imported.

        :param batch: with what was made and wrapped
        :param wrapped: empty where nothing was to be wrapped
        """
        if batch.transfer.request.looks_only:
            return Recorded(self)
        packages = wrapped.get("packages") or ()
        seals = _by_name(_token_side(each, "wrapped") for each in packages)
        digests = {each["name"]: each["sha256"] for each in packages}
        known = _Known(batch, digests, seals)
        escrows = _by_name(_token_side(each, "escrow") for each in wrapped.get("escrows") or ())
        arrivals: dict[str, _Read] = {}
        lies = []
        for told in map(Arrival.from_dict, imported.get("imports") or ()):
            try:
                if read := known.read(told):
                    arrivals[read.receipt.key] = read
            except _Lie as lie:
                lies.append(lie)
        receipts = [each.receipt for each in escrows.values()]
        deviations = list(self.deviations)
        for name in dict.fromkeys([*seals, *arrivals]):
            seal, arrival = seals.get(name), arrivals.get(name)
            receipts += _receipts_of(name, seal, arrival)
            deviations += _deviations_of(name, seal, arrival)
        # Once for all keys: each time it copies what is there already
        record = replace(self.approved(wrapped), deviations=tuple(deviations))._with(receipts)
        return Recorded(record, tuple(lies))

    def _with(self, receipts: Iterable[Receipt]) -> RunRecord:
        """Return it with further receipts; one that is there already is no second one."""
        known = {each.sha256: each for each in self.receipts}
        for each in receipts:
            known.setdefault(each.sha256, each)
        return replace(self, receipts=tuple(known.values()))

    def _with_events(self, what: What, keys: Iterable[Result]) -> RunRecord:
        events = [Event(key["name"], what, generation=key["generation"]) for key in keys]
        return replace(self, events=(*self.events, *events))


@dataclass(frozen=True)
class Recorded:
    """A record after a step.

    :ivar lies: of Azure's host
    """

    record: RunRecord
    lies: tuple[_Lie, ...] = ()

    @property
    def contradictions(self) -> list[Failure]:
        """The keys that failed for them."""
        return [Failure(lie.name, str(lie), lie.reason) for lie in self.lies]


#: What the token signs when the results come home
_OF_AZURE = ("imported", "found")


def _plan_digest(run: Transfer) -> str:
    """Return the digest by which people approve the plan of a run; of one that does nothing, that
    of the vault alone.
    """
    vault = comparable_url(run.request.vault_url)
    return plan_digest(vault, run.plan) or hashlib.sha256(vault.encode()).hexdigest()


def evidence_lost(doing: str, why: str) -> ByokError:
    """Return what is told of evidence that could not be kept; what was done stays done.

    :param doing: what was to be done with it: signed or stored
    :param why: sentences
    """
    return ByokError(
        f"The receipts of this run were not {doing}: {why}",
        "What was done with the keys is done. Correct the reason. The manifest of the next run "
        "takes the receipts that are there",
        code="evidence_unkept",
    )


# What Azure's host tells, and what it must not


class _Lie(ByokError):
    """What Azure's host tells of a key contradicts the token or the run."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The host that reaches Azure {why}", _TAMPERED, code="contradiction")
        self.name = name


@dataclass(frozen=True)
class _Read:
    """A statement that was read.

    :ivar wrapped: the digest of the statement that it says it follows
    """

    receipt: Receipt
    predicate: Mapping[str, t.Any]
    wrapped: str | None = None

    @property
    def sha256(self) -> str:
        return self.receipt.sha256


@dataclass(frozen=True)
class _Known:
    """What is known of the keys of a batch before Azure's host tells of them.

    :ivar packages: by names of keys, the SHA-256 of the packages that the token's host returned
    :ivar seals: by names of keys, what the token's host states of them
    """

    batch: Batch
    packages: Mapping[str, str]
    seals: Mapping[str, _Read]

    def read(self, told: Arrival) -> _Read | None:
        """Return what is stated of an import; None where none is told.

        :raises _Lie: for what contradicts the token or this run
        """
        name = told.name
        if name not in self.batch.names:  # the engine believes nothing that it did not ask for
            return None
        if told.envelope is None:
            if told.imported:
                raise _Lie(name, "imported this key and returned no statement of that")
            return None
        envelope, statement = _open(name, told.envelope, "imported")
        predicate = statement["predicate"]
        _agree(name, "the key", predicate["key"]["name"], name)
        _agree(name, "the version", predicate["kid"], told.kid)
        _refuse_other_vault(name, predicate, self.batch.transfer.request.vault_url)
        self._compare(name, told.is_of_this_run, statement)
        receipt = Receipt(name, "imported", envelope.digest, told.envelope)
        return _Read(receipt, predicate, statements.digest_named(statement, "wrapped"))

    def _compare(self, name: str, sent_now: bool, statement: Mapping[str, t.Any]) -> None:
        """Compare an import with what was wrapped for it.

        One that an interrupted run sent is of a package that this run does not know, and perhaps of
        an older generation: which ones there are, the token looks up before it signs.
        """
        predicate = statement["predicate"]
        ours = self.batch.ours(name)
        of_this_run = sent_now and predicate["interrupted_at"] is None
        # A key of another tool may have no CKA_ID
        told, known = predicate["key"]["generation"] or None, ours.generation or None
        if of_this_run or told == known:
            _agree(name, "the generation", told, known)
            _agree(name, "the thumbprint", predicate["key"]["thumbprint"], ours.thumbprint)
        if of_this_run:
            package, wrapped = (
                statements.digest_named(statement, each) for each in (f"{name}.byok", "wrapped")
            )
            seal = self.seals.get(name)
            _agree(name, "the package", package, self.packages.get(name))
            _agree(name, "the wrapping", wrapped, seal and seal.sha256)


@lru_cache(maxsize=1 << 12)  # two questions of one task read the same lines
def _read_line(line: str, where: str) -> tuple[Envelope, str, Mapping[str, t.Any]]:
    """Return an envelope with the kind of its statement and the statement, which nobody changes.

    :raises Malformed: for what is none
    """
    envelope = parse_envelope(line, where)
    return envelope, *statements.read(envelope, where)


def _open(name: str, line: str, kind: str) -> tuple[Envelope, Mapping[str, t.Any]]:
    """Return an envelope of Azure's host with the statement in it.

    :raises _Lie: for what is no such statement
    """
    try:
        envelope, told, statement = _read_line(line, "What it returned")
    except Malformed as error:
        raise _Lie(name, f"returned no statement about this key ({error.what})") from None
    _agree(name, "the kind", told, kind)
    return envelope, statement


def _agree(name: str, what: str, told: t.Any, known: t.Any) -> None:
    if told != known:
        raise _Lie(
            name,
            f"states {what} {printable(str(told))} of this key, and {printable(str(known))} is "
            "what this run knows",
        )


def _refuse_other_vault(name: str, predicate: Mapping[str, t.Any], vault_url: str) -> None:
    vault, kid = comparable_url(vault_url), parse_key_id(predicate["kid"])
    _agree(name, "the vault", comparable_url(predicate["vault"]), vault)
    if kid is None or (kid.vault, kid.name.lower()) != (vault, name.lower()):
        raise _Lie(name, f"states the identifier {printable(predicate['kid'])} of this key")


def _token_side(package: Result, kind: Kind) -> _Read | None:
    """Return what the token's host states of a package; None where it states nothing that can be
    read, as of a package that an older release made.
    """
    line = package.get("envelope")
    if line is None:
        return None
    where = f"The receipt of the package of {package['name']}"
    try:
        envelope, _kind, statement = _read_line(line, where)
    except Malformed:  # the key has arrived all the same, and verifying the folder tells of it
        return None
    receipt = Receipt(package["name"], kind, envelope.digest, line)
    return _Read(receipt, statement["predicate"])


def _follows(seal: _Read | None, arrival: _Read | None) -> bool:
    return arrival is not None and seal is not None and arrival.wrapped == seal.sha256


def _receipts_of(name: str, seal: _Read | None, arrival: _Read | None) -> t.Iterator[Receipt]:
    """Yield the receipts of what both sides state of a key.

    :param seal: of this run's package
    :param arrival: of the same, or of one that an interrupted run sent
    """
    follows = _follows(seal, arrival)
    if arrival and arrival.wrapped and not follows:
        yield Receipt(name, "wrapped", arrival.wrapped)
    if seal:  # Azure's host stored it with the import that names it
        yield replace(seal.receipt, line=None) if follows else seal.receipt
    if arrival:
        yield arrival.receipt


def _deviations_of(name: str, seal: _Read | None, arrival: _Read | None) -> list[Noted]:
    """Return the deviations of what both sides state of a key, as _receipts_of() takes it."""
    ours = seal if arrival is None or _follows(seal, arrival) else None
    noted = deviations_of(ours.predicate if ours else None, arrival.predicate if arrival else None)
    return [Noted(name, each.code, each.msg) for each in noted]


def _by_name(read: Iterable[_Read | None]) -> dict[str, _Read]:
    return {each.receipt.key: each for each in read if each}


# What has no receipt of a run of its own


def _found(
    run: Transfer, held: Mapping[str, Held], token: Result, told: Result, now: datetime
) -> t.Iterator[Receipt]:
    """Yield a statement for each version in place that nobody has stated anything of.

    Azure's host says which version that is; the token's host, which key it has to be.
    """
    public_keys = _public_keys(token)
    tagged = {entry.name: entry.generation for entry in run.plan if entry.action in _KNOWN_BY_TAG}
    failed = {failure.name for failure in run.failures}
    for entry in map(Unreceipted.from_dict, told.get("without") or ()):
        key, kid = held.get(entry.name), parse_key_id(entry.kid)
        if key is None or kid is None or key.name in failed or key.generation is None:
            continue
        place = (kid.vault, kid.name.lower())
        if place != (comparable_url(run.request.vault_url), key.name.lower()):
            continue
        if key.thumbprint != entry.thumbprint:
            continue
        if key.thumbprint is None and tagged.get(key.name) != key.generation:
            continue
        pem = public_keys.get((key.name, key.generation))
        statement = statements.found(
            {
                "key": {
                    "name": key.name,
                    "generation": key.generation,
                    "thumbprint": key.thumbprint,
                },
                "vault": comparable_url(run.request.vault_url),
                "kid": str(kid),
                "identity": "public_key" if key.thumbprint else "tag_only",
                "kek": "unknown",
                "told": "found in place",
                "time": format_moment(now),
                "clock": HOST,
            },
            public_key=pem and fingerprint(pem),
        )
        envelope = envelope_of(statement)
        yield Receipt(key.name, "found", envelope.digest, envelope.to_line())


#: The plan found the newest version of an oct key to be a generation by its tag
_KNOWN_BY_TAG = ("none", "lock", "update")


def _public_keys(token: Result) -> dict[tuple[str, str], str]:
    """Return PEMs by names of keys and CKA_IDs of their generations."""
    keys = {}
    for key in token.get("target_keys") or ():
        for generation in map(GenerationFacts.from_dict, key["generations"]):
            if generation.public_key is not None:
                keys[key["name"], generation.generation] = generation.public_key
    return keys


def _loose(run: Transfer, held: Mapping[str, Held], line: str) -> list[Receipt]:
    """Return the receipts of a statement that a killed run left: it, and the one that it follows.

    :returns: nothing for a key that this run knows nothing of, because it is another run's to take
    :raises _Lie: for one that contradicts the token or this run
    """
    try:
        envelope, told, statement = _read_line(line, "A receipt of an interrupted run")
    except Malformed:  # nobody knows which key it is about; who verifies the folder is told
        return []
    predicate = statement["predicate"]
    name = predicate["key"]["name"] if told in _OF_AZURE else ""
    if name not in held:
        return []
    _refuse_other_vault(name, predicate, run.request.vault_url)
    if predicate["key"]["generation"] == held[name].generation:
        _agree(name, "the thumbprint", predicate["key"]["thumbprint"], held[name].thumbprint)
    before = statements.digest_named(statement, "wrapped")
    seal = [Receipt(name, "wrapped", before)] if before else []
    return [*seal, Receipt(name, t.cast("Kind", told), envelope.digest, line)]


# What the manifest tells


def _left_alone(run: Transfer) -> list[str]:
    """Return the names of the keys that this run was told to leave alone, or found as they are."""
    unchanged = {entry.name for entry in run.plan if entry.action == "none"}
    return sorted({*run.request.held_back, *unchanged} - {each.name for each in run.unfinished()})


def _together(deviations: Sequence[Noted]) -> list[dict[str, t.Any]]:
    """Return each deviation once: many keys of a run have the same ones."""
    keys: dict[tuple[str, str], list[str]] = {}
    for each in deviations:
        keys.setdefault((each.code, each.msg), []).append(each.key)
    return [
        {"code": code, "key": names[0], "msg": msg}
        if len(names) == 1
        else {"code": code, "key": None, "msg": f"{msg} ({len(names)} keys)"}
        for (code, msg), names in keys.items()
    ]


def _flagged(result: Result, fact: str) -> list[Result]:
    return [key for key in result.get("target_keys") or () if key.get(fact)]
