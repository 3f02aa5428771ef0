# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The chain of a vault's run manifests: each names the digest of the one before; pure.

A chain shows what was removed, changed or put between. It does not show that its end was cut off:
for that, whoever judges has to know a later manifest from elsewhere, a known head.
"""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
)


@dataclass(frozen=True)
class Head:
    """The last manifest of a chain, or one that somebody noted.

    :ivar sha256: of its payload
    """

    number: int
    sha256: str


@dataclass(frozen=True)
class ChainVerdict:
    """What a chain shows.

    :ivar verdict: ``whole``, ``whole up to N`` or ``broken at N``
    :ivar told: the same in a sentence
    :ivar head: the last manifest that is in its place; None where none is
    """

    verdict: str
    told: str
    head: Head | None

    @property
    def is_broken(self) -> bool:
        """Whether something is missing, was changed or was put there."""
        return self.verdict.startswith("broken")


def next_manifest(
    predicate: Mapping[str, t.Any], head: Head | None, evidence_key: str | None
) -> statements.Statement:
    """Return the manifest of a run that comes next in a chain.

    :param predicate: of run/v1 without ``number``, ``previous`` and ``evidence_key``
    :param head: the last manifest; None for the first one
    :param evidence_key: keyid of who will sign it; None where nobody will
    :raises Malformed: for a predicate that is none
    """
    place = {
        "number": head.number + 1 if head else 1,
        "previous": head.sha256 if head else None,
        "evidence_key": evidence_key,
    }
    return statements.run({**predicate, **place})


def head_of(envelope: Envelope, where: str) -> Head:
    """Return which manifest an envelope has.

    :param where: such as "The last manifest", for the message
    :raises Malformed: for what is no manifest
    """
    return _read(envelope, where).head


@dataclass(frozen=True)
class Continuation:
    """Where a chain goes on.

    :ivar head: the last manifest; None where the next one is the first
    :ivar unstored: manifests that were signed and never reached the host that keeps them
    :ivar warning: what differs between both hosts; None where nothing does
    """

    head: Head | None
    unstored: tuple[Envelope, ...] = ()
    warning: str | None = None


def continue_chain(
    own: Sequence[Envelope], shown: Envelope | None, *, shown_is_ours: bool
) -> Continuation:
    """Return where the token's side goes on with a chain that another host keeps.

    What this host noted counts before what the other one shows, which may show an older manifest as
    the last.

    :param own: the last manifest that this host signed, and those before it that were not stored
        when it was signed, oldest first
    :param shown: the last one that the other host has
    :param shown_is_ours: the evidence key that is in use signed ``shown``
    :raises Malformed: for an envelope that is no manifest
    """
    noted = [_read(each, "The last manifest that this host noted") for each in own]
    theirs = _read(shown, "The last manifest (last_run)") if shown else None
    if not noted and theirs is None:
        return Continuation(None)
    if not noted and theirs:
        return Continuation(theirs.head, warning=None if shown_is_ours else _unsigned(theirs.head))
    mine = noted[-1]
    if theirs and theirs.head == mine.head:
        return Continuation(mine.head)
    previous = [each.previous for each in noted]
    if (last := theirs.head.sha256 if theirs else None) in previous:
        unstored = tuple(own[previous.index(last) :])
        first = mine.head.number - len(unstored) + 1
        numbers = f"{first} to {mine.head.number} were" if unstored[1:] else f"{first} was"
        return Continuation(
            mine.head,
            unstored,
            f"Manifest {numbers} signed and never stored, because a run was interrupted. What is "
            "missing is returned again",
        )
    if theirs and shown_is_ours and theirs.head.number > mine.head.number:
        return Continuation(
            theirs.head,
            warning=f"The last manifest is {theirs.head.number}, and this host noted "
            f"{mine.head.number}: another host signs with the same key, or this host was restored "
            f"from a backup. The chain goes on from {theirs.head.number}",
        )
    has = f"manifest {theirs.head.number} ({theirs.head.sha256})" if theirs else "none"
    return Continuation(
        mine.head,
        warning=f"The host that reaches Azure shows {has} as the last manifest, and this host "
        f"signed {mine.head.number} ({mine.head.sha256}): manifests were lost or replaced there. "
        f"The chain goes on from {mine.head.number}",
    )


def _unsigned(head: Head) -> str:
    return (
        f"This host noted no manifest, and the last one, {head.number} ({head.sha256}), is not "
        "signed by the evidence key in use. The chain goes on from it, which says nothing of what "
        "is before"
    )


def judge_chain(envelopes: Sequence[Envelope], known_heads: Iterable[Head]) -> ChainVerdict:
    """Judge the manifests of one vault, whoever signed them.

    Lines with one payload are one manifest, and the numbers give the order.

    :param envelopes: as they stand in the file
    :param known_heads: manifests of this vault that whoever judges knows from elsewhere
    :raises Malformed: for an envelope that is no manifest
    """
    links = [_read(envelope, "A line of the run manifests") for envelope in envelopes]
    by_number: dict[int, list[_Link]] = {}
    for link in dict.fromkeys(links):
        by_number.setdefault(link.head.number, []).append(link)
    known: dict[int, set[str]] = {}
    for noted in known_heads:
        known.setdefault(noted.number, set()).add(noted.sha256)
    last_number = max([*by_number, *known], default=0)
    last: _Link | None = None
    for number in range(1, last_number + 1):
        why = _wrong(by_number.get(number, []), last, known.get(number, set()), by_number)
        if why:
            return ChainVerdict(f"broken at {number}", why, last.head if last else None)
        last = by_number[number][0]
    return _unbroken(last, known, _notes(links))


@dataclass(frozen=True)
class _Link:
    """What counts of a manifest: its place, the one before, and its vault."""

    head: Head
    previous: str | None
    vault: str


def _read(envelope: Envelope, where: str) -> _Link:
    kind, statement = statements.read(envelope, where)
    if kind != "run":
        raise Malformed(where, f"it is {kind}/v1 and no manifest of a run")
    predicate = statement["predicate"]
    return _Link(
        Head(predicate["number"], envelope.digest),
        predicate["previous"],
        comparable_url(predicate["vault"]),
    )


def _wrong(
    here: Sequence[_Link],
    last: _Link | None,
    known: set[str],
    by_number: Mapping[int, t.Any],
) -> str | None:
    """Return what is wrong with what stands behind ``last``; None where nothing is.

    :param here: what has the next number
    :param known: digests that are known of that number
    """
    number = last.head.number + 1 if last else 1
    if not here:
        later = [each for each in by_number if each > number]
        shows = f"manifest {min(later)} is there" if later else "a later one is known"
        return f"Manifest {number} is missing, and {shows}"
    if len(here) > 1:
        return f"There are {len(here)} different manifests with number {number}"
    if here[0].previous != (last.head.sha256 if last else None):
        return (
            f"Manifest {number} does not follow manifest {number - 1}: it names another digest "
            "as the one before"
        )
    if last and here[0].vault != last.vault:
        return f"Manifest {number} is of another vault than manifest {number - 1}"
    if known - {here[0].head.sha256}:
        return f"Manifest {number} is not the one that is known: its digest is another"
    return None


def _unbroken(last: _Link | None, known: Mapping[int, t.Any], notes: str) -> ChainVerdict:
    if last is None:
        return ChainVerdict("whole up to 0", "There is no manifest of a run", None)
    number = last.head.number
    if number in known:
        told = f"All manifests up to {number} are there, and {number} is the known head"
        return ChainVerdict("whole", told + notes, last.head)
    told = f"All manifests up to {number} are there, and nothing shows whether more followed"
    return ChainVerdict(f"whole up to {number}", told + notes, last.head)


def _notes(links: Sequence[_Link]) -> str:
    """Return what else is strange about the lines of a chain that is unbroken, to end a sentence.

    Neither can change what a chain says, because digests hold it together.
    """
    numbers = [link.head.number for link in links]
    notes = []
    if any(later < earlier for earlier, later in itertools.pairwise(numbers)):
        notes.append("the lines are not in the order in which they were written")
    if len(set(numbers)) != len(numbers):
        notes.append("a line is there twice")
    return f"; {' and '.join(notes)}" if notes else ""
