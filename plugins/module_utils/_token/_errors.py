# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""PKCS#11 return codes in words."""

from __future__ import annotations

import re
import typing as t
from contextlib import contextmanager

from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError

_REMEDIES = {
    "CKR_PIN_INCORRECT": "Correct the PIN; it was tried once and is not tried again, because tokens lock after a few",
    "CKR_PIN_LEN_RANGE": "Correct the PIN; it was tried once and is not tried again, because tokens lock after a few",
    "CKR_PIN_LOCKED": "The token has locked this PIN; its Security Officer has to unlock it",
    "CKR_PIN_EXPIRED": "Set a new PIN with the token's own tool",
    "CKR_USER_PIN_NOT_INITIALIZED": "Set the user's PIN with the token's own tool",
    "CKR_KEY_UNEXTRACTABLE": "The key's CKA_EXTRACTABLE is false; it can never leave the token, so bring another one",
    "CKR_KEY_NOT_WRAPPABLE": (
        "The token refuses to wrap this key: on a Luna, private key wrapping needs partition policies 0 off and 1 on; "
        "a key with CKA_WRAP_WITH_TRUSTED needs a trusted KEK"
    ),
    "CKR_MECHANISM_INVALID": "The token does not have this mechanism, or not for this key",
    "CKR_TEMPLATE_INCONSISTENT": "The token does not allow these operations together; declare fewer operations",
    "CKR_TOKEN_WRITE_PROTECTED": "Make the token writable",
    "CKR_SESSION_READ_ONLY": "Make the token writable",
    "CKR_DEVICE_REMOVED": "See that the token is connected, then run again",
    "CKR_TOKEN_NOT_PRESENT": "See that the token is connected, then run again",
    "CKR_DEVICE_MEMORY": "The token is full; delete what is not needed there with its own tool",
}
_DEFAULT_REMEDY = "Look the return code up in the token's manual and in its log"


@contextmanager
def calling(function: str, what: str) -> t.Iterator[None]:
    """Turn what python-pkcs11 raises inside into a sentence.

    :param function: the PKCS#11 function called, such as ``C_WrapKey``
    :param what: what it was called for, naming key and token
    :raises ByokError: with the function, the return code and a remedy
    """
    from pkcs11.exceptions import PKCS11Error

    try:
        yield
    except PKCS11Error as error:
        code = return_code(error)
        raise ByokError(f"{what} failed: {function} returned {code}", _REMEDIES.get(code, _DEFAULT_REMEDY)) from error


def return_code(error: Exception) -> str:
    """Return the name of the return code (``CKR_...``), or its number where python-pkcs11 has no name for it."""
    text = str(error)
    number = re.search(r"0x[0-9a-fA-F]+", text)
    name = type(error).__name__
    if name == "PKCS11Error":
        return number.group() if number else text
    return "CKR_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
