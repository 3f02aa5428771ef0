# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions about the evidence of a run: its receipts, events and manifest.

The role keeps it beside the run, as a text: statements of thousands of keys are large.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping, Sequence
from functools import wraps

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import plain
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Request,
    Result,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.run_record import (
    WHO,
    RunRecord,
    evidence_lost,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.who import who_runs
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions.run import (
    Kept,
    batch_of,
    keep,
    of_a_run,
    read_run,
)

#: Ansible would make a dict of a text that is nothing but JSON
_HEAD = "keyferry evidence "


def _keep(record: RunRecord) -> Kept:
    """Return what the role keeps of the evidence: its state, and how much there is."""
    return {
        "state": _HEAD + json.dumps(plain(record.to_dict()), separators=(",", ":")),
        "count": len(record.receipts) + len(record.events),
        "last_run": record.last_run,
    }


def _read(kept: t.Any) -> RunRecord:
    """Return the evidence that was kept.

    :raises ByokError: when none was
    """
    state = kept.get("state") if isinstance(kept, Mapping) else None
    if not isinstance(state, str) or not state.startswith(_HEAD):
        raise ByokError("This run was not begun", "Run the entry points of the role unchanged")
    return RunRecord.from_dict(json.loads(state[len(_HEAD) :]))


def _begin(_request: t.Any) -> Kept:
    return _keep(RunRecord(host_clock()))


def _begin_in_vault(vault_url: str, job: t.Any, looks_only: bool) -> Kept:
    """Begin a run that changes keys of a vault which nobody need declare any more."""
    return keep(Transfer.begin(Request(job, vault_url, looks_only), ()))


# What a step did is taken in by the run and by its evidence in one task, which reads both as they
# were before: so each computes what Azure's host contradicts.


def _uncontradicted(run: Transfer, evidence: t.Any, plan: Result) -> Kept:
    """Fail the keys of which receipts of interrupted runs say what cannot be true."""
    recorded = _read(evidence).planned(run, {}, plan, host_clock())
    return keep(run.contradicted(recorded.contradictions))


def _evidence_planned(record: RunRecord, kept_run: t.Any, token: Result, plan: Result) -> Kept:
    run = read_run(kept_run).seen_in_token(token).planned(plan)
    return _keep(record.planned(run, token, plan, host_clock()).record)


def _imported(
    run: Transfer,
    keys: Sequence[str],
    made: Result,
    wrapped: Result,
    imported: Result,
    evidence: t.Any,
) -> Kept:
    batch = batch_of(run, keys, made, wrapped)
    recorded = _read(evidence).brought(batch, wrapped, imported)
    return keep(batch.imported(imported).contradicted(recorded.contradictions))


def _evidence_imported(
    record: RunRecord,
    kept_run: t.Any,
    keys: Sequence[str],
    made: Result,
    wrapped: Result,
    imported: Result,
) -> Kept:
    batch = batch_of(read_run(kept_run), keys, made, wrapped)
    return _keep(record.made(made).brought(batch, wrapped, imported).record)


# What is signed and stored


def _manifest(record: RunRecord, kept_run: t.Any, who: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the run's manifest, as far as it is known before it is numbered."""
    known = who_runs()
    told = {name: str(who.get(name) or known.get(name) or "") or None for name in WHO}
    return record.manifest(read_run(kept_run), told, host_clock())


def _manifest_to_store(
    record: RunRecord, kept_run: t.Any, who: Mapping[str, t.Any], signed: Result
) -> dict[str, t.Any] | str | None:
    """Return the manifest that Azure's host stores: the signed one, or without an evidence key an
    unsigned one. None where signing failed: then the next run's manifest takes the receipts.
    """
    if signed.get("skipped"):
        return _manifest(record, kept_run, who)
    line: str | None = signed.get("run")
    return line


def _kept(run: Transfer, signed: Result, stored: Result) -> Kept:
    """Take in what came of signing and storing, which fails nothing that was done."""
    failures = [*_unkept(run, "signed", signed), *_unkept(run, "stored", stored)]
    return keep(run.evidence_kept(failures))


def _unkept(run: Transfer, doing: str, result: Result) -> list[Failure]:
    """Return what of the evidence could not be signed or stored."""
    failures = [Failure.from_dict(each) for each in result.get("failures") or ()]
    if not result.get("skipped") and result.get("aborted", True):
        lost = evidence_lost(doing, str(result.get("msg")))
        failures.append(Failure(run.request.vault_url, str(lost), lost.reason))
    return failures


def _of_evidence(question: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @wraps(question)
    def asked(kept: t.Any, *positional: t.Any, **named: t.Any) -> t.Any:
        return question(_read(kept), *positional, **named)

    return asked


_ABOUT_A_RUN: Mapping[str, t.Callable[..., t.Any]] = {
    "uncontradicted": _uncontradicted,
    "imported": _imported,
    "evidence_kept": _kept,
}

_ABOUT_EVIDENCE: Mapping[str, t.Callable[..., t.Any]] = {
    "evidence_planned": _evidence_planned,
    "evidence_imported": _evidence_imported,
    "evidence_approved": lambda record, judged: _keep(record.approved(judged)),
    "evidence_made": lambda record, made: _keep(record.made(made)),
    "evidence_retired": lambda record, url, retired: _keep(record.retired(url, retired)),
    "evidence_deleted": lambda record, deleted, asked, states: _keep(
        record.deleted(deleted, asked, states)
    ),
    "evidence_locked": lambda record, locked: _keep(record.locking_done(locked)),
    "to_sign": lambda record: record.to_sign(),
    "to_store": lambda record: record.to_store(),
    "manifest": _manifest,
    "manifest_to_store": _manifest_to_store,
}

QUESTIONS: Mapping[str, t.Callable[..., t.Any]] = {
    "begin_evidence": _begin,
    "begin_in_vault": _begin_in_vault,
    **{name: of_a_run(question) for name, question in _ABOUT_A_RUN.items()},
    **{name: _of_evidence(question) for name, question in _ABOUT_EVIDENCE.items()},
}
