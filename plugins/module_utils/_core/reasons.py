# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Reason codes: words for programs beside the sentences for people, and what each one means; pure.

A code is never renamed, because programs of users match it. docs/reasons.md lists the same codes.
"""

from __future__ import annotations

import typing as t

#: Why the plan of a key is as it is
DECISIONS: t.Mapping[str, str] = {
    "in_place": "The newest version in the vault is the wanted generation, as declared.",
    "attributes_differ": "The newest version in the vault has other attributes than declared.",
    "rotation_policy_differs": (
        "Azure's own rotation policy of the key differs from the declared rotation."
    ),
    "interrupted_import": (
        "An interrupted run imported the key, and its proof and receipt have yet to be made."
    ),
    "not_locked": (
        "The key is in the vault, and after_transfer still has to make its CKA_EXTRACTABLE false "
        "in the token."
    ),
    "not_in_vault": "The key is in the token, and the vault does not have it.",
    "not_anywhere": "Neither the token nor the vault has the key.",
    "older_generation_in_vault": (
        "The newest version in the vault is an older generation than the wanted one."
    ),
    "due": "The rotation of the declaration says that the newest version must be replaced now.",
    "forced": "The run was told to replace this generation.",
    "min_interval": (
        "The key must be replaced, but its youngest generation was made less than min_interval ago."
    ),
    "foreign_version": "The newest version in the vault is not a generation of this token.",
    "deleted_name": "A deleted key holds the name in the vault, and on_deleted is fail.",
    "recover_deleted": "A deleted key holds the name in the vault, and it must be recovered.",
    "purge_deleted": (
        "A deleted key holds the name in the vault, and it must be purged before the transfer."
    ),
    "generation_fixed": (
        "The run was told to replace this generation, but the declaration names it."
    ),
    "withdrawn_version": "The newest version in the vault is a generation that was withdrawn.",
    "younger_than_declared": (
        "The newest version in the vault is a younger generation than the declared one."
    ),
    "superseded_generation": (
        "The wanted generation is an older version in the vault, which is never made the newest "
        "again."
    ),
    "younger_generation_in_vault": (
        "An older version in the vault is a younger generation than the wanted one."
    ),
    "locked_generation": (
        "The wanted generation was locked in the token, so it cannot be transferred to a further "
        "vault."
    ),
    "needs_prepare": (
        "A generation must be made, and this run does not have all vaults of the key; run prepare "
        "first."
    ),
}

#: What byok_rotate did with the older versions of a key (stage retire)
RETIREMENTS: t.Mapping[str, str] = {
    "retired": "Older versions were disabled, because a newer one has existed for the overlap.",
    "nothing_to_retire": "No older version is to be disabled.",
    "retire_not_declared": "The rotation of the declaration does not declare retire: disable.",
}

#: Why a key failed
FAILURES: t.Mapping[str, str] = {
    "failed": "The key failed for a reason that has no code of its own; the sentence tells it.",
    "unexpected": "An error that Keyferry does not know; the sentence tells its type and place.",
    "approval_ambiguous_signer": (
        "A signature belongs to several names or a pattern in allowed_signers, so to no one person."
    ),
    "approval_damaged": "What is given as an approval is no signature of ssh-keygen.",
    "approval_expired": "The key of an approval has expired in allowed_signers.",
    "approval_not_yet_valid": "The key of an approval is not valid yet in allowed_signers.",
    "approval_other_subject": "A signature approves something else, or was changed.",
    "approval_unknown_signer": "An approval is by nobody in allowed_signers.",
    "approval_wrong_namespace": "A signature was not made for approvals, or may not be.",
    "approvals_missing": "Fewer people approved than have to.",
    "attestation_expired": "A certificate of an attestation is not in force.",
    "attestation_maker": "An attestation is of no adapter whose maker is known.",
    "attestation_malformed": "An attestation cannot be read to its last byte.",
    "attestation_object": "The hardware states that a key can leave it, or came from elsewhere.",
    "attestation_other_key": "An attestation is of another key, version or public key.",
    "attestation_other_owner": "An attestation is of another pool than the one that is pinned.",
    "attestation_owner_unpinned": "No owner's root is pinned for a pool.",
    "attestation_signature": "No partition of the pool's adapter signed an attestation.",
    "busy": "Another run holds the lock, or Azure still works on an earlier request.",
    "conflict": "What is there is not what was expected, so nothing was done over it.",
    "contradiction": "The host that reaches Azure says something else than the token about the "
    "key.",
    "evidence_key": "The evidence key is not fit to sign, or a given key is no evidence key.",
    "evidence_malformed": "An envelope, a statement or a manifest is not as Keyferry writes it.",
    "evidence_unkept": "Receipts of a run could not be signed or stored.",
    "forbidden": "The identity has no permission for it, or the vault refuses this host.",
    "kek_unverified": "Nothing shows that the KEK is the vault's own.",
    "last_copy": "The generation is not destroyed, because a vault has it or may have it.",
    "library_crashed": "The PKCS#11 library crashed, or did not answer in time.",
    "locked": "The key was locked in the token, so it can go to no further vault.",
    "missing_library": "A Python library is not installed on this host.",
    "missing_program": "A program, such as ssh-keygen, is missing on this host, or too old.",
    "not_found": "A key, a package or a file is not there.",
    "not_our_key": (
        "The vault has another key than the token's, or nothing shows that it is the same."
    ),
    "not_proved": "A proof was asked for, and the vault cannot prove that it has the key.",
    "policy_refused": "The wrapping policy of the token's host does not allow it.",
    "policy_unusable": (
        "A file that decides for this host cannot be read, or others could have written it."
    ),
    "throttled": "The vault or Entra ID throttles requests for longer than throttle_timeout.",
    "token_refused": "A PKCS#11 function of the token returned an error.",
    "uncertain": "A change may or may not have been made, and reading back did not tell.",
    "unreadable_answer": "Azure answered something that cannot be read.",
    "vault_unavailable": "The vault does not serve this run now, so its other keys wait.",
}

#: What an auditor should know of a transfer although nothing failed
DEVIATIONS: t.Mapping[str, str] = {
    "oaep_hash": "RSA-OAEP used SHA-1, as Microsoft's BYOK specification prescribes.",
    "trailing_zeros": "The token adds zero bytes behind what it wraps, and that was allowed.",
    "origin_external": "The token states that it did not make the key itself.",
    "origin_unknown": "The token does not tell whether it made the key itself.",
    "strength_unknown": "The strength of the key cannot be compared with that of the KEK.",
    "kek_weaker": "The KEK has fewer bits of strength than the key that it wrapped.",
    "kek_trust_unverified": "The key was wrapped although nothing showed whose the KEK is.",
    "kek_unattested": "The hardware of the Managed HSM did not attest the KEK.",
    "told_by_carrier": "The record of the wrap came in a file from whoever carried it.",
    "package_unverified": "Nothing showed before the import that the package holds the key.",
    "identity_unproved": "Nothing but a tag shows that the version is the key in the token.",
    "proxy": "A proxy stood between the importing host and Azure.",
    "ca_override": "The importing host took its certification authorities from a file.",
    "vault_without_attestation": "A Key Vault attests no keys.",
    "target_root_not_pinned": "The key in the pool is not attested: the root is not pinned.",
    "target_differs": "The key in the pool is not attested: something else was stated.",
    "target_unreadable": "The key in the pool is not attested: the answer was unreadable.",
    "target_not_fetched": "The key in the pool is not attested: no attestation was fetched.",
    "maker_not_marvell": "The adapter that attests is of a maker that the user pinned.",
    "clock_of_host": "When it was is known by clocks of hosts alone.",
    "expired": "The newest version that the evidence knows has expired.",
    "escrow_untested": "An escrow copy exists, and nothing tells of a key restored from one.",
}

#: Why evidence is incomplete or broken (playbooks/verify.yml); codes of failures occur too
PROBLEMS: t.Mapping[str, str] = {
    "altered_file": "Broken: an attestation's file was changed or renamed.",
    "bad_signature": "Broken: a statement or its signature was changed, or the signature is lost.",
    "chain_broken": "Broken: a manifest is missing, was changed, or stands in a wrong place.",
    "duplicate": "Broken: two statements tell of one import.",
    "end_unknown": "Incomplete: nothing shows whether more manifests followed the last one.",
    "found_in_place": "Incomplete: no statement tells how a version came into the vault.",
    "imported_missing": "Incomplete: no statement tells that a package was imported.",
    "link_broken": "Broken: two statements that name each other do not fit, or one is lost.",
    "lost_file": "Broken: an attestation that a statement names is lost.",
    "lost_receipt": "Broken: a statement that a manifest names is lost or was changed.",
    "lost_vault": "Broken: a head of a vault's chain is known, and nothing else of the vault.",
    "not_in_a_run": "Incomplete: no manifest names a statement.",
    "not_in_token": "Broken: the newest version in the vault is no generation of the token.",
    "nothing_there": "Incomplete: the folder has no evidence.",
    "other_key": "Broken: a statement is of another key than its file.",
    "other_vault": "Broken: a statement is of another vault than its directory.",
    "stamp_wrong": "Broken: a time stamp is of something else, or of nobody who is trusted.",
    "strange_file": "Incomplete: a file or link is no part of a receipt folder.",
    "strange_statement": "Broken: a statement of this kind does not belong into its file.",
    "thumbprint_differs": "Broken: two sources tell of different public keys of one version.",
    "torn_line": "Incomplete: a run that was killed left a torn line.",
    "two_versions": "Incomplete: several versions are the same key, so an import was not needed.",
    "unknown_signer": "Broken: a statement is signed by a key that is not trusted for it.",
    "unsigned": "Incomplete: a statement is unsigned, and no signed manifest names it.",
    "version_gone": "Incomplete: the vault lost a version, and no manifest tells why.",
    "without_receipt": "Incomplete: a version is in the vault, and no statement tells of it.",
    "wrapped_missing": "Incomplete: the statement of an import names none of the token's side.",
}
