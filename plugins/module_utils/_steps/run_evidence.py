# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a run in one process does for its evidence, and the role by byok_sign and byok_receipts."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import Transfer
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.run_record import (
    RunRecord,
    evidence_lost,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.who import who_runs
from ansible_collections.keyferry.azure.plugins.module_utils._steps.receipts import keep_receipts
from ansible_collections.keyferry.azure.plugins.module_utils._steps.sign import sign_with
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import EvidenceKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token

Params = t.Mapping[str, t.Any]


def keep_evidence(
    run: Transfer,
    record: RunRecord,
    token: Token,
    key: EvidenceKey | None,
    params: Params,
    outcome: Outcome,
) -> None:
    """Sign what a run did, and store it; what fails here takes nothing back.

    :param key: signs; None where nobody does
    :param params: ``receipt_directory``, and the options of the group byok_host
    :param outcome: gets what could not be signed or stored as failures
    """
    if not record.is_worth_a_manifest(len(run.unfinished())):
        return
    doing = "signed"
    try:
        manifest = json.dumps(record.manifest(run, who_runs(), host_clock()))
        options = {**params, "vault_url": run.request.vault_url, "run": manifest}
        unstored: list[str] = []
        signatures: list[Params] = []
        if key:
            signed = _sign(token, key, {**options, **_to_sign(run, record)}, outcome)
            unstored, signatures = signed["unstored"], signed["signatures"]
            options["run"] = signed["run"]
        doing = "stored"
        statements = [*unstored, *record.to_store()]
        stored = Outcome()
        keep_receipts(
            {**options, "statements": statements, "signatures": signatures}, False, stored
        )
        outcome.absorb(stored, with_changes=False)
    except Exception as error:
        lost = evidence_lost(doing, str(as_byok_error(error)))
        outcome.failures.add(run.request.vault_url, lost)


def _to_sign(run: Transfer, record: RunRecord) -> dict[str, t.Any]:
    return {
        "statements": record.to_sign(),
        "labels": run.labels(),
        "to_store": record.to_store(),
        "last_run": record.last_run,
    }


def _sign(token: Token, key: EvidenceKey, options: Params, outcome: Outcome) -> dict[str, t.Any]:
    signing = Outcome()
    try:
        sign_with(token, key, options, False, signing)
    finally:
        outcome.absorb(signing, with_changes=False)
    return signing.result
