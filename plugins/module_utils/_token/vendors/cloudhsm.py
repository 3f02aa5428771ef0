# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""AWS CloudHSM."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_RSA_X9_31_KEY_PAIR_GEN,
    RSA_AES_KEY_WRAP,
    RSA_PKCS_KEY_PAIR_GEN,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

PROFILE = Profile(
    title="AWS CloudHSM, client SDK 5",
    source="Public documents only: docs.aws.amazon.com/cloudhsm",
    tokens=(("marvell", ""), ("cavium", ""), ("amazon", "")),
    libraries={"linux": ("/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",)},
    # Its 0x8000210A is PKCS#5 padding; ZERO_PAD is RFC 5649 and refuses any parameter.
    wrap_mechanisms=(
        RSA_AES_KEY_WRAP,
        Mechanism("CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", 0x8000216F),
    ),
    rsa_generation=(
        Mechanism("CKM_RSA_X9_31_KEY_PAIR_GEN", CKM_RSA_X9_31_KEY_PAIR_GEN),
        RSA_PKCS_KEY_PAIR_GEN,
    ),
    public_keys_private=(True,),
    role="crypto user",
    pin_form="user:password",
    remedies={
        "CKR_PIN_INCORRECT": (
            "Write the PIN as user:password; it was tried once and is not tried again"
        ),
        "CKR_KEY_NOT_WRAPPABLE": (
            "Only the crypto user who made a key may wrap it; log in as that one"
        ),
    },
)
