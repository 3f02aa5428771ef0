# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Opening a token: library, slot, one login; closing it again.

python-pkcs11 needs care here: it initialises with NULL, which tells the library that there is one thread only, and its
``Session.close`` logs every session of the process out.
"""

from __future__ import annotations

import ctypes
import os
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError, MissingLibrary
from ansible_collections.keyferry.azure.plugins.module_utils._token._errors import calling
from ansible_collections.keyferry.azure.plugins.module_utils._token._lock import process_lock

CKF_OS_LOCKING_OK = 0x2
CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191


@dataclass(frozen=True)
class TokenInfo:
    """The token's identity, as evidence: CK_TOKEN_INFO (PKCS#11 v3.1, 3.4)."""

    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: str
    library: str

    def __str__(self) -> str:
        return f"token {self.label} ({self.serial})"


@dataclass(frozen=True)
class Token:
    """An open token with its one logged-in session."""

    info: TokenInfo
    session: t.Any  # a pkcs11.Session, whose type hints know neither templates as keywords nor what a key can do
    mechanisms: frozenset[int]


@contextmanager
def open_token(options: t.Mapping[str, t.Any]) -> t.Iterator[Token]:
    """Load the library, find the token, log in once, and log out at the end.

    :param options: the token options of a module
    :raises ByokError: for a missing library or token, two tokens of one label, or a refused login
    """
    library = options["pkcs11_library"]
    # One process at a time: SoftHSM rewrites the token at a login, and who initialises just then sees no token.
    with process_lock(f"open {library}", options["lock_directory"], options["lock_timeout"]):
        token = _open(options)
    try:
        yield token
    finally:
        _close(token.session)


def _open(options: t.Mapping[str, t.Any]) -> Token:
    os.environ.update({name: str(value) for name, value in (options["library_environment"] or {}).items()})
    library = _load(options["pkcs11_library"])
    found = _find(library, options["token_label"], options["token_serial"])
    info = TokenInfo(
        label=found.label,
        serial=_text(found.serial),
        manufacturer=found.manufacturer_id.strip(),
        model=found.model.strip(),
        firmware="{}.{}".format(*found.firmware_version),
        library=options["pkcs11_library"],
    )
    _refuse_last_try(found, info)
    with calling("C_GetMechanismList", f"Reading the mechanisms of the {info}"):
        mechanisms = frozenset(int(mechanism) for mechanism in found.slot.get_mechanisms())
    pin = _read_pin(options)
    with calling("C_Login", f"Logging in to the {info}"):
        session = found.open(rw=True, user_pin=pin, attribute_mapper=_attribute_mapper())
    return Token(info, session, mechanisms)


def _load(path: str | None) -> t.Any:
    if not path:
        raise ByokError("No PKCS#11 library is given", "Set pkcs11_library, or the environment variable BYOK_PKCS11_LIBRARY")
    if not os.path.isfile(path):
        raise ByokError(
            f"There is no PKCS#11 library {path} on this host",
            "Install the token's client software here, or correct pkcs11_library",
        )
    try:
        from pkcs11 import PKCS11Error, _pkcs11
    except ImportError as error:
        raise MissingLibrary("python-pkcs11", error) from error

    class ThreadSafeLibrary(_pkcs11.lib):
        def initialize(self) -> None:
            try:
                super().initialize()  # p11-kit gives every caller a function list of its own
            except PKCS11Error as error:
                if "already initialized" not in str(error):
                    raise

    try:
        _initialise_for_threads(path)
        with calling("C_Initialize", f"Initialising the PKCS#11 library {path}"):
            return ThreadSafeLibrary(path)
    except (OSError, AttributeError) as error:
        raise ByokError(
            f"The file {path} could not be loaded as a PKCS#11 library ({error})",
            "See that it is the client library of the token, for this machine's architecture",
        ) from error


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS (PKCS#11 v3.1, 3.7)."""

    _fields_ = [
        ("create_mutex", ctypes.c_void_p),
        ("destroy_mutex", ctypes.c_void_p),
        ("lock_mutex", ctypes.c_void_p),
        ("unlock_mutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    ]


class _FunctionList(ctypes.Structure):
    """The head of CK_FUNCTION_LIST: its version and first function."""

    _fields_ = [("version", ctypes.c_ubyte * 2), ("initialize", ctypes.c_void_p)]


def _initialise_for_threads(path: str) -> None:
    """Initialise before python-pkcs11 does, with CKF_OS_LOCKING_OK; "already initialised" is then its success."""
    dll = ctypes.CDLL(path)
    functions = ctypes.POINTER(_FunctionList)()
    dll.C_GetFunctionList(ctypes.byref(functions))
    arguments = _InitializeArguments(flags=CKF_OS_LOCKING_OK)
    initialize = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(functions.contents.initialize)
    code = initialize(ctypes.addressof(arguments))
    if code not in (0, CKR_CRYPTOKI_ALREADY_INITIALIZED):
        raise ByokError(
            f"The PKCS#11 library {path} could not be initialised: C_Initialize returned {code:#x}",
            "See that the token's client software is configured for the user who runs the module",
        )


def _attribute_mapper() -> t.Any:
    """Read what other software put into the token without stumbling: labels that are no UTF-8, vendor mechanisms."""
    from pkcs11 import Attribute
    from pkcs11.attributes import AttributeMapper, handle_ulong

    mapper = AttributeMapper()
    mapper.register_handler(Attribute.LABEL, str.encode, lambda label: label.decode("utf-8", "replace"))
    mapper.register_handler(Attribute.KEY_GEN_MECHANISM, *handle_ulong)
    return mapper


def _find(library: t.Any, label: str | None, serial: str | None) -> t.Any:
    if not label and not serial:
        raise ByokError("No token is named", "Set token_label or token_serial, or the environment variable BYOK_TOKEN_LABEL")
    with calling("C_GetSlotList", "Listing the tokens"):
        tokens = [
            token
            for token in library.get_tokens()
            if (not label or token.label == label) and (not serial or _text(token.serial) == serial)
        ]
        if len(tokens) == 1:
            return tokens[0]
        present = ", ".join(f"{token.label} ({_text(token.serial)})" for token in library.get_tokens() if token.label)
    if tokens:
        serials = ", ".join(_text(token.serial) for token in tokens)
        raise ByokError(f"{len(tokens)} tokens have the label {label}", f"Set token_serial to the one you mean: {serials}")
    wanted = " and ".join(f"{name} {value}" for name, value in (("label", label), ("serial", serial)) if value)
    raise ByokError(
        f"There is no token with {wanted}; present are: {present or 'none'}",
        "Correct token_label or token_serial, or see that the client software reaches the token",
    )


def _refuse_last_try(token: t.Any, info: TokenInfo) -> None:
    from pkcs11 import TokenFlag

    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise ByokError(f"The user PIN of the {info} is locked", "Its Security Officer has to unlock it")
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise ByokError(
            f"The {info} will lock its user PIN after one more wrong try, so it was not tried",
            "Log in once with the token's own tool, which resets the count, then run again",
        )


def _read_pin(options: t.Mapping[str, t.Any]) -> str:
    if options["pin"]:
        return str(options["pin"])
    path = options["pin_file"]
    if not path:
        raise ByokError("No PIN is given", "Set pin_file, or the environment variable BYOK_PIN_FILE")
    try:
        with open(path, encoding="utf-8") as file:
            pin = file.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ByokError(
            f"The PIN file {path} cannot be read ({reason})", "Give a file that the user who runs the module can read"
        ) from None
    if not pin:
        raise ByokError(f"The PIN file {path} is empty", "Write the PIN into it, and nothing else")
    return pin


def _close(session: t.Any) -> None:
    """Close the session; what fails here must not hide the error that led here."""
    from pkcs11.exceptions import PKCS11Error

    with suppress(PKCS11Error):
        session.close()


def _text(serial: bytes) -> str:
    return serial.decode("utf-8", "replace").strip()
