# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Thales Luna 7 and Luna Cloud HSM.

Which document each fact is from, docs/hsm/luna.md says under Sources; what only the device can
show, too.
"""

from __future__ import annotations

import ctypes
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import CKR_OK, Library
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    AES_KEY_WRAP_KWP,
    CKM_RSA_PKCS_KEY_PAIR_GEN,
    RSA_AES_KEY_WRAP,
    RSA_PKCS_KEY_PAIR_GEN,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import (
    Policy,
    Profile,
)

#: RFC 5649, section 3: the constant half of the alternative initial value
_AIV = bytes.fromhex("a65959a6")

#: ThalesGroup/pycryptoki, defines.py: CKM_VENDOR_DEFINED + 0x171. With NULL a Luna may append the
#: initial value to its output (ThalesGroup/luna-samples), so the standard's value comes first.
_VENDOR_KWP = (
    Mechanism("CKM_AES_KWP", 0x80000171, _AIV),
    Mechanism("CKM_AES_KWP", 0x80000171),
)

#: thalesdocs.com, "Partition Capabilities and Policies" and "Configuring the Partition for Cloning
#: or Export of Private/Secret Keys"; 34: Thales' BYOK guide 007-013885-002
_POLICIES = (
    Policy(0, "private key cloning", 0, "it excludes policy 1", private=True),
    Policy(1, "private key wrapping", 1, "RSA and EC keys leave the token by it", private=True),
    Policy(5, "secret key wrapping", 1, "the temporary AES key is wrapped by it"),
    Policy(
        10,
        "multipurpose keys",
        None,
        "where it is 0, declare operations of one purpose per key",
    ),
    Policy(34, "CBC-PAD (un)wrap of keys of any size", 1, "Thales' BYOK guide asks for it"),
    Policy(
        22,
        "activation",
        None,
        "a partition with PED wants 1, so that it can be used unattended",
    ),
    Policy(
        23,
        "auto-activation",
        None,
        "a partition with PED wants 1, so that it can be used unattended",
    ),
    Policy(43, "algorithms beyond FIPS", None, "0 is FIPS mode: no P-256K"),
)

_NO_BACKUP = (
    "Private keys of this partition can be wrapped, and so they cannot be cloned: an HA group does "
    "not replicate them and a Backup HSM does not take them. Wrap each generation under an escrow "
    "key as well (byok_wrap, escrow_public_key), or lose it with the partition."
)

#: CKR_* above CKR_VENDOR_DEFINED (0x80000000), without the prefix: ThalesGroup/pycryptoki, and a
#: few from other open bindings
_RETURN_CODES = {
    0x04: "RC_ERROR",
    0x05: "CONTAINER_HANDLE_INVALID",
    0x06: "TOO_MANY_CONTAINERS",
    0x07: "USER_LOCKED_OUT",
    0x0C: "ACCEL_DEVICE_ERROR",
    0x0D: "WRAPPING_ERROR",
    0x0E: "UNWRAPPING_ERROR",
    0x1A: "USER_NOT_AUTHORIZED",
    0x1B: "MAX_OBJECT_COUNT_EXCEEDED",
    0x1C: "SO_LOGIN_FAILURE_THRESHOLD",
    0x1F: "UNABLE_TO_CONNECT",
    0x20: "PARTITION_DISABLED",
    0x21: "CALLBACK_ERROR",
    0x22: "SECURITY_PARAMETER_MISSING",
    0x23: "SP_TIMEOUT",
    0x24: "TIMEOUT",
    0x25: "ECC_UNKNOWN_CURVE",
    0x26: "MTK_ZEROIZED",
    0x27: "MTK_STATE_INVALID",
    0x2A: "HSM_STORAGE_FULL",
    0x2B: "DEVICE_TIMEOUT",
    0x2C: "CONTAINER_OBJECT_STORAGE_FULL",
    0x2D: "PED_CLIENT_NOT_RUNNING",
    0x2E: "PED_UNPLUGGED",
    0x2F: "ECC_POINT_INVALID",
    0x30: "OPERATION_NOT_ALLOWED",
    0x31: "LICENSE_CAPACITY_EXCEEDED",
    0x35: "LOG_FULL",
    0x41: "AGAIN",
    0x67: "CHALLENGE_INCORRECT",
    0x6A: "KEY_NOT_KEKABLE",
    0x6B: "MECHANISM_INVALID_FOR_FP",
    0x6F: "OBJECT_ALREADY_EXISTS",
    0x76: "HSM_TAMPERED",
    0x77: "CONFIG_CHANGE_ILLEGAL",
    0x7D: "CONFIG_FAILS_DEPENDENCIES",
    0x8D: "HSM_RESTART_REQUIRED",
    0x8F: "ASSIGNED_KEY_REQUIRES_AUTH_DATA",
    0x97: "KEY_NOT_AUTHORIZED",
    0x9D: "PED_UNSUPPORTED",
    0x9E: "PED_ERROR",
    0x101: "KEY_EXTRACTABLE",
    0x105: "ECC_CURVE_NOT_ALLOWED",
    0x114: "OBJECT_READ_ONLY",
    0x1600: "XTC_ERROR",
    0x1603: "MAX_SESSION_COUNT",
    0x1604: "BUSY",
    0x1606: "SERVICE_UNAVAILABLE",
}

_KEY_EXPORT = (
    "The partition's policies do not allow this; byok_hsm_info reads them. RSA and EC keys need "
    "policy 0 (private key cloning) at 0 and then 1 (private key wrapping) at 1, and every wrap "
    "needs 5 (secret key wrapping) at 1. See docs/hsm/luna.md for what a change costs"
)
_RESET = "Have the partition's Security Officer reset the Crypto Officer's password with lunacm"
_ATTRIBUTES = (
    "The key was made with modifiable: false, or partition policy 11 (changing key attributes) is "
    "off"
)
_ACTIVATE = "Activate the partition (policies 22 and 23), so that it can be used unattended"
_ACTIVATE_WITHOUT_PED = "Activate the partition (policies 22 and 23), so that no PED is asked"
_REACH = "Check that the client reaches the HSM: lunacm must list the slot"
_REACH_AGAIN = "Check that the client reaches the HSM, then run again"
_BUSY = "Check what else uses the HSM, or set sessions lower, then run again"
_FULL = "Delete what is not needed in the partition, or have it made larger"

#: docs/hsm/luna.md has them by return code, with what is documented and what is not
_REMEDIES = {
    "CKR_KEY_NOT_WRAPPABLE": _KEY_EXPORT,
    "CKR_KEY_FUNCTION_NOT_PERMITTED": _KEY_EXPORT,
    "CKR_OPERATION_NOT_ALLOWED": (
        "The partition's policies do not allow this; byok_hsm_info reads them"
    ),
    "CKR_ATTRIBUTE_VALUE_INVALID": (
        "The partition does not take this kind of key; byok_hsm_info reads its policies"
    ),
    "CKR_ATTRIBUTE_READ_ONLY": _ATTRIBUTES,
    "CKR_ACTION_PROHIBITED": _ATTRIBUTES,
    "CKR_CHALLENGE_INCORRECT": (
        "Correct the PIN, which is the challenge secret here; it was tried once"
    ),
    "CKR_USER_PIN_NOT_INITIALIZED": (
        "Initialise the partition's Crypto Officer with lunacm: role init -name co"
    ),
    "CKR_LICENSE_CAPACITY_EXCEEDED": "A licence of the HSM is used up; ask its administrator",
    "CKR_TEMPLATE_INCONSISTENT": (
        "Where partition policy 10 (multipurpose keys) is off, declare operations of one purpose: "
        "sign and verify, encrypt and decrypt, or wrapKey and unwrapKey"
    ),
    "CKR_PIN_EXPIRED": (
        "A new role's password has to be changed before its first use: role changepw in lunacm"
    ),
    "CKR_PIN_LOCKED": _RESET,
    "CKR_USER_LOCKED_OUT": _RESET,
    "CKR_USER_NOT_AUTHORIZED": (
        "Log in as the Crypto Officer; policy 28 (key management functions) has to be on"
    ),
    "CKR_ECC_CURVE_NOT_ALLOWED": (
        "A Luna in FIPS mode does not have this curve; declare P-256, P-384 or P-521"
    ),
    "CKR_ECC_UNKNOWN_CURVE": "Declare P-256, P-384 or P-521",
    "CKR_UNABLE_TO_CONNECT": _REACH,
    "CKR_SERVICE_UNAVAILABLE": _REACH,
    "CKR_XTC_ERROR": (
        "Check that the client reaches the Luna Cloud HSM service, and that its clock is right"
    ),
    "CKR_TIMEOUT": _REACH_AGAIN,
    "CKR_DEVICE_TIMEOUT": _REACH_AGAIN,
    "CKR_BUSY": _BUSY,
    "CKR_AGAIN": _BUSY,
    "CKR_MAX_SESSION_COUNT": "Set sessions lower, or check what else uses the HSM",
    "CKR_PARTITION_DISABLED": _ACTIVATE,
    "CKR_PED_UNPLUGGED": _ACTIVATE_WITHOUT_PED,
    "CKR_PED_CLIENT_NOT_RUNNING": _ACTIVATE_WITHOUT_PED,
    "CKR_LOG_FULL": (
        "The HSM's audit log is full and it refuses all work; have the auditor archive the log"
    ),
    "CKR_HSM_STORAGE_FULL": _FULL,
    "CKR_CONTAINER_OBJECT_STORAGE_FULL": _FULL,
    "CKR_MAX_OBJECT_COUNT_EXCEEDED": "Delete what is not needed in the partition",
    "CKR_HSM_TAMPERED": "The HSM saw a tamper event; its Security Officer must clear it",
}


def read_policies(library: Library, slot: int) -> dict[int, int] | None:
    """Return the partition's policies by number; None where the token does not tell.

    A Luna's library exports these functions beside PKCS#11 (ThalesGroup/pycryptoki;
    ThalesGroup/luna-samples, Show_Partition_Policies.c), so that nothing has to be inferred from
    return codes.
    """
    number = ctypes.c_ulong(slot)
    get_policies = library.vendor_function("CA_GetTokenPolicies")
    if get_policies:
        policies = _read_pairs(get_policies, number)
        if policies is not None:
            return policies
    # Clients before 7 know a partition as a container.
    get_container = library.vendor_function("CA_GetUserContainerNumber")
    get_policies = library.vendor_function("CA_GetContainerPolicySet")
    if not get_container or not get_policies:
        return None
    container = ctypes.c_ulong()
    if get_container(number, ctypes.byref(container)) != CKR_OK:
        return None
    return _read_pairs(get_policies, number, container)


def read_firmware(library: Library, slot: int) -> str | None:
    """Return the firmware's version as major.minor.subminor; None where that is not told."""
    get_version = library.vendor_function("CA_GetFirmwareVersion")
    if not get_version:
        return None
    parts = [ctypes.c_ulong() for _part in ("major", "minor", "subminor")]
    if get_version(ctypes.c_ulong(slot), *map(ctypes.byref, parts)) != CKR_OK:
        return None
    return ".".join(str(part.value) for part in parts)


def _read_pairs(function: t.Any, *where: ctypes.c_ulong) -> dict[int, int] | None:
    """Return what a function writes into two arrays, of numbers and of their values.

    Both sizes are counts of elements, and a first call with NULL asks for them.
    """
    counts = ctypes.c_ulong(), ctypes.c_ulong()
    sizes = ctypes.byref(counts[0]), ctypes.byref(counts[1])
    if function(*where, None, sizes[0], None, sizes[1]) != CKR_OK:
        return None
    numbers, values = ((ctypes.c_ulong * max(1, count.value))() for count in counts)
    if function(*where, numbers, sizes[0], values, sizes[1]) != CKR_OK:
        return None
    return dict(zip(numbers[: counts[0].value], values[: counts[1].value], strict=False))


PROFILE = Profile(
    title="Thales Luna 7 and Luna Cloud HSM",
    source=(
        "Public documents only: Thales' BYOK guide 007-013885-002, thalesdocs.com, "
        "ThalesGroup/pycryptoki and luna-samples. Tried with a stand-in, never with a Luna"
    ),
    tokens=(("safenet", "luna"), ("safenet", "cryptovisor"), ("thales", "luna")),
    libraries={
        "linux": (
            "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
            "/usr/local/luna/libs/64/libCryptoki2.so",  # the minimal client
        ),
    },
    # Where 0x210B is offered, it is the standard's.
    wrap_mechanisms=(RSA_AES_KEY_WRAP, AES_KEY_WRAP_KWP, *_VENDOR_KWP),
    # In FIPS mode only the FIPS 186 ones; the standard's number comes last, because a client may
    # map it to them (thalesdocs.com, "Mechanism Remap for FIPS Compliance").
    rsa_generation=(
        Mechanism("CKM_RSA_FIPS_186_3_PRIME_KEY_PAIR_GEN", 0x80000143),
        Mechanism("CKM_RSA_FIPS_186_3_AUX_PRIME_KEY_PAIR_GEN", 0x80000142),
        RSA_PKCS_KEY_PAIR_GEN,
    ),
    role="Crypto Officer",
    environment=("ChrystokiConfigurationPath",),
    not_ready="Initialise the partition and its Crypto Officer with lunacm",
    policies=_POLICIES,
    policy_command="partition changepolicy -policy {number} -value {value}",
    no_backup_when={0: 0, 1: 1},
    no_backup=_NO_BACKUP,
    fips_policy=43,
    fips_hides=CKM_RSA_PKCS_KEY_PAIR_GEN,
    # Thales' BYOK guide 007-013885-002; RSA-4096: Microsoft's documentation
    first_firmware={"*": (7, 3), "RSA-4096": (7, 4)},
    return_codes={0x80000000 + number: f"CKR_{name}" for number, name in _RETURN_CODES.items()},
    remedies=_REMEDIES,
    read_policies=read_policies,
    read_firmware=read_firmware,
)
