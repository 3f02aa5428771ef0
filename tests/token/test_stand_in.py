# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in does what it says, seen by plain ctypes; what needs a token happens in a child
process, one per opening.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token import tokens
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

Shape = Callable[..., Options]

FUNCTIONS = re.findall(r"\b[FM]\((CA?_\w+)\)", tokens.SOURCE.read_text())
KWP, LUNA_KW, LUNA_KWP, LUNA_RSA_PRIME, AIV = (
    0x210B,
    0x80000170,
    0x80000171,
    0x80000143,
    bytes.fromhex("a65959a6"),
)
RSA_AES_WRAP = 0x1054
CLASS, TOKEN, PRIVATE, LABEL, VALUE, KEY_TYPE, SENSITIVE, EXTRACTABLE = (
    0x0,
    0x1,
    0x2,
    0x3,
    0x11,
    0x100,
    0x103,
    0x162,
)
ENCRYPT, DECRYPT, WRAP, SIGN, VERIFY = 0x104, 0x105, 0x106, 0x108, 0x10A
MODULUS, MODULUS_BITS, PUBLIC_EXPONENT, VALUE_LEN, LOCAL, EC_PARAMS = (
    0x120,
    0x121,
    0x122,
    0x161,
    0x163,
    0x180,
)
P_256, SECP256K1 = (
    {EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")},
    {EC_PARAMS: bytes.fromhex("06052b8104000a")},
)
P_384 = {EC_PARAMS: bytes.fromhex("06052b81040022")}
RSA_2048 = {MODULUS_BITS: 2048, PUBLIC_EXPONENT: b"\1\0\1"}

# A fork of a process that has imported what the children need, but has loaded no token.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "cryptography.hazmat.primitives.serialization"])


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of this file in a new process."""
    with ProcessPoolExecutor(1, PROCESSES) as process:
        return process.submit(function, *arguments).result(timeout=60)


# ---- in the child ----


class Refused(Exception):
    """A PKCS#11 function returned something else than CKR_OK: its name and the code."""


class Attribute(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_ulong),
        ("value", ctypes.POINTER(ctypes.c_char)),
        ("length", ctypes.c_ulong),
    )


class Mechanism(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_ulong),
        ("parameter", ctypes.c_char_p),
        ("length", ctypes.c_ulong),
    )


class Oaep(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_ulong) for name in ("hash", "mgf", "source")),
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    )


class Initialize(ctypes.Structure):
    _fields_ = (
        ("mutexes", ctypes.c_void_p * 4),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_char_p),
    )


class TokenInfo(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_char * size)
            for name, size in (("label", 32), ("manufacturer", 32), ("model", 16), ("serial", 16))
        ),
        *((name, ctypes.c_ulong) for name in ("flags", "a", "b", "c", "d", "e", "f")),
        *(
            (name, ctypes.c_ulong)
            for name in ("total_public", "free_public", "total_private", "free_private")
        ),
        *((name, ctypes.c_ubyte * 2) for name in ("hardware", "firmware")),
        ("time", ctypes.c_char * 16),
    )


def template(values: dict[int, Any]) -> tuple[ctypes.Array[Attribute], int]:
    def octets(value: Any) -> bytes:
        return (
            bytes([value])
            if isinstance(value, bool)
            else bytes(ctypes.c_ulong(value))
            if isinstance(value, int)
            else value
        )

    parts = [(kind, octets(value)) for kind, value in values.items() if value is not None]
    attributes = [
        Attribute(kind, ctypes.create_string_buffer(value, len(value)), len(value))
        for kind, value in parts
    ]
    return (Attribute * len(attributes))(*attributes), len(attributes)


class Client:
    """A PKCS#11 library, loaded into this process for good."""

    def __init__(self, options: Options) -> None:
        os.environ.update(options["library_environment"])
        self.library = ctypes.CDLL(options["pkcs11_library"])
        self.options = options
        self.session = ctypes.c_ulong()

    def code(self, function: str, *arguments: Any) -> int:
        called = getattr(self.library, function, None) or self.listed(function)
        called.restype = ctypes.c_ulong
        code: int = called(
            *(ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments)
        )
        return code

    def listed(self, function: str) -> Any:
        """The function by its place in the function list, which is all that NSS exports."""
        place = ctypes.c_void_p()
        self.call("C_GetFunctionList", ctypes.byref(place))
        addresses = (ctypes.c_void_p * 68).from_address((place.value or 0) + 8)
        return ctypes.CFUNCTYPE(ctypes.c_ulong)(addresses[FUNCTIONS.index(function)] or 0)

    def call(self, function: str, *arguments: Any) -> None:
        if code := self.code(function, *arguments):
            raise Refused(function, code)

    def initialize(self) -> None:
        arguments = Initialize(
            flags=2, reserved=self.options.get("library_parameters", "").encode() or None
        )
        self.call("C_Initialize", ctypes.byref(arguments))

    def numbers(self, function: str, *arguments: Any, lists: int = 1) -> list[list[int]]:
        """Ask for lists of numbers, first for their length."""
        counts = [ctypes.c_ulong() for _each in range(lists)]
        places: list[Any] = [None] * lists
        for _time in range(2):
            pairs = [
                (place, ctypes.byref(count)) for place, count in zip(places, counts, strict=True)
            ]
            self.call(function, *arguments, *itertools.chain(*pairs))
            places = places if places[0] else [(ctypes.c_ulong * count.value)() for count in counts]
        return [list(place) for place in places]

    def slots(self) -> dict[str, int]:
        slots = self.numbers("C_GetSlotList", 1)[0]
        return {bytes(self.info(slot).label).decode().rstrip(): slot for slot in slots}

    def info(self, slot: int) -> TokenInfo:
        info = TokenInfo()
        self.call("C_GetTokenInfo", slot, ctypes.byref(info))
        return info

    def open(self) -> int:
        """Initialise, find the token, log in; returns its slot."""
        self.initialize()
        slot = self.slots()[self.options["token_label"]]
        self.call("C_OpenSession", slot, 6, None, None, ctypes.byref(self.session))
        pin = Path(self.options["pin_file"]).read_bytes()
        self.call("C_Login", self.session, 1, pin, len(pin))
        return slot

    def create(self, values: dict[int, Any]) -> int:
        key = ctypes.c_ulong()
        self.call("C_CreateObject", self.session, *template(values), ctypes.byref(key))
        return key.value

    def generate(self, number: int, values: dict[int, Any]) -> int:
        key, by = ctypes.c_ulong(), Mechanism(number)
        self.call(
            "C_GenerateKey", self.session, ctypes.byref(by), *template(values), ctypes.byref(key)
        )
        return key.value

    def generate_pair(
        self, number: int, public: dict[int, Any], private: dict[int, Any]
    ) -> tuple[int, int]:
        keys, by = (ctypes.c_ulong * 2)(), Mechanism(number)
        places = ctypes.byref(keys), ctypes.byref(keys, 8)
        self.call(
            "C_GenerateKeyPair",
            self.session,
            ctypes.byref(by),
            *template(public),
            *template(private),
            *places,
        )
        return keys[0], keys[1]

    def truth(self, key: int, kind: int) -> bool:
        attributes, count = template({kind: False})
        self.call("C_GetAttributeValue", self.session, key, attributes, count)
        return bool(attributes[0].value[0] == b"\1")

    def wrap(
        self, number: int, parameter: bytes | None, by: int, key: int, room: int | None = None
    ) -> bytes:
        mechanism, length = Mechanism(number, parameter, len(parameter or b"")), ctypes.c_ulong()
        arguments = self.session, ctypes.byref(mechanism), by, key
        self.call("C_WrapKey", *arguments, None, ctypes.byref(length))
        length.value = room or length.value
        wrapped = ctypes.create_string_buffer(length.value)
        self.call("C_WrapKey", *arguments, wrapped, ctypes.byref(length))
        return wrapped.raw[: length.value]

    def count(self, label: bytes) -> int:
        found, count = (ctypes.c_ulong * 9)(), ctypes.c_ulong()
        self.call("C_FindObjectsInit", self.session, *template({LABEL: label}))
        self.call("C_FindObjects", self.session, found, 9, ctypes.byref(count))
        return count.value


@dataclass
class Job:
    """What to make and how to wrap it; attributes that differ from the usual ones, None leaves one
    out.
    """

    kind: dict[int, Any] = field(default_factory=lambda: P_256)
    by: int | None = None
    mechanism: int = LUNA_KWP
    parameter: bytes | None = AIV
    room: int | None = None
    private: dict[int, Any] = field(default_factory=dict)
    temporary: dict[int, Any] = field(default_factory=dict)


def answer_of(function: Callable[[], Any]) -> Any:
    """What a function returns, or what refused and its code."""
    try:
        return function()
    except Refused as refused:
        return refused.args


def wrap_all(options: Options, modulus: bytes, jobs: Iterable[Job]) -> list[Any]:
    """Bring each job's key under a KEK; returns the wrapped AES key and the wrapped key, or what
    refused and its code.
    """
    client = Client(options)
    client.open()
    return [answer_of(functools.partial(wrap_one, client, modulus, job)) for job in jobs]


def wrap_one(client: Client, modulus: bytes, job: Job) -> tuple[bytes, bytes]:
    secret = {TOKEN: False, PRIVATE: True, SENSITIVE: True, EXTRACTABLE: True}
    by = job.by if job.by is not None else 0x1040 if EC_PARAMS in job.kind else LUNA_RSA_PRIME
    public = {**job.kind, TOKEN: False, PRIVATE: False, VERIFY: True}
    _public, key = client.generate_pair(by, public, {**secret, SIGN: True, **job.private})
    aes = client.generate(0x1080, {**secret, VALUE_LEN: 32, WRAP: True, **job.temporary})
    kek = {CLASS: 2, KEY_TYPE: 0, TOKEN: False, PRIVATE: False, WRAP: True, ENCRYPT: True}
    kek_key = client.create({**kek, MODULUS: modulus, PUBLIC_EXPONENT: b"\1\0\1"})
    wrapped_aes = client.wrap(0x9, bytes(Oaep(hash=0x220, mgf=1, source=1)), kek_key, aes)
    return wrapped_aes, client.wrap(job.mechanism, job.parameter, aes, key, job.room)


# ---- in this process ----


@functools.cache
def kek() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def wrapped(options: Options, *jobs: Job) -> list[Any]:
    return list(
        in_child(
            wrap_all, options, kek().public_key().public_numbers().n.to_bytes(256, "big"), jobs
        )
    )


def unwrapped(wrapped_aes: bytes, wrapped_key: bytes) -> Any:
    aes = kek().decrypt(wrapped_aes, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    return serialization.load_der_private_key(aes_key_unwrap_with_padding(aes, wrapped_key), None)


def test_wraps_byte_for_byte_as_rfc_5649(nss: Options, luna: Shape, futurex: Shape) -> None:
    results = wrapped(luna(nss), Job(), Job(RSA_2048), Job(RSA_2048, by=0x0))
    results += wrapped(
        futurex(nss), Job(mechanism=KWP, parameter=None), Job(RSA_2048, by=0x0, mechanism=KWP)
    )
    keys = [unwrapped(*result) for result in results]
    assert [isinstance(key, ec.EllipticCurvePrivateKey) for key in keys] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert {key.key_size for key in keys} == {256, 2048}


def test_luna_initial_values(nss: Options, luna: Shape) -> None:
    jobs = [Job(parameter=None), Job(parameter=b"\1\2\3\3"), Job(parameter=AIV + AIV)]
    (wrapped_aes, appended), *others = wrapped(luna(nss), *jobs)
    with pytest.raises(InvalidUnwrap):
        unwrapped(wrapped_aes, appended)
    assert unwrapped(wrapped_aes, appended[:-8]).key_size == 256
    assert others == [("C_WrapKey", 0x71)] * 2
    assert wrapped(luna(nss), Job(parameter=None, room=len(appended) - 1)) == [("C_WrapKey", 0x150)]
    assert wrapped(luna(nss, null_iv="refuse"), Job(parameter=None)) == [("C_WrapKey", 0x71)]


def test_luna_refuses(nss: Options, luna: Shape) -> None:
    expected: list[tuple[Job, tuple[str, int]]] = [
        (Job(mechanism=KWP, parameter=None), ("C_WrapKey", 0x70)),
        (Job(mechanism=0x1085, parameter=bytes(16)), ("C_WrapKey", 0x70)),
        (Job(mechanism=LUNA_KW, parameter=None), ("C_WrapKey", 0x69)),
        (Job(private={SENSITIVE: None}), ("C_GenerateKeyPair", 0xD1)),
        (Job(private={PRIVATE: None}), ("C_GenerateKeyPair", 0xD1)),
        (Job(temporary={SENSITIVE: None}), ("C_GenerateKey", 0xD1)),
        (Job(private={EXTRACTABLE: None}), ("C_WrapKey", 0x6A)),
        (Job(private={EXTRACTABLE: False}), ("C_WrapKey", 0x6A)),
        (Job(temporary={EXTRACTABLE: None}), ("C_WrapKey", 0x6A)),
    ]
    assert wrapped(luna(nss), *(job for job, _refused in expected)) == [
        refused for _job, refused in expected
    ]


def test_luna_by_fips(nss: Options, softhsm: Options, luna: Shape) -> None:
    jobs = [Job(RSA_2048), Job(P_384), Job(RSA_2048, by=0x0), Job(SECP256K1)]
    rsa_key, ec_key, *refused = wrapped(luna(nss, fips=1), *jobs)
    assert (unwrapped(*rsa_key).key_size, unwrapped(*ec_key).key_size) == (2048, 384)
    assert refused == [("C_GenerateKeyPair", 0x70), ("C_GenerateKeyPair", 0x80000105)]
    assert all(isinstance(result[1], bytes) for result in wrapped(luna(softhsm), *jobs))


@pytest.mark.parametrize(
    ("policies", "job", "refused"),
    [
        ("1=0", Job(), ("C_WrapKey", 0x69)),
        ("5=0", Job(), ("C_WrapKey", 0x69)),
        ("34=0", Job(), ("C_WrapKey", 0x69)),
        ("10=0", Job(RSA_2048, private={DECRYPT: True}), ("C_GenerateKeyPair", 0xD1)),
        ("10=0", Job(temporary={ENCRYPT: True}), ("C_GenerateKey", 0xD1)),
        ("28=0", Job(private={TOKEN: True}), ("C_GenerateKeyPair", 0x8000001A)),
    ],
)
def test_luna_policies_refuse(
    softhsm: Options, luna: Shape, policies: str, job: Job, refused: tuple[str, int]
) -> None:
    assert wrapped(luna(softhsm, policies=policies), job) == [refused]
    if policies in ("10=0", "28=0"):
        assert isinstance(wrapped(luna(softhsm, policies=policies), Job())[0][1], bytes)


def read_policies(options: Options) -> list[Any]:
    """What the newer way says, what the older one says: policies, or what refused."""
    client, container = Client(options), ctypes.c_ulong()
    slot = client.open()

    def newer() -> dict[int, int]:
        ids, values = client.numbers("CA_GetTokenPolicies", slot, lists=2)
        return dict(zip(ids, values, strict=True))

    def older() -> dict[int, int]:
        client.call("CA_GetUserContainerNumber", slot, ctypes.byref(container))
        ids, values = client.numbers("CA_GetContainerPolicySet", slot, container, lists=2)
        return dict(zip(ids, values, strict=True))

    return [answer_of(newer), answer_of(older)]


def test_luna_policies(softhsm: Options, luna: Shape, plain: Shape) -> None:
    newer, older = in_child(read_policies, luna(softhsm, policies="10=0,77=5"))
    assert newer == older
    assert newer.items() >= {0: 0, 1: 1, 5: 1, 10: 0, 20: 10, 34: 1, 77: 5}.items()
    no_newer, no_older = ("CA_GetTokenPolicies", 0x54), ("CA_GetUserContainerNumber", 0x54)
    refused, older = in_child(read_policies, luna(softhsm, old_policies=1))
    assert (refused, older[10]) == (no_newer, 1)
    assert in_child(read_policies, luna(softhsm, no_policies=1)) == [no_newer, no_older]
    assert in_child(read_policies, plain(softhsm)) == [no_newer, no_older]


def read_mechanisms(options: Options) -> tuple[set[int], list[int]]:
    """The mechanisms, and what C_GetMechanismInfo returns for some."""
    client = Client(options)
    slot = client.open()
    asked = (0x0, RSA_AES_WRAP, KWP, LUNA_KWP, LUNA_RSA_PRIME)
    codes = [
        client.code("C_GetMechanismInfo", slot, each, ctypes.byref(ctypes.create_string_buffer(24)))
        for each in asked
    ]
    (listed,) = client.numbers("C_GetMechanismList", slot)
    assert len(listed) == len(set(listed))
    return set(listed), codes


def list_two_mechanisms(options: Options) -> int:
    """What C_GetMechanismList returns where there is room for two (NSS itself would write
    beyond).
    """
    client, count = Client(options), ctypes.c_ulong(2)
    return client.code(
        "C_GetMechanismList",
        client.open(),
        ctypes.byref((ctypes.c_ulong * 2)()),
        ctypes.byref(count),
    )


def test_mechanisms(nss: Options, luna: Shape, futurex: Shape) -> None:
    of_nss, _codes = in_child(read_mechanisms, nss)
    standard = {each for each in of_nss if each < 0x80000000}
    own = {LUNA_KW, LUNA_KWP, 0x80000142, LUNA_RSA_PRIME}

    of_luna, codes = in_child(read_mechanisms, luna(nss))
    assert of_luna >= own | standard - {0x1054, 0x2109, 0x210A, 0x210B, 0x210C}
    assert not of_luna & {0x1054, 0x2109, 0x210A, 0x210B, 0x210C, 0xCE534351, 0xCE534352}
    assert {each for each in of_luna - own if each >= 0x80000000}, "no mechanism that nobody knows"
    assert codes == [0, 0x70, 0x70, 0, 0]
    assert in_child(list_two_mechanisms, luna(nss)) == 0x150

    by_fips, codes = in_child(read_mechanisms, luna(nss, fips=1))
    assert of_luna - by_fips == {0x0, 0xA} & of_luna
    assert codes == [0x70, 0x70, 0x70, 0, 0]

    of_futurex, codes = in_child(read_mechanisms, futurex(nss))
    assert of_futurex == (standard | {KWP}) - {0x1054, 0x210A}
    assert codes == [0, 0x70, 0, 0x70, 0x70]


def read_infos(options: Options) -> dict[str, dict[str, Any]]:
    """What C_GetTokenInfo tells of each token, by its label."""
    client = Client(options)
    client.initialize()
    infos = {label: client.info(slot) for label, slot in client.slots().items()}
    numbers = ("flags", "total_public", "free_public", "total_private", "free_private")
    return {
        label: {
            "manufacturer": info.manufacturer.decode().rstrip(),
            "model": info.model.decode().rstrip(),
            "firmware": list(info.firmware),
            **{name: getattr(info, name) for name in numbers},
        }
        for label, info in infos.items()
    }


def test_token_info(
    nss: Options, softhsm: Options, luna: Shape, futurex: Shape, plain: Shape
) -> None:
    infos = in_child(read_infos, luna(nss, pin="low"))
    assert infos.keys() == {"byok", "NSS Generic Crypto Services"}
    info = infos["byok"]
    assert (info["manufacturer"], info["model"], info["firmware"]) == (
        "SafeNet",
        "LunaSA 7.8.9",
        [7, 8],
    )
    assert (info["total_public"], info["free_public"]) == (2094996, 1900000)
    assert info["total_private"] == info["free_private"] == 2**64 - 1
    assert info["flags"] & 0x70000 == 0x10000
    assert in_child(read_infos, luna(nss, firmware="7.4"))["byok"]["firmware"] == [7, 4]
    assert in_child(read_infos, futurex(nss))["byok"]["manufacturer"] == "Futurex"
    info = in_child(read_infos, plain(softhsm, pin="final"))["byok"]
    assert (info["manufacturer"], info["flags"] & 0x70000) == ("SoftHSM project", 0x20000)


def opened(options: Options) -> Any:
    """The token's slot, or what refuses and its code."""
    return answer_of(Client(options).open)


def test_pin(softhsm: Options, luna: Shape) -> None:
    assert isinstance(in_child(opened, luna(softhsm, pin="final")), int)
    assert in_child(opened, luna(softhsm, pin="locked")) == ("C_Login", 0xA4)


def test_futurex_that_is_not_ready(softhsm: Options, futurex: Shape, tmp_path: Path) -> None:
    token_key = tmp_path / "ftk"
    options = futurex(softhsm, token_key=token_key)
    assert in_child(opened, options) == ("C_OpenSession", 0xE1)
    assert not in_child(read_infos, options)["byok"]["flags"] & 0x400
    token_key.touch()
    assert isinstance(in_child(opened, options), int)
    assert in_child(read_infos, options)["byok"]["flags"] & 0x400
    Path(options["library_environment"]["FXPKCS11_CFG"]).unlink()
    assert in_child(opened, options) == ("C_Initialize", 0x5)
    del options["library_environment"]["FXPKCS11_CFG"]
    assert in_child(opened, options) == ("C_Initialize", 0x5)


def call_all(options: Options) -> dict[str, int]:
    client = Client(options)
    return {name: client.code(name, *[0] * 8) for name in FUNCTIONS}


def call_some(options: Options) -> list[int]:
    client = Client(options)
    return [
        client.code(name, 0)
        for name in ("C_Finalize", "C_Finalize", "C_Finalize", "C_GetInfo", "C_GetInfo")
    ]


def test_faults(softhsm: Options, plain: Shape, tmp_path: Path) -> None:
    codes = {name: 0x80000000 + number for number, name in enumerate(FUNCTIONS)}
    assert len(codes) == 68 + 3
    trace = tmp_path / "trace"
    faults = ",".join(f"{name}:1:{code:#x}" for name, code in codes.items())
    assert in_child(call_all, plain(softhsm, faults=faults, trace=trace)) == codes
    traced = dict(line.split()[:2] for line in trace.read_text().splitlines())
    assert {name: int(code, 16) for name, code in traced.items()} == codes
    options = plain(softhsm, faults="C_Finalize:2:0x30,C_GetInfo:0:0x31")
    assert in_child(call_some, options) == [0x190, 0x30, 0x190, 0x31, 0x31]


def make_half(options: Options) -> int:
    """Make a key pair labelled half, and count such objects."""
    client, common = Client(options), {TOKEN: True, LABEL: b"half"}
    client.open()
    client.generate_pair(0x1040, {**P_256, **common}, {**common, PRIVATE: True, SENSITIVE: True})
    return client.count(b"half")


def count_half(options: Options) -> int:
    client = Client(options)
    client.open()
    return client.count(b"half")


@pytest.mark.parametrize(("how", "left"), [("kill", 0), ("kill-after", 2)])
def test_killed(softhsm: Options, plain: Shape, how: str, left: int) -> None:
    with pytest.raises(BrokenProcessPool):
        in_child(make_half, plain(softhsm, faults=f"C_GenerateKeyPair:1:{how}"))
    assert in_child(count_half, softhsm) == left


def test_trace(softhsm: Options, plain: Shape, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert in_child(make_half, plain(softhsm, trace=trace)) == 2
    lines = trace.read_text().splitlines()
    assert lines[0] == "C_Initialize 0x0 flags=0x2"
    assert "C_GenerateKeyPair 0x0 mechanism=0x1040" in lines
    assert lines[-2:] == ["C_FindObjectsInit 0x0", "C_FindObjects 0x0"]
    in_child(
        call_all,
        plain(
            softhsm,
            faults="C_Initialize:0:0x5,C_GetFunctionList:0:0x5,C_GetInfo:0:0x5",
            trace=trace,
        ),
    )
    assert "C_Initialize 0x5 args=NULL" in trace.read_text().splitlines()


def offered_functions(options: Options) -> list[bool]:
    """Whether each function is where CK_FUNCTION_LIST has it."""
    client = Client(options)
    return [
        address_of(getattr(client.library, name)) == address_of(client.listed(name))
        for name in FUNCTIONS[:68]
    ]


def address_of(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


def test_function_list(softhsm: Options, plain: Shape) -> None:
    assert in_child(offered_functions, softhsm) == [True] * 68, "this order is not the standard's"
    assert in_child(offered_functions, plain(softhsm)) == [True] * 68


def make_signing_pair(options: Options) -> Any:
    """What a pair that may sign and not verify says: CKA_LOCAL of both, CKA_VERIFY, and
    CKA_KEY_TYPE read with room to spare.
    """
    client = Client(options)
    client.open()
    private = {TOKEN: True, PRIVATE: True, SENSITIVE: True, SIGN: True}
    made = answer_of(
        lambda: client.generate_pair(0x1040, {**P_256, TOKEN: True, VERIFY: False}, private)
    )
    if made[0] == "C_GenerateKeyPair":
        return made
    key_type, count = template({KEY_TYPE: bytes(64)})
    client.call("C_GetAttributeValue", client.session, made[1], key_type, count)
    truths = (
        client.truth(made[0], LOCAL),
        client.truth(made[1], LOCAL),
        client.truth(made[0], VERIFY),
    )
    return *truths, key_type[0].value[: key_type[0].length]


def test_quirks_of_nss_are_not_those_of_a_luna(nss: Options, luna: Shape) -> None:
    assert in_child(make_signing_pair, nss) == ("C_GenerateKeyPair", 0x63)
    assert in_child(make_signing_pair, luna(nss)) == (True, True, False, bytes(ctypes.c_ulong(3)))


def create_secret(options: Options) -> Any:
    client = Client(options)
    client.open()
    values = {
        CLASS: 4,
        KEY_TYPE: 0x1F,
        TOKEN: False,
        PRIVATE: True,
        SENSITIVE: True,
        VALUE: bytes(32),
    }
    return answer_of(lambda: client.create(values))


def test_luna_takes_no_secret_key(softhsm: Options, luna: Shape, plain: Shape) -> None:
    assert in_child(create_secret, luna(softhsm)) == ("C_CreateObject", 0xD1)
    assert isinstance(in_child(create_secret, plain(softhsm)), int)


@pytest.mark.parametrize("faults", ["C_Wrapkey:1:0x5", "C_WrapKey:1:five", "C_WrapKey"])
def test_a_fault_that_makes_no_sense(softhsm: Options, plain: Shape, faults: str) -> None:
    assert in_child(opened, plain(softhsm, faults=faults)) == ("C_Initialize", 0x5)


def test_settings_that_do_not_exist(softhsm: Options, plain: Shape, luna: Shape) -> None:
    with pytest.raises(ValueError, match="luna has no setting fibs"):
        luna(softhsm, fibs=1)
    with pytest.raises(ValueError, match="plain has no setting fips"):
        plain(softhsm, fips=1)


def test_command_line(tmp_path: Path) -> None:
    def make(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, tokens.__file__, *arguments]
        return subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)

    for setting in (
        "STAND_IN_PIN=low",
        "STAND_IN_PIN=final",
    ):  # the second time, the token is there
        made = make("luna-over-softhsm", str(tmp_path / "token"), "--set", setting)
        options = json.loads(made.stdout)
        name, value = setting.split("=")
        assert options["library_environment"][name] == value
        assert isinstance(in_child(opened, options), int)
    assert (
        make("luna-over-softhsm", str(tmp_path / "token"), "--set", "STAND_IN_FIBS=1").returncode
        == 2
    )


def test_a_module_that_crashes_fails_the_test(run: Callable[..., Any]) -> None:
    with pytest.raises(pytest.fail.Exception, match="byok_nothing crashed"):
        run("byok_nothing", {})
