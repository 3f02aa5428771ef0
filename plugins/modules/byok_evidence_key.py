#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_evidence_key
short_description: Ensure the key in a PKCS#11 token that signs receipts
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Ensures a key on P-256 in the token that signs receipts and nothing else. It is sensitive, and
    it was never extractable. The module makes the key if no private key has its label.
  - The module reads the attributes of the key back, and lets the key sign something. If a key of
    that label has other attributes, or the token does not sign with it, the module fails. It never
    changes or replaces a key.
  - Give the public key to whoever verifies receipts, by another way than the receipts.
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._evidence
  - keyferry.azure._host
  - keyferry.azure._approvals
  - keyferry.azure._token
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_evidence
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
options:
  evidence_key_proof:
    description:
      - Path of a file in which the vendor's own tool states that the device made the key, such as
        the public key confirmation of a Luna or the attestation of an nShield.
      - The module does not read it. It returns it in RV(proof), so that it can be stored beside the
        public key, for somebody who can judge it. The file can have at most 1 MiB.
    type: path
seealso:
  - module: keyferry.azure.byok_sign
  - module: keyferry.azure.byok_wrap
"""

EXAMPLES = r"""
---
- name: Ensure the evidence key, in a partition of its own
  keyferry.azure.byok_evidence_key:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    evidence_key: byok-evidence
    evidence_token:
      token_label: evidence
      pin_file: /run/secrets/evidence-pin
  register: ensured

- name: Store its public key for those who verify receipts
  ansible.builtin.copy:
    content: "{{ ensured.evidence_key.public_key }}"
    dest: /media/carrier/evidence-key.pem
    mode: "0644"
"""

RETURN = r"""
evidence_key:
  description: The key; what is known only when the key exists is V(null) in check mode, if the key
    would be made.
  returned: always, and V(null) where the module failed
  type: dict
  contains:
    label:
      description: Its label.
      type: str
    keyid:
      description: SHA-256 of its SubjectPublicKeyInfo in hexadecimal digits, by which signatures
        name it.
      type: str
    public_key:
      description: Its public key as PEM.
      type: str
    attributes:
      description: What the token tells of its private key, by CKA_*; V(null) for what it does not
        tell.
      type: dict
    token:
      description: The token that holds it.
      type: dict
  sample:
    label: byok-evidence
    keyid: 0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21
    public_key: |
      -----BEGIN PUBLIC KEY-----
      ...
    attributes:
      CKA_SENSITIVE: true
      CKA_EXTRACTABLE: false
      CKA_NEVER_EXTRACTABLE: true
      CKA_SIGN: true
    token:
      label: evidence
      serial: "1312109861410"
created:
  description: Whether this run made the key.
  returned: when it did not fail
  type: bool
  sample: true
proof:
  description: What O(evidence_key_proof) names; V(null) without it.
  returned: when it did not fail
  type: dict
  contains:
    path:
      description: Where it was.
      type: str
    sha256:
      description: SHA-256 of it in hexadecimal digits.
      type: str
    content:
      description: The file as base64.
      type: str
  sample: null
aborted:
  description:
    - Whether the module stopped, for the reason in C(msg).
  returned: always
  type: bool
  sample: false
code:
  description:
    - Why the module failed, for programs; C(msg) says it in a sentence. docs/reasons.md has all
      codes.
  returned: when it failed
  type: str
  sample: evidence_key
failures:
  description: Always empty, because this module is about one key.
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
    EVIDENCE_OPTIONS,
    HOST_OPTIONS,
    TOKEN_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence_key import (
    ensure_evidence_key,
)


def main() -> None:
    """Run the module."""
    run_module(
        ensure_evidence_key,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **APPROVAL_OPTIONS,
            **EVIDENCE_OPTIONS,
            "evidence_key_proof": {"type": "path", "no_log": False},
        },
    )


if __name__ == "__main__":
    main()
