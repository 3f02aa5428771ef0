#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_target_key
short_description: Ensure that target keys exist in a PKCS#11 token, or destroy generations of them
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Finds the declared keys in the token by their label and makes missing keys, so that they can be
    brought to a vault. An existing key is never replaced. If O(orders) asks for a newer
    generation, the module makes it beside the existing one.
  - A key that was made by other means is adopted if it is of the declared type, extractable and
    sensitive, and was generated in the token.
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._host
  - keyferry.azure._approvals
  - keyferry.azure._token
  - keyferry.azure._declaration
  - keyferry.azure._declaration.target_keys
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
options:
  state:
    description:
      - V(present) makes missing keys. V(absent) destroys the generations that O(destroy) names, for
        ever, and makes nothing.
      - Destroying a key in the token does not delete it in any vault.
    type: str
    choices: [present, absent]
    default: present
  orders:
    description:
      - The result RV(keyferry.azure.byok_plan#module:orders), the keys that must get a newer
        generation. If the token already has a newer generation, for example from an interrupted
        run, none is made.
      - The alias V(rotations) is deprecated and will be removed in version 1.0.0.
    type: list
    elements: dict
    default: []
    aliases: [rotations]
    suboptions:
      name:
        description: The key's name.
        type: str
        required: true
      newer_than:
        description: CKA_ID of the newest generation at the time of the plan.
        type: str
      made_at:
        description:
          - The time to record in the new generation's CKA_ID.
          - If this time is more than an hour from this host's clock, no key is made.
        type: str
      reason:
        description: The reason; not used.
        type: str
  withdraw:
    description:
      - Thumbprints (for oct keys CKA_IDs) of generations that must never be chosen again, such as
        one that was made in advance and is no longer trusted. A byte FF behind the CKA_ID of the
        private key marks them. Nothing is destroyed, and versions in vaults stay as they are.
    type: list
    elements: str
    default: []
  destroy:
    description:
      - Thumbprints (for oct keys CKA_IDs, never labels) of the generations to destroy, for
        O(state=absent) alone. Otherwise the module fails before it does anything.
      - The alias V(confirm) is deprecated and will be removed in version 1.0.0.
    type: list
    elements: str
    default: []
    aliases: [confirm]
  vaults:
    description: The URLs of all vaults that declare the keys, for O(state=absent).
    type: list
    elements: str
  versions:
    description:
      - RV(keyferry.azure.byok_plan#module:versions) of each of O(vaults), read in this run, for
        O(state=absent). If a vault is missing here, nothing is destroyed. A generation that a vault
        still has is not destroyed.
    type: list
    elements: dict
    suboptions:
      vault_url:
        description: The vault.
        type: str
        required: true
      read_at:
        description: When the vault was read; at most an hour ago.
        type: str
        required: true
      target_keys:
        description: The vault's versions of the keys.
        type: list
        elements: dict
        required: true
  accept_last_copy:
    description: Destroy generations although a vault still has them, enabled, disabled or deleted.
    type: bool
    default: false
  listing:
    description:
      - Path of a stored listing, RV(keyferry.azure.byok_hsm_info#module:listing) as JSON. The
        module reads it instead of the token, and needs neither the library nor the token. If the
        listing is of another token than O(token_label) and O(token_serial) name, the module fails.
        If it is older than a day, the module warns.
      - For check mode and O(state=present) only.
    type: path
  public_session:
    description:
      - In check mode, without O(pin) and O(pin_file), if the token needs a login, read its public
        keys without one. RV(target_keys[].generations[].public_only) marks generations that were
        read so. Oct keys, which have no public key, fail. If the token shows no public key, all
        keys fail.
      - If V(false), a missing PIN is an error, as outside check mode.
    type: bool
    default: true
  transferred:
    description:
      - Thumbprints (for oct keys generations) of the keys that have arrived in all their vaults.
        Those with O(after_transfer=lock) are locked.
    type: list
    elements: str
    default: []
  challenges:
    description:
      - Return a challenge for each oct key, RV(target_keys[].challenge), so that
        M(keyferry.azure.byok_import) can have a vault prove that it has the key. That uses the key
        in the token, and changes nothing.
    type: bool
    default: false
    version_added: 0.1.0
notes:
  - In check mode the thumbprint of a key that would be made is not known.
  - Without a login, the module cannot recognise a locked key, or a public key that has lost its
    private key, as an interrupted run leaves it. Use a PIN or a stored listing to find them.
seealso:
  - module: keyferry.azure.byok_plan
  - module: keyferry.azure.byok_wrap
"""

EXAMPLES = r"""
---
- name: Ensure that one key exists in the token
  keyferry.azure.byok_target_key:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: storage-key
    type: RSA
    size: 3072
    operations: [wrapKey, unwrapKey]
  register: storage

- name: Ensure that many keys exist in the token
  keyferry.azure.byok_target_key:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    declarations:
      - name: storage-key
        type: RSA
        size: 3072
        operations: [wrapKey, unwrapKey]
      - name: signing-key
        type: EC
        curve: P-256

- name: Check what a run would do, by a listing from another host
  keyferry.azure.byok_target_key:
    listing: /media/carrier/listing.json
    name: signing-key
    type: EC
    curve: P-256
  check_mode: true
"""

RETURN = r"""
target_keys:
  description: One entry per key.
  returned: always, without the keys that failed
  type: list
  elements: dict
  contains: &target_key
    name:
      description: The key's name.
      type: str
      returned: always
    created:
      description: Whether this run made it, or would.
      type: bool
      returned: always
    locked:
      description: Whether this run locked it, or would.
      type: bool
      returned: always
    generation:
      description: CKA_ID of the generation that is meant, in hexadecimal digits; V(null) for a key
        that would be made.
      type: str
      returned: always
    thumbprint:
      description: Its RFC 7638 thumbprint; V(null) for oct keys and for a key that would be made.
      type: str
      returned: always
    challenge:
      description: With O(challenges=true), for an oct key something encrypted in the token that
        only a vault with the same key can decrypt; V(null) if the key can neither encrypt nor wrap.
      type: dict
      returned: always
    generations:
      description: All generations of the key in the token, oldest first; those made elsewhere
        before all others.
      type: list
      elements: dict
      returned: always
      contains:
        generation:
          description: CKA_ID in hexadecimal digits.
          type: str
        kind:
          description: Type with size or curve.
          type: str
        thumbprint:
          description: RFC 7638 thumbprint of the public key; V(null) for oct keys.
          type: str
        public_key:
          description: The public key as PEM; V(null) for oct keys.
          type: str
        public_only:
          description:
            - Whether only its public key was seen, because nobody logged in. Nothing is known of a
              private key then, C(origin) is
              V(unknown), and all CKA_* are V(null).
          type: bool
        half_made:
          description: Whether it is a private key of ours without its public key, as a run leaves
            it that is killed. It is
            passed over.
          type: bool
        made:
          description: When it was made, by its CKA_ID; V(null) for keys that were made elsewhere.
          type: str
        withdrawn:
          description: Whether it is never chosen again.
          type: bool
        made_by_keyferry:
          description: Whether CKA_ID has the form that this module gives it (UUIDv7).
          type: bool
        origin:
          description: V(token) when the token says that it made the key and never gave it out in
            the clear, V(external) when
            it says otherwise, V(unknown) when it does not say.
          type: str
        CKA_LOCAL:
          description: Whether the token made the key.
          type: bool
        CKA_ALWAYS_SENSITIVE:
          description: Whether the key was sensitive all its life.
          type: bool
        CKA_SENSITIVE:
          description: Whether the key's value can not be read.
          type: bool
        CKA_EXTRACTABLE:
          description: Whether the key can be wrapped.
          type: bool
        CKA_NEVER_EXTRACTABLE:
          description: V(false) for every key that can be brought.
          type: bool
        CKA_KEY_GEN_MECHANISM:
          description: Number of the mechanism that made the key.
          type: int
  sample:
    - name: signing-key
      created: true
      locked: false
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
      challenge: null
      generations:
        - generation: 01a2032eafaa71a4a5d1e84832f381a3
          kind: P-256
          thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
          public_key: "-----BEGIN PUBLIC KEY-----\nMFkw...\n-----END PUBLIC KEY-----\n"
          half_made: false
          public_only: false
          made: "2026-11-22T10:00:00Z"
          withdrawn: false
          made_by_keyferry: true
          origin: token
          CKA_LOCAL: true
          CKA_ALWAYS_SENSITIVE: true
          CKA_SENSITIVE: true
          CKA_EXTRACTABLE: true
          CKA_NEVER_EXTRACTABLE: false
          CKA_KEY_GEN_MECHANISM: 4160
target_key:
  description: The only entry of RV(target_keys).
  returned: when O(name) is given
  type: dict
  contains: *target_key
destroyed:
  description: The generations that were destroyed, or would be.
  returned: always
  type: list
  elements: dict
  contains: &generation
    name:
      description: The key's name.
      type: str
    generation:
      description: Its CKA_ID.
      type: str
    thumbprint:
      description: Its thumbprint.
      type: str
  sample: []
withdrawn:
  description: The generations that this run withdrew, or would.
  returned: always
  type: list
  elements: dict
  contains: *generation
  sample: []
token:
  description: The token's identity.
  returned: always
  type: dict
  sample:
    label: byok
    serial: "1312109861410"
    manufacturer: SafeNet
    model: LunaSA 7.4.0
    firmware: "7.4"
    library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
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
    HOST_OPTIONS,
    KEY_CONSTRAINTS,
    ROTATION_RESULT,
    TOKEN_OPTIONS,
    VERSIONS_RESULT,
    formerly,
    key_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.target_key import (
    ensure_target_keys,
)


def main() -> None:
    """Run the module."""
    run_module(
        ensure_target_keys,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **APPROVAL_OPTIONS,
            **key_options("target_keys"),
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "orders": {
                "type": "list",
                "elements": "dict",
                "options": ROTATION_RESULT,
                "default": [],
                **formerly("rotations"),
            },
            "withdraw": {"type": "list", "elements": "str", "default": []},
            "destroy": {
                "type": "list",
                "elements": "str",
                "default": [],
                **formerly("confirm"),
            },
            "vaults": {"type": "list", "elements": "str"},
            "versions": {"type": "list", "elements": "dict", "options": VERSIONS_RESULT},
            "accept_last_copy": {"type": "bool", "default": False},
            "listing": {"type": "path"},
            "public_session": {"type": "bool", "default": True},
            "transferred": {"type": "list", "elements": "str", "default": []},
            "challenges": {"type": "bool", "default": False},
        },
        required_if=[("state", "absent", ("vaults", "versions"))],
        **KEY_CONSTRAINTS,
    )


if __name__ == "__main__":
    main()
