# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's PKCS#11 token: a SoftHSM token in the lab's folder.

Its PIN is random, and no command line shows it.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.folder import Folder, write_private

LABEL = "keyferry-lab"
_LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
_CONFIGURATION = """\
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""
# PKCS#11 v2.40.
_CKF_RW_SERIAL_SESSION, _CKU_SO = 0x6, 0
_TOKEN_INFO_SIZE, _SERIAL = (
    512,
    slice(80, 96),
)  # bytes; the serial stands behind label (32), manufacturer (32) and model (16)


class TokenError(Exception):
    """The token cannot be made; the message says what to do."""


@dataclass(frozen=True)
class Token:
    """What is needed to use the token; the PIN is in a file of mode 0600."""

    library: str
    label: str
    pin_file: str
    softhsm2_conf: str
    serial: str


def open_token(folder: Folder) -> Token:
    """Return the token kept in the lab's folder, made at the first start."""
    library = next((path for path in _LIBRARIES if Path(path).exists()), None)
    if library is None:
        raise TokenError(
            "SoftHSM is not installed: apt-get install softhsm2, or start the lab with --no-token."
        )
    path = folder / "token.json"
    if not path.exists():
        tokens, configuration, pin_file = (
            folder.make("tokens"),
            folder / "softhsm2.conf",
            folder / "pin",
        )
        write_private(configuration, _CONFIGURATION.format(tokens=tokens))
        pin = secrets.token_hex(16)
        write_private(pin_file, pin)
        token = Token(
            library,
            LABEL,
            str(pin_file),
            str(configuration),
            _initialise(library, configuration, pin),
        )
        write_private(path, json.dumps(asdict(token), indent=2))
    return Token(**json.loads(path.read_text()))


def _initialise(library: str, configuration: Path, pin: str) -> str:
    """Initialise a token and its user PIN, and return its serial.

    softhsm2-util would show the PIN in `ps`.
    """
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    module, security_officer = ctypes.CDLL(library), secrets.token_hex(16).encode()

    def call(function: str, *arguments: object) -> None:
        if result := getattr(module, function)(*arguments):
            raise TokenError(
                f"SoftHSM refused {function} with {result:#x}: "
                "remove the lab's folder and start again."
            )

    def slot() -> ctypes.c_ulong:
        slots, count = (ctypes.c_ulong * 2)(), ctypes.c_ulong(2)
        call("C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
        return ctypes.c_ulong(slots[0])

    number = ctypes.c_ulong
    call("C_Initialize", None)
    call(
        "C_InitToken",
        slot(),
        security_officer,
        number(len(security_officer)),
        LABEL.encode().ljust(32),
    )
    call("C_Finalize", None)
    call("C_Initialize", None)  # the initialised token gets another slot
    session, information = number(), ctypes.create_string_buffer(_TOKEN_INFO_SIZE)
    call("C_OpenSession", slot(), number(_CKF_RW_SERIAL_SESSION), None, None, ctypes.byref(session))
    call("C_Login", session, number(_CKU_SO), security_officer, number(len(security_officer)))
    call("C_InitPIN", session, pin.encode(), number(len(pin)))
    call("C_GetTokenInfo", slot(), information)
    call("C_Finalize", None)
    return information.raw[_SERIAL].decode().strip()
