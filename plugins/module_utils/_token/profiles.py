# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The vendors, and the choice between them by what a token says of itself.

Ansible packs a module with what its files import, so each vendor is imported here by name.
"""

from __future__ import annotations

import os
import typing as t
from itertools import chain

from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.vendors import (
    cloudhsm,
    futurex,
    generic,
    luna,
    nshield,
    nss,
    softhsm,
)

#: By the names that the option ``profile`` takes; where several fit a token, the first is chosen
PROFILES: t.Mapping[str, Profile] = {
    "generic": generic.PROFILE,
    "luna": luna.PROFILE,
    "futurex": futurex.PROFILE,
    "nshield": nshield.PROFILE,
    "cloudhsm": cloudhsm.PROFILE,
    "softhsm": softhsm.PROFILE,
    "nss": nss.PROFILE,
}


def choose_profile(name: str, manufacturer: str, model: str, library: str) -> str:
    """Return the name of the profile for a token.

    :param name: of the profile, or ``auto`` for the one that the token's manufacturer and model
        tell, else its library's file name
    :param library: path
    """
    if name != "auto":
        return name
    for vendor, profile in PROFILES.items():
        if _is_token_of(profile, manufacturer.lower(), model.lower()):
            return vendor
    for vendor, profile in PROFILES.items():
        if _is_library_of(profile, os.path.basename(library)):
            return vendor
    return "generic"


def _is_token_of(profile: Profile, manufacturer: str, model: str) -> bool:
    for maker, kind in profile.tokens:
        if manufacturer.startswith(maker) and model.startswith(kind):
            return True
    return False


def _is_library_of(profile: Profile, file_name: str) -> bool:
    file_names = {os.path.basename(path) for path in chain(*profile.libraries.values())}
    return file_name in file_names
