# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Whether the evidence of a folder is whole: each vault's chain of runs, and each key; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._audit.judge_attestation import (
    answer_named,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.judge_key import (
    Looked,
    Surroundings,
    judge_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.observed import Observed
from ansible_collections.keyferry.azure.plugins.module_utils._audit.receipt_folder import (
    RUNS,
    ReceiptFolder,
    Stated,
    VaultFolder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.signers import (
    Runs,
    Signatures,
    problems_of_run,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.time_stamp import (
    TimeStamp,
    judge_stamp,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import Trust
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    VERDICTS,
    ChainVerdict,
    Problem,
    VaultVerdict,
    Verification,
    worst,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import chain
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Head,
    judge_chain,
)


def judge_folder(
    folder: ReceiptFolder, trust: Trust, seen: Observed, now: datetime
) -> Verification:
    """Verify a receipt folder.

    :param seen: what a token and the vaults have now, as far as somebody looked
    :param now: when this is, for the result alone: each statement is judged at its own time
    """
    problems = list(folder.problems)
    if not folder.vaults:
        problems.append(Problem("nothing_there", "incomplete", ".", "The folder has no evidence"))
    vaults = []
    for host in sorted({*folder.vaults, *trust.heads, *seen.vaults}):
        verdict, of_vault = _judge_vault(
            folder.vaults.get(host) or VaultFolder(host), trust, seen, host not in folder.vaults
        )
        vaults.append(verdict)
        problems += of_vault
    return Verification(
        generated=now,
        trust={
            **trust.facts(),
            "listing": seen.tokens is not None,
            "vaults": sorted(seen.vaults),
        },
        verdict=worst(each.verdict for each in problems),
        problems=tuple(sorted(problems, key=lambda each: -VERDICTS.index(each.verdict))),
        vaults=tuple(vaults),
    )


def _judge_vault(
    vault: VaultFolder, trust: Trust, seen: Observed, is_lost: bool
) -> tuple[VaultVerdict, list[Problem]]:
    problems = [each for each in vault.problems if each.key is None]
    if is_lost and vault.host in trust.heads:
        why = "A head of this vault's chain is known, and the folder has nothing of the vault"
        problems.append(Problem("lost_vault", "broken", vault.host, why))
    runs = sorted(vault.runs, key=lambda each: each.predicate["number"])
    stated = [each for statements in vault.keys.values() for each in statements]
    signatures = {
        each.digest: Signatures.of(each, trust.signers_of(each.kind)) for each in (*runs, *stated)
    }
    of_runs, of_chain = _judge_runs(vault, runs, signatures, trust)
    problems += of_chain
    told = Runs.of(runs, signatures)
    around = Surroundings(
        vault.host,
        trust.roots,
        vault.attestations,
        told,
        {each.digest: each for each in stated},
        signatures,
        seen.tokens is not None,
    )
    keys = []
    unread: dict[str | None, list[Problem]] = {}
    for problem in vault.problems:
        unread.setdefault(problem.key, []).append(problem)
    for name in sorted(_names(vault, told, seen)):
        verdict, of_key = judge_key(
            name,
            vault.keys.get(name, []),
            unread.get(name, []),
            around,
            Looked((seen.tokens or {}).get(name), seen.vaults.get(vault.host, {}).get(name)),
        )
        keys.append(verdict)
        problems += of_key
    problems += _loose_answers(vault, stated)
    summed = worst(each.verdict for each in problems)
    return VaultVerdict(vault.host, summed, of_runs, tuple(keys)), problems


def _names(vault: VaultFolder, told: Runs, seen: Observed) -> set[str]:
    """Return the keys that something tells of, in lower case."""
    unread = {each.key for each in vault.problems if each.key}
    in_vault = {name for name, key in seen.vaults.get(vault.host, {}).items() if key.key.versions}
    return {*vault.keys, *told.receipts, *unread, *in_vault}


def _judge_runs(
    vault: VaultFolder,
    runs: Sequence[Stated],
    signatures: Mapping[str, Signatures],
    trust: Trust,
) -> tuple[ChainVerdict, list[Problem]]:
    """Judge the chain of a vault, and who signed its manifests."""
    where = f"{vault.host}/{RUNS}"
    found = judge_chain([each.envelope for each in vault.runs], trust.heads.get(vault.host, ()))
    problems = [each for run in runs for each in problems_of_run(run, signatures[run.digest])]
    shown = tuple(
        {
            **run.predicate,
            "signed_by": list(signatures[run.digest].by),
            "sha256": run.digest,
        }
        for run in runs
    )
    broken = dict(_broken(vault, found, runs, signatures))
    if found.is_broken:
        problems.append(Problem("chain_broken", "broken", where, found.told))
    if broken:
        number = min(broken)
        before = [run for run in runs if run.predicate["number"] < number]
        head = Head(before[-1].predicate["number"], before[-1].digest) if before else None
        verdict, told = f"broken at {number}", broken[number]
    else:
        head, verdict, told = found.head, found.verdict, found.told
    if verdict.startswith("whole up to"):
        problems.append(Problem("end_unknown", "incomplete", where, told))
    stamps, of_stamps = _judge_stamps(vault, runs, trust)
    problems += of_stamps
    return ChainVerdict(verdict, told, vars(head) if head else None, shown, stamps), problems


def _judge_stamps(
    vault: VaultFolder, runs: Sequence[Stated], trust: Trust
) -> tuple[tuple[TimeStamp, ...], list[Problem]]:
    """Judge what time-stamping authorities state of a vault's manifests."""
    numbers = {run.digest: run.predicate["number"] for run in runs}
    stamps, problems = {}, []
    for sha256, response in vault.stamps.items():
        where = f"{vault.host}/stamps/{sha256}.tsr"
        stamp = judge_stamp(response, sha256, trust.stampers)
        if sha256 not in numbers:
            why = "The folder has no manifest that this time stamp could be of"
            problems.append(Problem("strange_file", "incomplete", where, why))
            continue
        if stamp.verdict == "wrong":
            problems.append(Problem("stamp_wrong", "broken", where, stamp.told))
        stamps[numbers[sha256]] = stamp
    return tuple(stamps[number] for number in sorted(stamps)), problems


def _broken(
    vault: VaultFolder,
    found: chain.ChainVerdict,
    runs: Sequence[Stated],
    signatures: Mapping[str, Signatures],
) -> Iterator[tuple[int, str]]:
    """Yield at which numbers a chain is broken, and why; of one number, the last reason counts."""
    last = found.head.number if found.head else 0
    for problem in vault.problems:
        if problem.verdict == "broken" and problem.where.startswith(f"{vault.host}/{RUNS}:"):
            yield last + 1, problem.msg
    for run in runs:
        for problem in problems_of_run(run, signatures[run.digest]):
            if problem.verdict == "broken":
                yield run.predicate["number"], problem.msg
    if found.is_broken:
        yield last + 1, found.told


def _loose_answers(vault: VaultFolder, stated: Sequence[Stated]) -> Iterator[Problem]:
    """Yield raw answers that no statement names."""
    named = {answer_named(each) for each in stated}
    for sha256 in sorted(set(vault.attestations) - named):
        path = f"{vault.host}/attestations/{sha256}.json"
        yield Problem("strange_file", "incomplete", path, "No statement names this attestation")
