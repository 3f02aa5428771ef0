# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_rotate does: the engine's driver in one process, on a host that reaches both sides.

It asks the same Transfer as the role, so both have the same order: look, plan, rehearse, KEK, make,
wrap, import, lock. What one run leaves when it dies, another one goes on with.
"""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    ATTESTATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    add_singles,
    items_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.kek_policy import (
    policy_for,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    BYOK_ROTATE,
    Kek,
    KekRules,
    judge,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    parse_duration,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import RotatedKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    ImportedKey,
    PlannedKey,
    TargetKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    Item,
    Request,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.run_record import (
    Recorded,
    RunRecord,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence import Evidence
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence_key import (
    open_evidence_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import (
    ByPeople,
    Gate,
    open_gate,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.hsm_info import (
    refuse_untransferable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.import_keys import (
    Importing,
    bring,
    one_writer,
    warn_of_rivals,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.kek import converge_kek
from ansible_collections.keyferry.azure.plugins.module_utils._steps.plan import (
    Asked,
    plan,
    warn_of_unknown,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.receipts import (
    look_at_receipts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.retire import retire_versions
from ansible_collections.keyferry.azure.plugins.module_utils._steps.run_evidence import (
    keep_evidence,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.target_key import find_or_make
from ansible_collections.keyferry.azure.plugins.module_utils._steps.wrap import (
    Means,
    Recipient,
    read_kek,
    wrap_for,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import EvidenceKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, open_token
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.evidence_signer import (
    evidence_signer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import Believed

Params = t.Mapping[str, t.Any]

#: Seconds that the deletion of a KEK may take
_KEK_DELETION = 300

#: Why a key that could be locked stays open: this module sees one vault
_STAYS_OPEN = (
    "it has arrived and stays unlocked in the token (after_transfer: lock), because other vaults "
    "may still wait for it. Set last_vault: true in the task for the last vault that needs it"
)


def rotate_keys(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """Replace what is due, make generations ahead, or disable older versions, as ``stage`` says.

    :raises ByokError: when token or vault cannot be used at all; what fails for one key is in the
        outcome's failures
    """
    outcome.result.update(rotations=[], approvals=[])
    items = items_of(params, "declarations")
    declarations = [parse_declaration(item) for item in items]
    check_unique(declaration.name for declaration in declarations)
    vault = open_vault(params, outcome.warnings.append)
    retires = params["stage"] == "retire"
    # A run that only disables needs no token: what is in it may come from another host.
    needs_token = not retires or params["target_keys"] is None
    with (
        nullcontext() if check_mode else one_writer(vault, params, outcome),
        open_token(params) if needs_token else nullcontext() as token,
    ):
        if retires:
            retire_versions(vault, token, params, check_mode, outcome)
        elif token:
            with open_evidence_key(token, params, check_mode, outcome) as evidence_key:
                driver = _Driver(vault, token, params, check_mode, outcome)
                driver.evidence_key = evidence_key
                with nullcontext() if check_mode else driver.journal.until_told():
                    driver.run(items, declarations)
    add_singles(params, "declarations", outcome, rotation="rotations")


class _Driver:
    """One run that replaces what is due, or makes it ahead.

    :ivar results: what is returned of each key, by its name
    :ivar evidence_key: signs the receipts; None where nobody does
    :ivar last: the run as far as it has come, for its manifest; None before both sides were seen
    :ivar record: the rest of its evidence
    """

    evidence_key: EvidenceKey | None = None
    last: Transfer | None = None

    def __init__(
        self, vault: Vault, token: Token, params: Params, check_mode: bool, outcome: Outcome
    ) -> None:
        self.vault = vault
        self.token = token
        self.params = params
        self.check_mode = check_mode
        self.outcome = outcome
        self.journal = Journal(params["state_directory"], vault.address.url)
        signer = evidence_signer(vault, params["evidence_key_id"])
        self.evidence = Evidence.of(params, vault.address.url, None, signer)
        self.record = RunRecord(host_clock())
        self.results: dict[str, RotatedKey] = {}
        self.gate = open_gate(params)

    def run(self, items: t.Sequence[Item], declarations: t.Sequence[Declaration]) -> None:
        """Take the engine's steps, one after the other."""
        self.declarations = {declaration.name: declaration for declaration in declarations}
        try:
            self._run(items)
        except Exception:  # and not where the process is about to end
            self._keep_evidence()
            raise
        else:
            self._keep_evidence()
        finally:
            self.outcome.result["rotations"] = [key.to_dict() for key in self.results.values()]

    def _keep_evidence(self) -> None:
        """Sign and store what was done so far, whatever comes of the run."""
        if self.last and not self.check_mode:
            record, key = self.record.approved(self.outcome.result), self.evidence_key
            keep_evidence(self.last, record, self.token, key, self.params, self.outcome)

    def _run(self, items: t.Sequence[Item]) -> None:
        run = self.last = self._observe(items)
        if run.to_bring():
            with self._step() as rehearsed:
                wanted = self._declared(run.to_bring())
                zeros = self.params["allow_trailing_zeros"]
                refuse_untransferable(self.token, wanted, zeros, rehearsed)
                if self.params["stage"] != "prepare":
                    url, made = self.vault.address.url, not self.params["kek_id"]
                    self.gate.refuse_before_kek(wanted, url, made, rehearsed.failures)
            run = self.last = run.rehearsed(_result(rehearsed))
        if self.params["stage"] == "prepare":
            self.last = self._make(run.all_at_once()).transfer
            return
        run = self._bring(run)
        self.last = self._lock(run)

    def _observe(self, items: t.Sequence[Item]) -> Transfer:
        """Look at both sides, and plan."""
        params = self.params
        request = Request(
            job="prepare" if params["stage"] == "prepare" else "rotate",
            vault_url=self.vault.address.url,
            looks_only=self.check_mode,
            rotates=True,
            force=tuple(params["force"]),
            prove=params["prove"],
            batch_size=max(1, len(items)),
        )
        with self._step(with_changes=False) as seen:
            find_or_make(
                self.token,
                list(self.declarations.values()),
                params,
                check_mode=True,
                outcome=seen,
                challenges=request.asks_for_challenges,
            )
        run = Transfer.begin(request, items).seen_in_token(_result(seen))
        in_token, force = seen.result["target_keys"], frozenset(request.force)
        with self._step(with_changes=False) as planned:  # what becomes of it is told by the steps
            soon = parse_duration(params["expires_soon"])
            asked = Asked(force, params["on_deleted"], self.journal, soon)
            plan(self.vault, run.in_token(), in_token, asked, outcome=planned)
            warn, entries = planned.warnings.append, planned.result["plan"]
            planned.result["receipts"] = look_at_receipts(self.evidence.folder, entries, warn)
        warn_of_unknown(force, in_token, self.outcome)
        run = run.planned(_result(planned))
        recorded = self.record.planned(run, _result(seen), _result(planned), host_clock())
        run = self._take(recorded, run)
        for entry in run.plan:
            self._begin(entry)
        return run

    def _take(self, recorded: Recorded, run: Transfer) -> Transfer:
        """Take in the evidence of a step, and fail the keys of which it contradicts the token."""
        self.record = recorded.record
        for lie in recorded.lies:
            self.outcome.failures.add(lie.name, lie)
        return run.contradicted(recorded.contradictions)

    def _begin(self, entry: PlannedKey) -> None:
        """Report what is planned for a key."""
        self.results[entry.name] = RotatedKey(
            entry.name,
            entry.action,
            entry.reason,
            entry.code,
            entry.generation,
            entry.thumbprint,
            entry.kid,
            entry.version,
            entry.next_due,
        )
        if entry.action == "conflict":
            self.outcome.failures.add(
                entry.name,
                ByokError(
                    f"The key {entry.name} in the {self.vault} is not rotated: {entry.reason}",
                    entry.remedy or "Find out what happened, then decide",
                    code=entry.code,
                ),
            )

    def _make(self, batch: Batch) -> Batch:
        """Make the generations that are missing, and find the others that are brought."""
        wanted = batch.to_make()
        if not wanted.target_keys:
            return batch
        orders = [order.to_dict() for order in wanted.orders]
        with self._step() as made:
            find_or_make(
                self.token,
                self._declared(wanted.target_keys),
                self.params,
                self.check_mode,
                outcome=made,
                orders=orders,
            )
        self.record = self.record.made(made.result)
        for key in map(TargetKey.from_dict, made.result["target_keys"]):
            self.results[key.name] = replace(
                self.results[key.name], generation=key.generation, thumbprint=key.thumbprint
            )
        return batch.made(_result(made))

    def _bring(self, run: Transfer) -> Transfer:
        """Make, wrap and import what is planned, under a KEK that lives for this run."""
        if not self.check_mode:
            self.journal.prepare()
            self.evidence.folder.prepare()
        kek_name = None
        needs_kek = bool(run.to_bring()) and not self.check_mode
        if needs_kek and not self.params["kek_id"]:
            kek_name = f"{self.params['kek_prefix']}{self._stamp()}"
        try:
            kek = self._kek(name=kek_name, kek_id=self.params["kek_id"]) if needs_kek else {}
            self.evidence = replace(self.evidence, kek_attestation=kek.get("kek_attestation"))
            recipient = self._recipient(kek) if kek else None
            run = self._let_out(run, recipient) if recipient else run
            for batch in run.batches():
                made = self._make(replace(batch, transfer=run))
                wrapped = self._wrap(made, recipient) if recipient else made
                run = self._import(wrapped)
        finally:
            if not (self.check_mode or self.params["kek_id"]):
                self._delete_keks(kek_name)
        return run

    def _recipient(self, kek: Params) -> Recipient | None:
        """Judge the KEK, before anything is made for it."""
        params = self.params
        url = self.vault.address.url
        makers = [*params["attestation_maker_roots"], *self.gate.maker_roots()]
        hardware = policy_for(url, self.gate.owner_roots(url), makers, self.vault.now)
        rules = KekRules(
            params["approved_keks"],
            params["allow_unverified_kek"],
            BYOK_ROTATE,
            hardware=hardware,
            demanded=tuple(params["required_kek_trust"]),
            people=self._by_people(kek),
        )
        # This very process made the KEK, so there is no other host to mistrust.
        options = judge(kek, rules, azure_host_trusted=True).to_dict()
        attesting = {option: params[option] for option in ATTESTATION_OPTIONS}
        return read_kek({**options, **attesting}, False, None, self.gate)

    def _let_out(self, run: Transfer, recipient: Recipient) -> Transfer:
        """Leave out the keys that the wrapping policy of this host does not let out."""
        with self._step() as judged:
            wanted = self._declared(run.to_bring())
            self.gate.refuse_leaving(wanted, recipient.kek, judged.failures)
        self.gate.report(self.outcome)
        return run.rehearsed(_result(judged))

    def _wrap(self, batch: Batch, recipient: Recipient) -> Batch:
        items = [{"path": None, "escrow_path": None, **item} for item in batch.to_wrap()]
        if not items:
            return batch
        means = Means(self.params["allow_trailing_zeros"], self.evidence_key)
        with self._step(with_changes=False) as wrapped:  # packages are on their way only
            wrap_for(self.token, items, [recipient], means, False, outcome=wrapped)
        return batch.wrapped(_result(wrapped))

    def _by_people(self, kek: Params) -> ByPeople | None:
        """Return that people approved the KEK, for which nothing but its PEM is needed."""
        return self.gate.by_people(Kek(str(kek["kek_id"]), fingerprint(kek["kek_public_key"])))

    def _import(self, batch: Batch) -> Transfer:
        params = self.params
        importing = Importing(
            self.vault,
            self.check_mode,
            params["on_deleted"],
            params["delete_timeout"],
            self.journal,
            self.evidence,
            Gate((), params),
            believed=Believed(in_this_run=True),  # this very process wrapped what it imports
        )
        packages = {package.name: package.to_dict() for package in batch.packages()}
        items = [{**_IMPORT_DEFAULTS, **item} for item in batch.to_import()]
        imported = Outcome({"imports": []})
        try:
            each_key(
                self.vault,
                items,
                imported,
                lambda item, part: bring(importing, item, packages.get(item["name"]), part),
            )
            warn_of_rivals(importing, imported)
        finally:
            self.outcome.absorb(imported)
            self.last = self._imported(batch, imported)
        return self.last

    def _imported(self, batch: Batch, imported: Outcome) -> Transfer:
        """Take in what was imported, also where an error follows it."""
        result = _result(imported)
        recorded = self.record.brought(batch, {"packages": batch.returned_packages}, result)
        for key in map(ImportedKey.from_dict, imported.result["imports"]):
            self._finish(key)
        return self._take(recorded, batch.imported(result))

    def _finish(self, key: ImportedKey) -> None:
        """Report what came of a key."""
        facts = {fact: getattr(key, fact) for fact in _ARRIVED_FACTS}
        known = {fact: value for fact, value in facts.items() if value is not None}
        result = replace(self.results[key.name], **known)
        if key.imported:
            rotation = self.declarations[key.name].rotation or UNSCHEDULED
            expires = key.attributes and key.attributes["expires"]
            created = key.created or self.vault.now
            due = rotation.due_at(created, parse_moment(expires) if expires else None)
            result = replace(result, next_due=due)
        self.results[key.name] = result

    def _lock(self, run: Transfer) -> Transfer:
        """Lock what goes to no further vault, where this run was told that there is none."""
        if not self.params["last_vault"]:
            for name in run.lockable():
                self.outcome.warnings.append(f"{name}: {_STAYS_OPEN}")
            return run
        wanted = run.to_lock(())
        if not wanted.target_keys:
            return run
        with self._step() as locked:
            find_or_make(
                self.token,
                self._declared(wanted.target_keys),
                self.params,
                self.check_mode,
                outcome=locked,
                transferred=wanted.transferred,
            )
        self.record = self.record.locking_done(locked.result)
        for key in map(TargetKey.from_dict, locked.result["target_keys"]):
            self.results[key.name] = replace(self.results[key.name], locked=key.locked)
        return run.locking_done(_result(locked))

    def _stamp(self) -> str:
        return f"{self.vault.now:%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"

    def _kek(self, **options: t.Any) -> Params:
        """Make, take or delete a KEK; returns the result of byok_kek."""
        params = self.params
        defaults = {
            "name": None,
            "kek_id": None,
            "state": "present",
            "kek_public_key": None,
            "expired_prefix": None,
            "size": params["kek_size"],
            "lifetime": params["kek_lifetime"],
            "expires": None,
            "tags": None,
            "approved_keks": params["approved_keks"],
            "purge": params["kek_purge"],
            "made_before": False,
            "delete_timeout": _KEK_DELETION,
        }
        with self._step(with_changes=False) as step:  # what is told is the key, and not its KEK
            return converge_kek(self.vault, {**defaults, **options}, False, outcome=step).result

    def _delete_keks(self, name: str | None) -> None:
        """Delete this run's KEK, and those that interrupted runs left behind.

        The keys have arrived, so this fails nothing.

        :param name: None where this run made none
        """
        for options in ({"name": name}, {"expired_prefix": self.params["kek_prefix"]}):
            try:
                self._kek(**options, state="absent")
            except ByokError as error:
                self.outcome.warnings.append(
                    "A KEK could not be deleted. A later run tries again after it has expired: "
                    f"{error}"
                )

    def _declared(self, items: t.Iterable[Item]) -> list[Declaration]:
        return [self.declarations[item["name"]] for item in items]

    @contextmanager
    def _step(self, *, with_changes: bool = True) -> Iterator[Outcome]:
        """Take over what a step did, whatever it raises.

        :param with_changes: whether this module is the one that tells its changes
        """
        step = Outcome()
        try:
            yield step
        finally:
            self.outcome.absorb(step, with_changes=with_changes)


#: Options of byok_import for a key, where the engine says nothing of them
_IMPORT_DEFAULTS: Params = {
    "path": None,
    "package": None,
    "sha256": None,
    "challenge": None,
    "thumbprint": None,
    "replaces": None,
    "confirm": None,
    "prove": False,
}

#: What is returned of a key that was imported or updated, as byok_import tells it
_ARRIVED_FACTS = (
    "generation",
    "kid",
    "version",
    "thumbprint",
    "replaced",
    "request_id",
    "identity",
    "proof",
    "receipt",
    "imported",
    "envelope",
    "wrapped_sha256",
)


def _result(outcome: Outcome) -> dict[str, t.Any]:
    """Return what a module with this outcome would return."""
    return {**outcome.result, "failures": outcome.failures.as_result()}
