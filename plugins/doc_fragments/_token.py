# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that name a PKCS#11 token."""

from __future__ import annotations


class ModuleDocFragment:
    """Token options; private to the collection."""

    DOCUMENTATION = r"""
options:
  pkcs11_library:
    description:
      - Path of the token's PKCS#11 library on the host where the module runs.
      - If not given, the environment variable E(BYOK_PKCS11_LIBRARY) is used.
    type: path
  token_label:
    description:
      - Label of the token.
      - If not given, the environment variable E(BYOK_TOKEN_LABEL) is used.
    type: str
  token_serial:
    description: Serial number of the token, where several have the same label.
    type: str
  token_slot:
    description:
      - Number of the token's slot (C(CK_SLOT_ID)), where neither label nor serial number tells
        tokens apart.
      - Vendors may number slots anew with every start, so prefer O(token_label) and
        O(token_serial).
    type: int
  token_uri:
    description:
      - The token as a PKCS#11 URI (RFC 7512), such as
        V(pkcs11:token=byok;serial=1312109861410). C(token), C(serial), C(manufacturer), C(model)
        and C(slot-id) are taken. Any other attribute is an error.
      - It never holds the PIN.
    type: str
  pin_file:
    description:
      - Path of a file on the host where the module runs that holds the user's PIN and nothing else.
        Preferred to O(pin).
      - If not given, the environment variable E(BYOK_PIN_FILE) is used.
      - The PIN is tried once and never again, because tokens lock after a few wrong tries.
    type: path
  pin:
    description:
      - The user's PIN. Prefer O(pin_file). Before ansible-core 2.22 Ansible replaces the PIN's text
        wherever it stands in
        the results, so that a short one can spoil the version of a key that happens to hold the
        same digits.
      - If neither is given, the environment variable E(BYOK_PIN) is used.
    type: str
  library_environment:
    description:
      - Environment variables that the PKCS#11 library wants, set in the module's process before it
        is loaded.
      - Variables of the loader (C(LD_LIBRARY_PATH) and others that begin with C(LD_)) are refused,
        because the loader reads them only when a process begins.
    type: dict
  library_parameters:
    description:
      - Parameters to initialise the PKCS#11 library with (C(pReserved) of C(C_Initialize)). Only
        NSS needs them, such as
        V(configdir='sql:/path' certPrefix='' keyPrefix='' secmod='' flags=).
    type: str
  library_timeout:
    description:
      - How many seconds one call of the PKCS#11 library can take. If a call takes longer, the
        library is stopped and the task fails. V(0) waits for ever.
      - Making a large RSA key takes minutes on some HSMs.
    type: int
    default: 600
  hsm_profile:
    description:
      - The vendor of the token. It decides which mechanisms are tried to make and to wrap keys, how
        return codes are explained, and what M(keyferry.azure.byok_hsm_info) checks.
      - With V(auto), the vendor follows from the token's manufacturer and model, or else from the
        file name of its library.
      - V(luna) is Thales Luna 7 and Luna Cloud HSM, V(futurex) FxPKCS11, V(nshield) Entrust
        nShield, V(cloudhsm) AWS CloudHSM,
        V(nss) NSS softokn.
      - The alias O(profile) is deprecated and will be removed in version 1.0.0.
    type: str
    choices: [auto, cloudhsm, futurex, generic, luna, nshield, nss, softhsm]
    default: auto
    aliases: [profile]
  hsm_profile_file:
    description:
      - Path of a profile of your own on the host where the module runs, for a token that this
        release does not know. It replaces O(hsm_profile).
      - The file is JSON, as C(docs/hsm/other.md) describes it. It says which mechanisms to try. A
        rehearsal judges what they make before a key is touched, as always.
    type: path
  sessions:
    description:
      - How many sessions make and wrap keys at the same time. More sessions are faster with an HSM
        in a network. NSS always gets one session.
    type: int
    default: 1
  policy_file:
    description:
      - Path of a further wrapping policy on the host where the module runs. A policy says which
        keys can leave the token to which vaults, what their KEKs need, and which keys can be
        changed.
      - A policy at C(/etc/keyferry/policy.yml), C(policy.yaml) or C(policy.json) always counts. All
        policies must agree, so this option can only add limits. Only root or the user who runs the
        module may be able to write a policy. C(docs/approvals.md) describes policies.
    type: path
"""
