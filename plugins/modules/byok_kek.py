#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_kek
short_description: Make or delete the key exchange key (KEK) of a vault
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - A KEK is an RSA-HSM key in the vault whose only operation is C(import). Only that vault can
    unwrap a key that is wrapped under it.
  - This module never changes or deletes a key that has a version which is not a KEK.
  - With O(kek_id), it uses a KEK that somebody else made, and changes nothing.
requirements:
  - azure-keyvault-keys >= 4.11.3
  - azure-identity >= 1.19.0
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attributes
  - keyferry.azure._vault
attributes:
  action_group:
    membership: [keyferry.azure.byok, keyferry.azure.byok_vault]
options:
  name:
    description:
      - Name of the KEK.
      - A deleted name stays reserved for 7 to 90 days, so give a KEK for one run a name of its own.
    type: str
  kek_id:
    description:
      - Instead of O(name), the identifier, with the version, of an existing KEK, such as the C(kid)
        of an C(HsmConfig.ini).
      - The KEK must be in this vault, of type RSA-HSM with no operation but C(import), and valid.
        O(size) is not checked.
    type: str
  kek_public_key:
    description:
      - The public key as PEM that somebody downloaded for O(kek_id), such as C(kekBlob.pem). If it
        differs from the vault's, the module fails.
      - Equal keys show that the file is neither stale nor substituted. They do not show whose KEK
        it is, so RV(kek_trust) stays V(unverified) without O(approved_keks).
    type: str
  state:
    description: Whether the KEK should exist.
    type: str
    choices: [present, absent]
    default: present
  size:
    description: Size in bits. An existing KEK of another size is an error.
    type: int
    choices: [2048, 3072, 4096]
    default: 4096
  expires:
    description: When the KEK expires, ISO 8601 with a time zone.
    type: str
  lifetime:
    description:
      - How long a new KEK is valid, as an ISO 8601 duration such as V(PT4H), counted by the vault's
        clock.
      - An existing KEK is not changed.
    type: str
  tags:
    description: Tags of the KEK. They are merged with its existing tags.
    type: dict
  approved_keks:
    description:
      - Fingerprints (SHA-256 of the SubjectPublicKeyInfo in hexadecimal digits) of KEKs that
        somebody compared with the vault.
      - A KEK with one of them has RV(kek_trust=pinned), and any other V(unverified), even if this
        run made it.
      - Give M(keyferry.azure.byok_wrap) the same list. It compares on the host of the token.
    type: list
    elements: str
    default: []
  purge:
    description:
      - With O(state=absent), also purge the deleted KEK. If the vault's recovery level does not
        allow that, the KEK is deleted all the same, and a warning says that it is not purged.
    type: bool
    default: false
  expired_prefix:
    description:
      - With O(state=absent), delete the KEKs that interrupted runs left behind, after the KEK
        O(name) if given. These are all keys whose names begin with this prefix, and of which every
        version is an import-only RSA-HSM key that has expired by the vault's clock.
      - With O(purge=true), these KEKs are purged if the vault's recovery level allows that.
    type: str
  made_before:
    description:
      - With O(state=absent) in check mode, an earlier task of the run would have made the KEK
        O(name). So its deletion is reported, although the KEK is not there.
    type: bool
    default: false
  delete_timeout:
    description: Seconds to wait until the vault has finished a deletion.
    type: int
    default: 300
seealso:
  - module: keyferry.azure.byok_wrap
"""

EXAMPLES = r"""
---
- name: Make a KEK for this run
  keyferry.azure.byok_kek:
    vault_url: https://contoso.vault.azure.net
    name: keyferry-kek-2026-11-22
    size: 4096
    lifetime: PT4H
  register: kek

- name: Use a KEK that two people have compared with the vault
  keyferry.azure.byok_kek:
    vault_url: https://contoso.vault.azure.net
    name: keyferry-kek-2026-11-22
    approved_keks:
      - "{{ kek.kek_fingerprint }}"

- name: Use exactly the KEK for which a package is configured elsewhere
  keyferry.azure.byok_kek:
    vault_url: https://contoso.vault.azure.net
    kek_id: https://contoso.vault.azure.net/keys/KEK2048-BYOK/0123456789abcdef0123456789abcdef
    kek_public_key: "{{ lookup('ansible.builtin.file', 'kek.pem') | keyferry.azure.plain_text }}"
    approved_keks:
      - 3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c

- name: Delete the KEK
  keyferry.azure.byok_kek:
    vault_url: https://contoso.vault.azure.net
    name: keyferry-kek-2026-11-22
    state: absent
"""

RETURN = r"""
kek_id:
  description: The KEK's identifier with its version, as M(keyferry.azure.byok_wrap) wants it.
  returned: O(state=present), V(null) in check mode when it would be made
  type: str
  sample: https://contoso.vault.azure.net/keys/keyferry-kek/0123456789abcdef0123456789abcdef
kek_public_key:
  description: The public key as PEM.
  returned: O(state=present), V(null) in check mode when it would be made
  type: str
  sample: "-----BEGIN PUBLIC KEY-----\nMIIC...\n-----END PUBLIC KEY-----\n"
kek_fingerprint:
  description: SHA-256 of the SubjectPublicKeyInfo in hexadecimal digits.
  returned: O(state=present), V(null) in check mode when it would be made
  type: str
  sample: 3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c
kek_trust:
  description:
    - Why the KEK is believed to be the vault's own, as this host can tell.
      M(keyferry.azure.byok_wrap) decides itself, because this host may be under somebody else's
      control.
    - V(created), because this run made it and nobody made a version of that name before; V(pinned),
      because its fingerprint
      is in O(approved_keks); else V(unverified). Where O(approved_keks) is given, it has to be in
      there.
  returned: O(state=present), V(null) in check mode when it would be made
  type: str
  sample: created
kek_attestation:
  description:
    - What the hardware of a Managed HSM states of the KEK. This is the whole answer of Azure, as
      text, for M(keyferry.azure.byok_wrap) to judge.
    - V(null) for a KEK of a vault, which has none, and where Azure gives none.
  returned: O(state=present)
  type: str
  sample: null
kek_owner_roots:
  description: SHA-256 of each certificate in RV(kek_attestation) that signs itself, in hexadecimal
    digits. One of them is the root of the Managed HSM's owner, which two people compare before
    O(keyferry.azure.byok_wrap#module:attestation_owner_roots) has it.
  returned: O(state=present)
  type: list
  elements: str
  sample: []
kek:
  description: More about the KEK.
  returned: O(state=present)
  type: dict
  contains:
    name:
      description: Its name.
      type: str
    size:
      description: Its size in bits.
      type: int
    expires:
      description: When it expires.
      type: str
    enabled:
      description: Whether it can be used.
      type: bool
    tags:
      description: Its tags.
      type: dict
    recovery_level:
      description: What the vault does with deleted keys.
      type: str
  sample:
    name: keyferry-kek
    size: 4096
    expires: "2026-11-22T16:00:00Z"
    enabled: true
    tags: {}
    recovery_level: Recoverable+Purgeable
deleted:
  description: Names of the KEKs that were deleted or purged, or would be.
  returned: O(state=absent)
  type: list
  elements: str
  sample: [keyferry-kek-2026-11-22]
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
  description: Empty; here so that all modules return it.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    VAULT_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.kek import ensure_kek


def main() -> None:
    """Run the module."""
    run_module(
        ensure_kek,
        {
            **VAULT_OPTIONS,
            "name": {"type": "str"},
            "kek_id": {"type": "str"},
            "kek_public_key": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "size": {"type": "int", "choices": [2048, 3072, 4096], "default": 4096},
            "expires": {"type": "str"},
            "lifetime": {"type": "str"},
            "tags": {"type": "dict"},
            "approved_keks": {"type": "list", "elements": "str", "default": []},
            "purge": {"type": "bool", "default": False},
            "expired_prefix": {"type": "str"},
            "made_before": {"type": "bool", "default": False},
            "delete_timeout": {"type": "int", "default": 300},
        },
        mutually_exclusive=[
            ("expires", "lifetime"),
            *(
                ("kek_id", other)
                for other in ("name", "expired_prefix", "expires", "lifetime", "tags")
            ),
        ],
        required_if=[
            ("state", "present", ("name", "kek_id"), True),
            ("state", "absent", ("name", "expired_prefix"), True),
        ],
        required_by={"kek_public_key": ("kek_id",)},
    )


if __name__ == "__main__":
    main()
