# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tokens and libraries that fail, crash, hang, forget, or are stopped in the middle of a write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token.conftest import ROOT, escrow_options
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives.asymmetric import rsa

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

HERE = Path(__file__).parent
EC = {"name": "ec", "type": "EC", "curve": "P-256"}
RSA = {"name": "rsa", "type": "RSA", "size": 2048}
OCT = {"name": "oct", "type": "oct", "size": 256}

#: Functions whose errors change nothing, and are not told: what ends a session, and advice
QUIET = {"C_Logout", "C_CloseSession", "C_GetMechanismInfo"}


def build(source: str | Path, to: Path, *options: str) -> Path:
    """Compile a shared library from a file, or from text."""
    given = str(source) if isinstance(source, Path) else "-"
    text = None if isinstance(source, Path) else source
    command = ["gcc", "-std=gnu11", "-shared", "-fPIC", "-o", str(to), "-xc", given, *options]
    subprocess.run(command, input=text, text=True, check=True)
    return to


def test_an_error_of_any_call_is_a_sentence_that_names_the_function(softhsm: Options) -> None:
    """Injected into the first, second and last call of each function of each kind of run."""
    injected = subprocess.run(
        [sys.executable, str(HERE / "inject_faults.py")],
        input=json.dumps(softhsm),
        env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
        text=True,
        capture_output=True,
        check=False,
    )
    assert injected.returncode == 0, injected.stderr
    rows = [json.loads(line) for line in injected.stdout.splitlines()]
    assert len(rows) >= 232
    assert {row["run"] for row in rows} == {
        *("info", "look", "look without a PIN", "make", "lock", "wrap"),
        *("make the evidence key", "sign"),
    }
    for row in rows:
        (function, nth, code), done = row["fault"], row["done"]
        text = " ".join([done["msg"], *done["said"]])
        assert "did not expect" not in text, row
        # SoftHSM shows a second slot, which is nobody's.
        if function in QUIET or (function == "C_GetTokenInfo" and nth == 2):
            assert not done["failed"], row
            continue
        named = "CKR_DEVICE_ERROR (0x30)" if code == 0x30 else f"{code:#x}"
        assert f"{function} returned {named}" in text, row
        if row["run"] == "make":
            assert row["after"] == [1, 1, 1], row  # the next run finishes it, with one pair each
        if row["run"] == "make the evidence key":
            assert row["after"] is False, row  # nor does a half of one stand in the way
        if row["run"] == "make" and "C_GenerateKey" in function:
            assert len(done["failures"]) == 1, row  # the other keys go on
            assert not done["aborted"], row


@pytest.mark.parametrize(
    ("sizes", "made"), [("0:0", True), ("-1:-1", True), ("66:16", True), ("1:64", True)]
)
def test_key_sizes_that_a_mechanism_tells_are_advice(
    run: Run, softhsm: Options, plain: Front, sizes: str, made: bool
) -> None:
    """Nothing, everything, nonsense, and bytes instead of bits: the try decides."""
    options = plain(softhsm, sizes=sizes)
    checked = run(
        "byok_hsm_info", options, rehearse=True, allow_trailing_zeros=True, target_keys=[EC, RSA]
    )
    assert checked.get("failed") is None, checked
    verdicts = {kind["kind"]: kind["make"] for kind in checked["hsm"]["key_types"]}
    assert (verdicts["P-256"], verdicts["RSA-2048"]) == (made, made)
    untried = run("byok_hsm_info", options)["hsm"]["key_types"]
    assert {kind["make"] for kind in untried} <= {True, None}  # and nothing is refused for them


def test_a_crash_names_function_library_and_key_and_the_next_run_goes_on(
    run: Run, softhsm: Options, plain: Front
) -> None:
    crashing = plain(softhsm, faults="C_GenerateKeyPair:1:crash")
    crashed = run("byok_target_key", crashing, target_keys=[EC])
    assert (crashed["failed"], crashed["changed"]) == (True, False)
    assert crashed["code"] == "library_crashed"
    assert crashed["target_keys"] == []
    assert crashed["msg"].startswith("Making the P-256 key ec in the token byok (")
    library = crashing["pkcs11_library"]
    assert (
        f"failed: the PKCS#11 library {library} crashed in C_GenerateKeyPair (SIGSEGV). Run again"
        in crashed["msg"]
    )
    done = run("byok_target_key", softhsm, target_keys=[EC])
    assert done.get("failed") is None
    assert len(done["target_keys"][0]["generations"]) == 1

    package = {
        "packages": [EC],
        "allow_trailing_zeros": True,
        **escrow_options(rsa.generate_private_key(65537, 2048)),
    }
    # The rehearsal makes two calls, and the temporary AES key comes before the key itself.
    wrapping = run("byok_wrap", plain(softhsm, faults="C_WrapKey:4:crash"), **package)
    assert "Wrapping the key ec by CKM_AES_KEY_WRAP_PAD in the token" in wrapping["msg"]
    assert "crashed in C_WrapKey (SIGSEGV)" in wrapping["msg"]
    assert run("byok_wrap", softhsm, **package).get("failed") is None

    looked = run("byok_hsm_info", plain(softhsm, faults="C_GetMechanismList:1:crash"))
    assert "Reading the mechanisms of the token byok" in looked["msg"]
    assert "crashed in C_GetMechanismList (SIGSEGV)" in looked["msg"]


def test_a_call_that_does_not_return_is_ended(run: Run, softhsm: Options, plain: Front) -> None:
    hanging = plain(softhsm, faults="C_GenerateKeyPair:1:hang")
    hung = run("byok_target_key", hanging, target_keys=[EC], library_timeout=1)
    assert hung["code"] == "library_crashed"
    assert "Making the P-256 key ec" in hung["msg"]
    assert (
        f"C_GenerateKeyPair of the PKCS#11 library {hanging['pkcs11_library']} did not return "
        "within 1 seconds" in hung["msg"]
    )
    assert "increase library_timeout" in hung["msg"]
    assert run("byok_target_key", softhsm, target_keys=[EC])["changed"] is True


def test_several_calls_at_once_are_all_named(run: Run, softhsm: Options, plain: Front) -> None:
    keys = [dict(EC, name=f"ec-{number}") for number in range(2)]
    hung = run(
        "byok_target_key",
        plain(softhsm, faults="C_GenerateKeyPair:0:hang"),
        target_keys=keys,
        sessions=2,
        library_timeout=1,
    )
    for key in keys:
        assert f"Making the P-256 key {key['name']} in the token" in hung["msg"]


def test_a_library_that_crashes_while_it_is_loaded(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    source = "__attribute__((constructor)) static void begin(void) { *(volatile int *)0 = 1; }"
    library = build(source, tmp_path / "crash.so")
    crashed = run("byok_hsm_info", dict(softhsm, pkcs11_library=str(library)))
    assert f"the PKCS#11 library {library} crashed in dlopen (SIGSEGV)" in crashed["msg"]
    ending = "__attribute__((constructor)) static void begin(void) { _Exit(3); }"
    library = build(f"#include <stdlib.h>\n{ending}", tmp_path / "exit.so")
    ended = run("byok_hsm_info", dict(softhsm, pkcs11_library=str(library)))
    assert "ended the process in dlopen (exit code 3)" in ended["msg"]


def test_the_child_ends_with_the_module(softhsm: Options, plain: Front, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options = plain(softhsm, trace=trace, faults="C_Login:1:hang")
    module = subprocess.Popen(
        [sys.executable, str(HERE / "run_module.py"), "byok_hsm_info"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
        text=True,
    )
    assert module.stdin
    module.stdin.write(json.dumps(options))
    module.stdin.close()
    while not (trace.exists() and "C_OpenSession" in trace.read_text()):
        assert module.poll() is None
        time.sleep(0.02)
    [child] = children(module.pid)
    module.send_signal(signal.SIGTERM)
    module.wait(30)
    while (state := Path(f"/proc/{child}/stat")).exists() and " Z " not in state.read_text():
        time.sleep(0.02)


def children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(number) for number in text.split()]


@pytest.mark.parametrize("key", [EC, RSA, OCT], ids=lambda key: key["type"])
@pytest.mark.parametrize(
    ("changes", "attribute"),
    [
        ("label", "CKA_LABEL is"),
        ("label-is-id", "CKA_LABEL is"),
        ("id", "CKA_ID is"),
        ("extractable", "CKA_EXTRACTABLE is false"),
    ],
)
def test_a_key_that_the_token_changes_is_taken_back(
    run: Run,
    softhsm: Options,
    plain: Front,
    changes: str,
    attribute: str,
    key: dict[str, Any],
) -> None:
    declared = dict(key, name="billing-archive", after_transfer="lock")
    before = objects(softhsm)
    for _again in range(2):
        failed = run("byok_target_key", plain(softhsm, changes=changes), target_keys=[declared])
        assert (failed["failed"], failed["changed"]) == (True, False)
        assert "does not keep what it was told of the key billing-archive" in failed["msg"]
        assert attribute in failed["msg"]
        assert "This run removed the key that it made" in failed["msg"]
        assert objects(softhsm) == before


def test_a_public_key_that_the_token_changes_is_taken_back_with_the_private_one(
    run: Run, softhsm: Options, plain: Front
) -> None:
    before = objects(softhsm)
    options = plain(softhsm, changes="public-label")
    failed = run("byok_target_key", options, target_keys=[dict(RSA, name="billing-archive")])
    assert "told of the key billing-archive: CKA_LABEL is 'bill'" in failed["msg"]
    assert objects(softhsm) == before


def test_a_key_that_cannot_be_taken_back_is_told(run: Run, softhsm: Options, plain: Front) -> None:
    options = plain(softhsm, changes="extractable", faults="C_DestroyObject:1:0x30")
    failed = run("byok_target_key", options, target_keys=[EC])
    assert failed["changed"] is True
    assert "CKA_EXTRACTABLE is false. Removing the new key ec" in failed["msg"]
    assert "C_DestroyObject returned CKR_DEVICE_ERROR (0x30)" in failed["msg"]


def objects(softhsm: Options) -> list[str]:
    """The files of a token's objects."""
    return sorted(path.name for path in Path(softhsm["lock_directory"]).rglob("*.object"))


@pytest.mark.parametrize("key", [EC, RSA, OCT], ids=lambda key: key["type"])
def test_a_key_whose_last_write_is_missing_is_passed_over(
    run: Run, softhsm: Options, tmp_path: Path, key: dict[str, Any]
) -> None:
    """SoftHSM was killed: the private key has its label and CKA_ID, and holds nothing."""
    torn = build(HERE / "torn_write.c", tmp_path / "torn.so", "-ldl")
    log = tmp_path / "log"

    def make(name: str, **variables: object) -> dict[str, Any]:
        preload = {"LD_PRELOAD": torn, **variables}
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in preload.items():
                patch.setenv(variable, str(value))
            return run("byok_target_key", softhsm, target_keys=[dict(key, name=name)])

    make("counted", TORN_LOG=log)
    writes = len(log.read_text())
    killed = make("torn", TORN_AT=writes)
    assert killed["code"] == "library_crashed"
    for again in (True, False):
        done = run("byok_target_key", softhsm, target_keys=[dict(key, name="torn")])
        assert done.get("failed") is None, done["msg"]
        assert done["changed"] is again
        assert "has a generation that is empty" in done["warnings"][0]
        half, whole = done["target_keys"][0]["generations"]
        assert (half["half_made"], whole["half_made"]) == (True, False)
        assert done["target_keys"][0]["generation"] == whole["generation"]
    named = run(
        "byok_target_key",
        softhsm,
        target_keys=[dict(key, name="torn", generation=half["generation"])],
    )
    assert "is empty, as an interrupted run leaves it" in named["msg"]
    listed = run("byok_hsm_info", softhsm, list_keys=True)
    stored = tmp_path / "listing.json"
    stored.write_text(json.dumps(listed["listing"]))
    look = {"target_keys": [dict(key, name="torn")], "check": True}
    seen = run("byok_target_key", {}, listing=str(stored), **look)
    assert seen["target_keys"] == run("byok_target_key", softhsm, **look)["target_keys"]


def test_objects_without_label_and_id_are_counted(run: Run, softhsm: Options) -> None:
    assert run("byok_hsm_info", softhsm)["hsm"]["nameless_objects"] == 0
    script = (
        "import pkcs11, sys, json, os\n"
        "o = json.load(sys.stdin)\n"
        "os.environ.update(o['library_environment'])\n"
        "token = pkcs11.lib(o['pkcs11_library']).get_token(token_label=o['token_label'])\n"
        "with token.open(rw=True, user_pin=open(o['pin_file']).read()) as session:\n"
        "    session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True)\n"
        "    session.generate_key(pkcs11.KeyType.AES, 256, store=True, label='named')\n"
    )
    subprocess.run([sys.executable, "-c", script], input=json.dumps(softhsm), text=True, check=True)
    hsm = run("byok_hsm_info", softhsm)["hsm"]
    assert hsm["nameless_objects"] == 2
    assert "neither label nor CKA_ID: 2" in "".join(hsm["notes"])


def test_looks_open_no_session_that_could_write(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, target_keys=[EC])
    protected = plain(softhsm, protected=1)
    hsm = run("byok_hsm_info", protected, list_keys=True)["hsm"]
    assert hsm["write_protected"] is True
    assert "The token is write-protected" in hsm["problems"][0]
    looked = run("byok_target_key", protected, check=True, target_keys=[EC])
    assert (looked.get("failed"), looked["changed"]) == (None, False)
    # Nothing has to be written for what is there, nor for a wrap.
    assert run("byok_target_key", protected, target_keys=[EC])["changed"] is False
    package = {
        "packages": [EC],
        "allow_trailing_zeros": True,
        **escrow_options(rsa.generate_private_key(65537, 2048)),
    }
    assert len(run("byok_wrap", protected, **package)["escrows"]) == 1
    refused = run("byok_target_key", protected, target_keys=[EC, RSA])
    assert [failure["name"] for failure in refused["failures"]] == ["rsa"]
    assert "CKR_SESSION_READ_ONLY (0xb5). The token is write-protected" in refused["msg"]


@pytest.mark.parametrize("slot_info", ["C_GetSlotInfo:0:0x30", "C_GetTokenInfo:2:0x30"])
def test_another_slot_that_does_not_answer_does_not_stop_ours(
    run: Run, softhsm: Options, plain: Front, slot_info: str
) -> None:
    done = run("byok_target_key", plain(softhsm, faults=slot_info), target_keys=[EC])
    assert done["changed"] is True


def test_variables_of_the_loader_are_refused(run: Run, softhsm: Options) -> None:
    environment = {**softhsm["library_environment"], "LD_LIBRARY_PATH": "/opt/x", "LD_PRELOAD": "y"}
    failed = run("byok_hsm_info", dict(softhsm, library_environment=environment))
    assert failed["msg"].startswith("library_environment sets LD_LIBRARY_PATH and LD_PRELOAD, ")
    assert "ldconfig" in failed["msg"]


def test_a_library_whose_dependency_is_missing_is_named_and_what_is_advised_works(
    run: Run, softhsm: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "client"
    folder.mkdir()
    build("int dep(void) { return 1; }", folder / "libdep.so", "-Wl,-soname,libdep.so.1")
    (folder / "libdep.so.1").symlink_to(folder / "libdep.so")
    source = f"""
#include <dlfcn.h>
int dep(void);
unsigned long C_GetFunctionList(void **list)
{{
    static void *behind;
    if (!behind)
        behind = dep() ? dlopen("{softhsm["pkcs11_library"]}", RTLD_NOW) : 0;
    return ((unsigned long (*)(void **))dlsym(behind, "C_GetFunctionList"))(list);
}}
"""
    library = build(source, tmp_path / "needs.so", f"-L{folder}", "-ldep", "-ldl")
    options = dict(softhsm, pkcs11_library=str(library))
    failed = run("byok_hsm_info", options)
    assert (
        f"The PKCS#11 library {library} needs the library libdep.so.1, which the loader of this "
        "host does not find. If libdep.so.1 is not installed, install it" in failed["msg"]
    )
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    assert run("byok_hsm_info", options).get("failed") is None
