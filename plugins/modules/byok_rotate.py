#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_rotate
short_description: Replace due keys in a vault by new ones of the token; disable older versions
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Compares token and vault, and replaces the declared keys that are due by their C(rotation). If
    the token has no newer generation than the vault, the module makes one. It wraps the generation,
    imports it as a new version, and verifies the imported key.
  - A vault that lacks the token's newest generation gets it, whether the key is due or not. So
    several vaults that declare the same key all get the same generation.
  - The vault's clock decides what is due. If the vault tells no time, Entra ID's clock decides, and
    else this host's. If that clock is more than an hour from this host's, the run ends before it
    makes or changes anything.
  - The next run finishes an interrupted run, with the same generation and without a second version.
  - If the newest version is of no generation of the token, the key is a conflict, and nothing is
    imported over it unless the key declares C(on_foreign=rotate).
  - Older versions stay enabled. To disable them, run the module again with O(stage=retire).
  - For one host that reaches token and vault. The entry point C(rotate) of the role
    P(keyferry.azure.byok#role) does the same with the single modules, also with two hosts, and with
    escrow packages.
requirements:
  - python-pkcs11 >= 0.10.1
  - azure-keyvault-keys >= 4.11.3
  - azure-identity >= 1.19.0
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attestation
  - keyferry.azure._attributes
  - keyferry.azure._evidence
  - keyferry.azure._host
  - keyferry.azure._approvals
  - keyferry.azure._token
  - keyferry.azure._vault
  - keyferry.azure._declaration
  - keyferry.azure._declaration.rotation
  - keyferry.azure._declaration.rotations
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_evidence
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
      - keyferry.azure.byok_vault
options:
  stage:
    description:
      - V(rotate) replaces due keys.
      - V(prepare) only makes the due generations in the token. A later run brings them.
      - V(retire) disables older versions of keys that declare C(retire=disable), once a newer
        version is enabled, is shown to be of this token, and has existed for C(overlap). A version
        whose operations are still needed for old data (decrypt or unwrapKey) is disabled only with
        C(data_reencrypted=true).
    type: str
    choices: [rotate, prepare, retire]
    default: rotate
  force:
    description:
      - Thumbprints (for oct keys CKA_IDs) of the generations to replace although they are not due.
        A generation that is not the newest version's was already replaced and is ignored.
      - The name of a declared key stands for the generation that is its newest version. So each run
        with that name replaces the key again, as soon as its C(min_interval) allows that.
    type: list
    elements: str
    default: []
  on_deleted:
    description: What to do if a deleted key holds the name. V(purge) needs C(confirm), the deleted
      key's newest version.
    type: str
    choices: [fail, recover, purge]
    default: fail
  delete_timeout:
    description: Seconds to wait until Azure has recovered a key.
    type: int
    default: 300
  target_keys:
    description:
      - The result RV(keyferry.azure.byok_target_key#module:target_keys), for O(stage=retire) on a
        host without the token. An oct
        key is not retired then, because its versions are shown to be the token's by an operation of
        the token.
    type: list
    elements: dict
    suboptions:
      name:
        description: The key's name.
        type: str
        required: true
      created:
        description: Not used.
        type: bool
      locked:
        description: Not used.
        type: bool
      generation:
        description: CKA_ID of the chosen generation.
        type: str
      thumbprint:
        description: Not used, as O(target_keys[].generations) has it.
        type: str
      generations:
        description: All generations.
        type: list
        elements: dict
        required: true
      challenge:
        description: Not used.
        type: dict
  kek_id:
    description: Identifier of a permanent KEK. If not given, a KEK is made for this run and deleted
      at its end.
    type: str
  receipt_directory:
    description:
      - Existing directory for the evidence of imports, as
        O(keyferry.azure.byok_import#module:receipt_directory) has it.
      - If not given, C(/var/lib/keyferry/receipts) if that directory exists, and otherwise
        C(~/.local/share/keyferry/receipts), which the module makes.
    type: path
  evidence_key_id:
    description: Identifier, with the version, of a key in the vault that signs what this side
      states of each import, as O(keyferry.azure.byok_import#module:evidence_key_id) has it.
    type: str
  approved_keks:
    description: Fingerprints of KEKs that somebody compared with the vault. If any are given, no
      other KEK is used.
    type: list
    elements: str
    default: []
  allow_unverified_kek:
    description: Use a KEK although nothing shows that it is the vault's own.
    type: bool
    default: false
  kek_prefix:
    description: Prefix of the names of KEKs for one run.
    type: str
    default: keyferry-kek-
  kek_size:
    description: Size in bits of KEKs for one run.
    type: int
    choices: [2048, 3072, 4096]
    default: 4096
  kek_lifetime:
    description: Time after which a KEK for one run expires, as an ISO 8601 duration. It limits the
      use of a KEK that an interrupted run leaves behind.
    type: str
    default: PT4H
  kek_purge:
    description: Whether to purge the KEK of the run after its deletion.
    type: bool
    default: false
  allow_trailing_zeros:
    description:
      - Accept the zero bytes that SoftHSM 2.6.1 leaves behind the wrapped key. Whether Azure
        accepts them is not known.
      - If not given, the environment variable E(BYOK_ALLOW_TRAILING_ZEROS) is used.
    type: bool
    default: false
  prove:
    description: Have the vault use each key, also those that are there already, and check the
      outcome. A key of which that is not possible fails.
    type: bool
    default: false
  expires_soon:
    description: How long before its expiry a version expires soon, as an ISO 8601 duration. The
      module warns of keys that have expired, expire soon or are not yet valid.
    type: str
    default: P30D
  last_vault:
    description:
      - Declare that no other vault still needs these keys, so that keys with C(after_transfer=lock)
        are locked in the token when they have arrived. This module works with one vault only, and a
        locked key cannot be brought to another.
      - If V(false), such keys stay unlocked, and a warning names them.
    type: bool
    default: false
    version_added: 0.1.0
seealso:
  - module: keyferry.azure.byok_plan
  - module: keyferry.azure.byok_target_key
  - module: keyferry.azure.byok_import
"""

EXAMPLES = r"""
---
- name: Replace a key a year after its import, a month before it expires
  keyferry.azure.byok_rotate:
    vault_url: https://contoso.vault.azure.net
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: disk-key
    type: RSA
    size: 3072
    operations: [wrapKey, unwrapKey]
    rotation:
      every: P1Y
      valid_for: P13M
      before_expiry: P1M
      retire: disable
  register: disk

- name: Disable the versions that are older than the overlap, when all data is under the new one
  keyferry.azure.byok_rotate:
    vault_url: https://contoso.vault.azure.net
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: disk-key
    type: RSA
    size: 3072
    operations: [wrapKey, unwrapKey]
    rotation:
      every: P1Y
      retire: disable
    data_reencrypted: true
    stage: retire
"""

RETURN = r"""
rotations:
  description: One entry per key.
  returned: always, without the keys that could not be looked at
  type: list
  elements: dict
  contains: &rotation
    name:
      description: The key's name.
      type: str
    action:
      description: As RV(keyferry.azure.byok_plan#module:plan[].action), and V(retire) where
        versions were disabled.
      type: str
    code:
      description: Why, as a word for programs. As RV(keyferry.azure.byok_plan#module:plan[].code).
      type: str
      returned: with another O(stage) than V(retire)
    reason:
      description: Why, as a sentence for people.
      type: str
    generation:
      description: CKA_ID of the generation that the vault has now, or will have; V(null) for one
        that would be made.
      type: str
    thumbprint:
      description: Its thumbprint.
      type: str
    kid:
      description: Identifier of the version.
      type: str
    version:
      description: The version.
      type: str
    replaced:
      description: The version that was the newest before, where this run imported one.
      type: str
    next_due:
      description: When the newest version is due to be replaced; V(null) for never.
      type: str
    request_id:
      description: Azure's request id of the import.
      type: str
    identity:
      description: Why the version is believed to be the key, as M(keyferry.azure.byok_import)
        returns it.
      type: str
    proof:
      description: What proved it.
      type: dict
    receipt:
      description: The receipt.
      type: dict
    envelope:
      description: What this module states of the import, as one line; see
        RV(keyferry.azure.byok_import#module:imports[].envelope).
      type: str
      returned: with another O(stage) than V(retire)
    wrapped_sha256:
      description: SHA-256 of what it stated of the package, to which that refers.
      type: str
      returned: with another O(stage) than V(retire)
    imported:
      description: Whether this run imported it, or would.
      type: bool
    locked:
      description: Whether this run locked it in the token, or would.
      type: bool
      returned: with another O(stage) than V(retire)
    retired:
      description: The versions that this run disabled, or would.
      type: list
      elements: str
      returned: with O(stage=retire)
    kept:
      description: The older versions that stay enabled, with the reason.
      type: list
      elements: dict
      returned: with O(stage=retire)
  sample:
    - name: disk-key
      action: rotate
      code: due
      reason: it is due since 2026-11-22T10:00:00Z
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
      kid: https://contoso.vault.azure.net/keys/disk-key/0123456789abcdef0123456789abcdef
      version: 0123456789abcdef0123456789abcdef
      replaced: fedcba9876543210fedcba9876543210
      next_due: "2027-11-22T10:00:00Z"
      request_id: 4d6f6e64-6179-4279-8f6b-000000000000
      identity: public_key
      proof: null
      receipt: null
      envelope: null
      wrapped_sha256: null
      imported: true
      locked: false
rotation:
  description: The only entry of RV(rotations).
  returned: when O(name) is given
  type: dict
  contains: *rotation
approvals:
  description: Who approved what, as this host has checked it.
  returned: always, and empty if no approvals are demanded
  type: list
  elements: dict
  contains:
    subject:
      description: What was approved, V(kek), V(owner-root) or V(destroy).
      type: str
    digest:
      description: Its digest, which people signed.
      type: str
    principals:
      description: The names of those who approved, as the file of allowed signers has them. Each
        person is there once.
      type: list
      elements: str
  sample:
    - subject: kek
      digest: 3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c
      principals: [anna@contoso.example, bob@contoso.example]
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
  description: Keys that failed while the others went on, and conflicts.
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
    ALLOW_TRAILING_ZEROS,
    APPROVAL_OPTIONS,
    ATTESTATION_OPTIONS,
    EVIDENCE_OPTIONS,
    HOST_OPTIONS,
    KEY_CONSTRAINTS,
    TARGET_KEY_RESULT,
    TOKEN_OPTIONS,
    VAULT_OPTIONS,
    key_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.plan import SOON
from ansible_collections.keyferry.azure.plugins.module_utils._steps.rotate import rotate_keys


def main() -> None:
    """Run the module."""
    run_module(
        rotate_keys,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **APPROVAL_OPTIONS,
            **EVIDENCE_OPTIONS,
            **VAULT_OPTIONS,
            **key_options(
                "rotations",
                data_reencrypted={"type": "bool", "default": False},
                confirm={"type": "str"},
            ),
            "stage": {
                "type": "str",
                "default": "rotate",
                "choices": ["rotate", "prepare", "retire"],
            },
            "force": {"type": "list", "elements": "str", "default": []},
            "expires_soon": {"type": "str", "default": SOON},
            "on_deleted": {
                "type": "str",
                "default": "fail",
                "choices": ["fail", "recover", "purge"],
            },
            "delete_timeout": {"type": "int", "default": 300},
            "target_keys": {
                "type": "list",
                "elements": "dict",
                "options": TARGET_KEY_RESULT,
                "no_log": False,
            },
            "kek_id": {"type": "str"},
            "approved_keks": {"type": "list", "elements": "str", "default": []},
            **ATTESTATION_OPTIONS,
            "receipt_directory": {"type": "path"},
            "evidence_key_id": {"type": "str", "no_log": False},
            "allow_unverified_kek": {"type": "bool", "default": False},
            "kek_prefix": {"type": "str", "default": "keyferry-kek-"},
            "kek_size": {"type": "int", "default": 4096, "choices": [2048, 3072, 4096]},
            "kek_lifetime": {"type": "str", "default": "PT4H"},
            "kek_purge": {"type": "bool", "default": False},
            **ALLOW_TRAILING_ZEROS,
            "prove": {"type": "bool", "default": False},
            "last_vault": {"type": "bool", "default": False},
        },
        **KEY_CONSTRAINTS,
    )


if __name__ == "__main__":
    main()
