# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_sign does: sign what Azure's side tells of keys that are in the token, and the manifest
of the run.
"""

from __future__ import annotations

import base64
import json
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import EvidenceSignature
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Continuation,
    continue_chain,
    head_of,
    next_manifest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.countersigning import (
    Contradiction,
    Told,
    judge_told,
    key_of,
    supported_receipts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    envelope_of,
    parse_envelope,
    signed,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.heads import (
    HeadFile,
    NotedRun,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence_key import (
    open_evidence_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import EvidenceKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    list_generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, open_token

Params = t.Mapping[str, t.Any]


def sign_evidence(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """Sign the statements that the token stands by, then the manifest of the run.

    :raises ByokError: for an evidence key that is missing or not fit, a token that refuses, or a
        run that is malformed or of another vault; statements that are refused are in the outcome's
        failures
    """
    outcome.result.update(signatures=[], run=None, unstored=[], keyid=None, public_key=None)
    if not params["evidence_key"]:
        raise ByokError("No evidence key is named", "Set evidence_key to the label of the key")
    with (
        open_token(params) as token,
        open_evidence_key(token, params, check_mode, outcome) as key,
    ):
        sign_with(token, key, params, check_mode, outcome)


def sign_with(
    token: Token, key: EvidenceKey | None, params: Params, check_mode: bool, outcome: Outcome
) -> None:
    """Do the same with a token and an evidence key that are open.

    :param key: None in check mode, where it would be made first
    :raises ByokError: as sign_evidence does
    """
    outcome.result.update(signatures=[], run=None, unstored=[], keyid=None, public_key=None)
    head_file = HeadFile(params["state_directory"], params["vault_url"])
    run = _read_run(params)
    told = _judge(token, params, outcome)
    if key:
        outcome.result.update(keyid=key.keyid, public_key=key.pem)
    if key and not check_mode:
        _sign_statements(key, told, outcome)
    if run is not None:
        run = _as_supported(run, told, outcome)
        _sign_run(key, run, params, check_mode, head_file, outcome)


def _read_run(params: Params) -> dict[str, t.Any] | None:
    """Return the predicate of the run; None where none is given.

    :raises ByokError: for one that is malformed or of another vault
    """
    if not params["run"]:
        return None
    where = "The run (the option run)"
    try:
        run = parse_json(params["run"])
    except ValueError as error:
        raise Malformed(where, f"it is no JSON ({error})") from None
    statements.check_run(run, where)
    if comparable_url(run["vault"]) != comparable_url(params["vault_url"]):
        raise Contradiction(f"The run is of {run['vault']}, and vault_url is {params['vault_url']}")
    return t.cast("dict[str, t.Any]", run)


def _judge(token: Token, params: Params, outcome: Outcome) -> list[Told]:
    """Return the statements, each with why it is refused; what is no statement is left out.

    :returns: those that are refused are in the outcome's failures as well
    """
    given: list[tuple[Envelope, str, statements.Statement]] = []
    for number, line in enumerate(params["statements"], 1):
        where = f"statement {number}"
        with outcome.failures.of(where):
            envelope = parse_envelope(as_line(line), where.capitalize())
            kind, statement = statements.read(envelope, where.capitalize())
            key_of(statement, kind)
            given.append((envelope, kind, statement))
    labels = {
        name: params["labels"].get(name) or name
        for name in (key_of(statement, kind) for _envelope, kind, statement in given)
    }
    listed = list_generations(token, set(labels.values())) if labels else {}
    told = []
    for envelope, kind, statement in given:
        name = key_of(statement, kind)
        generations = [each.facts() for each in listed[labels[name]].generations]
        refused: ByokError | None = None
        try:
            judge_told(statement, generations, params["vault_url"])
        except Contradiction as error:
            refused = error
            outcome.failures.add(name, error)
        told.append(Told(envelope, kind, name, refused))
    return told


def _sign_statements(key: EvidenceKey, told: t.Iterable[Told], outcome: Outcome) -> None:
    """Sign what is not refused and not signed yet."""
    for each in told:
        if each.refused or each.envelope.signers({key.keyid: key.pem}):
            continue
        signature = signed(Envelope(each.envelope.payload), key).signatures[0]
        sig = base64.b64encode(signature.sig).decode()
        outcome.add("signatures", EvidenceSignature(each.envelope.digest, key.keyid, sig))


def _as_supported(
    run: dict[str, t.Any], told: t.Sequence[Told], outcome: Outcome
) -> dict[str, t.Any]:
    """Return a run without the receipts that were refused, and with a failure for each."""
    receipts, wrong = supported_receipts(run["receipts"], told)
    for name, error in wrong.items():
        outcome.failures.add(name, error)
    failures = [*run["failures"], *outcome.failures.as_result()]
    return {**run, "receipts": receipts, "failures": failures}


def _sign_run(
    key: EvidenceKey | None,
    run: Params,
    params: Params,
    check_mode: bool,
    head_file: HeadFile,
    outcome: Outcome,
) -> None:
    """Number the manifest of the run, sign it, and note that it is the last one."""
    if not check_mode:
        head_file.prepare()
    lock = process_lock(f"head {head_file.host}", params["lock_directory"], params["lock_timeout"])
    with lock:
        noted = head_file.read()
        place = _place(key, head_file, noted, params, outcome)
        manifest = envelope_of(next_manifest(run, place.head, key.keyid if key else None))
        head = head_of(manifest, "The manifest of the run")
        where = f"chain of run manifests of {head_file.host}"
        before = {"number": place.head.number} if place.head else {}
        outcome.changes.append(Change(where, before, {"number": head.number}))
        if place.warning:
            outcome.warnings.append(f"{place.warning}.")
        unstored = noted[len(noted) - len(place.unstored) :]
        outcome.result["unstored"] = [
            line for each in unstored for line in (*each.statements, each.line)
        ]
        if check_mode or key is None:
            return
        line = signed(manifest, key).to_line()
        to_store = tuple(map(as_line, params["to_store"]))
        head_file.write([*unstored, NotedRun(line, to_store)], head.number, head.sha256)
        outcome.result["run"] = line


def _place(
    key: EvidenceKey | None,
    head_file: HeadFile,
    noted: t.Sequence[NotedRun],
    params: Params,
    outcome: Outcome,
) -> Continuation:
    """Return where the chain goes on, by this host's note and by what the other host shows."""
    own = [parse_envelope(each.line, f"The file {head_file.path}") for each in noted]
    shown = _shown(params, outcome)
    ours = bool(key and shown and shown.signers({key.keyid: key.pem}))
    return continue_chain(own, shown, shown_is_ours=ours)


def as_line(told: t.Any) -> str:
    """Return an envelope as one line: before 2.19 Ansible makes a dict of a JSON text."""
    return told if isinstance(told, str) else json.dumps(told, separators=(",", ":"))


def _shown(params: Params, outcome: Outcome) -> Envelope | None:
    """Return the last manifest that the host that reaches Azure shows; None for what is none."""
    if not params["last_run"]:
        return None
    where = "The last manifest (last_run)"
    try:
        envelope = parse_envelope(params["last_run"], where)
        kind, statement = statements.read(envelope, where)
        vault = statement["predicate"].get("vault")
        if kind != "run" or comparable_url(vault) != comparable_url(params["vault_url"]):
            raise Malformed(where, f"it is no manifest of {params['vault_url']}")
        if statement["predicate"]["number"] > statements.MOST_RUNS // 2:
            raise Malformed(where, "its number leaves no room for those of later runs")
    except Malformed as error:
        outcome.warnings.append(str(error))
        return None
    return envelope
