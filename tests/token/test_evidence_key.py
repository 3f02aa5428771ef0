# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence key in the token, and the receipts that byok_wrap signs with it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import WRAPPED
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import keyid_of
from ansible_collections.keyferry.azure.tests.long import mostly_long
from ansible_collections.keyferry.azure.tests.token.conftest import (
    escrow_options,
    pem_and_fingerprint,
)
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives.asymmetric import rsa

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KID = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
LABEL = "evidence"
KEY = {"name": "ec", "type": "EC", "curve": "P-256"}
KEK = rsa.generate_private_key(65537, 2048)


def wrapping() -> dict[str, Any]:
    pem, fingerprint = pem_and_fingerprint(KEK)
    return {
        "kek_id": KID,
        "kek_public_key": pem,
        "approved_keks": [fingerprint],
        "allow_trailing_zeros": True,
    }


def ensured(run: Run, options: Options, **params: Any) -> dict[str, Any]:
    result = run("byok_evidence_key", options, **{"evidence_key": LABEL, **params})
    assert "msg" not in result, result["msg"]
    key: dict[str, Any] = result["evidence_key"]
    return key


def signers(line: str, *keys: dict[str, Any]) -> frozenset[str]:
    return parse_envelope(line, "It").signers({key["keyid"]: key["public_key"] for key in keys})


@pytest.fixture(params=mostly_long(("softhsm", "nss", "luna", "futurex"), 2))
def token(request: pytest.FixtureRequest) -> Options:
    if request.param in ("softhsm", "nss"):
        return Options(request.getfixturevalue(request.param))
    front: Front = request.getfixturevalue(request.param)
    return front(request.getfixturevalue("nss"))


def test_the_key_is_made_once_and_never_leaves_the_token(run: Run, token: Options) -> None:
    planned = run("byok_evidence_key", token, check=True, evidence_key=LABEL)
    assert planned["changed"]
    assert planned["evidence_key"]["public_key"] is None
    made = run("byok_evidence_key", token, evidence_key=LABEL)
    assert (made["changed"], made["created"], planned["created"]) == (True, True, True)
    key = made["evidence_key"]
    assert key["keyid"] == keyid_of(key["public_key"])
    assert key["keyid"] in made["diff"][0]["after"]
    for attribute, value in {
        "CKA_SENSITIVE": True,
        "CKA_ALWAYS_SENSITIVE": True,
        "CKA_EXTRACTABLE": False,
        "CKA_NEVER_EXTRACTABLE": True,
        "CKA_SIGN": True,
        "CKA_DECRYPT": False,
        "CKA_UNWRAP": False,
        "CKA_DERIVE": False,
    }.items():
        assert key["attributes"][attribute] is value, attribute
    again = run("byok_evidence_key", token, evidence_key=LABEL)
    assert (again["changed"], again["created"], again["evidence_key"]) == (False, False, key)
    check = run("byok_evidence_key", token, check=True, evidence_key=LABEL)
    assert (check["changed"], check["evidence_key"]) == (False, key)
    # Nor is it wrapped as a target key.
    as_target = {**KEY, "name": LABEL, "allow_external_origin": True}
    refused = run("byok_wrap", token, packages=[as_target], **wrapping())
    assert "CKA_EXTRACTABLE false" in refused["msg"]
    assert refused["packages"] == []


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        (KEY, "its CKA_EXTRACTABLE is true"),
        ({**KEY, "curve": "P-384"}, "it is no EC key on P-256"),
        ({"name": "ec", "type": "RSA", "size": 2048}, "it is no EC key on P-256"),
    ],
    ids=["extractable", "P-384", "RSA"],
)
def test_a_key_that_is_not_fit_is_refused_and_stays(
    run: Run, softhsm: Options, declared: dict[str, Any], why: str
) -> None:
    run("byok_target_key", softhsm, declarations=[declared])
    for module in ("byok_evidence_key", "byok_wrap"):
        more = {} if module == "byok_evidence_key" else {"packages": [declared], **wrapping()}
        refused = run(module, softhsm, evidence_key="ec", **more)
        assert f"is not fit to sign evidence: {why}." in refused["msg"]
        assert (refused["code"], refused["changed"]) == ("evidence_key", False)


def test_a_key_that_was_extractable_once_is_refused(run: Run, softhsm: Options) -> None:
    lock = {**KEY, "after_transfer": "lock"}
    made = run("byok_target_key", softhsm, declarations=[lock])["target_keys"][0]
    run("byok_target_key", softhsm, declarations=[lock], transferred=[made["thumbprint"]])
    refused = run("byok_evidence_key", softhsm, evidence_key="ec")
    assert "its CKA_NEVER_EXTRACTABLE is false" in refused["msg"]


def test_two_keys_of_one_label_are_refused(run: Run, softhsm: Options) -> None:
    ensured(run, softhsm)
    ensured(run, softhsm, evidence_key="other")
    script = (
        "import pkcs11, sys\n"
        "token = pkcs11.lib(sys.argv[1]).get_token(token_label='byok')\n"
        "with token.open(rw=True, user_pin='1234') as session:\n"
        "    for key in session.get_objects({pkcs11.Attribute.LABEL: 'other'}):\n"
        "        key[pkcs11.Attribute.LABEL] = 'evidence'\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, softhsm["pkcs11_library"]],
        env=softhsm["library_environment"],
        check=True,
    )
    refused = run("byok_evidence_key", softhsm, evidence_key=LABEL)
    assert "2 private keys have this label" in refused["msg"]


def test_a_run_that_is_killed_when_the_key_is_made_leaves_one_key(
    run: Run, softhsm: Options, plain: Front
) -> None:
    for number, when in enumerate(("kill", "kill-after")):
        label = f"evidence-{number}"
        killed = plain(softhsm, faults=f"C_GenerateKeyPair:1:{when}")
        died = run("byok_evidence_key", killed, evidence_key=label)
        assert died["code"] == "library_crashed"
        again = run("byok_evidence_key", softhsm, evidence_key=label)
        assert again["created"] is (when == "kill")
        assert run("byok_evidence_key", softhsm, evidence_key=label)["created"] is False


def test_the_proof_of_the_device_is_carried_unread(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4
    proof = tmp_path / "pkc.p7b"
    proof.write_bytes(content)
    result = run("byok_evidence_key", softhsm, evidence_key=LABEL, evidence_key_proof=str(proof))
    assert base64.b64decode(result["proof"]["content"]) == content
    assert result["proof"]["sha256"] == hashlib.sha256(content).hexdigest()
    proof.write_bytes(b"\0" * ((1 << 20) + 1))
    large = run("byok_evidence_key", softhsm, evidence_key=LABEL, evidence_key_proof=str(proof))
    assert "has more than 1048576 bytes" in large["msg"]
    missing = run("byok_evidence_key", softhsm, evidence_key="new", evidence_key_proof="/none")
    assert (missing["code"], missing["changed"]) == ("not_found", False)


def test_what_is_wrapped_is_signed(run: Run, token: Options, tmp_path: Path) -> None:
    evidence = ensured(run, token)
    key = {**KEY, "allow_external_origin": True}
    run("byok_target_key", token, declarations=[key])
    path, escrow = tmp_path / "ec.byok", tmp_path / "ec.escrow"
    options = {
        "packages": [{**key, "path": str(path), "escrow_path": str(escrow)}],
        **wrapping(),
        **escrow_options(KEK),
        "evidence_key": LABEL,
    }
    made = run("byok_wrap", token, **options)
    for entry, file in ((made["packages"][0], path), (made["escrows"][0], escrow)):
        line = entry["envelope"]
        assert signers(line, evidence) == {evidence["keyid"]}
        envelope = parse_envelope(line, "It")
        assert envelope.statement() == entry["receipt"]
        assert entry["receipt"]["predicateType"] == WRAPPED
        assert Path(f"{file}.intoto.jsonl").read_text() == line + "\n"
        assert Path(f"{file}.intoto.jsonl").stat().st_mode & 0o777 == 0o600
    kept = run("byok_wrap", token, **options)
    assert not kept["changed"]
    assert kept["packages"][0]["envelope"] == made["packages"][0]["envelope"]


def test_a_kept_package_without_a_good_envelope_is_signed_anew(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, declarations=[KEY])
    path = tmp_path / "ec.byok"
    file = Path(f"{path}.intoto.jsonl")
    options = {"packages": [{**KEY, "path": str(path)}], **wrapping()}
    unsigned = run("byok_wrap", softhsm, **options)["packages"][0]
    assert json.loads(unsigned["envelope"])["signatures"] == []
    assert file.read_text() == unsigned["envelope"] + "\n"
    assert not run("byok_wrap", softhsm, **options)["changed"]
    evidence = ensured(run, softhsm)
    options["evidence_key"] = LABEL
    planned = run("byok_wrap", softhsm, check=True, **options)
    assert planned["changed"]
    assert evidence["keyid"] in planned["diff"][0]["after"]
    assert file.read_text() == unsigned["envelope"] + "\n"
    for spoilt in (unsigned["envelope"], "{}", None):
        if spoilt is None:
            file.unlink()
        else:
            file.write_text(spoilt)
        signed = run("byok_wrap", softhsm, **options)
        assert signed["changed"]
        package = signed["packages"][0]
        assert (package["wrapped"], package["sha256"]) == (False, unsigned["sha256"])
        assert signers(package["envelope"], evidence) == {evidence["keyid"]}
        assert file.read_text() == package["envelope"] + "\n"
    assert not run("byok_wrap", softhsm, **options)["changed"]
    del options["evidence_key"]  # which a run without the key does not undo
    kept = run("byok_wrap", softhsm, **options)
    assert not kept["changed"]
    assert signers(kept["packages"][0]["envelope"], evidence) == {evidence["keyid"]}


def test_without_the_evidence_key_nothing_is_wrapped(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, declarations=[KEY])
    path = tmp_path / "ec.byok"
    options = {"packages": [{**KEY, "path": str(path)}], **wrapping(), "evidence_key": LABEL}
    refused = run("byok_wrap", softhsm, **options)
    assert "There is no evidence key evidence in the token byok" in refused["msg"]
    assert (refused["code"], refused["packages"]) == ("not_found", [])
    assert not path.exists()
    planned = run("byok_wrap", softhsm, check=True, **options)
    assert "msg" not in planned
    assert any("There is no evidence key" in each for each in planned["warnings"])


@pytest.mark.parametrize("function", ["C_SignInit", "C_Sign"])
def test_a_token_that_does_not_sign_is_found_before_anything_is_wrapped(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path, function: str
) -> None:
    run("byok_target_key", softhsm, declarations=[KEY])
    evidence = ensured(run, softhsm)
    refusing = plain(softhsm, faults=f"{function}:0:0x70")
    path = tmp_path / "ec.byok"
    options = {"packages": [{**KEY, "path": str(path)}], **wrapping(), "evidence_key": LABEL}
    refused = run("byok_wrap", refusing, **options)
    assert refused["msg"].startswith(
        "Signing with the evidence key evidence by CKM_ECDSA in the token byok"
    )
    assert f"{function} returned CKR_MECHANISM_INVALID" in refused["msg"]
    assert "\n" not in refused["msg"]
    assert refused["code"] == "token_refused"
    assert not path.exists()
    info = run("byok_hsm_info", refusing, evidence_key=LABEL, rehearse=True)
    assert info["code"] == "token_refused"
    assert info["hsm"]["evidence_key"] is None
    looked = run("byok_hsm_info", refusing, evidence_key=LABEL)
    assert "msg" not in looked
    assert any(f"{function} returned" in problem for problem in looked["hsm"]["problems"])
    fine = run("byok_hsm_info", softhsm, evidence_key=LABEL, rehearse=True)
    assert fine["hsm"]["evidence_key"] == evidence
    again = run("byok_evidence_key", refusing, evidence_key="second")
    assert again["code"] == "token_refused"


def test_byok_hsm_info_tells_of_a_missing_evidence_key(run: Run, softhsm: Options) -> None:
    options = {"rehearse": True, "allow_trailing_zeros": True, "evidence_key": LABEL}
    refused = run("byok_hsm_info", softhsm, **options)
    assert refused["code"] == "not_found"
    planned = run("byok_hsm_info", softhsm, check=True, **options)
    assert "msg" not in planned
    assert run("byok_hsm_info", softhsm)["hsm"]["evidence_key"] is None


def second_token(first: Options, pin: str = "5678") -> dict[str, Any]:
    """A further token of the same library, as the option evidence_token names it."""
    label = "signing"
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321"]
    subprocess.run(
        [*command, "--pin", pin],
        env={**first["library_environment"], "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    pin_file = Path(first["lock_directory"], "second-pin")
    pin_file.write_text(pin)
    pin_file.chmod(0o600)
    return {"token_label": label, "pin_file": str(pin_file)}


def test_the_key_of_another_slot_signs_by_a_pin_of_its_own(run: Run, softhsm: Options) -> None:
    other = second_token(softhsm)
    evidence = ensured(run, softhsm, evidence_token=other)
    assert evidence["token"]["label"] == "signing"
    run("byok_target_key", softhsm, declarations=[KEY])
    options = {"packages": [KEY], **wrapping(), "evidence_key": LABEL}
    elsewhere = run("byok_wrap", softhsm, **options)
    assert "There is no evidence key evidence in the token byok" in elsewhere["msg"]
    wrapped = run("byok_wrap", softhsm, **options, evidence_token=other, sessions=3)
    package = wrapped["packages"][0]
    assert signers(package["envelope"], evidence) == {evidence["keyid"]}
    assert package["receipt"]["predicate"]["token"]["label"] == "byok"
    info = run("byok_hsm_info", softhsm, evidence_key=LABEL, evidence_token=other)
    assert info["hsm"]["evidence_key"] == evidence
    wrong = Path(other["pin_file"])
    wrong.write_text("0000")
    refused = run("byok_wrap", softhsm, **options, evidence_token=other)
    assert "CKR_PIN_INCORRECT" in refused["msg"]
    assert "0000" not in json.dumps(refused)
    nobody = run("byok_wrap", softhsm, **options, evidence_token={"token_label": "signing"})
    assert "No PIN is given" in nobody["msg"]


def test_the_same_slot_can_be_named_twice(run: Run, softhsm: Options) -> None:
    evidence = ensured(run, softhsm)
    run("byok_target_key", softhsm, declarations=[KEY])
    same = {"token_label": "byok", "pin_file": softhsm["pin_file"]}
    options = {"packages": [KEY], **wrapping(), "evidence_key": LABEL, "evidence_token": same}
    package = run("byok_wrap", softhsm, **options)["packages"][0]
    assert signers(package["envelope"], evidence) == {evidence["keyid"]}


def test_many_sessions_sign_one_after_the_other(run: Run, softhsm: Options) -> None:
    evidence = ensured(run, softhsm)
    keys = [{**KEY, "name": f"ec-{number}"} for number in range(12)]
    run("byok_target_key", softhsm, declarations=keys)
    options = {"packages": keys, **wrapping(), "evidence_key": LABEL, "sessions": 4}
    made = run("byok_wrap", softhsm, **options)
    assert len(made["packages"]) == 12
    for package in made["packages"]:
        assert signers(package["envelope"], evidence) == {evidence["keyid"]}
