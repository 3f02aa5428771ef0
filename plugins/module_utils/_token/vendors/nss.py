# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""NSS softokn, for tests."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    AES_KEY_WRAP_KWP,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

PROFILE = Profile(
    title="NSS softokn",
    source=(
        "Measured: NSS 3.87. Its 0x210A is RFC 3394 over PKCS#7, and it ignores CKA_EXTRACTABLE"
    ),
    tokens=(("mozilla", ""),),
    # Debian; Fedora
    libraries={"linux": ("/usr/lib/x86_64-linux-gnu/libsoftokn3.so", "/usr/lib64/libsoftokn3.so")},
    wrap_mechanisms=(AES_KEY_WRAP_KWP,),
    most_sessions=1,  # several that made token objects hung
    remedies={
        "CKR_ARGUMENTS_BAD": (
            "NSS wants library_parameters, such as configdir='sql:/path' certPrefix='' "
            "keyPrefix='' secmod='' flags="
        ),
    },
)
