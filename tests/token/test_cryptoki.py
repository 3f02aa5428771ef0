# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interface to python-pkcs11: every care that its library needs.

It is seen from outside, in what the token was asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    Library,
    _Functions,
    _load,
)
from ansible_collections.keyferry.azure.tests.token.conftest import ROOT, escrow_options
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives.asymmetric import rsa

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KEYS: list[dict[str, Any]] = [
    {"name": "rsa", "type": "RSA", "size": 2048},
    {"name": "ec", "type": "EC", "curve": "P-256"},
    {"name": "aes", "type": "oct", "size": 256},
]

#: What ends a login or tells of the library; an error there hides nothing and stops nothing
ENDINGS = {"C_Logout", "C_CloseSession"}


@pytest.fixture(scope="module")
def escrow() -> dict[str, str]:
    """A key to wrap under without a vault, as options of byok_wrap."""
    return escrow_options(rsa.generate_private_key(65537, 2048))


def calls(trace: Path) -> list[str]:
    """Return the calls in a trace: ``C_Initialize 0x0 flags=0x2``."""
    return trace.read_text().splitlines()


def names(trace: Path) -> list[str]:
    return [line.split()[0] for line in calls(trace)]


def test_the_library_is_initialised_once_and_for_several_threads(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    run("byok_target_key", plain(softhsm, trace=trace), target_keys=KEYS)
    assert [line for line in calls(trace) if line.startswith("C_Initialize ")] == [
        "C_Initialize 0x0 flags=0x2"
    ]


def test_the_session_that_logged_in_is_closed_last_and_no_search_is_left_open(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    made = run(
        "byok_target_key",
        plain(softhsm, trace=trace),
        sessions=4,
        target_keys=[
            {"name": f"key-{number}", "type": "EC", "curve": "P-256"} for number in range(20)
        ],
    )
    assert len({key["thumbprint"] for key in made["target_keys"]}) == 20
    seen = names(trace)
    assert seen.count("C_OpenSession") == 5
    assert seen.count("C_Login") == 1
    endings = [name for name in seen if name in ENDINGS]
    assert endings == ["C_CloseSession"] * 4 + ["C_Logout", "C_CloseSession"]
    assert seen.count("C_FindObjectsInit") == seen.count("C_FindObjectsFinal") > 0
    order = [name for name in seen if name in ("C_FindObjectsInit", "C_FindObjectsFinal")]
    assert order == ["C_FindObjectsInit", "C_FindObjectsFinal"] * (len(order) // 2)


def test_every_error_names_the_function_and_the_return_code(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path, escrow: dict[str, str]
) -> None:
    """Each function that the modules ever call fails once; the user reads which it was."""
    modules: dict[str, dict[str, Any]] = {
        "byok_target_key": {"target_keys": KEYS},
        "byok_wrap": {"packages": KEYS, "allow_trailing_zeros": True, **escrow},
    }
    tried: set[str] = set()
    for module, params in modules.items():
        trace = tmp_path / module
        assert not run(module, plain(softhsm, trace=trace), **params).get("failed")
        for function in dict.fromkeys(names(trace)):
            if function in ENDINGS | tried:
                continue
            tried.add(function)
            # byok_target_key has made its keys by now, so it is asked for others.
            wanted = {
                "target_keys": [dict(key, name=f"{key['name']}-{len(tried)}") for key in KEYS]
            }
            failed = run(
                module,
                plain(softhsm, faults=f"{function}:0:0x80001604"),
                **(wanted if module == "byok_target_key" else params),
            )
            assert failed.get("failed"), function
            assert f"{function} returned 0x80001604" in failed["msg"], failed["msg"]
            assert "Look the return code up" in failed["msg"]
    assert tried >= {
        *(
            "C_Initialize",
            "C_GetSlotList",
            "C_GetTokenInfo",
            "C_GetMechanismList",
            "C_OpenSession",
            "C_Login",
        ),
        *(
            "C_FindObjectsInit",
            "C_FindObjects",
            "C_FindObjectsFinal",
            "C_GetAttributeValue",
            "C_GenerateKey",
        ),
        *("C_GenerateKeyPair", "C_CreateObject", "C_WrapKey", "C_DestroyObject"),
    }


def test_python_pkcs11_asks_the_token_for_nothing_beside_what_it_is_used_for(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    """Neither other slots nor a new key, whose handles it loses where it cannot read it."""
    trace = tmp_path / "trace"
    faults = "C_GetAttributeValue:1:0x30"
    failed = run(
        "byok_target_key", plain(softhsm, trace=trace, faults=faults), target_keys=KEYS[:1]
    )
    assert "C_GetAttributeValue returned CKR_DEVICE_ERROR (0x30)" in failed["msg"]
    seen = names(trace)
    assert not {"C_GetInfo", "C_GetSlotInfo"} & set(seen)
    assert seen.count("C_GetTokenInfo") == 2  # SoftHSM shows a second slot
    assert (seen.count("C_GenerateKeyPair"), seen.count("C_GetAttributeValue")) == (1, 1)


def test_a_host_without_python_pkcs11_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(MissingLibrary, match="python-pkcs11 cannot be imported on this host"):
        Library("/nowhere.so")


def test_a_library_that_gives_python_pkcs11_no_functions_is_told(
    run: Run, softhsm: Options, plain: Front
) -> None:
    options = plain(softhsm, faults="C_GetFunctionList:3:0x30")
    failed = run("byok_target_key", options, target_keys=KEYS[:1])
    assert "could not be loaded as a PKCS#11 library (DeviceError)" in failed["msg"]


def test_a_python_pkcs11_that_is_built_otherwise_is_refused(softhsm: Options) -> None:
    dll, functions = _load(softhsm["pkcs11_library"])
    with pytest.raises(ByokError, match="Install python-pkcs11"):
        _Functions(functions, lambda *_arguments: 0).give(dll)


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_an_ending_that_fails_neither_hides_the_result_nor_keeps_the_others_from_being_tried(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path, ending: str
) -> None:
    trace = tmp_path / "trace"
    done = run(
        "byok_target_key",
        plain(softhsm, trace=trace, faults=f"{ending}:0:0x30"),
        target_keys=KEYS[1:2],
    )
    assert done["changed"] is True
    assert names(trace)[-2:] == ["C_Logout", "C_CloseSession"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            "C_Login:1:0x80000007",
            r"C_Login returned CKR_USER_LOCKED_OUT \(0x80000007\)\. "
            r"Have the partition's Security Officer",
        ),
        (
            "C_Login:1:0xa4",
            r"C_Login returned CKR_PIN_LOCKED \(0xa4\)\. Have the partition's Security Officer",
        ),
        (
            "C_GenerateKeyPair:1:0x80001604",
            r"C_GenerateKeyPair returned CKR_BUSY \(0x80001604\)\. Check what else uses the HSM",
        ),
        (
            "C_GenerateKeyPair:1:0x32",
            r"C_GenerateKeyPair returned CKR_DEVICE_REMOVED \(0x32\)\. "
            r"Check that the token is connected",
        ),
        (
            "C_FindObjects:1:0xb3",
            r"C_FindObjects returned CKR_SESSION_HANDLE_INVALID \(0xb3\)\. "
            r"Check that the token is connected",
        ),
        (
            "C_OpenSession:1:0x8000001f",
            r"C_OpenSession returned CKR_UNABLE_TO_CONNECT \(0x8000001f\)\. Check that the client",
        ),
        (
            "C_FindObjectsInit:1:0xa3",
            r"C_FindObjectsInit returned CKR_PIN_EXPIRED \(0xa3\)\. A new role's password",
        ),
        (
            "C_GenerateKeyPair:1:0x80000105",
            r"C_GenerateKeyPair returned CKR_ECC_CURVE_NOT_ALLOWED \(0x80000105\)\. A Luna in FIPS",
        ),
        (
            "C_GenerateKeyPair:1:0x8000abcd",
            r"C_GenerateKeyPair returned 0x8000abcd\. Look the return code up",
        ),
    ],
)
def test_return_codes_are_put_into_the_vendor_s_words(
    run: Run, softhsm: Options, luna: Front, fault: str, expected: str
) -> None:
    failed = run("byok_target_key", luna(softhsm, faults=fault), target_keys=KEYS[1:2])
    assert failed["failed"] is True
    assert re.search(expected, failed["msg"]), failed["msg"]


@pytest.mark.parametrize("token", ["softhsm", "nss"])
def test_no_value_aborts_the_interpreter(token: str, request: pytest.FixtureRequest) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    fuzzed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fuzz_cryptoki.py"))],
        input=json.dumps(request.getfixturevalue(token)),
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (fuzzed.returncode, fuzzed.stdout) == (0, "survived\n"), fuzzed.stderr


def test_a_file_that_is_no_pkcs11_library_is_said_to_be_none(run: Run, softhsm: Options) -> None:
    for library, expected in (
        ("/etc/passwd", "could not be loaded as a PKCS#11 library"),
        ("/lib/x86_64-linux-gnu/libc.so.6", "could not be loaded as a PKCS#11 library"),
        ("/nowhere.so", "There is no PKCS#11 library /nowhere.so on this host"),
    ):
        failed = run("byok_target_key", dict(softhsm, pkcs11_library=library), target_keys=KEYS[:1])
        assert expected in failed["msg"], failed["msg"]


def test_a_library_whose_sessions_could_not_be_shared_is_refused(
    run: Run, softhsm: Options, plain: Front
) -> None:
    failed = run("byok_target_key", plain(softhsm, own_lists=1), target_keys=KEYS[:1])
    assert "gives every caller functions of its own, as p11-kit-proxy does" in failed["msg"]


def test_a_token_that_cannot_be_read_hides_no_other(
    run: Run, softhsm: Options, plain: Front
) -> None:
    """SoftHSM always shows a second slot, without a token that is initialised."""
    other = run(
        "byok_target_key",
        plain(softhsm, faults="C_GetTokenInfo:2:0x32"),
        check=True,
        target_keys=KEYS[:1],
    )
    assert other.get("failed") is None
    wanted = run(
        "byok_target_key",
        plain(softhsm, faults="C_GetTokenInfo:1:0x32"),
        check=True,
        target_keys=KEYS[:1],
    )
    assert "C_GetTokenInfo returned CKR_DEVICE_REMOVED (0x32)" in wanted["msg"]


def test_a_token_that_another_process_writes_is_looked_at_again(
    run: Run, softhsm: Options, plain: Front
) -> None:
    """SoftHSM gives CKR_GENERAL_ERROR for an instant while another process logs in."""
    seen = run(
        "byok_target_key",
        plain(softhsm, faults="C_GetTokenInfo:1:0x5"),
        check=True,
        target_keys=KEYS[:1],
    )
    assert seen.get("failed") is None
    lasting = run(
        "byok_target_key",
        plain(softhsm, faults="C_GetTokenInfo:0:0x5"),  # each time
        check=True,
        target_keys=KEYS[:1],
    )
    assert "C_GetTokenInfo returned CKR_GENERAL_ERROR (0x5)" in lasting["msg"]
