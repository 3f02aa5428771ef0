# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Any token that PKCS#11 alone describes."""

from __future__ import annotations

from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile

PROFILE = Profile(title="Any PKCS#11 token", source="PKCS#11 v3.1")
