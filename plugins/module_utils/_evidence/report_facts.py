# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a report tells, as typed facts made from a verification; pure.

A fact comes from a statement that the verification took. Of a broken key nothing is a fact, so none
of its statements is read here: its verdict stands in its place. What an unsigned statement says is
a claim, and each reader of these facts can see that it is one.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import (
    is_ours,
    made_at,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
)

Verdict: t.TypeAlias = t.Literal["whole", "incomplete", "broken"]

#: What a statement is worth: ``not read`` is one of a broken key
Standing: t.TypeAlias = t.Literal["signed", "unsigned", "missing", "not read"]

#: The worst first, as people want to read them
VERDICTS: t.Final[tuple[Verdict, ...]] = ("broken", "incomplete", "whole")

#: Whose clock a moment is by, by the word in a statement
_CLOCKS: t.Final[Mapping[str, str]] = {
    "vault": "the vault's clock",
    "entra": "Entra ID's clock",
    "host": "the clock of the host that ran it",
    "stamp": "a time stamp authority's clock",
}
_TOKEN_HOST = "the clock of the token's host"
_NO_CLOCK = "not told by which clock"

#: What a run tells of a key, as a time line says it
_EVENTS: t.Final[Mapping[str, str]] = {
    "made": "Made in the token",
    "locked": "Locked in the token, can't leave it any more",
    "retired": "Retired: the version is disabled",
    "deleted": "Deleted in the vault, recoverable",
    "recovered": "Recovered in the vault",
    "purged": "Purged in the vault, for good",
    "destroyed": "Destroyed in the token, for good",
}


@dataclass(frozen=True)
class Told:
    """A statement, as far as it was verified.

    :ivar standing: what it is worth
    :ivar signers: ids of the trusted keys that signed it
    :ivar sha256: of its payload
    :ivar predicate: what it says; empty if it is missing or not read
    """

    standing: Standing
    signers: tuple[str, ...] = ()
    sha256: str | None = None
    predicate: Mapping[str, t.Any] = field(default_factory=dict)

    def get(self, *path: str) -> t.Any:
        """Return a member of the predicate by its path; None where there is none."""
        value: t.Any = self.predicate
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def text(self, *path: str) -> str:
        """Return the same as a text; empty where there is none."""
        value = self.get(*path)
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Deviation:
    """Something that an auditor must know.

    :ivar code: of its kind
    :ivar msg: one sentence
    """

    code: str
    msg: str


@dataclass(frozen=True)
class Moment:
    """One step of a version's life.

    :ivar time: ISO 8601; empty where nobody told
    :ivar what: one line
    :ivar clock: whose clock that is
    :ivar claimed: only an unsigned statement says so
    """

    time: str
    what: str
    clock: str
    claimed: bool = False


@dataclass(frozen=True)
class Approval:
    """Who agreed, as the run that acted recorded it.

    :ivar subject: what to: kek, owner-root, destroy or plan
    :ivar principals: the people whose signatures that host accepted
    :ivar run: the number of the run
    """

    subject: str
    principals: tuple[str, ...]
    run: int


@dataclass(frozen=True)
class Copy:
    """Another place that has the same key.

    :ivar place: the version in the other vault, or the key that an escrow package is wrapped under
    :ivar escrow: whether it is an escrow package
    """

    place: str
    escrow: bool = False


@dataclass(frozen=True)
class Version:
    """A key version of a vault.

    :ivar wrapped: the statement of the token's side
    :ivar imported: that of Azure's side
    :ivar found: that about a version that was in place
    :ivar attestation: verdict and sentence on the vault's own attestation of it; None for none
    """

    kid: str
    version: str
    thumbprint: str
    generation: str
    newest: bool
    wrapped: Told
    imported: Told
    found: Told
    attestation: tuple[str, str] | None
    deviations: tuple[Deviation, ...]
    life: tuple[Moment, ...]
    approvals: tuple[Approval, ...]
    copies: tuple[Copy, ...]

    @property
    def kind(self) -> str:
        """Its type with size or curve; the vault's type alone where the token's side is missing."""
        return self.wrapped.text("key", "kind") or self.imported.text("type")

    @property
    def expires(self) -> str:
        """When it expires, as it was imported; empty for never or not known."""
        return self.imported.text("attributes", "expires")

    @property
    def proof(self) -> str:
        """By which means the version was shown to be the key: ``identity`` of the results."""
        return self.imported.text("identity") or self.found.text("identity")

    @property
    def standing(self) -> Standing:
        """The least of the statements that make up its proof."""
        if self.found.standing in ("signed", "unsigned"):
            return self.found.standing
        both = (self.wrapped.standing, self.imported.standing)
        order: tuple[Standing, ...] = ("not read", "missing", "unsigned", "signed")
        return min(both, key=order.index)

    @property
    def statements(self) -> tuple[tuple[str, Told], ...]:
        """Those that are there, by the names that people know them by."""
        named = (("wrapped", self.wrapped), ("imported", self.imported), ("found", self.found))
        return tuple((name, told) for name, told in named if told.standing != "missing")


@dataclass(frozen=True)
class Key:
    """A key of a vault, and what became of its verification.

    :ivar versions: the newest first
    """

    vault: str
    name: str
    verdict: Verdict
    code: str
    told: str
    versions: tuple[Version, ...]

    @property
    def newest(self) -> Version | None:
        """Its newest version."""
        return next(iter(self.versions), None)


@dataclass(frozen=True)
class Chain:
    """The run manifests of a vault.

    :ivar verdict: such as ``whole up to 7``
    :ivar holds: whether what its runs say may be told
    :ivar runs: how many there are
    :ivar head: number and SHA-256 of the last
    """

    vault: str
    verdict: str
    told: str
    holds: bool
    runs: int
    head: tuple[int, str] | None


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    :ivar generated: when the verification was made, by its host's clock
    :ivar trust: what was trusted, by kind: how many
    :ivar problems: what is wrong with no single key: code, where, sentence
    """

    generated: str
    verdict: Verdict
    trust: Mapping[str, t.Any]
    problems: tuple[tuple[str, str, str], ...]
    chains: tuple[Chain, ...]
    keys: tuple[Key, ...]

    @property
    def versions(self) -> Iterator[tuple[Key, Version]]:
        """All versions with their keys."""
        return ((key, version) for key in self.keys for version in key.versions)

    @property
    def deviations(self) -> Mapping[str, list[tuple[Key, Deviation]]]:
        """By code: which keys, and the sentences; the most frequent first."""
        groups: dict[str, list[tuple[Key, Deviation]]] = defaultdict(list)
        for key, version in self.versions:
            for deviation in version.deviations:
                groups[deviation.code].append((key, deviation))
        return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))

    @property
    def signers(self) -> tuple[str, ...]:
        """All keys that signed a statement."""
        found = {
            keyid
            for _key, version in self.versions
            for _name, told in version.statements
            for keyid in told.signers
        }
        return tuple(sorted(found))

    def count(self, verdict: Verdict) -> int:
        """Return how many keys have a verdict."""
        return sum(key.verdict == verdict for key in self.keys)


def report_of(verification: Mapping[str, t.Any]) -> Report:
    """Return the facts of a verification, as docs/evidence.md describes its JSON."""
    vaults = verification["vaults"]
    places = _places(vaults)
    keys: list[Key] = []
    for vault in vaults:
        runs = _Runs.of(vault)
        for key in vault["keys"]:
            read = key["verdict"] != "broken"
            around = _Around(key["name"], read, runs, places, verification["generated"])
            keys.append(_key(key, vault["vault"], around))
    return Report(
        generated=verification["generated"],
        verdict=verification["verdict"],
        trust=verification.get("trust") or {},
        problems=tuple(
            (str(each["code"]), str(each["where"]), str(each["msg"]))
            for each in verification.get("problems") or ()
        ),
        chains=tuple(_chain(vault) for vault in vaults),
        keys=tuple(
            sorted(keys, key=lambda key: (VERDICTS.index(key.verdict), key.vault, key.name))
        ),
    )


def _chain(vault: Mapping[str, t.Any]) -> Chain:
    chain = vault["chain"]
    head = chain.get("head")
    return Chain(
        vault=vault["vault"],
        verdict=chain["verdict"],
        told=chain["told"],
        holds=_holds(chain),
        runs=len(chain.get("runs") or ()),
        head=(head["number"], head["sha256"]) if head else None,
    )


def _holds(chain: Mapping[str, t.Any]) -> bool:
    return not str(chain["verdict"]).startswith("broken")


@dataclass(frozen=True)
class _Runs:
    """What the runs of a vault say; nothing if their chain is broken.

    :ivar by_receipt: the run that made a statement, by the SHA-256 of the statement's payload
    :ivar all: oldest first
    """

    by_receipt: Mapping[str, Mapping[str, t.Any]]
    all: tuple[Mapping[str, t.Any], ...]

    @classmethod
    def of(cls, vault: Mapping[str, t.Any]) -> _Runs:
        """Read them from a vault of a verification."""
        chain = vault["chain"]
        runs = tuple(chain.get("runs") or ()) if _holds(chain) else ()
        receipts = ((receipt, run) for run in runs for receipt in run.get("receipts") or ())
        return cls({str(receipt["sha256"]): run for receipt, run in receipts}, runs)

    def approvals(self, version: Mapping[str, t.Any], kek: str) -> tuple[Approval, ...]:
        """Return who agreed to the KEK and the plan of a version's transfer."""
        statements = [version.get(name) or {} for name in ("wrapped", "imported", "found")]
        made_by = [self.by_receipt.get(str(each.get("sha256"))) for each in statements]
        run = next((run for run in made_by if run), None)
        if run is None:
            return ()
        digests = {"kek": kek, "plan": run.get("plan")}
        return tuple(
            Approval(each["subject"], tuple(map(str, each["principals"])), run["number"])
            for each in run.get("approvals") or ()
            if each["subject"] == "owner-root" or digests.get(each["subject"]) == each["digest"]
        )


@dataclass(frozen=True)
class _Around:
    """What is known around a key: the same for all its versions.

    :ivar read: whether its statements may be read
    :ivar places: the versions of all vaults that have a thumbprint
    :ivar now: when the verification was made
    """

    name: str
    read: bool
    runs: _Runs
    places: Mapping[str, list[str]]
    now: str


def _key(key: Mapping[str, t.Any], vault: str, around: _Around) -> Key:
    versions = sorted(key["versions"], key=_arrived)
    facts = [
        _version(version, successor, around)
        for version, successor in zip(versions, [*versions[1:], None], strict=True)
    ]
    return Key(vault, key["name"], key["verdict"], key["code"], key["told"], tuple(facts[::-1]))


def _arrived(version: Mapping[str, t.Any]) -> str:
    """Return when a version came to its vault, for sorting: ISO 8601 in UTC sorts as text."""
    told = version.get("imported") or version.get("found") or {}
    return str(told.get("time") or "")


def _version(
    version: Mapping[str, t.Any], successor: Mapping[str, t.Any] | None, around: _Around
) -> Version:
    wrapped, imported, found = (
        _told(version.get(name), around.read) for name in ("wrapped", "imported", "found")
    )
    attestation = version.get("attestation") if around.read else None
    thumbprint = str(version.get("thumbprint") or "")
    kid = str(version.get("kid") or "")
    facts = Version(
        kid=kid,
        version=str(version.get("version") or ""),
        thumbprint=thumbprint,
        generation=str(version.get("generation") or ""),
        newest=successor is None,
        wrapped=wrapped,
        imported=imported,
        found=found,
        attestation=(
            (str(attestation["verdict"]), str(attestation["told"])) if attestation else None
        ),
        deviations=(),
        life=(),
        approvals=around.runs.approvals(version, wrapped.text("kek", "fingerprint")),
        copies=_copies(version, kid, around) if around.read else (),
    )
    if not around.read:
        return facts
    return replace(
        facts,
        deviations=(
            *(Deviation(each["code"], each["msg"]) for each in version.get("deviations") or ()),
            *_further_deviations(facts, around.now),
        ),
        life=_life(facts, version.get("events") or (), successor),
    )


def _told(statement: Mapping[str, t.Any] | None, read: bool) -> Told:
    if statement is None:
        return Told("missing")
    if not read:
        return Told("not read")
    signers = tuple(map(str, statement.get("signed_by") or ()))
    predicate = {
        name: value for name, value in statement.items() if name not in ("signed_by", "sha256")
    }
    return Told("signed" if signers else "unsigned", signers, statement.get("sha256"), predicate)


def _copies(version: Mapping[str, t.Any], kid: str, around: _Around) -> tuple[Copy, ...]:
    """Return where else the key is: vaults by its thumbprint, and escrow packages."""
    elsewhere = around.places.get(str(version.get("thumbprint")), ())
    escrows = (_told(each, True) for each in version.get("escrow") or ())
    return (
        *(Copy(place) for place in elsewhere if place != kid),
        *(Copy(told.text("kek", "fingerprint"), escrow=True) for told in escrows),
    )


def _places(vaults: Iterable[Mapping[str, t.Any]]) -> Mapping[str, list[str]]:
    """Return the versions that have a thumbprint; those of broken keys are no facts."""
    places: dict[str, list[str]] = defaultdict(list)
    for vault in vaults:
        for key in vault["keys"]:
            for version in key["versions"] if key["verdict"] != "broken" else ():
                if version.get("thumbprint") and version.get("kid"):
                    places[version["thumbprint"]].append(version["kid"])
    return places


def _further_deviations(version: Version, now: str) -> Iterator[Deviation]:
    """Yield those that no single statement tells of itself."""
    unsigned = [name for name, told in version.statements if told.standing == "unsigned"]
    if unsigned:
        yield Deviation(
            "unsigned",
            f"No trusted key signed the statement {' and the statement '.join(unsigned)}, so it is "
            "a claim and proves nothing",
        )
    if version.found.standing == "missing":
        for name, told in (("wrapped", version.wrapped), ("imported", version.imported)):
            if told.standing == "missing":
                yield Deviation("receipt_missing", f"The statement {name} is missing")
    else:
        yield Deviation(
            "found_in_place",
            "The version was in the vault without a receipt: under which KEK it came is unknown",
        )
    if version.expires and version.newest and version.expires <= now:
        yield Deviation("expired", "The newest version that the evidence knows has expired")
    if any(copy.escrow for copy in version.copies):
        yield Deviation(
            "escrow_untested",
            "An escrow package was made; no statement says that anybody ever restored a key from "
            "one",
        )


def _life(
    version: Version,
    events: Sequence[Mapping[str, t.Any]],
    successor: Mapping[str, t.Any] | None,
) -> tuple[Moment, ...]:
    """Return what became of a version, oldest first; what nobody timed comes last."""
    told = {str(event["what"]) for event in events}
    moments = [
        *(_made(version) if "made" not in told else ()),
        *_transfer(version),
        *(
            Moment(
                str(event.get("time") or ""),
                _EVENTS.get(str(event["what"]), str(event["what"])),
                _clock(event.get("clock")),
            )
            for event in events
        ),
    ]
    if successor is not None:
        arrived = successor.get("imported") or successor.get("found") or {}
        moments.append(
            Moment(
                str(arrived.get("time") or ""),
                f"Rotated: version {successor.get('version')} took its place",
                _clock(arrived.get("clock")),
                claimed=not arrived.get("signed_by"),
            )
        )
    return tuple(sorted(moments, key=lambda moment: moment.time or "~"))


def _made(version: Version) -> Iterator[Moment]:
    """Yield when the token made it, which a CKA_ID of ours holds."""
    told = version.wrapped.text("key", "generation")
    identifier = bytes.fromhex(told) if told else b""
    if is_ours(identifier):
        moment = format_moment(datetime.fromtimestamp(made_at(identifier), timezone.utc))
        claimed = version.wrapped.standing == "unsigned"
        yield Moment(moment, _EVENTS["made"], _TOKEN_HOST, claimed)


def _transfer(version: Version) -> Iterator[Moment]:
    wrapped, imported, found = version.wrapped, version.imported, version.found
    if wrapped.predicate:
        kek = wrapped.text("kek", "kid") or "an escrow key"
        what = f"Wrapped under {kek.rpartition('/keys/')[2]}"
        claimed = wrapped.standing == "unsigned"
        yield Moment(wrapped.text("wrap", "time"), what, _TOKEN_HOST, claimed)
    if imported.predicate:
        claimed = imported.standing == "unsigned"
        if imported.text("interrupted_at"):
            what = "Import interrupted; a later run read the version back"
            yield Moment(imported.text("interrupted_at"), what, _clock("host"), claimed)
        yield Moment(imported.text("time"), "Imported", _clock(imported.get("clock")), claimed)
        if version.expires:
            yield Moment(version.expires, "Expires", "as set in the vault", claimed)
    if found.predicate:
        claimed = found.standing == "unsigned"
        what = "Found in the vault, without a receipt"
        yield Moment(found.text("time"), what, _clock(found.get("clock")), claimed)


def _clock(name: t.Any) -> str:
    return _CLOCKS.get(str(name), _NO_CLOCK)
