# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection.
# It can have breaking changes at any time.

"""Partition policies, read from the token and not inferred from its return codes.

A Luna's library exports these functions beside PKCS#11 (ThalesGroup/pycryptoki; ThalesGroup/luna-samples,
Show_Partition_Policies.c). Both sizes are counts of elements, and a first call with NULL asks for them.
"""

from __future__ import annotations

import ctypes
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import CKR_OK, Library


def read_policies(library: Library, slot: int) -> dict[int, int] | None:
    """Return the partition's policies by number; None where the token does not tell."""
    number = ctypes.c_ulong(slot)
    get_policies = library.vendor_function("CA_GetTokenPolicies")
    if get_policies:
        found = _read(get_policies, number)
        if found is not None:
            return found
    # Clients before 7 know a partition as a container.
    get_container = library.vendor_function("CA_GetUserContainerNumber")
    get_policies = library.vendor_function("CA_GetContainerPolicySet")
    container = ctypes.c_ulong()
    if get_container and get_policies and get_container(number, ctypes.byref(container)) == CKR_OK:
        return _read(get_policies, number, container)
    return None


def read_firmware(library: Library, slot: int) -> str | None:
    """Return the firmware's version with all its parts, which CK_TOKEN_INFO has no room for; None where that is not told."""
    get_version = library.vendor_function("CA_GetFirmwareVersion")
    parts = [ctypes.c_ulong() for part in ("major", "minor", "subminor")]
    if (
        get_version
        and get_version(ctypes.c_ulong(slot), *(ctypes.byref(part) for part in parts)) == CKR_OK
    ):
        return ".".join(str(part.value) for part in parts)
    return None


def _read(function: t.Any, *where: ctypes.c_ulong) -> dict[int, int] | None:
    counts = ctypes.c_ulong(), ctypes.c_ulong()
    if function(*where, None, ctypes.byref(counts[0]), None, ctypes.byref(counts[1])) != CKR_OK:
        return None
    numbers, values = ((ctypes.c_ulong * max(1, count.value))() for count in counts)
    if (
        function(*where, numbers, ctypes.byref(counts[0]), values, ctypes.byref(counts[1]))
        != CKR_OK
    ):
        return None
    return dict(zip(numbers[: counts[0].value], values[: counts[1].value], strict=False))
