#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_plan
short_description: Plan the changes that make a vault hold the declared keys
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Compares the declared keys, the generations that M(keyferry.azure.byok_target_key) found in the
    token, and the versions in the vault. Reports for every key what to do and why. Changes nothing.
  - A version in the vault and a generation in the token belong together when their thumbprints are
    equal. Oct keys have no public key, so they are recognised by the tag C(keyferry-generation),
    which is a hint and no proof.
requirements:
  - azure-keyvault-keys >= 4.11.3
  - azure-identity >= 1.19.0
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._host
  - keyferry.azure._vault
  - keyferry.azure._declaration
  - keyferry.azure._declaration.declarations
attributes:
  action_group:
    membership: [keyferry.azure.byok, keyferry.azure.byok_host, keyferry.azure.byok_vault]
  diff_mode:
    support: full
    details: Shows what M(keyferry.azure.byok_import) would change for this plan. As this module
      itself changes nothing, Ansible shows the diff only if C(changed_when) is true, as in
      C(keyferry.azure.plan).
options:
  target_keys:
    description:
      - The result RV(keyferry.azure.byok_target_key#module:target_keys) for the same keys, in check
        mode or not.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The key's name.
        type: str
        required: true
      created:
        description: Whether it was made, or would be; not used.
        type: bool
      locked:
        description: Whether it was locked, or would be; not used.
        type: bool
      generation:
        description: CKA_ID of the chosen generation.
        type: str
      thumbprint:
        description: The chosen generation's thumbprint; not used, as O(target_keys[].generations)
          has it.
        type: str
      generations:
        description: All generations, oldest first, each with C(generation) and C(thumbprint).
        type: list
        elements: dict
        required: true
      challenge:
        description: What proves an oct key; not used.
        type: dict
  rotate:
    description:
      - Whether to replace due keys, as their C(rotation) declares. If V(false), RV(plan[].next_due)
        tells when they are due.
      - The vault's clock decides what is due. If the vault tells no time, Entra ID's clock decides,
        and else this host's.
    type: bool
    default: false
  force:
    description:
      - Thumbprints (for oct keys CKA_IDs) of the generations to replace although they are not due,
        only with O(rotate=true). A generation that is not the newest version's was already replaced
        and is ignored.
      - The name of a declared key stands for the generation that is its newest version. So each run
        with that name replaces the key again, as soon as its C(min_interval) allows that.
    type: list
    elements: str
    default: []
  on_deleted:
    description:
      - What to do if a deleted key holds the name. V(fail) reports a conflict; V(recover) and
        V(purge) plan for M(keyferry.azure.byok_import) with the same option.
    type: str
    choices: [fail, recover, purge]
    default: fail
  all_versions:
    description: Whether to return all versions of the keys as RV(versions). This takes one request
      per version.
    type: bool
    default: false
  unmanaged:
    description:
      - Whether to report the keys of the vault that are not declared as RV(unmanaged). V(report)
        lists the vault.
    type: str
    choices: [report, ignore]
    default: ignore
  expires_soon:
    description:
      - How long before its expiry a version or a KEK expires soon, as an ISO 8601 duration. See
        RV(plan[].state).
    type: str
    default: P30D
  kek_name:
    description:
      - Name of a KEK that stays. If given, the module returns it as RV(kek), and warns if it has
        expired, expires soon or is not yet valid.
    type: str
  kek_id:
    description: Instead of O(kek_name), the identifier, with the version, of a KEK that stays.
    type: str
  expired_prefix:
    description:
      - Whether interrupted runs left KEKs behind. If given, the module lists the vault and returns
        the expired keys whose names begin with this prefix as RV(expired_keks).
        M(keyferry.azure.byok_kek) deletes them if they are KEKs.
    type: str
  receipt_directory:
    description:
      - Directory with the evidence of imports, as
        O(keyferry.azure.byok_import#module:receipt_directory) has it. It is read for RV(receipts).
      - If not given, C(/var/lib/keyferry/receipts) if that directory exists, and otherwise
        C(~/.local/share/keyferry/receipts).
    type: path
notes:
  - No PKCS#11 library is needed, so token and vault may be reached from two hosts.
seealso:
  - module: keyferry.azure.byok_target_key
  - module: keyferry.azure.byok_import
"""

EXAMPLES = r"""
---
- name: Find the key in the token
  keyferry.azure.byok_target_key:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: signing-key
    type: EC
    curve: P-256
  check_mode: true
  register: in_token

- name: Plan the changes
  keyferry.azure.byok_plan:
    vault_url: https://contoso.vault.azure.net
    name: signing-key
    type: EC
    curve: P-256
    target_keys: "{{ in_token.target_keys }}"
  register: plan
"""

RETURN = r"""
plan:
  description: One entry per key.
  returned: always, without the keys that failed
  type: list
  elements: dict
  contains:
    name:
      description: The key's name.
      type: str
    action:
      description:
        - V(transfer), the key has to be brought to the vault.
        - V(rotate), the key has to be replaced by a generation that has yet to be made. Only with
          O(rotate=true).
        - V(update), it is there, and attributes or Azure's own rotation policy have to change.
        - V(recover), a deleted key has to be recovered. Only with O(on_deleted=recover).
        - V(lock), it is there as declared, and C(after_transfer) wants its CKA_EXTRACTABLE to
          become false in the token.
        - V(none), it is there as declared.
        - V(conflict), somebody has to decide, and nothing is done until then. For example, the
          newest version is a key that
          is not in the token.
      type: str
    code:
      description:
        - Why, as a word for programs, such as V(in_place), V(due) or V(foreign_version). The file
          docs/reasons.md of the
          collection lists all of them and what they mean.
        - Codes stay as they are, sentences can change. A later release can add codes.
      type: str
    reason:
      description: Why, as a sentence for people.
      type: str
    kind:
      description: Type with size or curve.
      type: str
    generation:
      description: CKA_ID of the generation that it is about; V(null) for one that has to be made.
      type: str
    thumbprint:
      description: Its thumbprint.
      type: str
    version:
      description: The newest version in the vault.
      type: str
    kid:
      description: Identifier of that version.
      type: str
    next_due:
      description: When the newest version is due to be replaced, as the key's C(rotation) says;
        V(null) for never.
      type: str
    foreign:
      description: Whether the newest version in the vault is not of this token.
      type: bool
    state:
      description:
        - V(expired), the newest version has expired, by the vault's clock. V(expires_soon), it
          expires within O(expires_soon). V(not_yet_valid), its C(not_before) is in the future. Else
          V(null).
        - Where the vault has no version, the state is that of the version that would be brought.
        - The module also warns of these keys.
      type: str
    state_at:
      description: When that version expired, expires, or is valid from; V(null) without a state.
      type: str
    changes:
      description: The attributes that are updated, and CKA_EXTRACTABLE where the key is locked,
        with C(before) and C(after).
      type: dict
    remedy:
      description: What to do about a conflict, as sentences; V(null) for another action.
      type: str
    new_version:
      description: What the version that an import makes will be, with C(operations), C(enabled),
        C(not_before), C(expires) and C(tags); empty if nothing is imported.
      type: dict
  sample:
    - name: signing-key
      action: update
      code: attributes_differ
      reason: differs in tags
      kind: P-256
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
      version: 0123456789abcdef0123456789abcdef
      kid: https://contoso.vault.azure.net/keys/signing-key/0123456789abcdef0123456789abcdef
      foreign: false
      next_due: null
      state: null
      state_at: null
      changes:
        tags:
          before: {}
          after:
            owner: payments
      remedy: null
      new_version: {}
transfers:
  description: The declarations of the keys to transfer, for M(keyferry.azure.byok_target_key) and
    M(keyferry.azure.byok_wrap).
  returned: always
  type: list
  elements: dict
  sample: []
orders:
  description: The keys of which a generation has to be made, for
    O(keyferry.azure.byok_target_key#module:orders).
  returned: always
  type: list
  elements: dict
  contains: &order
    name:
      description: The key's name.
      type: str
    newer_than:
      description: CKA_ID of the youngest generation that is there; V(null) where there is none.
      type: str
    made_at:
      description: The time of the plan, which the new generation's CKA_ID will tell.
      type: str
    reason:
      description: Why.
      type: str
  sample: []
rotations:
  description: The former name of RV(orders), until version 1.0.0.
  returned: always
  type: list
  elements: dict
  contains: *order
  sample: []
versions:
  description: All versions of the keys in this vault, for
    O(keyferry.azure.byok_target_key#module:versions).
  returned: with O(all_versions=true), else V(null)
  type: dict
  contains:
    vault_url:
      description: The vault.
      type: str
    read_at:
      description: When it was read, by the clock of the host.
      type: str
    target_keys:
      description: The keys that could be read.
      type: list
      elements: dict
      contains:
        name:
          description: The key's name.
          type: str
        deleted:
          description: Whether a deleted key holds the name; V(null) where that may not be seen.
          type: bool
        last_rotated:
          description: When the newest version of this token was made, if this token has more than
            one version.
          type: str
        next_due:
          description: When the newest version is due to be replaced; V(null) for never, and where
            that version is not of this token.
          type: str
        versions:
          description: The versions, newest first, each with C(version), C(kid), C(type),
            C(thumbprint), C(generation), C(ours)
            (whether a generation of the token is this key), C(active) (whether it is the newest),
            C(created), C(operations),
            C(enabled), C(not_before), C(expires), C(tags) and C(state) (as RV(plan[].state)).
          type: list
          elements: dict
unmanaged:
  description: The keys of the vault that are not declared, without those that belong to
    certificates.
  returned: with O(unmanaged=report), else V(null)
  type: list
  elements: dict
  contains:
    name:
      description: The key's name.
      type: str
    kid:
      description: Its identifier without a version.
      type: str
    enabled:
      description: Whether it is enabled.
      type: bool
    created:
      description: When its newest version was made.
      type: str
    expires:
      description: When that expires; V(null) for never.
      type: str
    marked:
      description: Whether a tag says that Keyferry brought it; anybody can set a tag.
      type: bool
  sample:
    - name: old-key
      kid: https://contoso.vault.azure.net/keys/old-key
      enabled: true
      created: "2026-01-31T12:00:00Z"
      expires: null
      marked: true
expired_keks:
  description: Names of the expired keys that begin with O(expired_prefix), without the declared
    keys; none if the vault may not be listed.
  returned: always
  type: list
  elements: str
  sample: []
kek:
  description: The KEK that stays.
  returned: with O(kek_name) or O(kek_id), V(null) if it does not exist or cannot be read
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    kid:
      description: Its identifier with the version.
      type: str
    expires:
      description: When it expires; V(null) for never.
      type: str
    state:
      description: As RV(plan[].state).
      type: str
  sample:
    name: keyferry-kek-approved
    kid: https://contoso.vault.azure.net/keys/keyferry-kek-approved/0123456789abcdef0123456789abcdef
    expires: "2027-01-31T12:00:00Z"
    state: null
receipts:
  description: What the evidence folder tells of the declared keys.
  returned: always
  type: dict
  contains:
    without:
      description: The newest versions that stay in place and have no receipt, each with C(name),
        C(kid), C(version) and C(thumbprint).
      type: list
      elements: dict
    loose:
      description: Statements of imports and of versions that were found in place, which no manifest
        of a run names; at most 5000, each in its envelope as one line.
      type: list
      elements: str
    last_run:
      description: The last manifest of a run in its envelope, as one line; V(null) where there is
        none.
      type: str
  sample:
    without: []
    loose: []
    last_run: null
imports:
  description: The declarations of the keys to transfer or update, for
    M(keyferry.azure.byok_import).
  returned: always
  type: list
  elements: dict
  sample:
    - name: signing-key
      type: EC
      curve: P-256
      tags:
        owner: payments
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
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
    HOST_OPTIONS,
    KEY_CONSTRAINTS,
    TARGET_KEY_RESULT,
    VAULT_OPTIONS,
    key_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.plan import (
    SOON,
    plan_keys,
)


def main() -> None:
    """Run the module."""
    run_module(
        plan_keys,
        {
            **HOST_OPTIONS,
            **VAULT_OPTIONS,
            **key_options(),
            "target_keys": {
                "type": "list",
                "elements": "dict",
                "options": TARGET_KEY_RESULT,
                "required": True,
                "no_log": False,
            },
            "rotate": {"type": "bool", "default": False},
            "force": {"type": "list", "elements": "str", "default": []},
            "on_deleted": {
                "type": "str",
                "default": "fail",
                "choices": ["fail", "recover", "purge"],
            },
            "all_versions": {"type": "bool", "default": False},
            "unmanaged": {"type": "str", "default": "ignore", "choices": ["report", "ignore"]},
            "expires_soon": {"type": "str", "default": SOON},
            "kek_name": {"type": "str"},
            "kek_id": {"type": "str"},
            "expired_prefix": {"type": "str"},
            "receipt_directory": {"type": "path"},
        },
        **KEY_CONSTRAINTS,
    )


if __name__ == "__main__":
    main()
