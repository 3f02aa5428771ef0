# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Initialise openCryptoki's software token, if it holds nothing, and print what it is as JSON.

    python init_opencryptoki.py LIBRARY LABEL PIN

A token that somebody initialised is left as it is. The daemon pkcsslotd has to run.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

SO_PIN, NEW_SO_PIN = b"87654321", b"24681357"  # pkcsconf(1): the one that each token begins with
FIRST_PIN = b"13572468"
CKU_SO, CKU_USER = 0, 1
CKF_RW_SERIAL_SESSION = 0x6
CKF_TOKEN_INITIALIZED = 0x400


class TokenInfo(ctypes.Structure):
    """The beginning of CK_TOKEN_INFO (PKCS#11 v3.1, 3.4), and room for the rest."""

    _fields_ = [
        ("label", ctypes.c_char * 32),
        ("manufacturer", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("rest", ctypes.c_char * 200),
    ]


def main() -> None:
    """Look at the software token, and make it ready."""
    path, label, pin = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode()
    module = ctypes.CDLL(path)

    def call(function: str, *arguments: Any) -> None:
        types = [ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments]
        if result := getattr(module, function)(*types):
            raise SystemExit(f"{function} returned {result:#x}")

    def login(session: ctypes.c_ulong, user: int, given: bytes) -> None:
        call("C_Login", session, user, given, len(given))

    def change(session: ctypes.c_ulong, old: bytes, new: bytes) -> None:
        call("C_SetPIN", session, old, len(old), new, len(new))

    call("C_Initialize", None)
    about = ctypes.create_string_buffer(200)  # CK_INFO: the version of the library ends it
    call("C_GetInfo", about)
    slots, count = (ctypes.c_ulong * 32)(), ctypes.c_ulong(32)
    call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
    for slot in slots[: count.value]:
        info = TokenInfo()
        call("C_GetTokenInfo", slot, ctypes.byref(info))
        if b"Soft" in info.model:
            break
    else:
        raise SystemExit("it has no software token")
    if not info.flags & CKF_TOKEN_INITIALIZED:
        call("C_InitToken", slot, SO_PIN, len(SO_PIN), label.ljust(32))
        session = ctypes.c_ulong()
        call("C_OpenSession", slot, CKF_RW_SERIAL_SESSION, None, None, ctypes.byref(session))
        login(session, CKU_SO, SO_PIN)
        change(session, SO_PIN, NEW_SO_PIN)
        call("C_InitPIN", session, FIRST_PIN, len(FIRST_PIN))
        call("C_Logout", session)
        login(session, CKU_USER, FIRST_PIN)
        change(session, FIRST_PIN, pin)
        call("C_Logout", session)
        call("C_GetTokenInfo", slot, ctypes.byref(info))
    told = {"label": info.label.decode().strip(), "serial": info.serial.decode().strip()}
    version = [about.raw[at] for at in VERSION_AT]
    print(json.dumps({**told, "slot": slot, "version": version}))
    call("C_Finalize", None)


#: Where CK_INFO has libraryVersion: behind 2 octets of a version, a text of 32, flags, one of 32
_FLAGS_AT = -(-(2 + 32) // ctypes.sizeof(ctypes.c_ulong)) * ctypes.sizeof(ctypes.c_ulong)
VERSION_AT = [_FLAGS_AT + ctypes.sizeof(ctypes.c_ulong) + 32 + at for at in (0, 1)]


if __name__ == "__main__":
    main()
