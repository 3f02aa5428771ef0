#!/usr/bin/python
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: byok_wrap
short_description: Wrap target keys into key transfer packages
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Wraps keys of a PKCS#11 token under the KEK of a vault, as Microsoft's Bring your own key
    specification requires. The key leaves the token wrapped, and only that vault can unwrap it.
  - Before it touches a real key, the module wraps and unwraps a throw-away key to check what the
    token's wrap mechanism really produces (a rehearsal). The rehearsal uses session objects only,
    so it is also done in check mode.
  - No network is needed. The KEK is given as PEM. This module computes its fingerprint and decides
    itself whether the KEK may be used, because whoever made the KEK can read what is wrapped under
    it.
requirements:
  - python-pkcs11 >= 0.10.1
  - cryptography
extends_documentation_fragment:
  - keyferry.azure._attestation
  - keyferry.azure._attributes
  - keyferry.azure._evidence
  - keyferry.azure._host
  - keyferry.azure._approvals
  - keyferry.azure._token
  - keyferry.azure._declaration
  - keyferry.azure._declaration.package
  - keyferry.azure._declaration.packages
attributes:
  action_group:
    membership:
      - keyferry.azure.byok
      - keyferry.azure.byok_approvals
      - keyferry.azure.byok_evidence
      - keyferry.azure.byok_host
      - keyferry.azure.byok_token
  idempotent:
    support: partial
    details: Wrapping is random. A package is kept only if O(path) or O(declarations[].path) holds
      an unchanged package of the same key under the same KEK, with its receipt. Without a path,
      every run wraps. Oct keys are wrapped by every run, because nothing shows that a package that
      is there holds the right one.
options:
  kek_id:
    description:
      - The KEK's identifier with its version. Required, except in check mode if the KEK does not
        exist yet.
    type: str
  kek_public_key:
    description: The KEK's public key as PEM. Required like O(kek_id).
    type: str
  kek_fingerprint:
    description:
      - SHA-256 of the KEK's SubjectPublicKeyInfo in hexadecimal digits, as
        M(keyferry.azure.byok_kek) returned it. If O(kek_public_key) has another fingerprint, it was
        replaced in transit, and the module rejects it.
      - This option is optional, and does not make the KEK trusted.
    type: str
  approved_keks:
    description:
      - Fingerprints (SHA-256 of the SubjectPublicKeyInfo in hexadecimal digits) of KEKs that
        somebody compared with the vault, as in M(keyferry.azure.byok_kek).
      - If any are given, every other KEK is rejected, whatever the other options are. If none are
        given, a KEK needs O(kek_created=true) or O(allow_unverified_kek=true).
    type: list
    elements: str
    default: []
  kek_created:
    description:
      - Whether this run made the KEK, which M(keyferry.azure.byok_kek) reports as V(created).
      - Set it only if you trust the host where M(keyferry.azure.byok_kek) ran like the controller.
        Whoever controls that host can report a KEK of their own as V(created).
    type: bool
    default: false
  kek_trust:
    description:
      - Deprecated. Use O(approved_keks) and O(kek_created) instead. It no longer makes a KEK
        trusted, because whoever controls the host that returned it can assert anything.
      - V(pinned) is rejected if the KEK is not in O(approved_keks). V(created) counts only with
        O(kek_created=true). V(unverified) cancels O(kek_created=true).
    type: str
    choices: [created, pinned, unverified]
  kek_attestation:
    description:
      - What the hardware of a Managed HSM states of the KEK, as M(keyferry.azure.byok_kek) returned
        it. This is the whole answer of Azure, as text. The module judges it itself, so it does not
        matter who handed it over.
      - It counts only if O(attestation_owner_roots) has the root of the KEK's Managed HSM.
    type: jsonarg
  kek_attestation_path:
    description: A file that holds what O(kek_attestation) describes.
    type: path
  allow_unverified_kek:
    description:
      - Wrap under a KEK that is neither approved nor made by this run. If it is not the vault's
        own, whoever made it gets the key.
      - It does not allow a KEK that is not in O(approved_keks), if any are given.
    type: bool
    default: false
  allow_trailing_zeros:
    description:
      - Use a mechanism that leaves zero bytes behind the key, as SoftHSM 2.6.1 does. Whether
        Azure accepts such packages is not known.
      - If not given, the environment variable E(BYOK_ALLOW_TRAILING_ZEROS) is used.
    type: bool
    default: false
  escrow_public_key:
    description:
      - An RSA public key as PEM, whose private key an HSM of your own holds. Every key is wrapped
        under it as well, in the same
        run, so that it is not lost with the token, as on a Luna partition whose private keys can be
        wrapped and therefore not
        be cloned or backed up.
      - An escrow package is for no vault, and M(keyferry.azure.byok_import) rejects it. If you need
        escrow packages only, omit the KEK's options.
    type: str
  escrow_fingerprint:
    description:
      - SHA-256 of the escrow key's SubjectPublicKeyInfo in hexadecimal digits, as somebody read it
        from the escrow HSM. Needed with O(escrow_public_key). Any other key is rejected.
    type: str
seealso:
  - name: Bring your own key specification
    description: Microsoft's specification of the package.
    link: https://learn.microsoft.com/azure/key-vault/keys/byok-specification
  - module: keyferry.azure.byok_kek
  - module: keyferry.azure.byok_import
"""

EXAMPLES = r"""
---
- name: Wrap a key on a host without network
  keyferry.azure.byok_wrap:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: signing-key
    type: EC
    curve: P-256
    path: /media/carrier/signing-key.byok
    kek_id: https://contoso.vault.azure.net/keys/keyferry-kek/0123456789abcdef0123456789abcdef
    kek_public_key: "{{ lookup('ansible.builtin.file', '/media/carrier/kek.pem') }}"
    approved_keks:
      - 3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c

- name: Wrap a key under the KEK that byok_kek made in this run
  keyferry.azure.byok_wrap:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: signing-key
    type: EC
    curve: P-256
    kek_id: "{{ kek.kek_id }}"
    kek_public_key: "{{ kek.kek_public_key }}"
    kek_fingerprint: "{{ kek.kek_fingerprint }}"
    kek_created: "{{ kek.kek_trust == 'created' }}"

- name: Wrap a key for the escrow HSM alone
  keyferry.azure.byok_wrap:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    token_label: byok
    pin_file: /run/secrets/byok-pin
    name: signing-key
    type: EC
    curve: P-256
    escrow_path: /media/escrow/signing-key.escrow
    escrow_public_key: "{{ lookup('ansible.builtin.file', '/media/carrier/escrow.pem') }}"
    escrow_fingerprint: 0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21
"""

RETURN = r"""
packages:
  description: One entry per key.
  returned: always, without the keys that failed, and empty for keys that would be wrapped
  type: list
  elements: dict
  contains: &package
    name:
      description: The key's name.
      type: str
    generation:
      description: CKA_ID of the generation in hexadecimal digits.
      type: str
    thumbprint:
      description: RFC 7638 thumbprint of the key; V(null) for oct keys.
      type: str
    kek_id:
      description: The KEK that it was wrapped under.
      type: str
    path:
      description: Where the package is.
      type: str
    content:
      description: The package itself.
      type: str
    sha256:
      description: SHA-256 of the package. If the package travels in a file, bring this by another
        way, and give it to M(keyferry.azure.byok_import) as
        O(keyferry.azure.byok_import#module:sha256).
      type: str
    sha256_spoken:
      description: The same in groups of four digits, to be read aloud.
      type: str
    wrapped:
      description: Whether this run wrapped the key, and did not keep a package that was there.
      type: bool
    challenge:
      description: For oct keys, something encrypted in the token that only a vault with the same
        key can decrypt. The receipt has it as well, so it travels with the package.
      type: dict
    receipt:
      description: The receipt, an in-toto Statement v1; docs/receipt.schema.json describes it.
      type: dict
    envelope:
      description:
        - The receipt in an envelope (DSSE 1.0), as one line of JSON. O(evidence_key) has signed
          it. Without O(evidence_key), nobody has. It is also beside the package, with
          C(.intoto.jsonl) appended.
        - V(null) in check mode, where it would be signed.
      type: str
  sample:
    - name: signing-key
      generation: 01a2032eafaa71a4a5d1e84832f381a3
      thumbprint: _WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8
      kek_id: https://contoso.vault.azure.net/keys/keyferry-kek/0123456789abcdef0123456789abcdef
      path: /media/carrier/signing-key.byok
      content: >-
        {"schema_version": "1.0.0", "header": {"kid": "...", "alg": "dir",
        "enc": "CKM_RSA_AES_KEY_WRAP"}, "ciphertext": "..."}
      sha256: 05882432528761c73795b8923199a88dc9cabfe09c17136d707e7ecec41ebf11
      sha256_spoken: >-
        0588 2432 5287 61c7 3795 b892 3199 a88d c9ca bfe0 9c17 136d 707e 7ece c41e bf11
      wrapped: true
      challenge: null
      receipt: {}
      envelope: >-
        {"payload":"...","payloadType":"application/vnd.in-toto+json","signatures":[]}
escrows:
  description:
    - The same for the escrow packages, with V(null) as RV(escrows[].kek_id) and
      RV(escrows[].challenge).
  returned: always, and empty without O(escrow_public_key)
  type: list
  elements: dict
  contains: *package
  sample: []
escrow:
  description: The only entry of RV(escrows).
  returned: when O(name) and O(escrow_public_key) are given
  type: dict
  contains: *package
package:
  description: The only entry of RV(packages).
  returned: when O(name) is given
  type: dict
  contains: *package
rehearsal:
  description: What the rehearsal showed; V(null) where nothing had to be wrapped.
  returned: always
  type: dict
  sample:
    profile: luna
    mechanism: CKM_AES_KWP (0x80000171)
    parameter: a65959a6
    finding: RFC 5649 over PKCS#8
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
    ALLOW_TRAILING_ZEROS,
    APPROVAL_OPTIONS,
    ATTESTATION_OPTIONS,
    EVIDENCE_OPTIONS,
    HOST_OPTIONS,
    KEY_CONSTRAINTS,
    TOKEN_OPTIONS,
    key_options,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import run_module
from ansible_collections.keyferry.azure.plugins.module_utils._steps.wrap import wrap_packages


def main() -> None:
    """Run the module."""
    run_module(
        wrap_packages,
        {
            **HOST_OPTIONS,
            **TOKEN_OPTIONS,
            **APPROVAL_OPTIONS,
            **EVIDENCE_OPTIONS,
            **ATTESTATION_OPTIONS,
            **key_options("packages", path={"type": "path"}, escrow_path={"type": "path"}),
            "kek_id": {"type": "str"},
            "kek_public_key": {"type": "str"},
            "kek_fingerprint": {"type": "str"},
            "approved_keks": {"type": "list", "elements": "str", "default": []},
            "kek_created": {"type": "bool", "default": False},
            "kek_trust": {"type": "str", "choices": ["created", "pinned", "unverified"]},
            "kek_attestation": {
                "type": "jsonarg"
            },  # before 2.19 Ansible makes a dict of such a text
            "kek_attestation_path": {"type": "path"},
            "allow_unverified_kek": {"type": "bool", "default": False},
            **ALLOW_TRAILING_ZEROS,
            "escrow_public_key": {"type": "str"},
            "escrow_fingerprint": {"type": "str"},
        },
        **{
            **KEY_CONSTRAINTS,
            "mutually_exclusive": [
                *KEY_CONSTRAINTS["mutually_exclusive"],
                ("kek_attestation", "kek_attestation_path"),
            ],
        },
    )


if __name__ == "__main__":
    main()
