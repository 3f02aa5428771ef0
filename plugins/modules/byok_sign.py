#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_sign
short_description: Sign in the token what the host that reaches Azure tells of an import, and a run
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Signs receipts of the host that reaches Azure with the evidence key of the token, and the
    manifest of the run that names them.
  - The module compares each receipt with the token first. It never signs a receipt of a key that
    the token does not hold, or of a vault other than O(vault_url). Such receipts are in
    RV(failures), and the manifest tells of the failures. The token knows nothing of the vault, so
    what else a receipt says is signed as it was told.
  - Each manifest names the digest of the one before, which makes a chain for each vault. The module
    stores the last manifest in O(state_directory), so it does not depend on what the other host
    shows as the last one.
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._evidence
  - keyferry.azure._host
  - keyferry.azure._token
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_evidence
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
  idempotent:
    support: partial
    details: Every call with O(run) adds a manifest to the chain. Receipts that this key has signed
      are not signed again.
options:
  vault_url:
    description: URL of the vault or Managed HSM that the receipts are about.
    type: str
    required: true
    aliases: [keyvault_uri]
  statements:
    description:
      - Receipts to sign, each an envelope (DSSE 1.0) as one line of JSON, as
        M(keyferry.azure.byok_import) returns it. Only C(imported/v1) and C(found/v1) are taken.
      - They can have signatures of others, which do not matter here.
    type: list
    elements: raw
    default: []
  labels:
    description: For keys that have a label other than their name, the label in the token by the
      name.
    type: dict
    default: {}
  to_store:
    description:
      - Receipts of the token's side that the other host has yet to store, each an envelope as one
        line of JSON. They are not signed here. They are kept with the manifest, and returned in
        RV(unstored) by later calls until the other host shows that it stored the manifest.
    type: list
    elements: raw
    default: []
  run:
    description:
      - What the run did, as JSON. It is the predicate of C(run/v1) without C(number), C(previous)
        and C(evidence_key), which the module adds. Receipts that are refused are removed from it.
      - If not given, only O(statements) are signed.
    type: jsonarg
  last_run:
    description:
      - The last manifest that the host that reaches Azure has, as a line of its file.
      - If this host has signed a later one, that one counts, and the module warns. If this host has
        not signed any, the chain goes on from O(last_run). The module warns if the evidence key in
        use has not signed it.
    type: jsonarg
seealso:
  - module: keyferry.azure.byok_evidence_key
  - module: keyferry.azure.byok_import
"""

EXAMPLES = r"""
---
- name: Sign what byok_import returned, and the manifest of the run
  keyferry.azure.byok_sign:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    evidence_key: byok-evidence
    vault_url: https://contoso.managedhsm.azure.net
    statements: "{{ imported.imports | map(attribute='envelope') | list }}"
    run: "{{ what_was_done }}"
    last_run: "{{ last_manifest }}"
  register: signed
"""

RETURN = r"""
signatures:
  description: One entry per receipt that was signed now.
  returned: always, and empty in check mode
  type: list
  elements: dict
  contains:
    sha256:
      description: SHA-256 of the payload of the receipt in hexadecimal digits.
      type: str
    keyid:
      description: SHA-256 of the evidence key's SubjectPublicKeyInfo in hexadecimal digits.
      type: str
    sig:
      description: The signature (DER) as base64.
      type: str
  sample:
    - sha256: 05882432528761c73795b8923199a88dc9cabfe09c17136d707e7ecec41ebf11
      keyid: 0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21
      sig: MEUCIQDx...
run:
  description: The signed manifest as one line of JSON; V(null) without O(run), and in check mode.
  returned: always
  type: str
  sample: >-
    {"payload":"...","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"...",
    "sig":"..."}]}
unstored:
  description: Manifests that interrupted runs signed, with the receipts of O(to_store), which never
    reached the host that keeps them, oldest first. Store them before RV(run).
  returned: always, and empty as a rule
  type: list
  elements: str
  sample: []
keyid:
  description: SHA-256 of the evidence key's SubjectPublicKeyInfo in hexadecimal digits.
  returned: always, and V(null) in check mode where the key would be made first
  type: str
  sample: 0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21
public_key:
  description: The evidence key's public key as PEM.
  returned: like RV(keyid)
  type: str
  sample: |
    -----BEGIN PUBLIC KEY-----
    ...
aborted:
  description:
    - Whether the module stopped before it came to the end, for the reason in C(msg). What was done
      before that is returned.
  returned: always
  type: bool
  sample: false
code:
  description:
    - Why the module failed as a whole, for programs; C(msg) says it in a sentence. docs/reasons.md
      has all codes.
  returned: when it failed as a whole
  type: str
  sample: evidence_key
failures:
  description: Receipts that were not signed, by the names of their keys. The other receipts and the
    manifest were signed.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The key's name, or C(statement) and its number for what is no receipt.
      type: str
    msg:
      description: What is wrong, and what to do.
      type: str
    code:
      description: The same for programs. docs/reasons.md has all codes.
      type: str
  sample: []
"""

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    EVIDENCE_OPTIONS,
    HOST_OPTIONS,
    TOKEN_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.sign import sign_evidence


def main() -> None:
    """Run the module."""
    run_module(
        sign_evidence,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **EVIDENCE_OPTIONS,
            "vault_url": {"type": "str", "required": True, "aliases": ["keyvault_uri"]},
            "statements": {"type": "list", "elements": "raw", "default": []},
            "labels": {"type": "dict", "default": {}},
            "to_store": {"type": "list", "elements": "raw", "default": []},
            # before 2.19 Ansible makes a dict of a JSON text
            "run": {"type": "jsonarg"},
            "last_run": {"type": "jsonarg"},
        },
    )


if __name__ == "__main__":
    main()
