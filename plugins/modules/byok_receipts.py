#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_receipts
short_description: Keep signatures, statements and the manifest of a run with the receipts
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Completes the evidence folder of a vault at the end of a run, on the host where
    M(keyferry.azure.byok_import) keeps receipts. It reaches neither a vault nor a token.
  - The module adds lines and signatures, and removes nothing. What is there already is not added
    again.
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._host
attributes:
  action_group:
    membership: [keyferry.azure.byok, keyferry.azure.byok_host]
options:
  vault_url:
    description: URL of the vault or Managed HSM whose evidence it is.
    type: str
    required: true
    aliases: [keyvault_uri]
  receipt_directory:
    description:
      - Existing directory for the evidence, as
        O(keyferry.azure.byok_import#module:receipt_directory) has it.
      - If not given, C(/var/lib/keyferry/receipts) if that directory exists, and otherwise
        C(~/.local/share/keyferry/receipts), which the module makes.
    type: path
  statements:
    description:
      - Statements to add, each in its envelope as one line, such as what a run found in place, or
        what it wrapped and did not import. Manifests of earlier runs are added before O(run).
    type: list
    elements: jsonarg
    default: []
  signatures:
    description:
      - Signatures to add to statements that are there. This module has no evidence key, so it does
        not check them; whoever verifies the folder does.
    type: list
    elements: dict
    default: []
    suboptions:
      sha256:
        description: SHA-256 of the payload that is signed.
        type: str
        required: true
      keyid:
        description: SHA-256 of the SubjectPublicKeyInfo of the evidence key.
        type: str
        required: true
      sig:
        description: The signature, ECDSA in DER, as base64.
        type: str
        required: true
  run:
    description:
      - The manifest of the run. Either in its envelope as one line, with its number and signed, or
        the predicate of C(run/v1) without C(number), C(previous) and C(evidence_key). The second
        one gets the next number of the folder and stays unsigned.
    type: jsonarg
seealso:
  - module: keyferry.azure.byok_import
  - module: keyferry.azure.byok_plan
"""

EXAMPLES = r"""
---
- name: Keep the manifest of a run
  keyferry.azure.byok_receipts:
    vault_url: https://contoso.vault.azure.net
    run: "{{ manifest | to_json }}"
"""

RETURN = r"""
stored:
  description: How many statements and manifests were added, and how many statements got a signature
    more; in check mode, would be.
  returned: unless the module fails
  type: int
  sample: 3
head:
  description: The last manifest; V(null) where there is none.
  returned: unless the module fails
  type: dict
  contains:
    number:
      description: Its number.
      type: int
    sha256:
      description: SHA-256 of its payload. Note it elsewhere, as nothing else shows later that the
        end of the chain was cut off.
      type: str
  sample:
    number: 12
    sha256: 7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069
last_run:
  description: The same manifest in its envelope, as one line; V(null) where there is none.
  returned: unless the module fails
  type: str
  sample: '{"payload":"eyJ...","payloadType":"application/vnd.in-toto+json","signatures":[]}'
receipt_directory:
  description: The evidence folder.
  returned: unless the module fails
  type: str
  sample: /var/lib/keyferry/receipts
aborted:
  description: Whether the module stopped, for the reason in C(msg).
  returned: always
  type: bool
  sample: false
code:
  description:
    - Why the module failed as a whole, for programs; C(msg) says it in a sentence. docs/reasons.md
      has all codes.
  returned: when it failed as a whole
  type: str
  sample: evidence_malformed
failures:
  description: Always empty.
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
      description: The same for programs.
      type: str
  sample: []
"""

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    HOST_OPTIONS,
    VAULT_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.receipts import keep_receipts


def main() -> None:
    """Run the module."""
    run_module(
        keep_receipts,
        {
            **HOST_OPTIONS,
            "vault_url": {**VAULT_OPTIONS["vault_url"], "required": True},
            "receipt_directory": {"type": "path"},
            "statements": {"type": "list", "elements": "jsonarg", "default": []},
            "signatures": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "sha256": {"type": "str", "required": True},
                    "keyid": {"type": "str", "required": True, "no_log": False},
                    "sig": {"type": "str", "required": True},
                },
            },
            "run": {"type": "jsonarg"},
        },
    )


if __name__ == "__main__":
    main()
