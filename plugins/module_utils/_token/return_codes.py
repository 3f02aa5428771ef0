# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Return codes of PKCS#11 in words: names (PKCS#11 v3.1, appendix B) and what to do; data."""

from __future__ import annotations

import typing as t

#: CKR_* by number, without the prefix
_NAMES: t.Mapping[int, str] = {
    0x1: "CANCEL",
    0x2: "HOST_MEMORY",
    0x3: "SLOT_ID_INVALID",
    0x5: "GENERAL_ERROR",
    0x6: "FUNCTION_FAILED",
    0x7: "ARGUMENTS_BAD",
    0x8: "NO_EVENT",
    0x9: "NEED_TO_CREATE_THREADS",
    0xA: "CANT_LOCK",
    0x10: "ATTRIBUTE_READ_ONLY",
    0x11: "ATTRIBUTE_SENSITIVE",
    0x12: "ATTRIBUTE_TYPE_INVALID",
    0x13: "ATTRIBUTE_VALUE_INVALID",
    0x1B: "ACTION_PROHIBITED",
    0x20: "DATA_INVALID",
    0x21: "DATA_LEN_RANGE",
    0x30: "DEVICE_ERROR",
    0x31: "DEVICE_MEMORY",
    0x32: "DEVICE_REMOVED",
    0x40: "ENCRYPTED_DATA_INVALID",
    0x41: "ENCRYPTED_DATA_LEN_RANGE",
    0x50: "FUNCTION_CANCELED",
    0x51: "FUNCTION_NOT_PARALLEL",
    0x54: "FUNCTION_NOT_SUPPORTED",
    0x60: "KEY_HANDLE_INVALID",
    0x62: "KEY_SIZE_RANGE",
    0x63: "KEY_TYPE_INCONSISTENT",
    0x64: "KEY_NOT_NEEDED",
    0x65: "KEY_CHANGED",
    0x66: "KEY_NEEDED",
    0x67: "KEY_INDIGESTIBLE",
    0x68: "KEY_FUNCTION_NOT_PERMITTED",
    0x69: "KEY_NOT_WRAPPABLE",
    0x6A: "KEY_UNEXTRACTABLE",
    0x70: "MECHANISM_INVALID",
    0x71: "MECHANISM_PARAM_INVALID",
    0x82: "OBJECT_HANDLE_INVALID",
    0x90: "OPERATION_ACTIVE",
    0x91: "OPERATION_NOT_INITIALIZED",
    0xA0: "PIN_INCORRECT",
    0xA1: "PIN_INVALID",
    0xA2: "PIN_LEN_RANGE",
    0xA3: "PIN_EXPIRED",
    0xA4: "PIN_LOCKED",
    0xB0: "SESSION_CLOSED",
    0xB1: "SESSION_COUNT",
    0xB3: "SESSION_HANDLE_INVALID",
    0xB4: "SESSION_PARALLEL_NOT_SUPPORTED",
    0xB5: "SESSION_READ_ONLY",
    0xB6: "SESSION_EXISTS",
    0xB7: "SESSION_READ_ONLY_EXISTS",
    0xB8: "SESSION_READ_WRITE_SO_EXISTS",
    0xC0: "SIGNATURE_INVALID",
    0xC1: "SIGNATURE_LEN_RANGE",
    0xD0: "TEMPLATE_INCOMPLETE",
    0xD1: "TEMPLATE_INCONSISTENT",
    0xE0: "TOKEN_NOT_PRESENT",
    0xE1: "TOKEN_NOT_RECOGNIZED",
    0xE2: "TOKEN_WRITE_PROTECTED",
    0xF0: "UNWRAPPING_KEY_HANDLE_INVALID",
    0xF1: "UNWRAPPING_KEY_SIZE_RANGE",
    0xF2: "UNWRAPPING_KEY_TYPE_INCONSISTENT",
    0x100: "USER_ALREADY_LOGGED_IN",
    0x101: "USER_NOT_LOGGED_IN",
    0x102: "USER_PIN_NOT_INITIALIZED",
    0x103: "USER_TYPE_INVALID",
    0x104: "USER_ANOTHER_ALREADY_LOGGED_IN",
    0x105: "USER_TOO_MANY_TYPES",
    0x110: "WRAPPED_KEY_INVALID",
    0x112: "WRAPPED_KEY_LEN_RANGE",
    0x113: "WRAPPING_KEY_HANDLE_INVALID",
    0x114: "WRAPPING_KEY_SIZE_RANGE",
    0x115: "WRAPPING_KEY_TYPE_INCONSISTENT",
    0x120: "RANDOM_SEED_NOT_SUPPORTED",
    0x121: "RANDOM_NO_RNG",
    0x130: "DOMAIN_PARAMS_INVALID",
    0x140: "CURVE_NOT_SUPPORTED",
    0x150: "BUFFER_TOO_SMALL",
    0x160: "SAVED_STATE_INVALID",
    0x170: "INFORMATION_SENSITIVE",
    0x180: "STATE_UNSAVEABLE",
    0x190: "CRYPTOKI_NOT_INITIALIZED",
    0x191: "CRYPTOKI_ALREADY_INITIALIZED",
    0x1A0: "MUTEX_BAD",
    0x1A1: "MUTEX_NOT_LOCKED",
    0x1B0: "NEW_PIN_MODE",
    0x1B1: "NEXT_OTP",
    0x1B5: "EXCEEDED_MAX_ITERATIONS",
    0x1B6: "FIPS_SELF_TEST_FAILED",
    0x1B7: "LIBRARY_LOAD_FAILED",
    0x1B8: "PIN_TOO_WEAK",
    0x1B9: "PUBLIC_KEY_INVALID",
    0x200: "FUNCTION_REJECTED",
    0x201: "TOKEN_RESOURCE_EXCEEDED",
    0x202: "OPERATION_CANCEL_FAILED",
    0x203: "KEY_EXHAUSTED",
}

#: The same by name, with the prefix
NUMBERS: t.Mapping[str, int] = {f"CKR_{name}": number for number, name in _NAMES.items()}

_WRONG_PIN = (
    "Correct the PIN; it was tried once and is not tried again, because tokens lock after a few"
)
_RECONNECT = "Check that the token is connected and its client software reaches it, then run again"
_BUSY = "Check what else uses the token, then run again"
_WRITABLE = "The token is write-protected; make it writable with its own tool"

REMEDIES: t.Mapping[str, str] = {
    "CKR_PIN_INCORRECT": _WRONG_PIN,
    "CKR_PIN_INVALID": _WRONG_PIN,
    "CKR_PIN_LEN_RANGE": _WRONG_PIN,
    "CKR_PIN_LOCKED": "The token has locked this PIN; its Security Officer must unlock it",
    "CKR_PIN_EXPIRED": "Set a new PIN with the token's own tool",
    "CKR_USER_PIN_NOT_INITIALIZED": "Set the user's PIN with the token's own tool",
    "CKR_USER_NOT_LOGGED_IN": "The token ended the login; check what else uses it, then run again",
    "CKR_KEY_UNEXTRACTABLE": (
        "The key's CKA_EXTRACTABLE is false; it can never leave the token, so bring another one"
    ),
    "CKR_KEY_NOT_WRAPPABLE": (
        "The token's policies do not let this key be wrapped; byok_hsm_info says which, where the "
        "token tells. A key with CKA_WRAP_WITH_TRUSTED needs a trusted KEK"
    ),
    "CKR_MECHANISM_INVALID": "The token does not have this mechanism, or not for this key",
    "CKR_TEMPLATE_INCONSISTENT": (
        "The token does not allow these operations together; declare fewer operations"
    ),
    "CKR_CURVE_NOT_SUPPORTED": "The token does not have this curve; declare another one",
    "CKR_DOMAIN_PARAMS_INVALID": "The token does not have this curve; declare another one",
    "CKR_TOKEN_WRITE_PROTECTED": _WRITABLE,
    "CKR_SESSION_READ_ONLY": _WRITABLE,
    "CKR_DEVICE_REMOVED": _RECONNECT,
    "CKR_DEVICE_ERROR": _RECONNECT,
    "CKR_TOKEN_NOT_PRESENT": _RECONNECT,
    "CKR_SESSION_CLOSED": _RECONNECT,
    "CKR_SESSION_HANDLE_INVALID": _RECONNECT,
    "CKR_SESSION_COUNT": (
        "The token has no session left; set sessions lower, or check what else uses it"
    ),
    "CKR_FUNCTION_REJECTED": _BUSY,
    "CKR_TOKEN_RESOURCE_EXCEEDED": _BUSY,
    "CKR_DEVICE_MEMORY": "The token is full; delete what is not needed there with its own tool",
    "CKR_TOKEN_NOT_RECOGNIZED": (
        "The token is not initialised or not ready; set it up with its own tool"
    ),
    "CKR_CANT_LOCK": (
        "The library cannot be used by several threads; ask its vendor for one that can"
    ),
}

DEFAULT_REMEDY = "Look the return code up in the token's manual and in its log"


def name_of(number: int, vendor: t.Mapping[int, str]) -> str:
    """Return the name and number of a return code, or the number alone where nobody names it.

    :param vendor: the names of the vendor's own codes
    """
    if number in _NAMES:
        return f"CKR_{_NAMES[number]} ({number:#x})"
    if number in vendor:
        return f"{vendor[number]} ({number:#x})"
    return f"{number:#x}"
