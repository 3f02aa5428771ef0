# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Futurex by FxPKCS11.

The manufacturer's name and the mechanisms are not published, so every candidate is tried. What is
known, and from which page of docs.futurex.com, docs/hsm/futurex.md says.
"""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    STANDARD_WRAPPING,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

_DEVICE = (
    "Check that fxpkcs11.cfg names the device, and that the Futurex Token Key (FTK) is loaded; "
    "the library's log says more"
)

PROFILE = Profile(
    title="Futurex by FxPKCS11: KMES Series 3, CryptoHub, Vectera",
    source=(
        "Public documents only: docs.futurex.com and public configurations. Manufacturer's name "
        "and mechanisms are not published, so every candidate is tried. Tried with a stand-in, "
        "never with a Futurex device"
    ),
    tokens=(("futurex", ""),),
    libraries={
        # It lies where one puts it; these are from public configurations.
        "linux": (
            "/usr/lib/x86_64-linux-gnu/fxpkcs11/libfxpkcs11.so",
            "/usr/local/bin/fxpkcs11/libfxpkcs11.so",
        ),
    },
    wrap_mechanisms=STANDARD_WRAPPING,
    role="identity",
    # FXPKCS11_CFG: Corda Enterprise's documentation
    environment=("FXPKCS11_CFG", "FXPKCS11_MODULE"),
    required_environment=("FXPKCS11_CFG",),
    # docs.futurex.com, "Generic Futurex PKCS #11, Load major keys"
    not_ready=(
        "Load the Futurex Token Key (FTK) into the device, which PKCS#11 needs before anything "
        "else; see docs/hsm/futurex.md"
    ),
    remedies={
        "CKR_GENERAL_ERROR": _DEVICE,
        "CKR_FUNCTION_FAILED": _DEVICE,
        "CKR_DEVICE_ERROR": _DEVICE,
        "CKR_TOKEN_NOT_RECOGNIZED": _DEVICE,
    },
)
