# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Races between hosts, and what runs leave that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token.conftest import escrow_options
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KEY = {"name": "ec", "type": "EC", "curve": "P-256"}
PLANT = Path(__file__).with_name("plant.py")


@pytest.fixture
def planting(softhsm: Options, tmp_path: Path) -> Callable[..., str]:
    """The command that plants a key: ``planting("ec", 0)``."""
    path = tmp_path / "options.json"
    path.write_text(json.dumps(softhsm))
    return lambda *arguments: " ".join(map(str, (sys.executable, PLANT, path, *arguments)))


@pytest.fixture
def plant(planting: Callable[..., str]) -> Callable[..., str]:
    """Plant a key and return its CKA_ID."""

    def planted(*arguments: object) -> str:
        return subprocess.run(
            planting(*arguments), shell=True, text=True, capture_output=True, check=True
        ).stdout.strip()

    return planted


@pytest.fixture
def meanwhile(
    run: Run, softhsm: Options, plain: Front, planting: Callable[..., str], tmp_path: Path
) -> Callable[..., Options]:
    """A token in which another host makes a key between this run's making and its second look."""
    trace = tmp_path / "look"
    run("byok_target_key", plain(softhsm, trace=trace), check=True, target_keys=[KEY])
    look = trace.read_text().count("C_FindObjectsInit")
    return lambda age, **settings: plain(
        softhsm, faults=f"C_FindObjectsInit:{look + 1}:run", run=planting("ec", age), **settings
    )


def assert_stopped(done: dict[str, Any], function: str) -> None:
    """The library was killed in this function, and the user is told so."""
    assert (done["failed"], done["code"]) == (True, "library_crashed"), done
    assert f"was stopped in {function} (SIGKILL)" in done["msg"]


def generations(run: Run, options: Options) -> list[str]:
    done = run("byok_target_key", options, check=True, target_keys=[KEY])
    return [generation["generation"] for generation in done["target_keys"][0]["generations"]]


def test_two_runs_on_one_host_end_with_one_generation(run: Run, softhsm: Options) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(
            pool.map(lambda number: run("byok_target_key", softhsm, target_keys=[KEY]), range(2))
        )
    assert sorted(each["changed"] for each in done) == [False, True]
    assert done[0]["target_keys"][0]["generation"] == done[1]["target_keys"][0]["generation"]
    assert len(generations(run, softhsm)) == 1


def test_across_hosts_the_later_one_takes_its_own_pair_back(
    run: Run, softhsm: Options, meanwhile: Callable[..., Options], tmp_path: Path
) -> None:
    """The other host began ten seconds ago and is ready just after this run is."""
    trace = tmp_path / "trace"
    done = run("byok_target_key", meanwhile(10, trace=trace), target_keys=[KEY])
    assert done["changed"] is False
    assert "at the same time" in done["warnings"][0]
    assert "this run removed the one that it made" in done["warnings"][0]
    left = generations(run, softhsm)
    assert left == [done["target_keys"][0]["generation"]]
    assert done["target_keys"][0]["created"] is False
    assert (
        trace.read_text().count("C_DestroyObject 0x0") == 2
    )  # both halves of its own pair, and nothing else


def test_across_hosts_the_earlier_one_leaves_the_other_s_pair_alone(
    run: Run, softhsm: Options, meanwhile: Callable[..., Options], tmp_path: Path
) -> None:
    """The other host began later, and may have used its pair already.

    Both stay, and the result says so.
    """
    trace = tmp_path / "trace"
    done = run("byok_target_key", meanwhile(-10, trace=trace), target_keys=[KEY])
    assert done["changed"] is True
    assert "Both stay" in done["warnings"][0]
    left = generations(run, softhsm)
    assert len(left) == 2
    assert done["target_keys"][0]["generation"] == left[0]
    assert "C_DestroyObject" not in trace.read_text()
    # From now on every run chooses the same.
    assert {
        run("byok_target_key", softhsm, target_keys=[KEY])["target_keys"][0]["generation"]
        for again in range(2)
    } == {left[1]}


def test_a_private_key_without_its_public_key_is_passed_over_and_reported(
    run: Run, softhsm: Options, plant: Callable[..., str]
) -> None:
    half = plant("ec", 7200, "private")
    done = run("byok_target_key", softhsm, target_keys=[KEY])
    assert done["changed"] is True
    assert f"a generation without its public key ({half})" in done["warnings"][0]
    assert done["target_keys"][0]["generation"] != half
    again = run("byok_target_key", softhsm, target_keys=[KEY])
    assert again["changed"] is False
    assert {
        each["generation"]: each["half_made"] for each in again["target_keys"][0]["generations"]
    } == {
        half: True,
        done["target_keys"][0]["generation"]: False,
    }


def test_a_restored_private_key_wants_its_public_key_back(run: Run, softhsm: Options) -> None:
    """It came from outside (CKA_LOCAL false), so it is not what a killed run left.

    It is neither passed over nor replaced.
    """
    restore = """
import json, os, sys, time
import pkcs11
from pkcs11 import Attribute as A
from pkcs11.util.ec import encode_named_curve_parameters

options = json.load(sys.stdin)
os.environ.update(options["library_environment"])
octets = bytearray(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(10))
octets[6], octets[8] = octets[6] & 0x0F | 0x70, octets[8] & 0x3F | 0x80
token = pkcs11.lib(options["pkcs11_library"]).get_token(token_label=options["token_label"])
with token.open(rw=True, user_pin=open(options["pin_file"]).read()) as session:
    session.create_object({
        A.CLASS: pkcs11.ObjectClass.PRIVATE_KEY, A.KEY_TYPE: pkcs11.KeyType.EC, A.TOKEN: True,
        A.LABEL: "ec", A.ID: bytes(octets), A.VALUE: os.urandom(31),
        A.EC_PARAMS: encode_named_curve_parameters("secp256r1"),
        A.SENSITIVE: True, A.EXTRACTABLE: True, A.SIGN: True,
    })
"""
    subprocess.run(
        [sys.executable, "-c", restore], input=json.dumps(softhsm), text=True, check=True
    )
    failed = run("byok_target_key", softhsm, target_keys=[dict(KEY, allow_external_origin=True)])
    assert (
        "has no public key object, so it cannot be recognised in a vault. "
        "Put its public key into the token" in failed["msg"]
    )
    assert failed["changed"] is False


@pytest.mark.parametrize(("age", "removed"), [(3700, True), (60, False)])
def test_a_public_key_without_its_private_key_is_removed_when_no_run_can_be_at_it(
    run: Run, softhsm: Options, plant: Callable[..., str], age: int, removed: bool
) -> None:
    made = run("byok_target_key", softhsm, target_keys=[KEY])["target_keys"][0]["generation"]
    half = plant("ec", age, "public")
    for check in (True, False):
        done = run("byok_target_key", softhsm, check=check, target_keys=[KEY])
        assert done["changed"] is removed
        if removed:
            assert half in done["diff"][0]["before"]
        else:
            assert f"a public key without its private key ({half})" in done["warnings"][0]
    again = run("byok_target_key", softhsm, target_keys=[KEY])
    assert (again["changed"], bool(again["warnings"])) == (False, not removed)
    assert again["target_keys"][0]["generation"] == made


ADOPT = """
import json, os, sys
import pkcs11
from pkcs11 import Attribute as A
from pkcs11.util.ec import encode_named_curve_parameters

options, pairs = json.load(sys.stdin)
os.environ.update(options["library_environment"])
token = pkcs11.lib(options["pkcs11_library"]).get_token(token_label=options["token_label"])
with token.open(rw=True, user_pin=open(options["pin_file"]).read()) as session:
    for label, identifier in pairs:
        curve = session.create_domain_parameters(
            pkcs11.KeyType.EC, {A.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        public, private = curve.generate_keypair(
            id=identifier.encode(), label=label, store=True,
            private_template={A.EXTRACTABLE: True, A.SENSITIVE: True},
        )
        print(public[A.EC_POINT].hex())
"""


def adopt(softhsm: Options, *pairs: tuple[str, str]) -> list[str]:
    """Make EC key pairs as another tool would, with these labels and CKA_IDs.

    Returns their points in hexadecimal digits.
    """
    given = json.dumps([softhsm, pairs])
    done = subprocess.run(
        [sys.executable, "-c", ADOPT], input=given, text=True, capture_output=True, check=True
    )
    return [line.removeprefix("0441") for line in done.stdout.split()]


def test_keys_of_others_are_not_mixed_up_where_they_share_a_ckaid(
    run: Run, softhsm: Options
) -> None:
    points = adopt(softhsm, ("a", "1"), ("b", "1"), ("c", "1"))
    keys = [{"name": name, "type": "EC", "curve": "P-256"} for name in ("a", "b", "c")]
    done = run("byok_target_key", softhsm, target_keys=keys)
    assert done["changed"] is False
    for key, point in zip(done["target_keys"], points, strict=True):
        public_key = serialization.load_pem_public_key(key["generations"][0]["public_key"].encode())
        encoded = public_key.public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        assert encoded.hex() == point


@pytest.mark.parametrize("identifiers", [("", ""), ("1", "1")])
def test_keys_of_others_that_cannot_be_told_apart_are_refused(
    run: Run, softhsm: Options, identifiers: tuple[str, str]
) -> None:
    adopt(softhsm, *(("ec", identifier) for identifier in identifiers))
    failed = run("byok_target_key", softhsm, target_keys=[KEY])
    assert "2 keys that were made elsewhere are labelled ec" in failed["msg"]
    named = run(
        "byok_target_key",
        softhsm,
        target_keys=[dict(KEY, generation=identifiers[0].encode().hex() or None)],
    )
    assert named["failed"] is True
    assert named["changed"] is False


def test_halves_of_keys_that_others_made_are_left_alone(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    script = (
        "import pkcs11, sys, json, os\n"
        "o = json.load(sys.stdin)\n"
        "os.environ.update(o['library_environment'])\n"
        "token = pkcs11.lib(o['pkcs11_library']).get_token(token_label=o['token_label'])\n"
        "with token.open(rw=True, user_pin=open(o['pin_file']).read()) as session:\n"
        "    public, private = session.generate_keypair(\n"
        "        pkcs11.KeyType.RSA, 2048, id=b'theirs', label='ec', store=True\n"
        "    )\n"
        "    private.destroy()\n"
    )
    subprocess.run([sys.executable, "-c", script], input=json.dumps(softhsm), text=True, check=True)
    run("byok_target_key", softhsm, target_keys=[KEY])
    again = run("byok_target_key", softhsm, target_keys=[KEY])
    assert (again["changed"], again["warnings"]) == (False, [])


def test_a_run_that_is_killed_at_any_call_is_finished_by_the_next(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    # In a token that holds keys, as all tokens below do, their labels are read before one is made.
    run("byok_target_key", softhsm, target_keys=[dict(KEY, name="zeroth")])
    assert (
        run("byok_target_key", plain(softhsm, trace=trace), target_keys=[dict(KEY, name="first")])[
            "changed"
        ]
        is True
    )
    functions = list(dict.fromkeys(line.split()[0] for line in trace.read_text().splitlines()))
    assert "C_GenerateKeyPair" in functions
    for number, function in enumerate(functions):
        for fault in ("kill", "kill-after"):
            key = dict(KEY, name=f"key-{number}-{fault}")
            killed = run(
                "byok_target_key", plain(softhsm, faults=f"{function}:1:{fault}"), target_keys=[key]
            )
            assert_stopped(killed, function)
            done = run("byok_target_key", softhsm, target_keys=[key])
            assert done.get("failed") is None, done
            assert len(done["target_keys"][0]["generations"]) == 1
            # What was made before the kill is used, not made again.
            made_before = number + (fault == "kill-after") > functions.index("C_GenerateKeyPair")
            assert done["changed"] is not made_before, function


def test_a_wrap_that_is_killed_at_any_call_leaves_nothing_behind(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, target_keys=[KEY])
    escrow = escrow_options(rsa.generate_private_key(65537, 2048))
    package = {"packages": [KEY], "allow_trailing_zeros": True, **escrow}
    trace = tmp_path / "trace"
    assert len(run("byok_wrap", plain(softhsm, trace=trace), **package)["escrows"]) == 1
    objects = sorted(Path(softhsm["lock_directory"]).rglob("*.object"))
    calls = [line.split()[0] for line in trace.read_text().splitlines()]
    for function in dict.fromkeys(calls):
        last = calls.count(function)
        faulty = plain(softhsm, faults=f"{function}:{last}:kill-after")
        assert_stopped(run("byok_wrap", faulty, **package), function)
    assert sorted(Path(softhsm["lock_directory"]).rglob("*.object")) == objects
    assert len(run("byok_wrap", softhsm, **package)["escrows"]) == 1


def test_nss_is_used_by_one_session(run: Run, nss: Options) -> None:
    keys = [dict(KEY, name=f"key-{number}") for number in range(4)]
    done = run(
        "byok_target_key",
        nss,
        sessions=4,
        target_keys=[dict(key, allow_external_origin=True) for key in keys],
    )
    assert len(done["target_keys"]) == 4


def test_more_than_one_session_makes_what_one_makes(run: Run, softhsm: Options) -> None:
    keys = [{"name": f"key-{number}", "type": "EC", "curve": "P-256"} for number in range(8)]
    keys.append({"name": "aes", "type": "oct", "size": 256})  # type: ignore[dict-item]
    done = run("byok_target_key", softhsm, sessions=4, target_keys=keys)
    assert [key["name"] for key in done["target_keys"]] == [key["name"] for key in keys]
    assert run("byok_target_key", softhsm, target_keys=keys)["changed"] is False


def test_a_lock_that_cannot_be_had_is_said_to_be_held(run: Run, softhsm: Options) -> None:
    import fcntl

    path = Path(softhsm["lock_directory"], "keyferry-byok-open-usr-lib-softhsm-libsofthsm2-so.lock")
    run("byok_target_key", softhsm, target_keys=[KEY])
    assert path.exists(), os.listdir(softhsm["lock_directory"])
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        failed = run("byok_target_key", softhsm, lock_timeout=0, target_keys=[KEY])
    assert "Another run holds the lock" in failed["msg"]


def test_nothing_is_withdrawn_unless_all_that_is_named_is_there(run: Run, softhsm: Options) -> None:
    made = run("byok_target_key", softhsm, target_keys=[KEY])["target_keys"][0]
    named = [made["thumbprint"], "no-such-thumbprint"]
    refused = run("byok_target_key", softhsm, target_keys=[KEY], withdraw=named)
    assert (refused["failed"], refused["changed"], refused["withdrawn"]) == (True, False, [])
    assert "no-such-thumbprint, so nothing was withdrawn" in refused["msg"]
    (key,) = run("byok_target_key", softhsm, check=True, target_keys=[KEY])["target_keys"]
    assert [generation["withdrawn"] for generation in key["generations"]] == [False]


def test_what_was_done_is_told_when_the_token_fails_later(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    """The second key's mark is refused after the first key was marked."""
    keys = [KEY, {**KEY, "name": "second"}]
    made = run("byok_target_key", softhsm, target_keys=keys)["target_keys"]
    withdraw = [key["thumbprint"] for key in made]
    options = plain(softhsm, faults="C_SetAttributeValue:3:0x30")
    done = run("byok_target_key", options, target_keys=keys, withdraw=withdraw)
    assert (done["failed"], done["changed"]) == (True, True)
    assert [each["name"] for each in done["withdrawn"]] == ["ec"]
    assert [failure["name"] for failure in done["failures"]] == ["second"]
    assert [key["name"] for key in done["target_keys"]] == ["ec"]


def test_a_destruction_without_state_absent_is_not_passed_over(run: Run, softhsm: Options) -> None:
    refused = run("byok_target_key", softhsm, target_keys=[KEY], destroy=["a" * 43])
    assert refused["failed"]
    assert "Set state to absent to destroy" in refused["msg"]
    assert refused["target_keys"] == []


def test_a_key_that_was_destroyed_is_told_in_the_same_shape(run: Run, softhsm: Options) -> None:
    made = run("byok_target_key", softhsm, target_keys=[KEY])["target_keys"][0]
    vault = "https://a.vault.azure.net"
    nothing: dict[str, Any] = {"name": "ec", "deleted": False, "versions": []}
    read_at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    gone = run(
        "byok_target_key",
        softhsm,
        target_keys=[KEY],
        state="absent",
        confirm=[made["thumbprint"]],
        vaults=[vault],
        versions=[{"vault_url": vault, "read_at": read_at, "target_keys": [nothing]}],
    )
    (left,) = gone["target_keys"]
    assert left.keys() == made.keys()
    assert (left["locked"], left["generations"]) == (False, [])
    assert gone["destroyed"] == [
        {"name": "ec", "generation": made["generation"], "thumbprint": made["thumbprint"]}
    ]
