# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a report tells, as typed facts made from a verification; pure.

A fact comes from statements that the verification took. Of a broken version nothing is a fact, so
none of its statements is read here: its verdict stands in its place. What nobody trusted signed is
a claim, and each reader of these facts can see that it is one.
"""

from __future__ import annotations

import typing as t
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import zip_longest

from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    VERDICTS,
    ChainVerdict,
    KeyVerdict,
    Problem,
    VaultVerdict,
    Verdict,
    Verification,
    VersionVerdict,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import (
    is_ours,
    made_at,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    Deviation,
    Predicate,
)

#: What a statement is worth, the least first. ``not read`` is one of a broken version; ``named``
#: is one that nobody signed, but whose digest stands in a run's record that a trusted key signed.
Standing: t.TypeAlias = t.Literal["not read", "missing", "unsigned", "named", "signed"]
STANDINGS: t.Final[tuple[Standing, ...]] = ("not read", "missing", "unsigned", "named", "signed")

#: Whose clock a moment is by, by the word in a statement
_CLOCKS: t.Final[Mapping[str, str]] = {
    "vault": "the vault's clock",
    "entra": "Entra ID's clock",
    "host": "a host's clock",
}
_TOKEN_HOST = "clock of the token's host"
_NO_CLOCK = "clock not told"

#: What a run tells of a key, as a time line says it
_EVENTS: t.Final[Mapping[str, str]] = {
    "made": "Made in the HSM",
    "locked": "Locked in the HSM: it can't leave it any more",
    "retired": "Retired: the version is disabled",
    "deleted": "Deleted in the vault, recoverable",
    "recovered": "Recovered in the vault",
    "purged": "Purged in the vault, for good",
    "destroyed": "Destroyed in the HSM, for good",
}


@dataclass(frozen=True)
class Told:
    """A statement, as far as it was verified.

    :ivar standing: what it is worth
    :ivar signers: ids of the trusted keys that signed it
    :ivar runs: numbers of the runs whose signed records name it
    :ivar sha256: of its payload
    :ivar predicate: what it says; empty if it is missing or not read
    """

    standing: Standing
    signers: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()
    sha256: str | None = None
    predicate: Predicate = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether a trusted key vouches for it."""
        return self.standing in ("signed", "named")

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
class Moment:
    """One step of a life.

    :ivar time: ISO 8601; empty where nobody told
    :ivar what: one line
    :ivar clock: whose clock that is
    :ivar claimed: nobody trusted signed what says so
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
    :ivar claimed: nobody trusted signed the record of the run
    """

    subject: str
    principals: tuple[str, ...]
    run: int
    claimed: bool


@dataclass(frozen=True)
class Version:
    """A transfer of a key, or a version that was found without one.

    :ivar judged: what the verification found of it
    :ivar newest: whether it is the newest that the evidence knows
    :ivar wrapped: the statement of the token's side
    :ivar imported: that of Azure's side
    :ivar found: that about a version that was in place
    :ivar deviations: those of its statements, and those that no statement tells of itself
    :ivar copies: the versions of other vaults that are the same key
    :ivar escrow: packages of it for an escrow key, if there are any
    """

    judged: VersionVerdict
    newest: bool
    wrapped: Told
    imported: Told
    found: Told
    deviations: tuple[Deviation, ...] = ()
    life: tuple[Moment, ...] = ()
    approvals: tuple[Approval, ...] = ()
    copies: tuple[str, ...] = ()
    escrow: tuple[Told, ...] = ()

    @property
    def read(self) -> bool:
        """Whether anything about it is a fact."""
        return "not read" not in (
            each.standing for each in (self.wrapped, self.imported, self.found)
        )

    @property
    def kind(self) -> str:
        """Its type with size or curve; the vault's type alone where the token's side is missing."""
        return self.wrapped.text("key", "kind") or self.imported.text("type")

    @property
    def expires(self) -> str:
        """When it expires, as it was imported; empty for never or not known."""
        return self.imported.text("attributes", "expires")

    @property
    def arrived(self) -> str:
        """When it came to the vault, or was found there."""
        return self.imported.text("time") or self.found.text("time")

    @property
    def identity(self) -> str:
        """Why it is believed to be the key: ``identity`` of the results."""
        return self.imported.text("identity") or self.found.text("identity")

    @property
    def standing(self) -> Standing:
        """The least of the statements that make up its proof."""
        proof = [self.wrapped, self.imported] if self.found.standing == "missing" else [self.found]
        return min((told.standing for told in proof), key=STANDINGS.index)

    @property
    def statements(self) -> tuple[tuple[str, Told], ...]:
        """Those that are there, by the names that people know them by."""
        named = (("wrapped", self.wrapped), ("imported", self.imported), ("found", self.found))
        return tuple((name, told) for name, told in named if told.standing != "missing")


@dataclass(frozen=True)
class Key:
    """A key of a vault.

    :ivar vault: the vault's host
    :ivar judged: what the verification found of it
    :ivar versions: the newest first
    :ivar life: what names none of these versions
    :ivar escrow: packages for an escrow key of which no version is known
    """

    vault: str
    judged: KeyVerdict
    versions: tuple[Version, ...]
    life: tuple[Moment, ...] = ()
    escrow: tuple[Told, ...] = ()

    @property
    def name(self) -> str:
        """As statements write it."""
        return self.judged.name

    @property
    def verdict(self) -> Verdict:
        """``whole``, ``incomplete`` or ``broken``."""
        return self.judged.verdict


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    :ivar generated: when the verification was made, by its host's clock
    :ivar problems: all that was found, the worst first
    :ivar chains: the records of the runs, by the vault's host
    :ivar keys: the worst first
    """

    generated: str
    verdict: Verdict
    trust: Mapping[str, t.Any]
    problems: tuple[Problem, ...]
    chains: Mapping[str, ChainVerdict]
    keys: tuple[Key, ...]

    @property
    def versions(self) -> list[tuple[Key, Version]]:
        """All versions with their keys."""
        return [(key, version) for key in self.keys for version in key.versions]

    @property
    def deviations(self) -> Mapping[str, list[tuple[Key, Deviation]]]:
        """By code: which keys, and the sentences; the most frequent first."""
        groups: dict[str, list[tuple[Key, Deviation]]] = defaultdict(list)
        for key, version in self.versions:
            for deviation in version.deviations:
                groups[deviation.code].append((key, deviation))
        return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])))

    @property
    def period(self) -> tuple[str, str] | None:
        """The first and the last moment that a statement tells; None for none."""
        times = [
            time
            for _key, version in self.versions
            for time in (version.wrapped.text("wrap", "time"), version.arrived)
            if time
        ]
        return (min(times), max(times)) if times else None

    def count(self, verdict: Verdict) -> int:
        """Return how many keys have a verdict."""
        return sum(key.verdict == verdict for key in self.keys)


def report_of(verification: Verification) -> Report:
    """Return the facts of a verification."""
    generated = format_moment(verification.generated)
    places = _places(verification.vaults)
    keys = [
        _key(key, vault.vault, _Around(_runs(vault.chain), places, generated))
        for vault in verification.vaults
        for key in vault.keys
    ]
    keys.sort(key=lambda key: (-VERDICTS.index(key.verdict), key.vault, key.name))
    return Report(
        generated=generated,
        verdict=verification.verdict,
        trust=verification.trust,
        problems=verification.problems,
        chains={vault.vault: vault.chain for vault in verification.vaults},
        keys=tuple(keys),
    )


@dataclass(frozen=True)
class _Around:
    """What is known around the keys of a vault.

    :ivar runs: the records of its runs by their number; none if their chain is broken
    :ivar places: the versions of all vaults that have a thumbprint
    :ivar now: when the verification was made
    """

    runs: Mapping[int, Predicate]
    places: Mapping[str, list[str]]
    now: str


def _runs(chain: ChainVerdict) -> Mapping[int, Predicate]:
    broken = chain.verdict.startswith("broken")
    return {} if broken else {run["number"]: run for run in chain.runs}


def _places(vaults: Iterable[VaultVerdict]) -> Mapping[str, list[str]]:
    """Return the versions that have a thumbprint; broken ones are no facts."""
    places: dict[str, list[str]] = defaultdict(list)
    for vault in vaults:
        for key in vault.keys:
            for version in key.versions:
                if version.thumbprint and version.kid and _readable(key, version):
                    places[version.thumbprint].append(version.kid)
    return places


def _readable(key: KeyVerdict, version: VersionVerdict) -> bool:
    """Tell whether statements are facts: not if their version is broken, or the key as a whole."""
    by_a_version = any(each.verdict == "broken" for each in key.versions)
    return version.verdict != "broken" and (key.verdict != "broken" or by_a_version)


def _key(key: KeyVerdict, vault: str, around: _Around) -> Key:
    packages = [_told(each, key.verdict != "broken") for each in key.copies]
    versions = []
    for judged, successor in zip_longest(key.versions, key.versions[1:]):
        wrapped, imported, found = (
            _told(statement, _readable(key, judged))
            for statement in (judged.wrapped, judged.imported, judged.found)
        )
        version = Version(judged, successor is None, wrapped, imported, found)
        if version.read:
            own = tuple(
                each for each in packages if each.text("key", "generation") == judged.generation
            )
            packages = [each for each in packages if each not in own]
            version = _with_life(replace(version, escrow=own), successor, around)
        versions.append(version)
    life = _sorted(_events(key.events, around))
    return Key(vault, key, tuple(versions[::-1]), life, tuple(packages))


def _told(statement: Predicate | None, read: bool) -> Told:
    if statement is None:
        return Told("missing")
    if not read:
        return Told("not read")
    signers, runs = tuple(statement.get("signed_by") or ()), tuple(statement.get("named_by") or ())
    standing: Standing = "signed" if signers else "named" if runs else "unsigned"
    return Told(standing, signers, runs, statement.get("sha256"), statement)


def _with_life(version: Version, successor: VersionVerdict | None, around: _Around) -> Version:
    """Return a version with all that its statements and the runs tell of it."""
    judged = version.judged
    elsewhere = around.places.get(judged.thumbprint or "", ())
    made = list(_made(version))
    # The CKA_ID tells it more exactly than the run, which knows when it ended.
    events = [each for each in judged.events if not (made and each["what"] == "made")]
    moments = [*made, *_transfer(version), *_events(events, around)]
    if successor is not None:
        moments.append(_superseded(successor))
    complete = replace(
        version,
        life=_sorted(moments),
        approvals=_approvals(version, around),
        copies=tuple(kid for kid in elsewhere if kid != judged.kid),
    )
    own = (each for each in judged.deviations if each.code not in _outdated(judged))
    return replace(complete, deviations=(*own, *_further_deviations(complete, around.now)))


def _outdated(judged: VersionVerdict) -> set[str]:
    """Return codes of deviations at the transfer that the verification's own judgement ends."""
    ended: set[str] = set()
    if judged.kek_attestation.verdict == "attested":
        ended.add("kek_unattested")
    if judged.attestation.verdict == "attested":
        ended |= {"target_root_not_pinned", "target_unreadable", "target_not_fetched"}
    return ended


def _further_deviations(version: Version, now: str) -> Iterator[Deviation]:
    """Yield those that no single statement tells of itself."""
    unsigned = [name for name, told in version.statements if told.standing == "unsigned"]
    if unsigned:
        yield Deviation(
            "unsigned",
            f"No trusted key vouches for the statement {' and the statement '.join(unsigned)}, so "
            "it is a claim and proves nothing",
        )
    if version.found.standing != "missing":
        yield Deviation(
            "found_in_place",
            "The version was in the vault without a receipt, so its KEK is unknown",
        )
    else:
        for name, told in (("wrapped", version.wrapped), ("imported", version.imported)):
            if told.standing == "missing":
                yield Deviation(f"{name}_missing", f"The statement {name} is missing")
    if version.newest and version.expires and version.expires <= now:
        yield Deviation("expired", "The newest version that the evidence knows has expired")
    if version.escrow:
        yield Deviation(
            "escrow_untested",
            "An escrow package exists, and no statement says that anybody restored a key from one",
        )


def _approvals(version: Version, around: _Around) -> tuple[Approval, ...]:
    """Return who agreed to the KEK, its owner's root and the plan of a version's transfer."""
    numbers = {number for _name, told in version.statements for number in told.runs}
    kek = version.wrapped
    found = []
    for number in sorted(numbers & set(around.runs)):
        run = around.runs[number]
        digests = {
            "kek": kek.text("kek", "fingerprint"),
            "owner-root": kek.text("kek", "owner_root"),
            "plan": str(run.get("plan")),
        }
        found += [
            Approval(
                each["subject"],
                tuple(each["principals"]),
                number,
                not run["signed_by"],
            )
            for each in run.get("approvals") or ()
            if digests.get(each["subject"]) == each["digest"]
        ]
    return tuple(found)


def _sorted(moments: Iterable[Moment]) -> tuple[Moment, ...]:
    """Return them oldest first, and last what nobody timed: ISO 8601 in UTC sorts as text."""
    return tuple(sorted(moments, key=lambda moment: moment.time or "~"))


def _made(version: Version) -> Iterator[Moment]:
    """Yield when the HSM made it, which a CKA_ID that Keyferry gave holds."""
    identifier = bytes.fromhex(version.wrapped.text("key", "generation"))
    if is_ours(identifier):
        moment = format_moment(datetime.fromtimestamp(int(made_at(identifier)), timezone.utc))
        yield Moment(moment, _EVENTS["made"], _TOKEN_HOST, not version.wrapped.holds)


def _transfer(version: Version) -> Iterator[Moment]:
    wrapped, imported, found = version.wrapped, version.imported, version.found
    if wrapped.predicate:
        kek = wrapped.text("kek", "kid").rpartition("/keys/")[2].partition("/")[0]
        what = f"Wrapped under the KEK {kek}"
        yield Moment(wrapped.text("wrap", "time"), what, _TOKEN_HOST, not wrapped.holds)
    if imported.predicate:
        claimed = not imported.holds
        if imported.text("interrupted_at"):
            what = "Import interrupted; a later run read the version back"
            yield Moment(imported.text("interrupted_at"), what, _CLOCKS["host"], claimed)
        yield Moment(imported.text("time"), "Imported", _clock(imported.predicate), claimed)
        if version.expires:
            yield Moment(version.expires, "Expires", "set at the import", claimed)
    if found.predicate:
        what = "Found in the vault, without a receipt"
        yield Moment(found.text("time"), what, _clock(found.predicate), not found.holds)


def _superseded(successor: VersionVerdict) -> Moment:
    told = _told(successor.imported or successor.found, successor.verdict != "broken")
    version = successor.version or "that was not imported"
    what = f"Rotated: superseded by the version {version}"
    return Moment(told.text("time"), what, _clock(told.predicate), not told.holds)


def _events(events: Iterable[Predicate], around: _Around) -> list[Moment]:
    """Return what runs tell, if their chain holds; what has no time is done by the run's end."""
    return [
        Moment(
            str(event.get("time") or around.runs[event["run"]]["ended"]),
            f"{_EVENTS.get(str(event['what']), str(event['what']))} (run {event['run']})",
            _CLOCKS["host"] if event.get("time") else f"at the end of the run, {_CLOCKS['host']}",
            not event["signed_by"],
        )
        for event in events
        if event["run"] in around.runs
    ]


def _clock(predicate: Predicate) -> str:
    return _CLOCKS.get(str(predicate.get("clock")), _NO_CLOCK)
