# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_evidence_key does: ensure the key that signs evidence; other steps open it here."""

from __future__ import annotations

import base64
import hashlib
import os
import typing as t
from contextlib import contextmanager, nullcontext

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    DeviceProof,
    EvidenceKeyFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import (
    der_of,
    verifies,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_bytes
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import open_gate
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import (
    CURVE,
    EvidenceKey,
    find_evidence_key,
    make_evidence_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import (
    Token,
    open_beside,
    open_token,
)

Params = t.Mapping[str, t.Any]

#: What a token can be named by, and its PIN be given by
_OF_A_TOKEN = ("token_label", "token_serial", "token_slot", "token_uri", "pin_file", "pin")

#: Bytes of a device's proof: the largest known, a Luna's with its chain, has some KiB
_MOST_OF_A_PROOF = 1 << 20


def ensure_evidence_key(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """Find the evidence key, or make it.

    :raises ByokError: for a key of that label that is not fit, a token that cannot make one or does
        not sign with it, or a proof that cannot be read
    """
    outcome.result["evidence_key"] = None
    label = params["evidence_key"]
    if not label:
        raise ByokError("No evidence key is named", "Set evidence_key to the label of the key")
    proof = _read_proof(params["evidence_key_proof"])
    with open_token(_of_evidence(params)) as token:
        lock = process_lock(
            f"keys {token.info.serial}", params["lock_directory"], params["lock_timeout"]
        )
        with lock:
            key = find_evidence_key(token, label)
            created = key is None
            if created:
                open_gate(params).check_making(label)
            if key is None and not check_mode:
                key = make_evidence_key(token, label, host_clock())
        if created:
            after = {"kind": CURVE, "CKA_EXTRACTABLE": False, "keyid": key and key.keyid}
            outcome.changes.append(Change(f"evidence key {label} in the {token.info}", {}, after))
        if key:
            _try_signing(key)
        facts = evidence_facts(token, label, key)
    outcome.result.update(
        evidence_key=facts.to_dict(),
        created=created,
        proof=proof.to_dict() if proof else None,
    )


@contextmanager
def open_evidence_key(
    token: Token, params: Params, check_mode: bool, outcome: Outcome
) -> t.Iterator[EvidenceKey | None]:
    """Open the evidence key beside a token that is open, and try it, so that nothing is made whose
    receipt cannot be signed.

    :param params: ``evidence_key``, ``evidence_token`` and the token options of a module
    :returns: None where none is named, and in check mode, where it would be made first
    :raises ByokError: for one that is missing or not fit, or with which the token does not sign
    """
    label = params.get("evidence_key")
    if not label:
        yield None
        return
    with _beside(token, params) as holder:
        key = find_evidence_key(holder, label)
        if key:
            _try_signing(key)
        elif check_mode:
            outcome.warnings.append(
                f"There is no evidence key {label} in the {holder.info}. Unless "
                "the playbook keyferry.azure.evidence_key or the module byok_evidence_key makes it "
                "first, a run outside of check mode fails."
            )
        else:
            raise ByokError(
                f"There is no evidence key {label} in the {holder.info}, so nothing was made",
                "Make it with the playbook keyferry.azure.evidence_key or the module "
                "byok_evidence_key, or correct evidence_key",
                code="not_found",
            )
        yield key


def evidence_facts(token: Token, label: str, key: EvidenceKey | None) -> EvidenceKeyFacts:
    """Return what is told of an evidence key.

    :param token: that holds it, or would
    """
    return EvidenceKeyFacts(
        label=label,
        keyid=key.keyid if key else None,
        public_key=key.pem if key else None,
        attributes=key.attributes if key else None,
        token=token.info.to_dict(),
    )


def _beside(token: Token, params: Params) -> t.ContextManager[Token]:
    """Open the token that holds the evidence key: another one only where one is named."""
    if not params.get("evidence_token"):
        return nullcontext(token)
    return open_beside(token, _of_evidence(params))


def _of_evidence(params: Params) -> dict[str, t.Any]:
    """Return the token options of the token that holds the evidence key."""
    named = params.get("evidence_token")
    if not named:
        return dict(params)
    return {**params, **{option: named.get(option) for option in _OF_A_TOKEN}}


def _try_signing(key: EvidenceKey) -> None:
    """Sign something, and verify it, so that a token that cannot is found before it is needed.

    :raises ByokError: when the token refuses, or the signature is not by that public key
    """
    trial = os.urandom(32)
    signature = der_of(key.sign(hashlib.sha256(trial).digest()))
    if not verifies(key.pem, signature, trial):
        raise ByokError(
            f"The evidence key {key.label} in the {key.token.info} does not sign: its public key "
            "does not verify what it signed",
            "Its two halves do not belong together, or the token hashes what it signs: set "
            "evidence_key to another label, and make that key with the module byok_evidence_key",
            code="evidence_key",
        )


def _read_proof(path: str | None) -> DeviceProof | None:
    """Read what a device says of the key in a form of its own, which nobody here understands.

    :raises ByokError: for a file that is not there, or too large
    """
    if not path:
        return None
    content = read_bytes(path, "proof of the device", _MOST_OF_A_PROOF)
    if content is None:
        raise ByokError(
            f"There is no file {path} (evidence_key_proof)",
            "Store the proof of the device there, or leave evidence_key_proof out",
            code="not_found",
        )
    return DeviceProof(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        content=base64.b64encode(content).decode(),
    )
