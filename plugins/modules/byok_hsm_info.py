#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_hsm_info
short_description: Check whether a PKCS#11 token can make keys and wrap them for Azure
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Checks the token (its kind, firmware, PIN, mechanisms, partition policies and FIPS mode) and
    reports for every type of key whether the token can make it and wrap it for Azure, and if not,
    why and what to do.
  - Changes nothing. Without a PIN, the module does not log in, and reports what needs no login.
  - Facts that were never tried against a vendor's device are from public documents, as
    RV(hsm.profile.source) tells. O(rehearse=true) shows what the device really does.
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._evidence
  - keyferry.azure._host
  - keyferry.azure._approvals
  - keyferry.azure._token
  - keyferry.azure._declaration.needed_keys
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_evidence
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
options:
  rehearse:
    description:
      - Wrap a throw-away key and unwrap it here, to check what the token's wrap mechanism really
        produces, and make throw-away keys to check which the token can make (EC and AES; RSA only
        in sizes that the token says it does not make). They are session objects, which the token
        removes afterwards.
    type: bool
    default: false
  allow_trailing_zeros:
    description:
      - Accept a mechanism that leaves zero bytes behind the key, as SoftHSM 2.6.1 does.
      - If not given, the environment variable E(BYOK_ALLOW_TRAILING_ZEROS) is used.
    type: bool
    default: false
  accept_final_try:
    description: Log in although the token will lock its PIN if this one is wrong.
    type: bool
    default: false
  list_keys:
    description:
      - List all keys of the token in RV(listing). Needs a login.
    type: bool
    default: false
seealso:
  - module: keyferry.azure.byok_target_key
  - module: keyferry.azure.byok_wrap
"""

EXAMPLES = r"""
---
- name: Check a Luna partition before its first use
  keyferry.azure.byok_hsm_info:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    rehearse: true
  register: found

- name: Report what to change there
  ansible.builtin.debug:
    msg: "{{ found.hsm.problems + found.hsm.notes }}"

- name: Check that the token can make and wrap the declared keys
  keyferry.azure.byok_hsm_info:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    rehearse: true
    declarations:
      - name: signing-key
        type: EC
        curve: P-256

- name: List the keys of the token
  keyferry.azure.byok_hsm_info:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    list_keys: true
  register: listed

- name: Store the listing, for runs without the token
  ansible.builtin.copy:
    content: "{{ listed.listing | to_nice_json }}\n"
    dest: /media/carrier/listing.json
    mode: "0644"
"""

RETURN = r"""
hsm:
  description: What was found.
  returned: always, unless the token could not be opened
  type: dict
  contains:
    token:
      description: The token's label, serial number, manufacturer, model, firmware, and the library
        that it was reached by.
      type: dict
    profile:
      description: What kind of token it was taken for.
      type: dict
      contains:
        name:
          description: As O(hsm_profile) takes it.
          type: str
        title:
          description: In words.
          type: str
        source:
          description: Where what is known of it comes from, and whether it was tried.
          type: str
    pin:
      description:
        - V(ok), V(count_low) after a wrong try, V(final_try) when the next wrong one locks it, or
          V(locked).
      type: str
    logged_in:
      description: Whether a login was made. Without one, nothing is rehearsed.
      type: bool
    write_protected:
      description: Whether the token says that nothing can be stored in it.
      type: bool
    free_memory:
      description: Free bytes for C(public) and for C(private) objects; V(null) where the token does
        not tell.
      type: dict
    mechanisms:
      description: The mechanisms that matter here and that the token offers, by C(name) and
        C(number).
      type: list
      elements: dict
    policies:
      description: Partition policies that matter, where the token tells them. Only a Luna does.
      type: list
      elements: dict
      contains:
        number:
          description: The policy's number.
          type: int
        name:
          description: What it allows.
          type: str
        value:
          description: Its value.
          type: int
        wanted:
          description: What it has to be; V(null) where either is right.
          type: int
        met:
          description: Whether it is as it has to be.
          type: bool
        why:
          description: What depends on it.
          type: str
        command:
          description: The vendor's command that sets it; empty where it is as it has to be.
          type: str
    fips_mode:
      description: Whether the token is in FIPS mode; V(null) where nothing tells.
      type: bool
    fips_mode_source:
      description: What tells so.
      type: str
    rehearsal:
      description: What the rehearsal showed; V(null) where there was none or it failed.
      type: dict
    key_types:
      description: One entry per type of key that Azure can import.
      type: list
      elements: dict
      contains:
        kind:
          description: Type with size or curve.
          type: str
        make:
          description: Whether it can be made here; V(null) where nothing tells, or where the token
            tells other sizes and it was not tried.
          type: bool
        wrap:
          description: Whether it can be wrapped for Azure; V(null) where only a rehearsal can tell.
          type: bool
        reasons:
          description: Why not, or what is doubtful.
          type: list
          elements: str
    problems:
      description: What has to be changed, each with what to do.
      type: list
      elements: str
    notes:
      description: What else the owner of the keys should know.
      type: list
      elements: str
    nameless_objects:
      description: How many key objects have neither label nor CKA_ID, as an interrupted run can
        leave them; V(null) without a login.
      type: int
    evidence_key:
      description:
        - The key that O(evidence_key) names, after it signed something; V(null) without
          O(evidence_key) or a login, and where the key is missing or not fit, which
          RV(hsm.problems) tells.
        - With O(rehearse=true) the module fails if the key is missing or not fit. In check mode, it
          only warns if the key is missing, because byok_evidence_key may make it first.
      type: dict
      contains:
        label:
          description: Its label.
          type: str
        keyid:
          description: SHA-256 of its SubjectPublicKeyInfo in hexadecimal digits.
          type: str
        public_key:
          description: Its public key as PEM.
          type: str
        attributes:
          description: What the token tells of its private key, by CKA_*.
          type: dict
        token:
          description: The token that holds it.
          type: dict
    wrapping_policy:
      description: What this host lets out of the token.
      type: dict
      contains:
        told:
          description: Whether there is a wrapping policy, in a sentence.
          type: str
        files:
          description: The wrapping policies, which must all agree.
          type: list
          elements: dict
          contains:
            path:
              description: Where the policy is.
              type: str
            sha256:
              description: SHA-256 of the file.
              type: str
            owner:
              description: Who can change it, V(root) or V(the acting user).
              type: str
            demands:
              description: What it demands, in words.
              type: list
              elements: str
  sample:
    token:
      label: byok
      serial: "1312109861410"
      manufacturer: SafeNet
      model: LunaSA 7.8.4
      firmware: 7.8.4
      library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    profile:
      name: luna
      title: Thales Luna 7 and Luna Cloud HSM
      source: Public documents only
    pin: ok
    logged_in: true
    write_protected: false
    free_memory:
      public: 1900000
      private: null
    mechanisms:
      - name: CKM_AES_KWP
        number: "0x80000171"
    policies:
      - number: 1
        name: private key wrapping
        value: 0
        wanted: 1
        met: false
        why: RSA and EC keys leave the token by it
        command: partition changepolicy -policy 1 -value 1
    fips_mode: false
    fips_mode_source: partition policy 43
    rehearsal: null
    key_types:
      - kind: RSA-2048
        make: true
        wrap: false
        reasons:
          - partition policy 1 (private key wrapping) is 0
    problems:
      - "Partition policy 1 (private key wrapping) is 0 but must be 1: RSA and EC keys leave the
        token by it. As the partition's Security Officer: partition changepolicy -policy 1 -value
        1."
    notes: []
    nameless_objects: 0
    evidence_key: null
    wrapping_policy:
      told: /etc/keyferry/policy.yml decides what may leave the token, whatever the options of
        modules say
      files:
        - path: /etc/keyferry/policy.yml
          sha256: 0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21
          owner: root
          demands:
            - payments-* to https://contoso.vault.azure.net under a KEK that is attested
            - "escrow keys: none"
            - "may be made and changed in the token: payments-*"
            - "may be destroyed: nothing"
listing:
  description:
    - All keys of the token by their labels, with public facts only. It is stored as JSON for
      O(keyferry.azure.byok_target_key#module:listing). V(null) without O(list_keys=true).
  returned: always, unless the token could not be opened
  type: dict
  contains:
    format:
      description: Says what it is.
      type: str
    version:
      description: Of the format.
      type: int
    token:
      description: The token's identity, as RV(hsm.token) with the firmware that PKCS#11 tells.
      type: dict
    listed_at:
      description: When, ISO 8601 in UTC, by the clock of the host with the token.
      type: str
    target_keys:
      description: One entry per label, sorted by it.
      type: list
      elements: dict
      contains:
        name:
          description: The label; empty for keys that have none.
          type: str
        generations:
          description:
            - What RV(keyferry.azure.byok_target_key#module:target_keys[].generations) says, and
              C(type), C(size) and C(curve),
              which are V(null) for what Azure does not take.
          type: list
          elements: dict
        leftovers:
          description: CKA_IDs of public keys of ours that have lost their private keys, as a killed
            run leaves them.
          type: list
          elements: str
  sample: null
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
  description: Keys of O(declarations) that cannot be made or wrapped here.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The key's name.
      type: str
    msg:
      description: What cannot be done, why, and what to do.
      type: str
    code:
      description: The same for programs. docs/reasons.md has all codes.
      type: str
  sample: []
"""

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    ALLOW_TRAILING_ZEROS,
    APPROVAL_OPTIONS,
    DECLARATION_OPTIONS,
    EVIDENCE_OPTIONS,
    HOST_OPTIONS,
    TOKEN_OPTIONS,
    key_list,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.hsm_info import describe_token


def main() -> None:
    """Run the module."""
    run_module(
        describe_token,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **APPROVAL_OPTIONS,
            **EVIDENCE_OPTIONS,
            "declarations": key_list(DECLARATION_OPTIONS, former="target_keys"),
            "rehearse": {"type": "bool", "default": False},
            **ALLOW_TRAILING_ZEROS,
            "accept_final_try": {"type": "bool", "default": False},
            "list_keys": {"type": "bool", "default": False},
        },
    )


if __name__ == "__main__":
    main()
