#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_import
short_description: Import and verify key transfer packages in a vault; delete or recover keys
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Every import makes a new version, and a single version cannot be deleted. So a key that the
    vault already has in any version is not imported again. If the answer to a request is lost, the
    module checks whether the key arrived before it sends the package again.
  - The module checks the package before it sends it, and verifies by the public key that the key in
    the vault is the right key. If a different key arrived, the module disables it and fails.
  - A package that came from a file, not from this run's M(keyferry.azure.byok_wrap), is imported
    disabled. The module enables it when the public key is the right one or, for an oct key, when
    the vault has answered the challenge of the token. If a run dies in between, the next one goes
    on.
  - If attributes differ from the declaration, the module updates them without an import.
  - If an earlier run was interrupted while an import was on its way, the module first finds out
    whether the key arrived (O(state_directory)). If it did, the module does what that run left
    undone.
requirements:
  - azure-keyvault-keys >= 4.11.3
  - azure-identity >= 1.19.0
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._approvals
  - keyferry.azure._attributes
  - keyferry.azure._host
  - keyferry.azure._vault
  - keyferry.azure._declaration
  - keyferry.azure._declaration.import
  - keyferry.azure._declaration.imports
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_host
      - keyferry.azure.byok_vault
options:
  state:
    description:
      - V(present) imports keys that the vault does not have. V(absent) deletes all versions of a
        key in the vault if O(confirm) names its newest version. The key in the token stays.
        V(recovered) recovers a deleted key.
    type: str
    choices: [present, absent, recovered]
    default: present
  on_deleted:
    description:
      - What to do if a deleted key holds the name of an import. V(recover) first recovers it with
        all its versions. V(purge) purges it for ever if O(confirm) names its newest version.
    type: str
    choices: [fail, recover, purge]
    default: fail
  purge:
    description:
      - Whether O(state=absent) also purges the deleted key, for ever. A vault with purge protection
        refuses that.
    type: bool
    default: false
  delete_timeout:
    description: Seconds to wait until Azure has finished a deletion or recovery.
    type: int
    default: 300
  packages:
    description:
      - The result RV(keyferry.azure.byok_wrap#module:packages). Each entry belongs to the import of
        the same name and tells
        its package, receipt and thumbprint.
    type: list
    elements: dict
    suboptions:
      name:
        description: The key's name.
        type: str
        required: true
      generation:
        description: CKA_ID of the generation.
        type: str
      thumbprint:
        description: Its thumbprint.
        type: str
      kek_id:
        description: Identifier of the KEK; not used, as the package contains it.
        type: str
      path:
        description: Path of the package.
        type: path
      content:
        description: The package, if there is no path.
        type: jsonarg
      sha256:
        description:
          - SHA-256 of the package. With O(wrapped_in_this_run), another package is rejected.
        type: str
      sha256_spoken:
        description: The same, grouped to be read aloud; not used.
        type: str
      wrapped:
        description: Whether M(keyferry.azure.byok_wrap) wrapped the key in this run.
        type: bool
      challenge:
        description: The ciphertext that the vault must decrypt to prove that it holds an oct key.
        type: dict
      receipt:
        description: The receipt.
        type: dict
      envelope:
        description:
          - What M(keyferry.azure.byok_wrap) stated of the package, in its envelope, with or without
            a signature. Then C(receipt) is not needed.
          - If not given, the module looks for a file of the name of the package with
            C(.intoto.jsonl) added, beside the package.
        type: jsonarg
  receipt_directory:
    description:
      - Existing directory for the evidence of imports. For each key it gets, under the host of the
        vault, a file C(keys/NAME.intoto.jsonl) to which each import adds what
        M(keyferry.azure.byok_wrap) stated of the package and what this module states of the import.
      - If not given, C(/var/lib/keyferry/receipts) if that directory exists, and otherwise
        C(~/.local/share/keyferry/receipts), which the module makes.
      - The module fails before the first import if it cannot write there. All files are readable by
        their owner only, and hold no secret.
    type: path
  attestation_owner_roots:
    description:
      - For each Managed HSM the SHA-256 of its owner's root certificate in hexadecimal digits, by
        the name, the host or the URL of the Managed HSM.
      - After an import into a Managed HSM, the module asks its hardware about the key, keeps the
        answer and judges it. The verdict is in the evidence of the import, and fails nothing.
    type: dict
    default: {}
  attestation_maker_roots:
    description:
      - Root certificates as PEM of makers of HSM adapters beside Marvell, such as that of the lab.
    type: list
    elements: str
    default: []
  kek_attestation:
    description:
      - What the hardware states of the KEK, as M(keyferry.azure.byok_kek) returns it. The module
        keeps it with the evidence if it is the one by which M(keyferry.azure.byok_wrap) judged the
        KEK.
    type: jsonarg
  evidence_key_id:
    description:
      - Identifier, with the version, of an EC-HSM key on P-256 in the vault that signs what this
        module states of each import. Its operations must include C(sign), and the identity must be
        allowed to sign with it.
      - If the key is not fit, the module fails before the first import. If the vault does not sign
        after an import, the statement stays unsigned and the module warns.
      - If not given, this side signs nothing. The token's side can sign the same statement later.
    type: str
  trusted_evidence_keys:
    description:
      - Public keys as PEM of evidence keys. If one of them signed what M(keyferry.azure.byok_wrap)
        stated of a package, that statement tells which key the package must hold
        (RV(imports[].origin) is V(receipt)), so neither O(thumbprint) nor O(sha256) is needed.
      - Get such a key from the people who have the token, by another way than the packages come.
    type: list
    elements: str
  wrapped_in_this_run:
    description:
      - Whether O(packages) is what M(keyferry.azure.byok_wrap) returned in this very run,
        registered in the play. Then its content holds the key of the token. Never set it for
        packages that were read from a file, as others may have written it.
      - Without it, give O(thumbprint) for RSA and EC keys, and O(sha256) for oct keys.
    type: bool
    default: false
    version_added: 0.1.0
  allow_unverified_origin:
    description: Import a package although no trusted source identifies the key that it must hold.
    type: bool
    default: false
notes:
  - No PKCS#11 library is needed, so token and vault may be reached from two hosts.
  - To carry a package in a file, carry its receipt beside it, and bring by another way what shows
    which key the package holds. For an RSA or EC key that is O(thumbprint). For an oct key it is
    O(sha256), which RV(keyferry.azure.byok_wrap#module:packages[].sha256_spoken) has in a form to
    read aloud. Give O(generation) of an oct key as well, so that later plans find it.
seealso:
  - module: keyferry.azure.byok_wrap
  - module: keyferry.azure.byok_plan
"""

EXAMPLES = r"""
---
- name: Import a package from removable media
  keyferry.azure.byok_import:
    vault_url: https://contoso.vault.azure.net
    name: signing-key
    type: EC
    curve: P-256
    operations: [sign, verify]
    tags:
      owner: payments
    path: /media/carrier/signing-key.byok
    thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
    prove: true

- name: Delete a key in the vault, confirmed by its newest version
  keyferry.azure.byok_import:
    vault_url: https://contoso.vault.azure.net
    name: old-key
    state: absent
    confirm: 0123456789abcdef0123456789abcdef
"""

RETURN = r"""
imports:
  description: One entry per key, and before it another one if the module first finished the import
    of another generation, which an interrupted run had sent.
  returned: always, without the keys that failed before anything was sent, or of which another key
    arrived
  type: list
  elements: dict
  contains: &import
    name:
      description: The key's name.
      type: str
    kid:
      description: Identifier of the version that is this key; V(null) for one that would be
        imported.
      type: str
    version:
      description: That version.
      type: str
    thumbprint:
      description: RFC 7638 thumbprint of its public key; V(null) for oct keys.
      type: str
    generation:
      description: CKA_ID of the generation in the token, if it is known.
      type: str
    imported:
      description: Whether this run imported it, or would. Also V(true) if this run finished the
        import of an interrupted run.
      type: bool
    updated:
      description: Whether this run updated attributes, or would.
      type: bool
    current:
      description: Whether it is the newest version of its name.
      type: bool
    origin:
      description: Why the package is believed to hold the key. V(token) when
        M(keyferry.azure.byok_wrap) returned it in this run (O(wrapped_in_this_run)), V(declared)
        when O(sha256) or, for RSA and EC keys, O(thumbprint) tells it, V(receipt) when an evidence
        key of O(trusted_evidence_keys) signed its envelope, else V(unverified). The
        generation of an oct key is a name and proves nothing.
      type: str
    identity:
      description: Why the version is believed to be the key. V(public_key) when the thumbprints are
        equal, V(proved) when the
        vault answered a challenge of the token, V(tag_only) when only a tag says so, V(unverified)
        when there was nothing to
        compare with.
      type: str
    proof:
      description: What proved it, as C(operation) and C(algorithm), or C(unprovable) with the
        reason.
      type: dict
    attributes:
      description: The version's operations, enabled, not_before, expires and tags.
      type: dict
    hsm_platform:
      description: V(2) for FIPS 140-3 level 3, V(1) for the older HSMs; V(null) where Azure does
        not tell.
      type: str
    created:
      description: When the vault made the version.
      type: str
    request_id:
      description: Azure's request id of the import.
      type: str
    replaced:
      description: The version that was the newest before.
      type: str
    receipt:
      description: The receipt, completed with the import, if there is one.
      type: dict
    interrupted_at:
      description: When an interrupted run sent the import that this run finished, by the clock of
        its host; V(null) for an import of this run.
      type: str
    envelope:
      description: What this module states of the import, as one line (imported/v1 of in-toto, in an
        envelope of DSSE, signed only with O(evidence_key_id)); V(null) if this run neither imported
        the key nor finished its import.
      type: str
    wrapped_sha256:
      description: SHA-256 of what M(keyferry.azure.byok_wrap) stated of the package, to which that
        refers; V(null) where there is none.
      type: str
  sample:
    - name: signing-key
      kid: https://contoso.vault.azure.net/keys/signing-key/0123456789abcdef0123456789abcdef
      version: 0123456789abcdef0123456789abcdef
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      imported: true
      updated: false
      current: true
      origin: declared
      identity: public_key
      proof:
        operation: sign
        algorithm: ES256
      attributes:
        operations: [sign, verify]
        enabled: true
        not_before: null
        expires: null
        tags:
          owner: payments
      hsm_platform: "2"
      created: "2026-11-22T10:00:00Z"
      request_id: 4d6f6e64-6179-4279-8f6b-000000000000
      replaced: null
      receipt: {}
      interrupted_at: null
      envelope: '{"payload":"eyJ...","payloadType":"application/vnd.in-toto+json","signatures":[]}'
      wrapped_sha256: 7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069
deletions:
  description: The keys that were deleted, purged or recovered, or would be.
  returned: always
  type: list
  elements: dict
  contains: &deletion
    name:
      description: The key's name.
      type: str
    version:
      description: Its newest version.
      type: str
    kid:
      description: Identifier of that version.
      type: str
    state:
      description: V(deleted), V(purged) or V(recovered).
      type: str
    recovery_level:
      description: The vault's recovery level, which says whether a deleted key can be purged.
      type: str
    retention_days:
      description: How many days a deleted key can be recovered.
      type: int
    request_id:
      description: Azure's last request id for it.
      type: str
  sample: []
deletion:
  description: The only entry of RV(deletions).
  returned: when O(name) is given
  type: dict
  contains: *deletion
import:
  description: The last entry of RV(imports).
  returned: when O(name) is given
  type: dict
  contains: *import
approvals:
  description: Who approved the deletion or purge of which key, as this host has checked it.
  returned: always, and empty if no approvals are demanded
  type: list
  elements: dict
  contains:
    subject:
      description: What was approved, V(destroy).
      type: str
    digest:
      description: SHA-256 of the identifier of the key's newest version, as text.
      type: str
    principals:
      description: The names of those who approved, as the file of allowed signers has them. Each
        person is there once.
      type: list
      elements: str
  sample: []
aborted:
  description:
    - Whether the module stopped before it came to all keys, for the reason in C(msg). What was done
      before that is returned.
  returned: always
  type: bool
  sample: false
code:
  description:
    - Why the module failed as a whole, for programs; C(msg) says it in a sentence. docs/reasons.md
      has all codes.
    - What was done before is in the other return values.
  returned: when it failed as a whole
  type: str
  sample: vault_unavailable
failures:
  description: Keys that failed while the others went on.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The key's name.
      type: str
    msg:
      description: What failed, why, and what to do.
      type: str
    code:
      description: The same for programs. docs/reasons.md has all codes.
      type: str
  sample: []
"""

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    APPROVAL_OPTIONS,
    ATTESTATION_ROOTS,
    HOST_OPTIONS,
    PACKAGE_RESULT,
    VAULT_OPTIONS,
    key_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.import_keys import import_keys


def main() -> None:
    """Run the module."""
    run_module(
        import_keys,
        {
            **HOST_OPTIONS,
            **VAULT_OPTIONS,
            **APPROVAL_OPTIONS,
            **key_options(
                "imports",
                ("name",),  # of a key that is deleted or recovered, nobody has to know more
                path={"type": "path"},
                package={"type": "jsonarg"},
                thumbprint={"type": "str"},
                sha256={"type": "str"},
                replaces={"type": "str"},
                challenge={"type": "dict"},
                prove={"type": "bool", "default": False},
                confirm={"type": "str"},
            ),
            "state": {
                "type": "str",
                "default": "present",
                "choices": ["present", "absent", "recovered"],
            },
            "on_deleted": {
                "type": "str",
                "default": "fail",
                "choices": ["fail", "recover", "purge"],
            },
            "purge": {"type": "bool", "default": False},
            "delete_timeout": {"type": "int", "default": 300},
            "packages": {"type": "list", "elements": "dict", "options": PACKAGE_RESULT},
            **ATTESTATION_ROOTS,
            "receipt_directory": {"type": "path"},
            "kek_attestation": {"type": "jsonarg", "no_log": False},
            "evidence_key_id": {"type": "str", "no_log": False},
            "trusted_evidence_keys": {"type": "list", "elements": "str", "no_log": False},
            "wrapped_in_this_run": {"type": "bool", "default": False},
            "allow_unverified_origin": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("name", "declarations")],
        required_one_of=[("name", "declarations")],
    )


if __name__ == "__main__":
    main()
