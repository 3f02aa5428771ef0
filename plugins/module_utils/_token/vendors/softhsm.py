# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""SoftHSM, for tests and demos."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    STANDARD_WRAPPING,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

PROFILE = Profile(
    title="SoftHSM 2.6 and 2.7",
    source=(
        "Measured: 2.6.1 as Debian has it, and 2.7.0. Only 2.7 has CKM_RSA_AES_KEY_WRAP and a "
        "right RFC 5649"
    ),
    tokens=(("softhsm", ""),),
    libraries={
        # Debian; Fedora
        "linux": ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"),
        # Homebrew on Apple silicon and on Intel
        "darwin": (
            "/opt/homebrew/lib/softhsm/libsofthsm2.so",
            "/usr/local/lib/softhsm/libsofthsm2.so",
        ),
    },
    wrap_mechanisms=STANDARD_WRAPPING,
    environment=("SOFTHSM2_CONF",),
)
