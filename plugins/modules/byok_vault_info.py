#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_vault_info
short_description: Check whether a vault can be reached and which permissions are missing
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reports the vault's kind, firewall, recovery level, purge protection and clock, and tries each
    permission that the work needs. It is the counterpart of M(keyferry.azure.byok_hsm_info).
  - Changes nothing. A permission is tried by a request that cannot succeed, for a key named
    C(keyferry-probe-) and 16 random digits, which nobody has, or for a key of a type that does not
    exist. A refusal (403) shows that the permission is missing, and the answer that there is no
    such key (404, 409) that it is there. The vault's logs show these requests as failed.
  - A complaint about the request itself (400) shows nothing, because it is not documented in which
    order Azure checks permission and request. So for C(create) and C(import), which are tried with
    a type that does not exist, RV(vault.permissions[].granted) is V(null) unless they are refused.
    None of this was tried with the real service.
  - The module does not fail if the vault cannot be reached, blocks this host by its firewall, or
    rejects the access token, or if a permission is missing. It reports these problems in
    RV(vault.problems), and in warnings.
requirements:
  - azure-keyvault-keys >= 4.11.3
  - azure-identity >= 1.19.0
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._vault
  - keyferry.azure._declaration.declarations
attributes:
  action_group:
    membership: [keyferry.azure.byok, keyferry.azure.byok_vault]
  diff_mode:
    support: N/A
    details: This module changes nothing.
options:
  work:
    description:
      - The work to do in the vault. It decides which permissions are tried.
      - V(transfer) brings keys to the vault, V(rotate) brings newer generations, V(prepare) checks
        which generations the token must make, V(retire) disables older versions, V(delete),
        V(recover) and V(purge) delete, recover and purge whole keys, and V(show) reads.
      - If the KEKs of single runs are also purged, add V(purge_keks).
    type: list
    elements: str
    choices: [transfer, rotate, prepare, retire, delete, purge, purge_keks, recover, show]
    default: [transfer]
  ephemeral_kek:
    description: Whether each run makes its own KEK and deletes it, which needs C(create) and
      C(delete). If V(false), the KEK is permanent.
    type: bool
    default: true
  prove:
    description:
      - Whether the vault is asked to use the imported keys. That needs C(sign), C(decrypt) or
        C(unwrapKey), depending on O(declarations), and all three without them. Declared oct keys
        are proved in any case, also before one is retired.
    type: bool
    default: false
  declarations:
    description:
      - Keys to bring to the vault. Keys that this kind of vault does not support are in
        RV(failures).
      - If any are given, rotation policies count only if one of them declares C(rotation).
  list_keys:
    description:
      - List all keys of the vault in RV(vault_keys), with one request for each key. If the vault
        cannot be listed, the module then fails.
    type: bool
    default: false
notes:
  - A role assignment for single keys does not count here, because the tried name is not one of
    these keys.
seealso:
  - module: keyferry.azure.byok_hsm_info
  - module: keyferry.azure.byok_kek
  - module: keyferry.azure.byok_import
"""

EXAMPLES = r"""
---
- name: Check a vault before its first use
  keyferry.azure.byok_vault_info:
    vault_url: https://contoso.vault.azure.net
  register: found

- name: Report what to change there
  ansible.builtin.debug:
    msg: "{{ found.vault.problems + found.vault.notes }}"

- name: Check the permissions in a Managed HSM
  keyferry.azure.byok_vault_info:
    vault_url: https://contoso.managedhsm.azure.net
    work: [rotate, retire]
    declarations:
      - name: storage-key
        type: oct
        size: 256
  register: found
  failed_when: found is failed or found.vault.problems | length > 0

- name: List the keys of the vault
  keyferry.azure.byok_vault_info:
    vault_url: https://contoso.vault.azure.net
    work: [show]
    list_keys: true
  register: found
"""

RETURN = r"""
vault:
  description: What was found.
  returned: always, unless the options name no vault or no credential
  type: dict
  contains:
    url:
      description: The vault's URL.
      type: str
    name:
      description: The vault's name.
      type: str
    kind:
      description:
        - V(managed_hsm), as the URL says. V(premium), as one of the first 25 keys there is
          protected by an HSM.
        - V(unknown) where nothing shows that. The vault itself does not tell.
      type: str
    reachable:
      description: Whether the vault answered.
      type: bool
    firewall:
      description:
        - V(open), the requests were let through. V(refused), the vault does not let this host
          through, or takes private endpoints
          only. V(unknown) where no request got that far.
      type: str
    authenticated:
      description: Whether there was a token, and the vault took it; V(null) where that was not
        tried.
      type: bool
    recovery_level:
      description: What becomes of deleted keys, in Azure's words, as any key there has it; V(null)
        where there is none to read.
      type: str
    purge_protection:
      description: Whether nobody can purge a deleted key; V(null) where no key tells.
      type: bool
    retention_days:
      description: How many days a deleted key stays; V(null) where no key tells.
      type: int
    clock:
      description: What time it is for runs with this vault; V(null) where the vault did not answer.
      type: dict
      contains:
        source:
          description:
            - V(vault), by the Date header of the vault's answers.
            - V(entra), by that of the answer with which Entra ID gave the token. A Managed HSM
              sends no Date header.
            - V(host), by this host's clock, where neither told. That is so with a Managed HSM where
              the az CLI or a managed
              identity fetches the token.
          type: str
        time:
          description: The time, ISO 8601 in UTC.
          type: str
        difference:
          description:
            - By how many seconds that clock is ahead of this host's; negative where it is behind.
            - With more than 3600 either way, the other modules neither make nor change anything.
          type: int
    permissions:
      description: One entry per operation that the work takes.
      type: list
      elements: dict
      contains:
        operation:
          description: The operation.
          type: str
        granted:
          description:
            - Whether the answer shows that it is granted; V(null) where the answer does not tell,
              as C(create) and C(import) never do, or it was not asked for because the vault does
              not serve this run.
          type: bool
        needed_for:
          description: The kinds of O(work) that use it.
          type: list
          elements: str
        required:
          description: Whether one of them cannot do without.
          type: bool
        access_policy:
          description: The key permission in the vault's access policy; V(null) for a Managed HSM,
            which has none.
          type: str
        rbac_action:
          description: The data action, of Azure RBAC for a vault, of its local RBAC for a Managed
            HSM.
          type: str
        role:
          description: The built-in role that has it.
          type: str
        answer:
          description: What Azure answered; V(null) where it was not asked.
          type: str
    missing:
      description: Operations that are required and were refused. A vault that does not serve this
        run refuses none of them.
      type: list
      elements: str
    problems:
      description: What has to be changed, each with what to do.
      type: list
      elements: str
    notes:
      description: What else one should know.
      type: list
      elements: str
    owner_roots:
      description:
        - For a Managed HSM, the SHA-256 of what may be its owner's root certificate, as its
          hardware shows it with the attestation of one of its keys. Empty for a vault, and where a
          note says why it is not known.
        - Let two people compare it by two ways before you pin it as C(attestation_owner_roots), as
          docs/attestation.md describes.
      type: list
      elements: str
  sample:
    url: https://contoso.vault.azure.net
    name: contoso
    kind: premium
    reachable: true
    firewall: open
    authenticated: true
    recovery_level: Recoverable+Purgeable
    purge_protection: false
    retention_days: 90
    clock:
      source: vault
      time: "2026-11-22T12:00:00Z"
      difference: 0
    permissions:
      - operation: import
        granted: false
        needed_for:
          - transfer
        required: true
        access_policy: import
        rbac_action: Microsoft.KeyVault/vaults/keys/import/action
        role: Key Vault Crypto Officer
        answer: "Azure answered 403 (ForbiddenByRbac, request 2f1c0e0c-6c3b-4e1c-a7f5-0f5a5f0d8c11):
          Caller is not authorized to perform action on resource"
    missing:
      - import
    problems:
      - In the vault contoso the identity may not import keys. It is needed to transfer. Give it the
        role Key Vault Crypto
        Officer, or one of your own with the data actions in the result; a new assignment takes some
        minutes.
    notes: []
    owner_roots: []
vault_keys:
  description:
    - All keys of the vault with their newest versions, sorted by name. V(null) without
      O(list_keys=true).
    - Not named C(keys), because that is a method of every dict in a template.
  returned: always, unless the options name no vault or no credential, or the keys could not be
    listed
  type: list
  elements: dict
  contains:
    name:
      description: The key's name.
      type: str
    kid:
      description: The identifier of its newest version.
      type: str
    version:
      description: That version's 32 digits.
      type: str
    kind:
      description: Type with size or curve, as far as Azure tells.
      type: str
    type:
      description: Azure's type. One that ends with C(-HSM) is protected by an HSM, as all that was
        imported by BYOK.
      type: str
    size:
      description: Bits of an RSA key. Of an oct key Azure does not tell them.
      type: int
    curve:
      description: The curve of an EC key.
      type: str
    thumbprint:
      description: RFC 7638 thumbprint of the public key; V(null) for oct keys.
      type: str
    created:
      description: When the version was made, ISO 8601 in UTC.
      type: str
    kek:
      description: Whether it is a key exchange key, which can do nothing but import.
      type: bool
    managed:
      description: Whether it belongs to a certificate.
      type: bool
    operations:
      description: What it may do.
      type: list
      elements: str
    enabled:
      description: Whether it can be used.
      type: bool
    not_before:
      description: From when on it is valid.
      type: str
    expires:
      description: When it expires.
      type: str
    tags:
      description: Its tags.
      type: dict
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
  description: Keys of O(declarations) that the vault does not take, and listed ones that could not
    be read.
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
    DECLARATION_OPTIONS,
    VAULT_OPTIONS,
    key_list,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.vault_info import vault_info
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import WORK


def main() -> None:
    """Run the module."""
    run_module(
        vault_info,
        {
            **VAULT_OPTIONS,
            "work": {
                "type": "list",
                "elements": "str",
                "choices": list(WORK),
                "default": ["transfer"],
            },
            "ephemeral_kek": {"type": "bool", "default": True},
            "prove": {"type": "bool", "default": False},
            "list_keys": {"type": "bool", "default": False},
            "declarations": key_list(DECLARATION_OPTIONS),
        },
    )


if __name__ == "__main__":
    main()
