# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Entrust nShield."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    STANDARD_WRAPPING,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

PROFILE = Profile(
    title="Entrust nShield",
    source=(
        "Public documents only: nshielddocs.entrust.com; that 0x210A and 0x210B are RFC 5649: "
        "Mastercard/pkcs11-tools"
    ),
    tokens=(("ncipher", ""), ("entrust", "")),
    libraries={"linux": ("/opt/nfast/toolkits/pkcs11/libcknfast.so",)},
    wrap_mechanisms=STANDARD_WRAPPING,
    environment=(
        "CKNFAST_LOADSHARING",
        "CKNFAST_FAKE_ACCELERATOR_LOGIN",
        "CKNFAST_OVERRIDE_SECURITY_ASSURANCES",
    ),
    not_ready=(
        "Present the card set or softcard; softcards are seen only with CKNFAST_LOADSHARING=1 in "
        "library_environment"
    ),
    remedies={
        "CKR_ATTRIBUTE_VALUE_INVALID": (
            "The library refuses this kind of key unless CKNFAST_OVERRIDE_SECURITY_ASSURANCES in "
            "library_environment allows it, such as tokenkeys; see docs/hsm/other.md"
        ),
    },
)
