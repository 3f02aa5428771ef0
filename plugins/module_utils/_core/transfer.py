# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The engine: from declarations and observations, what comes next in a run; pure.

Two drivers share it: the role, which asks for the input of its next task, and byok_rotate, which
asks in process. A step hands its whole result over and gets a new Transfer. The order of steps is
``seen_in_token``, ``planned``, ``rehearsed``, then per batch ``made``, ``wrapped``, ``imported``,
and at the end ``locked``: nothing is made before it was rehearsed.

It runs on the controller. Each host is believed only in what it is the authority for: the token's
host says which generations there are, Azure's host says what has to be done with which declared
name. What is made and wrapped is what the inventory declares, whatever Azure's host returned.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    Failure,
    MakeOrder,
    Package,
    PlannedKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape

#: The fields of one declared key
Item = Mapping[str, t.Any]

#: The whole result of a module
Result = Mapping[str, t.Any]

Job = t.Literal["transfer", "rotate", "prepare", "plan", "show", "retire", "delete", "recover"]

#: What is brought, and what byok_import has to do anything about
_BROUGHT = ("transfer", "rotate")
_IMPORTED = (*_BROUGHT, "update", "recover")

#: The vault has the generation that it should have; with the second, a tag alone may have told
_ARRIVED = ("none", "lock")
_IN_PLACE = (*_ARRIVED, "update")

#: Why a version in the vault is believed to be our key, as far as that is more than a name
_SHOWN = ("public_key", "proved")

#: The attribute in a plan's changes that tells of a key to be locked in the token
_EXTRACTABLE = "CKA_EXTRACTABLE"

_TAMPERED = (
    "Nothing was made or wrapped for it. Find out what happened on the host that reaches Azure "
    "(byok_azure_host), and check that it runs the same version of keyferry.azure"
)


@dataclass(frozen=True)
class Request(Shape):
    """What a run was asked for.

    :ivar job: the entry point of the role, or the stage of byok_rotate
    :ivar vault_url: the vault that this is about
    :ivar looks_only: nothing is changed in token or vault
    :ivar rotates: what is due is replaced
    :ivar force: identities of generations that are replaced although they are not due
    :ivar held_back: names of keys that this run leaves alone
    :ivar batch_size: how many keys are made, wrapped and imported in one step
    :ivar package_paths: by names of keys, where their packages are written as well
    :ivar escrow_directory: where escrow packages go; None where no escrow is wanted
    :ivar confirmations: by names of keys, the newest version of a deleted key that may be purged
    """

    job: Job = "transfer"
    vault_url: str = ""
    looks_only: bool = False
    rotates: bool = False
    force: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()
    prove: bool = False
    batch_size: int = 1000
    package_paths: Mapping[str, t.Any] = field(default_factory=dict)
    escrow_directory: str | None = None
    confirmations: Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def asks_for_challenges(self) -> bool:
        """Whether the vault proves the keys that are there already, which changes nothing."""
        return self.prove and not self.looks_only and self.job in _BROUGHT


@dataclass(frozen=True)
class Held(Shape):
    """What the token holds of a key.

    :ivar generation: CKA_ID of the one that is meant; None where it has yet to be made
    :ivar thumbprint: its RFC 7638 thumbprint; None for oct keys
    :ivar newest: CKA_ID of the youngest generation that is there
    :ivar challenge: for an oct key, what proves that the vault has it, if it was asked for
    """

    name: str
    generation: str | None
    thumbprint: str | None
    newest: str | None
    challenge: Mapping[str, t.Any] | None = None

    @property
    def identity(self) -> str | None:
        """What people name its generation by: the thumbprint, or for oct keys the CKA_ID."""
        return self.thumbprint or self.generation


# The role hands whole results of thousands of keys over, in containers of Ansible that are slow to
# read: so no field is read that the engine does not need.


@dataclass(frozen=True)
class TokenGeneration(Shape):
    """What the engine needs of GenerationFacts."""

    generation: str
    half_made: bool = False


@dataclass(frozen=True)
class TokenKey(Shape):
    """What the engine needs of TargetKey."""

    name: str
    generation: str | None
    thumbprint: str | None
    generations: tuple[TokenGeneration, ...]
    challenge: Mapping[str, t.Any] | None = None

    @property
    def held(self) -> Held:
        """What the token holds of the key; a generation that was half made is none."""
        whole = [each.generation for each in self.generations if not each.half_made]
        newest = whole[-1] if whole else None
        return Held(self.name, self.generation, self.thumbprint, newest, self.challenge)


@dataclass(frozen=True)
class MadeKey(Shape):
    """What the engine needs of a TargetKey that was made, or found to be brought."""

    name: str
    generation: str | None
    thumbprint: str | None

    @property
    def held(self) -> Held:
        """What the token holds of the key now; what is made is the youngest."""
        return Held(self.name, self.generation, self.thumbprint, self.generation)


@dataclass(frozen=True)
class LockedKey(Shape):
    """What the engine needs of a TargetKey that was only looked for, or locked."""

    name: str
    locked: bool = False


@dataclass(frozen=True)
class BroughtKey(Shape):
    """What the engine needs of ImportedKey."""

    name: str
    kid: str | None
    thumbprint: str | None
    generation: str | None
    imported: bool
    updated: bool
    current: bool
    identity: str | None


@dataclass(frozen=True)
class Progress(Shape):
    """What batches have done, by names of keys, and no more than is needed: there may be thousands.

    :ivar imported: identifiers of the versions that were imported
    :ivar standing: CKA_IDs of what the newest versions are; a tag may have told it
    :ivar arrived: what has certainly arrived
    """

    imported: Mapping[str, t.Any] = field(default_factory=dict)
    updated: tuple[str, ...] = ()
    standing: Mapping[str, t.Any] = field(default_factory=dict)
    arrived: tuple[Held, ...] = ()


@dataclass(frozen=True)
class Transfer(Shape):
    """One run for one vault, as far as it has come.

    :ivar declared: the keys of this run, with the fields that the inventory declares
    :ivar held: what the token holds of those that could be looked at
    :ivar plan: what has to be done with them
    :ivar now: the vault's time, which the CKA_IDs of new generations tell
    :ivar locked: names of keys that this run locked, or would
    :ivar failures: keys that failed while others went on
    :ivar unkept: what of this run could not be signed or stored as evidence
    """

    request: Request
    declared: tuple[Item, ...]
    held: tuple[Held, ...] = ()
    plan: tuple[PlannedKey, ...] = ()
    now: datetime | None = None
    progress: Progress = field(default_factory=Progress)
    locked: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    unkept: tuple[Failure, ...] = ()

    @classmethod
    def begin(cls, request: Request, declared: Iterable[Item]) -> Transfer:
        """Begin a run for the declared keys, but for those that are held back."""
        held_back = frozenset(request.held_back)
        kept = tuple(item for item in declared if item["name"] not in held_back)
        return cls(request, kept)

    # What each side saw

    def seen_in_token(self, result: Result) -> Transfer:
        """Take in what byok_target_key saw of the declared keys.

        :raises ByokError: when it is no such result
        """
        keys = [TokenKey.from_dict(key) for key in result.get("target_keys") or []]
        names = {item["name"] for item in self.declared}
        held = tuple(key.held for key in keys if key.name in names)
        return replace(self, held=held)._failed(result)

    def planned(self, result: Result) -> Transfer:
        """Take in what byok_plan says has to be done, of which host it is the authority.

        :raises ByokError: when it plans a key that is not declared or that it was not asked about,
            or plans one twice, or is no such result
        """
        entries = tuple(PlannedKey.from_dict(entry) for entry in result.get("plan") or [])
        orders = [MakeOrder.from_dict(order) for order in result.get("orders") or []]
        self._refuse_strange([entry.name for entry in entries])
        failures = []
        for entry in entries:
            contradiction = self._contradiction(entry)
            if contradiction:
                failures.append(Failure(entry.name, contradiction, "contradiction"))
        now = next((order.made_at for order in orders if order.made_at), None)
        return replace(self, plan=entries, now=now)._with(failures)._failed(result)

    def refuse_to_make(self, elsewhere: Mapping[str, Collection[str]]) -> Transfer:
        """Fail the keys that would have to be made, and of which this run lacks some hosts.

        Two runs that each have a part of a key's hosts would make two different keys of one name.

        :param elsewhere: by names of keys, the hosts that declare it too and are not in this run
        """
        failures = []
        for name in self.to_be_made():
            if elsewhere.get(name):
                failures.append(_needs_prepare(name, elsewhere[name], self.request.job))
        return self._with(failures)

    def rehearsed(self, result: Result) -> Transfer:
        """Take in which keys byok_hsm_info says cannot be made or wrapped."""
        return self._failed(result)

    def locking_done(self, result: Result) -> Transfer:
        """Take in what byok_target_key locked."""
        keys = [LockedKey.from_dict(key) for key in result.get("target_keys") or []]
        locked = tuple(key.name for key in keys if key.locked)
        return replace(self, locked=locked)._failed(result)

    def contradicted(self, failures: Sequence[Failure]) -> Transfer:
        """Take in which keys Azure's host states something of that cannot be true."""
        return self._with(failures)

    def evidence_kept(self, failures: Sequence[Failure]) -> Transfer:
        """Take in what could not be signed or stored; what was done with the keys stays done."""
        return replace(self, unkept=(*self.unkept, *failures))

    # What comes next

    def found(self, result: Result) -> list[Item]:
        """Return the declarations of the keys that byok_target_key could look at: as
        ``seen_in_token(result).in_token()``, without reading what it saw.
        """
        failed = {Failure.from_dict(failure).name for failure in result.get("failures") or []}
        keys = [LockedKey.from_dict(key) for key in result.get("target_keys") or []]
        names = {key.name for key in keys} - failed - self._names_failed
        return [item for item in self.declared if item["name"] in names]

    def in_token(self) -> list[Item]:
        """Return the declarations of the keys that the token could be asked about."""
        names = {key.name for key in self.held} - self._names_failed
        return [item for item in self.declared if item["name"] in names]

    def to_bring(self) -> list[Item]:
        """Return the declarations of the keys to make or wrap."""
        names = {entry.name for entry in self._going_on() if entry.action in _BROUGHT}
        return [item for item in self.declared if item["name"] in names]

    def to_be_made(self) -> list[str]:
        """Return the names of the keys of which a generation has to be made."""
        made = []
        for entry in self._going_on():
            missing = self._held(entry.name).generation is None
            if entry.action == "rotate" or (entry.action == "transfer" and missing):
                made.append(entry.name)
        return made

    def batches(self) -> list[Batch]:
        """Return what there is to do with the vault, in the order of the plan."""
        # What is in place is given to byok_import as well where the vault has to prove it.
        actions = (*_IMPORTED, *_ARRIVED) if self.request.asks_for_challenges else _IMPORTED
        names = [entry.name for entry in self._going_on() if entry.action in actions]
        size = max(1, self.request.batch_size)
        return [
            Batch(self, tuple(names[first : first + size])) for first in range(0, len(names), size)
        ]

    def labels(self) -> dict[str, str]:
        """Return, by names of keys, their labels in the token where these are other ones."""
        return {item["name"]: item["label"] for item in self.declared if item.get("label")}

    def all_at_once(self) -> Batch:
        """Return one batch of all that is to be made, for a run that only makes."""
        return Batch(self, tuple(item["name"] for item in self.to_bring()))

    def lockable(self) -> dict[str, str]:
        """Return, by names of keys to lock, the identities of their generations that arrived."""
        arrived = {key.name: key for key in self._arrived()}
        wanted: dict[str, str] = {}
        for entry in self._going_on():
            identity = entry.name in arrived and arrived[entry.name].identity
            declared = self._declared_by_name[entry.name].get("after_transfer") == "lock"
            if identity and declared and _EXTRACTABLE in entry.changes:
                wanted[entry.name] = identity
        return wanted

    def to_lock(self, awaited: Collection[str]) -> LockInput:
        """Return what byok_target_key locks: what arrived, and what no other vault waits for.

        :param awaited: names of keys that another vault is still to have
        """
        identities = {
            name: identity for name, identity in self.lockable().items() if name not in awaited
        }
        items = [item for item in self.declared if item["name"] in identities]
        return LockInput(items, list(identities.values()))

    # What came of it

    @property
    def conflicts(self) -> list[PlannedKey]:
        """The keys that somebody has to decide on."""
        return [entry for entry in self.plan if entry.action == "conflict"]

    def problems(self) -> list[Failure]:
        """Return what has to be told at the end: failures, conflicts, and lost evidence."""
        return [*self.unfinished(), *self.unkept]

    def unfinished(self) -> list[Failure]:
        """Return the keys that failed, and those that somebody has to decide on."""
        conflicts = [Failure(entry.name, entry.told, entry.code) for entry in self.conflicts]
        return [*self.failures, *conflicts]

    def standing(self) -> dict[str, str | None]:
        """Return the generation that the vault has of each key that is all right."""
        failed = {failure.name for failure in self.unfinished()}
        standing: dict[str, str | None] = {}
        for entry in self.plan:
            if entry.action in _IN_PLACE:
                standing[entry.name] = entry.generation
        standing.update(self.progress.standing)
        return {name: generation for name, generation in standing.items() if name not in failed}

    def arrived(self) -> dict[str, str | None]:
        """Return the generations that have certainly arrived, now or before."""
        return {key.name: key.generation for key in self._arrived()}

    def report(self) -> dict[str, t.Any]:
        """Return what other jobs are told of this one."""
        return {
            "vault_url": self.request.vault_url,
            "check_mode": self.request.looks_only,
            "imported": dict(self.progress.imported),
            "updated": list(self.progress.updated),
            "locked": list(self.locked),
            "unchanged": sum(entry.action == "none" for entry in self.plan),
            "replaced": self._replaced(),
            "problems": [f"{problem.name}: {problem.msg}" for problem in self.problems()],
            "failures": [problem.to_dict() for problem in self.problems()],
        }

    def _replaced(self) -> dict[str, str | None]:
        """Return, by names of keys whose replacement was forced, what their newest versions are:
        the thumbprint to name when that one has to be replaced in turn.
        """
        forced = {entry.name for entry in self.plan if entry.code == "forced"}
        return {key.name: key.identity for key in self._arrived() if key.name in forced}

    def _arrived(self) -> list[Held]:
        arrived = {}
        for entry in self.plan:
            if entry.action in _ARRIVED and entry.thumbprint:
                arrived[entry.name] = self._held(entry.name)
        arrived.update({key.name: key for key in self.progress.arrived})
        # Of a key that failed it is not certain, and other vaults' runs lock what has arrived here
        return [key for name, key in arrived.items() if name not in self._names_failed]

    def _refuse_strange(self, planned: Sequence[str]) -> None:
        strange = sorted(set(planned) - {item["name"] for item in self.in_token()})
        if strange:
            raise ByokError(
                "The host that reaches Azure plans keys that this host does not declare, or did "
                f"not ask about: {', '.join(strange)}",
                _TAMPERED,
            )
        twice = sorted(name for name, count in Counter(planned).items() if count > 1)
        if twice:
            raise ByokError(
                f"The host that reaches Azure plans keys twice: {', '.join(twice)}", _TAMPERED
            )

    def _contradiction(self, entry: PlannedKey) -> str | None:
        """Return how a plan contradicts the token or the request; None where it does not."""
        held = self._held(entry.name)
        if entry.action == "conflict":
            return None
        for fact, planned, there in (
            ("generation", entry.generation, held.generation),
            ("thumbprint", entry.thumbprint, held.thumbprint),
        ):
            if planned not in (None, there):
                return (
                    f"The host that reaches Azure plans the {fact} {planned} of this key, and the "
                    f"token's is {there}. {_TAMPERED}."
                )
        if entry.action == "rotate" and not self.request.rotates:
            return (
                "The host that reaches Azure plans to replace this key, and this run replaces "
                f"none. {_TAMPERED}."
            )
        return None

    def _going_on(self) -> list[PlannedKey]:
        """Return the plan of the keys that did not fail."""
        return [entry for entry in self.plan if entry.name not in self._names_failed]

    def _held(self, name: str) -> Held:
        return self._held_by_name[name]

    @cached_property
    def _held_by_name(self) -> dict[str, Held]:
        return {key.name: key for key in self.held}

    @cached_property
    def _names_failed(self) -> frozenset[str]:
        return frozenset(failure.name for failure in self.failures)

    @cached_property
    def _declared_by_name(self) -> dict[str, Item]:
        return {item["name"]: item for item in self.declared}

    def _failed(self, result: Result) -> Transfer:
        return self._with([Failure.from_dict(failure) for failure in result.get("failures") or []])

    def _with(self, failures: Sequence[Failure]) -> Transfer:
        if not failures:
            return self
        new = [failure for failure in failures if failure.name not in self._names_failed]
        return replace(self, failures=(*self.failures, *new))


@dataclass(frozen=True)
class LockInput:
    """What byok_target_key is told to lock.

    :ivar target_keys: declarations
    :ivar transferred: identities of the generations that arrived
    """

    target_keys: list[Item]
    transferred: list[str]


@dataclass(frozen=True)
class MakeInput:
    """What byok_target_key is told to make.

    :ivar target_keys: declarations
    :ivar orders: for those of which a generation has to be made
    """

    target_keys: list[Item]
    orders: list[MakeOrder]


@dataclass(frozen=True)
class Batch:
    """Some keys of a run on their way: made, wrapped, imported.

    Results are kept as they were handed over, and read when they are needed.

    :ivar returned_keys: what byok_target_key made, or found to be brought
    :ivar returned_packages: what byok_wrap wrapped, or would
    """

    transfer: Transfer
    names: tuple[str, ...]
    returned_keys: Sequence[Result] = ()
    returned_packages: Sequence[Result] = ()

    def to_make(self) -> MakeInput:
        """Return the keys to make or find, and which of them get a newer generation."""
        transfer = self.transfer
        made = set(transfer.to_be_made()).intersection(self.names)
        orders = []
        for entry in transfer.plan:
            if entry.name in made:
                newest = transfer._held(entry.name).newest
                newer_than = newest if entry.action == "rotate" else None
                orders.append(MakeOrder(entry.name, newer_than, transfer.now, entry.reason))
        wanted = [item for item in transfer.to_bring() if item["name"] in self._among]
        return MakeInput(wanted, orders)

    def made(self, result: Result) -> Batch:
        """Take in what byok_target_key made or found."""
        keys = result.get("target_keys") or ()
        return replace(self, transfer=self.transfer._failed(result), returned_keys=keys)

    def to_wrap(self) -> list[Item]:
        """Return the declarations of the keys to wrap, each with the paths of its packages.

        In check mode a newer generation is not there yet, and the older one is not what would be
        wrapped.
        """
        replaced = {order.name for order in self.to_make().orders if order.newer_than}
        keys = {
            name: key
            for name, key in self.held.items()
            if key.generation is not None or name not in replaced
        }
        items: list[Item] = []
        for item in self.transfer.to_bring():
            key = keys.get(item["name"])
            if key:
                items.append({**item, **self._paths(key)})
        return items

    def wrapped(self, result: Result) -> Batch:
        """Take in what byok_wrap wrapped, or would."""
        packages = result.get("packages") or ()
        return replace(self, transfer=self.transfer._failed(result), returned_packages=packages)

    def to_import(self) -> list[Item]:
        """Return what is imported or brought in line: all of this batch that did not fail.

        They are declarations, with what is known of each key.
        """
        entries = self.transfer._going_on()
        return [self._import(entry) for entry in entries if entry.name in self._among]

    def packages(self) -> list[Package]:
        """Return the packages of what is imported.

        :raises ByokError: when byok_wrap returned no such thing
        """
        asked = {item["name"] for item in self.to_make().target_keys}
        names = asked.intersection(item["name"] for item in self.to_import())
        packages = []
        for returned in self.returned_packages:
            package = Package.from_dict(returned)
            if package.name in names:
                # byok_import gets the content, because it may run on another host than the file's,
                # and the receipt once: it is in the envelope too
                receipt = None if package.envelope else package.receipt
                packages.append(replace(package, path=None, receipt=receipt))
        return packages

    def ours(self, name: str) -> Held:
        """Return what the token holds of a key of this batch, after making."""
        return self.held.get(name) or self.transfer._held(name)

    def imported(self, result: Result) -> Transfer:
        """Take in what byok_import did; returns the run with that done."""
        progress = self.transfer.progress
        imported, updated = dict(progress.imported), list(progress.updated)
        standing, arrived = dict(progress.standing), list(progress.arrived)
        asked = {item["name"] for item in self.to_import()}
        keys = [BroughtKey.from_dict(key) for key in result.get("imports") or []]
        for key in keys:
            if key.name not in asked:
                continue
            if key.imported:
                imported[key.name] = key.kid
            if key.updated:
                updated.append(key.name)
            ours = self.ours(key.name)
            is_ours = key.generation in (None, ours.generation)
            if key.current and is_ours:
                standing[key.name] = key.generation
            if is_ours and self._is_shown(key, ours):
                arrived.append(ours)
        done = Progress(imported, tuple(updated), standing, tuple(arrived))
        return replace(self.transfer, progress=done)._failed(result)

    def _is_shown(self, key: BroughtKey, ours: Held) -> bool:
        """Tell whether it is more than a name that says which of our generations arrived."""
        if ours.generation is None:  # in check mode, of one that would be made
            return False
        if key.identity is None:  # in check mode, of what would be imported
            return self.transfer.request.looks_only
        if ours.thumbprint:
            return key.identity in _SHOWN and key.thumbprint == ours.thumbprint
        return key.identity == "proved" and key.generation == ours.generation

    def _import(self, entry: PlannedKey) -> Item:
        """Return what byok_import is told of a key: what it supersedes, or which key is there."""
        request, key = self.transfer.request, self.transfer._held(entry.name)
        item = self.transfer._declared_by_name[entry.name]
        facts: dict[str, t.Any] = {}
        if entry.action in _BROUGHT and entry.version:
            facts["replaces"] = entry.version
        if entry.action != "rotate" and key.generation is not None:
            facts["generation"] = key.generation
            if key.thumbprint:
                facts["thumbprint"] = key.thumbprint
        if entry.name in request.confirmations:
            facts["confirm"] = request.confirmations[entry.name]
        if request.prove:
            facts["prove"] = True
        if request.prove and key.challenge and entry.action not in _BROUGHT:
            facts["challenge"] = key.challenge
        return {**item, **facts}

    def _paths(self, key: Held) -> dict[str, str]:
        """Return where the packages of a key go; an escrow package is kept, so it is named after
        its generation."""
        request, paths = self.transfer.request, {}
        path = request.package_paths.get(key.name)
        if path:
            paths["path"] = str(path)
        if request.escrow_directory is not None and key.identity:
            # A key of another tool may have no CKA_ID.
            file_name = f"{key.name}-{key.generation or key.identity}.escrow"
            paths["escrow_path"] = f"{request.escrow_directory}/{file_name}"
        return paths

    @cached_property
    def _among(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def held(self) -> dict[str, Held]:
        """What the token holds, after making, of the keys that are brought."""
        wanted = {item["name"] for item in self.to_make().target_keys}
        keys = [MadeKey.from_dict(key) for key in self.returned_keys]
        return {key.name: key.held for key in keys if key.name in wanted}


def _needs_prepare(name: str, hosts: Collection[str], job: Job) -> Failure:
    others = ", ".join(sorted(hosts))
    run = "without slices" if job == "prepare" else "first, without slices and --limit"
    return Failure(
        name,
        f"A generation of this key has to be made, and this run does not have all hosts that "
        f"declare it ({others} are not in it). Another run could make a different key of the same "
        f"name at the same time, so none was made. Run prepare (keyferry.azure.prepare) {run}, "
        "then this run again.",
        "needs_prepare",
    )
