# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The interface to PKCS#11 (Cryptoki): the only file that touches python-pkcs11.

python-pkcs11 opens and closes sessions, and makes keys and objects. What works on a key that is
there is called here, by the key's handle. Every call of either goes through Library.call(), so that
each one is noted while it lasts and each error names its function and its return code. What
python-pkcs11 gets wrong is put right here:

- It initialises with NULL, which says that there is one thread only, and threads then crash the
  library.
- A value of the wrong type in a template aborts the interpreter, so templates are checked first.
- Its sessions log the whole process out when they are closed, so login and logout are called here.
- It asks every slot before it opens one, and loses the handles of a new key when it cannot read
  it, so what it asks there, it is told by _Functions.
- It asks the token twice about every object that it finds, stumbles over attributes and types that
  it does not know, and leaves a search open that was not read to its end.
- It refuses mechanisms that it does not know, and believes the length that a token announces for a
  wrapped key (NSS announces too little).
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
import threading
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host import child
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import (
    DEFAULT_REMEDY,
    NUMBERS,
    REMEDIES,
    name_of,
)

CKF_WRITE_PROTECTED = 0x2  # of CK_TOKEN_INFO
CKF_OS_LOCKING_OK = 0x2
CKR_OK = 0x0
CKR_GENERAL_ERROR = 0x5
CKU_USER = 1
CK_UNAVAILABLE_INFORMATION = 2 ** (8 * ctypes.sizeof(ctypes.c_ulong)) - 1

#: Where the functions that are called here stand in CK_FUNCTION_LIST (PKCS#11 v2.40 and later, 3.6)
_POSITIONS = {
    "C_Initialize": 0,
    "C_GetInfo": 2,
    "C_GetSlotList": 4,
    "C_GetSlotInfo": 5,
    "C_GetTokenInfo": 6,
    "C_GetMechanismList": 7,
    "C_GetMechanismInfo": 8,
    "C_OpenSession": 12,
    "C_CloseSession": 13,
    "C_Login": 18,
    "C_Logout": 19,
    "C_CreateObject": 20,
    "C_DestroyObject": 22,
    "C_GetAttributeValue": 24,
    "C_SetAttributeValue": 25,
    "C_FindObjectsInit": 26,
    "C_FindObjects": 27,
    "C_FindObjectsFinal": 28,
    "C_EncryptInit": 29,
    "C_Encrypt": 30,
    "C_SignInit": 42,
    "C_Sign": 43,
    "C_GenerateKey": 58,
    "C_GenerateKeyPair": 59,
    "C_WrapKey": 60,
}

#: The functions that python-pkcs11 is let through to, with how many arguments they take
_LET_THROUGH = {
    "C_OpenSession": 5,
    "C_CloseSession": 1,
    "C_CreateObject": 4,
    "C_GenerateKey": 5,
    "C_GenerateKeyPair": 8,
}

#: What python-pkcs11 asks and nobody reads: the number of arguments, and the bytes to leave blank
#: where the last one points (CK_INFO, CK_SLOT_INFO and CK_TOKEN_INFO, PKCS#11 v3.1, 3)
_BLANK = {
    "C_GetInfo": (1, struct.calcsize("2B32sL32s2B")),
    "C_GetSlotInfo": (2, struct.calcsize("64s32sL4B")),
    "C_GetTokenInfo": (2, struct.calcsize("32s32s16s16s11L4B16s")),
}

#: Types of the attributes in use (PKCS#11 v3.1, 4), of which python-pkcs11 packs values safely
_ATTRIBUTE_TYPES: t.Mapping[str, type] = {
    **dict.fromkeys(("TOKEN", "PRIVATE", "MODIFIABLE", "LOCAL"), bool),
    **dict.fromkeys(("SENSITIVE", "ALWAYS_SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE"), bool),
    **dict.fromkeys(("SIGN", "VERIFY", "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE"), bool),
    **dict.fromkeys(("CLASS", "KEY_TYPE", "VALUE_LEN"), int),
    **dict.fromkeys(("ID", "EC_PARAMS", "EC_POINT", "MODULUS", "PUBLIC_EXPONENT", "VALUE"), bytes),
    "LABEL": str,
}

#: Those that can only be read; python-pkcs11 cannot pack them
_READ_ONLY: t.Mapping[str, type] = {"KEY_GEN_MECHANISM": int}

#: CKO_* (PKCS#11 v3.1, pkcs11t.h)
KEY_CLASSES: t.Mapping[str, int] = {"PUBLIC_KEY": 2, "PRIVATE_KEY": 3, "SECRET_KEY": 4}

#: The public exponent of RSA keys, which python-pkcs11 asks the token for
RSA_EXPONENT = 65537

#: After which an attribute is simply not told
_NOT_TOLD = [
    NUMBERS[f"CKR_{name}"]
    for name in ("ATTRIBUTE_SENSITIVE", "ATTRIBUTE_TYPE_INVALID", "BUFFER_TOO_SMALL")
]

#: For a template that the token does not take
_TEMPLATE_REFUSED = [
    NUMBERS[f"CKR_{name}"]
    for name in ("ATTRIBUTE_TYPE_INVALID", "ATTRIBUTE_VALUE_INVALID", "TEMPLATE_INCONSISTENT")
]

_NONE: t.Mapping[t.Any, str] = MappingProxyType({})

_ATTRIBUTE_BYTES = 4096
_WRAPPED_BYTES = 16384
_SIGNATURE_BYTES = 1024
_FOUND_AT_ONCE = 1000
CKM_AES_CBC_PAD = 0x1085

# A Union, because it is evaluated, and pylint looks at it as Python 3.8 would
Value = t.Union[bool, int, str, bytes]  # noqa: UP007
Key = int  # CK_OBJECT_HANDLE
T = t.TypeVar("T")


class CryptokiError(Exception):
    """A PKCS#11 function returned an error.

    :ivar function: such as ``C_WrapKey``
    :ivar code: CKR_*
    """

    def __init__(self, function: str, code: int) -> None:
        self.function = function
        self.code = code
        super().__init__(f"{function} returned {code:#x}")


class TokenError(ByokError):
    """A PKCS#11 function returned an error, as a sentence.

    :ivar code: CKR_*
    """

    def __init__(self, what: str, remedy: str, code: int) -> None:
        self.code = code
        super().__init__(what, remedy, code="token_refused")


@contextmanager
def calling(
    what: str, vendor: t.Mapping[int, str] = _NONE, remedies: t.Mapping[str, str] = _NONE
) -> t.Iterator[None]:
    """Turn what PKCS#11 answers inside into a sentence.

    :param what: what is done, naming key and token
    :param vendor: the names of the vendor's own return codes
    :param remedies: what to do about a code by name, where this vendor knows better
    :raises TokenError: with the function, the return code and a remedy
    """
    with child.purpose(what):
        try:
            yield
        except CryptokiError as error:
            name = name_of(error.code, vendor)
            remedy = {**REMEDIES, **remedies}.get(name.split(" ")[0], DEFAULT_REMEDY)
            told = f"{what} failed: {error.function} returned {name}"
            raise TokenError(told, remedy, error.code) from error


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
    """CK_FUNCTION_LIST (PKCS#11 v2.40, 3.6): its version and its 68 functions."""

    _fields_ = [("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * 68)]


class _TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO (PKCS#11 v3.1, 3.4)."""

    _fields_ = [
        ("label", ctypes.c_char * 32),
        ("manufacturer", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", ctypes.c_ulong),
        ("sessions", ctypes.c_ulong * 4),
        ("pin_lengths", ctypes.c_ulong * 2),
        ("total_public_memory", ctypes.c_ulong),
        ("free_public_memory", ctypes.c_ulong),
        ("total_private_memory", ctypes.c_ulong),
        ("free_private_memory", ctypes.c_ulong),
        ("hardware", ctypes.c_ubyte * 2),
        ("firmware", ctypes.c_ubyte * 2),
        ("time", ctypes.c_char * 16),
    ]

    def slot(self, number: int) -> Slot:
        """Return the slot of this number that holds the token."""
        return Slot(
            id=number,
            label=_text(self.label),
            serial=_text(self.serial),
            manufacturer=_text(self.manufacturer),
            model=_text(self.model),
            firmware=(self.firmware[0], self.firmware[1]),
            flags=self.flags,
            free_public_memory=_told(self.free_public_memory),
            free_private_memory=_told(self.free_private_memory),
        )


class _Attribute(ctypes.Structure):
    """CK_ATTRIBUTE (PKCS#11 v3.1, 3.5)."""

    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong)]


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM (PKCS#11 v3.1, 3.6)."""

    _fields_ = [
        ("mechanism", ctypes.c_ulong),
        ("parameter", ctypes.c_char_p),
        ("parameter_length", ctypes.c_ulong),
    ]

    @classmethod
    def of(cls, number: int, parameter: bytes | None) -> t.Any:
        """Return a pointer to a mechanism with its parameter as it lies in memory; None is NULL."""
        return ctypes.byref(cls(number, parameter or None, len(parameter or b"")))


@dataclass(frozen=True)
class Slot:
    """A slot with a token in it, as C_GetTokenInfo describes it.

    :ivar free_public_memory: bytes; None where the token does not tell
    :ivar free_private_memory: the same
    """

    id: int
    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: tuple[int, int]
    flags: int
    free_public_memory: int | None
    free_private_memory: int | None

    @property
    def write_protected(self) -> bool:
        """Whether nothing can be stored in the token."""
        return bool(self.flags & CKF_WRITE_PROTECTED)


#: How the loaders of glibc and musl say that a library which this one needs is missing
_MISSING = re.compile(
    r"^(?P<glibc>[^:]+): cannot open shared object file"
    r"|^Error loading shared library (?P<musl>[^:]+): .*needed by"
)

#: What lets the loader find a library; it reads the environment only when a process begins
LOADER_REMEDY = (
    "add its folder to a file in /etc/ld.so.conf.d/ on this host and run ldconfig there, or set "
    "LD_LIBRARY_PATH by environment in the task or play"
)


def _load(path: str) -> tuple[ctypes.CDLL, t.Any]:
    """Return a PKCS#11 library and a pointer to its list of functions.

    :raises ByokError: when it cannot be loaded, or does not keep to one list of functions
    :raises CryptokiError: when it does not give its functions
    """
    loaded: list[ctypes.CDLL] = []

    def load() -> int:
        loaded.append(ctypes.CDLL(path))
        return CKR_OK

    try:
        child.noted("dlopen", load)
        [dll] = loaded
        get_function_list = dll.C_GetFunctionList
        get_function_list.restype = ctypes.c_ulong
    except (OSError, AttributeError) as error:
        raise _unloadable(path, str(error)) from error
    lists = [ctypes.POINTER(_FunctionList)(), ctypes.POINTER(_FunctionList)()]
    for functions in lists:
        get = partial(get_function_list, ctypes.byref(functions))
        code = child.noted("C_GetFunctionList", get)
        if code != CKR_OK:
            raise CryptokiError("C_GetFunctionList", code)
    if ctypes.addressof(lists[0].contents) != ctypes.addressof(lists[1].contents):
        raise ByokError(
            f"The PKCS#11 library {path} gives every caller functions of its own, as "
            "p11-kit-proxy does",
            "Set pkcs11_library to the library of the token itself",
        )
    return dll, lists[0]


def _unloadable(path: str, reason: str) -> ByokError:
    """Return the error for a library that the loader refuses.

    :param reason: what the loader says
    """
    match = _MISSING.match(reason)
    missing = match and (match["glibc"] or match["musl"])
    if missing and missing != path:
        return ByokError(
            f"The PKCS#11 library {path} needs the library {missing}, which the loader of this "
            "host does not find",
            f"If {os.path.basename(missing)} is not installed, install it. Otherwise "
            f"{LOADER_REMEDY}",
        )
    return ByokError(
        f"The file {path} could not be loaded as a PKCS#11 library ({reason})",
        "Check that it is the client library of the token, for this machine's architecture",
    )


def _binding_class() -> t.Any:
    """Return python-pkcs11's class of libraries, which leaves initialising to Library.

    :raises MissingLibrary: when it is not installed
    """
    try:
        from pkcs11 import _pkcs11
    except ImportError as error:
        raise MissingLibrary("python-pkcs11", error) from error

    class Binding(_pkcs11.lib):
        def initialize(self) -> None:
            """Leave it: it is done by now, as it should be."""

    return Binding


class _Functions:
    """A list of functions for python-pkcs11, which it takes for the library's own.

    Few are let through to the library. What python-pkcs11 asks beside and nobody needs is answered
    here, because it would ask slots that do not answer, and lose new keys that cannot be read.

    :ivar slot: the only one that python-pkcs11 gets to see
    """

    def __init__(self, library: t.Any, call: t.Callable[..., int]) -> None:
        """Make the list.

        :param library: a pointer to the library's own
        :param call: as Library.call()
        """
        self.slot = 0
        self._library = library
        self._call = call
        self._last = threading.local()
        answers: dict[str, tuple[int, t.Callable[..., int]]] = {
            **{name: (count, self._through(name)) for name, count in _LET_THROUGH.items()},
            **{name: (count, partial(_blank, size)) for name, (count, size) in _BLANK.items()},
            "C_GetSlotList": (3, self._one_slot),
            "C_GetAttributeValue": (4, lambda *_any: NUMBERS["CKR_ATTRIBUTE_TYPE_INVALID"]),
        }
        # They have to live as long as the list.
        self._answers = {
            name: ctypes.CFUNCTYPE(ctypes.c_ulong, *[ctypes.c_void_p] * count)(answer)
            for name, (count, answer) in answers.items()
        }
        self._list = _FunctionList.from_buffer_copy(library.contents)
        for name, answer in self._answers.items():
            self._list.functions[_POSITIONS[name]] = ctypes.cast(answer, ctypes.c_void_p).value

    def bound(self, kind: t.Any, path: str) -> t.Any:
        """Return python-pkcs11's library, which has this list of functions.

        :param kind: its class
        :param path: of the shared library, which is loaded by now
        :raises ByokError: when python-pkcs11 does not get its functions, or keeps them elsewhere
        """
        from pkcs11 import PKCS11Error

        try:
            binding = child.noted("C_GetFunctionList", lambda: kind.__new__(kind, path))
        except PKCS11Error as error:
            raise _unloadable(path, f"{type(error).__name__} {error}".strip()) from error
        self.give(binding)
        child.noted("C_GetInterface", lambda: binding.__init__(path))
        return binding

    def give(self, binding: t.Any) -> None:
        """Put the list where python-pkcs11 has a pointer to the library's own.

        It offers no other way.
        """
        theirs = ctypes.addressof(self._library.contents)
        begin, end = object.__basicsize__, type(binding).__basicsize__
        for place in range(id(binding) + begin, id(binding) + end, ctypes.sizeof(ctypes.c_void_p)):
            pointer = ctypes.c_void_p.from_address(place)
            if pointer.value == theirs:
                pointer.value = ctypes.addressof(self._list)
                return
        raise ByokError(
            "This version of python-pkcs11 is not one that Keyferry knows",
            "Install python-pkcs11 0.10.1 for the interpreter that runs the module",
        )

    @contextmanager
    def raising(self) -> t.Iterator[None]:
        """Raise what a call raised that python-pkcs11 made inside, instead of its own error."""
        from pkcs11 import PKCS11Error

        self._last.error = None
        try:
            yield
        except PKCS11Error as error:
            if self._last.error is None:
                raise
            raise self._last.error from error

    def _through(self, function: str) -> t.Callable[..., int]:
        def through(*arguments: int | None) -> int:
            try:
                return self._call(function, *arguments)
            except BaseException as error:  # which cannot pass through python-pkcs11
                self._last.error = error
                return error.code if isinstance(error, CryptokiError) else CKR_GENERAL_ERROR

        return through

    def _one_slot(self, _with_token: int, slots: int | None, count: int) -> int:
        if slots:
            ctypes.c_ulong.from_address(slots).value = self.slot
        ctypes.c_ulong.from_address(count).value = 1
        return CKR_OK


def _blank(size: int, *arguments: int) -> int:
    ctypes.memset(arguments[-1], 0, size)
    return CKR_OK


class Library:
    """A PKCS#11 library, loaded and initialised for several threads.

    :param path: of the shared library
    :param parameters: handed over as pReserved, which only NSS reads
    :raises ByokError: when it cannot be loaded or initialised
    """

    def __init__(self, path: str, parameters: str | None = None) -> None:
        binding = _binding_class()
        self._dll, functions = _load(path)
        self._functions = functions.contents.functions
        self._parameters = ctypes.create_string_buffer(parameters.encode()) if parameters else None
        reserved = ctypes.addressof(self._parameters) if self._parameters is not None else None
        arguments = _InitializeArguments(flags=CKF_OS_LOCKING_OK, reserved=reserved)
        self.call(
            "C_Initialize",
            ctypes.byref(arguments),
            accept=NUMBERS["CKR_CRYPTOKI_ALREADY_INITIALIZED"],
        )
        self._for_binding = _Functions(functions, self.call)
        self._binding = self._for_binding.bound(binding, path)
        self._tokens: dict[int, t.Any] = {}

    def call(self, function: str, *arguments: t.Any, accept: int = CKR_OK) -> int:
        """Call a function of the list; numbers go as CK_ULONG.

        :param accept: a return code that is as good as CKR_OK
        :returns: the return code
        :raises CryptokiError: for any other return code
        """
        prototype = ctypes.CFUNCTYPE(ctypes.c_ulong, *(_c_type(argument) for argument in arguments))
        called = prototype(self._functions[_POSITIONS[function]])
        code: int = child.noted(function, lambda: called(*arguments))
        if code not in (CKR_OK, accept):
            raise CryptokiError(function, code)
        return code

    def vendor_function(self, name: str) -> t.Any:
        """Return a function that the vendor exports beside PKCS#11; None where it is not there.

        It returns CK_RV.
        """
        function = getattr(self._dll, name, None)
        if function is None:
            return None
        function.restype = ctypes.c_ulong
        return lambda *arguments: child.noted(name, lambda: function(*arguments))

    def slots(self) -> tuple[list[Slot], list[CryptokiError]]:
        """Return the slots with a token, and the errors of those that cannot be read.

        One may be out of reach while another is not.
        """
        slots, errors = [], []
        for number in self._numbers("C_GetSlotList", ctypes.c_ubyte(1)):
            info = _TokenInfo()
            try:
                self.call("C_GetTokenInfo", number, ctypes.byref(info))
            except CryptokiError as error:
                errors.append(error)
            else:
                slots.append(info.slot(number))
        return slots, errors

    def mechanisms(self, slot: int) -> frozenset[int]:
        """Return the numbers of a token's mechanisms, the vendor's own among them."""
        return frozenset(self._numbers("C_GetMechanismList", slot))

    def key_sizes(self, slot: int, mechanism: int) -> tuple[int, int] | None:
        """Return the smallest and the largest key of a mechanism, in bits for RSA and EC.

        They are advice: some tokens tell other units, or nothing that means something.

        :returns: None where they are not told
        """
        info = (ctypes.c_ulong * 3)()  # CK_MECHANISM_INFO (PKCS#11 v3.1, 3.6)
        try:
            self.call("C_GetMechanismInfo", slot, mechanism, info)
        except CryptokiError:
            return None  # what it would have told, the try decides
        smallest, largest = info[0], info[1]
        told = 0 < largest < CK_UNAVAILABLE_INFORMATION and smallest <= largest
        return (smallest, largest) if told else None

    def open(
        self,
        slot: int,
        public_keys_private: tuple[bool, ...] = (False,),
        *,
        read_only: bool = False,
    ) -> Session:
        """Open a session. It is logged in once any session of this process is.

        :param public_keys_private: CKA_PRIVATE of public keys, in the order to try
        :param read_only: whether it can make session objects alone
        """
        if slot not in self._tokens:
            self._for_binding.slot = slot
            [wanted] = self._binding.get_slots(token_present=True)
            self._tokens[slot] = wanted.get_token()
        with self.binding():
            native = self._tokens[slot].open(rw=not read_only)
        return Session(self, native, public_keys_private)

    def binding(self) -> t.ContextManager[None]:
        """Raise, instead of what python-pkcs11 raises inside, what the call raised that failed."""
        return self._for_binding.raising()

    def _numbers(self, function: str, *arguments: t.Any) -> list[int]:
        count = ctypes.c_ulong()
        self.call(function, *arguments, None, ctypes.byref(count))
        numbers = (ctypes.c_ulong * max(1, count.value))()
        self.call(function, *arguments, numbers, ctypes.byref(count))
        return list(numbers[: count.value])


class Session:
    """One session of a token; one thread at a time."""

    def __init__(
        self, library: Library, native: t.Any, public_keys_private: tuple[bool, ...]
    ) -> None:
        self._library = library
        self._native = native
        self._public_keys_private = public_keys_private

    def login(self, pin: str) -> bool:
        """Log this process in as the user.

        :returns: whether this process has to log out: another one may have left the token logged in
        """
        octets = pin.encode("utf-8", "surrogateescape")
        code = self._library.call(
            "C_Login",
            self._native.handle,
            CKU_USER,
            octets,
            len(octets),
            accept=NUMBERS["CKR_USER_ALREADY_LOGGED_IN"],
        )
        return code == CKR_OK

    def logout(self) -> None:
        """Log this process out, in all its sessions."""
        self._library.call("C_Logout", self._native.handle)

    def close(self) -> None:
        """Close the session, whatever the token says to that."""
        with suppress(CryptokiError), self._library.binding():
            self._native.close()

    def find(self, object_class: str, **attributes: Value) -> list[Key]:
        """Return the objects of a class with these attributes."""
        template, count = _packed({"CLASS": KEY_CLASSES[object_class], **attributes})
        keys: list[Key] = []
        batch, length = (ctypes.c_ulong * _FOUND_AT_ONCE)(), ctypes.c_ulong()
        self._call("C_FindObjectsInit", template, count)
        try:
            while True:
                self._call("C_FindObjects", batch, _FOUND_AT_ONCE, ctypes.byref(length))
                if not length.value:
                    break
                keys += batch[: length.value]
        except CryptokiError:
            with suppress(CryptokiError):  # what failed first counts
                self._call("C_FindObjectsFinal")
            raise
        self._call("C_FindObjectsFinal")  # a search left open would block the next one
        return keys

    def count_nameless(self, object_class: str) -> int:
        """Return how many objects of a class have neither CKA_LABEL nor CKA_ID."""
        found = self.find(object_class, LABEL="", ID=b"")
        # A token may take the empty values for any.
        names = (self.read(key, "LABEL", "ID") for key in found)
        return sum(not any(name.values()) for name in names)

    def read(self, key: Key, *names: str) -> dict[str, t.Any]:
        """Return attributes by name; None where the token does not tell."""
        from pkcs11 import Attribute

        attributes = (_Attribute * len(names))()
        buffers = []
        for attribute, name in zip(attributes, names, strict=True):
            buffer = ctypes.create_string_buffer(_buffer_size(name))
            attribute.type = int(Attribute[name])
            attribute.value = ctypes.addressof(buffer)
            attribute.length = len(buffer)
            buffers.append(buffer)
        try:
            self._call("C_GetAttributeValue", key, attributes, len(names))
        except CryptokiError as error:
            if error.code not in _NOT_TOLD:
                raise
            if len(names) == 1:
                return {names[0]: None}
            # Not every token goes on after the first attribute that it does not tell.
            return {name: self.read(key, name)[name] for name in names}
        values = {}
        for name, buffer, attribute in zip(names, buffers, attributes, strict=True):
            told = attribute.length <= _ATTRIBUTE_BYTES
            values[name] = _value(name, buffer.raw[: attribute.length]) if told else None
        return values

    def generate_pair(
        self,
        mechanism: int,
        public: t.Mapping[str, Value],
        private: t.Mapping[str, Value],
        bits: int | None = None,
    ) -> tuple[Key, Key]:
        """Make a key pair: RSA of so many ``bits``, or EC with EC_PARAMS in the public template.

        :param public: without CKA_PRIVATE
        :returns: the public and the private key
        """
        from pkcs11 import KeyType

        maker = self._native
        given: dict[str, t.Any] = {
            "mechanism": _mechanism(mechanism),
            # keeps python-pkcs11's broad defaults out: a key may do what its template names
            "capabilities": 0,
            "private_template": _template(private, made=True),
        }
        if bits is not None:
            given.update(key_type=KeyType.RSA, key_length=_size(bits))
        else:
            curve = _template({"EC_PARAMS": public["EC_PARAMS"]})
            maker = self._native.create_domain_parameters(KeyType.EC, curve, local=True)

        def make(taken: dict[str, Value]) -> tuple[Key, Key]:
            template = _template({**public, **taken}, made=True)
            with self._library.binding():
                keys = maker.generate_keypair(public_template=template, **given)
            return keys[0].handle, keys[1].handle

        return self._with_a_public_key(make)

    def generate_secret(self, bits: int, template: t.Mapping[str, Value]) -> Key:
        """Make an AES key of so many ``bits``."""
        from pkcs11 import KeyType

        checked = _template(template, made=True)
        with self._library.binding():
            key = self._native.generate_key(
                KeyType.AES, _size(bits), capabilities=0, template=checked
            )
        return t.cast(Key, key.handle)

    def create_public_rsa(self, **attributes: Value) -> Key:
        """Bring an RSA public key in; its attributes are given without CKA_PRIVATE."""
        from pkcs11 import KeyType

        types = {"CLASS": KEY_CLASSES["PUBLIC_KEY"], "KEY_TYPE": int(KeyType.RSA)}

        def create(taken: dict[str, Value]) -> Key:
            template = _template({**types, **attributes, **taken})
            with self._library.binding():
                return t.cast(Key, self._native.create_object(template).handle)

        return self._with_a_public_key(create)

    def assign(self, key: Key, name: str, value: Value) -> None:
        """Set one attribute."""
        self._call("C_SetAttributeValue", key, *_packed({name: value}))

    def encrypt_cbc(self, key: Key, iv: bytes, data: bytes) -> bytes:
        """Encrypt by CKM_AES_CBC_PAD."""
        encrypted = ctypes.create_string_buffer(len(data) + 32)
        length = ctypes.c_ulong(len(encrypted))
        self._call("C_EncryptInit", _Mechanism.of(CKM_AES_CBC_PAD, iv), key)
        self._call("C_Encrypt", data, len(data), encrypted, ctypes.byref(length))
        return encrypted.raw[: length.value]

    def sign(self, mechanism: int, key: Key, data: bytes) -> bytes:
        """Sign by a mechanism without a parameter."""
        signature = ctypes.create_string_buffer(_SIGNATURE_BYTES)
        length = ctypes.c_ulong(_SIGNATURE_BYTES)
        self._call("C_SignInit", _Mechanism.of(mechanism, None), key)
        self._call("C_Sign", data, len(data), signature, ctypes.byref(length))
        return signature.raw[: length.value]

    def wrap(self, mechanism: int, parameter: bytes | None, wrapping_key: Key, key: Key) -> bytes:
        """Wrap ``key``.

        :param mechanism: any number
        :param parameter: as it lies in memory; None is NULL
        """
        wrapped = ctypes.create_string_buffer(_WRAPPED_BYTES)
        length = ctypes.c_ulong(_WRAPPED_BYTES)
        by = _Mechanism.of(mechanism, parameter)
        self._call("C_WrapKey", by, wrapping_key, key, wrapped, ctypes.byref(length))
        return wrapped.raw[: length.value]

    def destroy(self, key: Key) -> None:
        """Destroy an object."""
        self._call("C_DestroyObject", key)

    def _with_a_public_key(self, make: t.Callable[[dict[str, Value]], T]) -> T:
        """Make something with a public key, with the first CKA_PRIVATE that the token takes."""
        *preferred, last = self._public_keys_private
        for private in preferred:
            try:
                return make({"PRIVATE": private})
            except CryptokiError as error:
                if error.code not in _TEMPLATE_REFUSED:
                    raise
        return make({"PRIVATE": last})

    def _call(self, function: str, *arguments: t.Any) -> None:
        self._library.call(function, self._native.handle, *arguments)


def _c_type(argument: t.Any) -> t.Any:
    types = {int: ctypes.c_ulong, ctypes.c_ubyte: ctypes.c_ubyte}
    return types.get(type(argument), ctypes.c_void_p)


def _template(attributes: t.Mapping[str, Value], *, made: bool = False) -> dict[t.Any, Value]:
    """Return the attributes as python-pkcs11 wants them.

    :param made: for a key to be made, where python-pkcs11 would send an empty CKA_ID and CKA_LABEL
        if none are given
    """
    from pkcs11 import Attribute
    from pkcs11.constants import DEFAULT

    template: dict[t.Any, t.Any] = {}
    if made:
        template = {Attribute.ID: DEFAULT, Attribute.LABEL: DEFAULT}
    for name, value in attributes.items():
        template[Attribute[name]] = _checked(name, value)
    return template


def _packed(attributes: t.Mapping[str, Value]) -> tuple[t.Any, int]:
    """Return the attributes as PKCS#11 wants them, and how many they are."""
    from pkcs11 import Attribute

    packed: t.Any = (_Attribute * len(attributes))()
    packed.buffers = []  # they have to live as long as what points to them
    for attribute, (name, value) in zip(packed, attributes.items(), strict=True):
        octets = _octets(_checked(name, value))
        buffer = ctypes.create_string_buffer(octets, len(octets))
        attribute.type = int(Attribute[name])
        attribute.value = ctypes.addressof(buffer)
        attribute.length = len(buffer)
        packed.buffers.append(buffer)
    return packed, len(attributes)


def _octets(value: Value) -> bytes:
    """Return a value as it lies in memory."""
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return bytes(ctypes.c_ulong(value))
    if isinstance(value, str):
        return value.encode()
    return value


def _checked(name: str, value: Value) -> Value:
    """Return a value that is of its attribute's type.

    :raises KeyError: for an attribute that has no type here
    :raises TypeError: for a value of the wrong type, which would abort the interpreter
    """
    type_ = _ATTRIBUTE_TYPES[name]
    if value.__class__ is not type_:
        raise TypeError(f"CKA_{name} takes {type_.__name__}, not {type(value).__name__}")
    if isinstance(value, str):
        value.encode()  # lone surrogates have no UTF-8
    elif isinstance(value, int) and not 0 <= value <= CK_UNAVAILABLE_INFORMATION:
        raise TypeError(f"CKA_{name} takes a CK_ULONG")
    return value


def _size(bits: int) -> int:
    """Return a key's size, which python-pkcs11 puts into a template as well.

    :raises TypeError: for what is no size
    """
    if bits.__class__ is not int or not 0 < bits < 2**16:
        raise TypeError(f"No key has {bits!r} bits")
    return bits


def _mechanism(number: int) -> t.Any:
    """Return a member of python-pkcs11's Mechanism, also for numbers that it does not know.

    It refuses plain ints.
    """
    from pkcs11 import Mechanism

    try:
        return Mechanism(number)
    except ValueError:
        member = int.__new__(Mechanism, number)
        member._name_, member._value_ = f"{number:#x}", number
        return member


def _type(name: str) -> type:
    return _ATTRIBUTE_TYPES.get(name) or _READ_ONLY[name]


def _buffer_size(name: str) -> int:
    """Return how much room an attribute gets: NSS tells a number only into exactly its size."""
    return ctypes.sizeof(ctypes.c_ulong) if _type(name) is int else _ATTRIBUTE_BYTES


def _value(name: str, octets: bytes) -> t.Any:
    """Return an attribute's value from how it lies in memory; None where nothing is told."""
    type_ = _type(name)
    if type_ is str:
        return octets.decode("utf-8", "replace")
    if type_ is bytes:
        return octets
    if not octets:
        return None
    number = int.from_bytes(octets, sys.byteorder)
    return bool(number) if type_ is bool else _told(number)


def _told(number: int) -> int | None:
    return None if number == CK_UNAVAILABLE_INFORMATION else number


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace").strip()
