# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""byok_hsm_info: what it says of tokens in every state, and that it touches nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token.tokens import Options

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

EC_KEY = {"name": "signing-key", "type": "EC", "curve": "P-256"}


def kinds(hsm: dict[str, Any], what: str) -> dict[str, bool | None]:
    return {each["kind"]: each[what] for each in hsm["key_types"]}


def reasons(hsm: dict[str, Any], kind: str) -> str:
    return "; ".join(next(each["reasons"] for each in hsm["key_types"] if each["kind"] == kind))


def test_a_luna_that_is_set_up_right(run: Run, nss: Options, luna: Front) -> None:
    hsm = run("byok_hsm_info", luna(nss), rehearse=True)["hsm"]
    assert hsm["profile"]["name"] == "luna"
    assert "never with a Luna" in hsm["profile"]["source"]
    assert hsm["token"]["manufacturer"] == "SafeNet"
    assert hsm["pin"] == "ok"
    assert hsm["free_memory"] == {"public": 1900000, "private": None}
    assert hsm["rehearsal"] == {
        "profile": "luna",
        "mechanism": "CKM_AES_KWP (0x80000171)",
        "parameter": "a65959a6",
        "finding": "RFC 5649 over PKCS#8",
    }
    assert {policy["number"]: policy["met"] for policy in hsm["policies"]} == dict.fromkeys(
        (0, 1, 5, 10, 34, 22, 23), True
    )
    assert hsm["problems"] == []
    assert "escrow" in "".join(hsm["notes"])  # what can be wrapped cannot be cloned
    assert hsm["fips_mode"] is None  # a client may map the mechanism that FIPS mode does not have
    # NSS, behind the stand-in, does not have secp256k1.
    assert kinds(hsm, "make") == {kind: kind != "P-256K" for kind in kinds(hsm, "make")}
    assert set(kinds(hsm, "wrap").values()) == {True}


@pytest.mark.parametrize("told", [{}, {"old_policies": 1}])
def test_policies_are_asked_for_in_both_ways(
    run: Run, softhsm: Options, luna: Front, told: dict[str, int]
) -> None:
    hsm = run("byok_hsm_info", luna(softhsm, policies="0=1,1=0,5=0,34=0", **told))["hsm"]
    unmet = {policy["number"]: policy["command"] for policy in hsm["policies"] if not policy["met"]}
    assert unmet == {
        0: "partition changepolicy -policy 0 -value 0",
        1: "partition changepolicy -policy 1 -value 1",
        5: "partition changepolicy -policy 5 -value 1",
        34: "partition changepolicy -policy 34 -value 1",
    }
    assert len(hsm["problems"]) == len(unmet)
    assert set(kinds(hsm, "wrap").values()) == {False}
    assert "partition policy 1 (private key wrapping) is 0" in reasons(hsm, "RSA-2048")
    assert hsm["notes"] == []


def test_a_token_that_tells_no_policies(run: Run, softhsm: Options, luna: Front) -> None:
    hsm = run("byok_hsm_info", luna(softhsm, no_policies=1))["hsm"]
    assert hsm["policies"] == []
    assert "does not report its partition policies" in hsm["notes"][0]
    assert set(kinds(hsm, "wrap").values()) == {None}  # only a rehearsal can tell


def test_a_rehearsal_names_what_the_policies_refuse(
    run: Run, softhsm: Options, luna: Front
) -> None:
    hsm = run("byok_hsm_info", luna(softhsm, policies="1=0", no_policies=1), rehearse=True)["hsm"]
    assert hsm["rehearsal"] is None
    assert "C_WrapKey returned CKR_KEY_NOT_WRAPPABLE (0x69)" in hsm["problems"][0]
    assert "Wrapping a throw-away key by CKM_AES_KWP failed" in hsm["problems"][0]
    assert "policy 0 (private key cloning) at 0 and then 1" in hsm["problems"][0]
    assert kinds(hsm, "wrap")["P-256"] is False


def test_secret_keys_do_not_depend_on_policies_about_private_keys(
    run: Run, softhsm: Options, luna: Front
) -> None:
    hsm = run("byok_hsm_info", luna(softhsm, policies="1=0"), rehearse=True)["hsm"]
    assert kinds(hsm, "wrap")["AES-256"] is None
    assert kinds(hsm, "wrap")["P-256"] is False


def test_fips_mode_is_seen_and_its_curves_are_known(
    run: Run, softhsm: Options, luna: Front
) -> None:
    for settings, source in (
        ({"fips": 1}, "mechanism 0x0 is not offered"),
        ({"fips": 1, "policies": "43=0"}, "partition policy 43"),
    ):
        hsm = run("byok_hsm_info", luna(softhsm, **settings))["hsm"]
        assert hsm["fips_mode"] is True
        assert source in hsm["fips_mode_source"]
        assert kinds(hsm, "make")["P-256K"] is False
        assert kinds(hsm, "make")["RSA-4096"] is True


def test_old_firmware_is_named_and_refused_by_nobody(run: Run, nss: Options, luna: Front) -> None:
    hsm = run("byok_hsm_info", luna(nss, firmware="7.3"), rehearse=True)["hsm"]
    assert (
        reasons(hsm, "RSA-4096") == "the vendor supports it from firmware 7.4 on, and this is 7.3"
    )
    assert reasons(hsm, "RSA-3072") == ""
    assert kinds(hsm, "wrap")["RSA-4096"] is True
    hsm = run("byok_hsm_info", luna(nss, firmware="7.2"))["hsm"]
    assert "from firmware 7.3 on" in reasons(hsm, "P-256")


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        ("low", ("count_low", None)),
        ("final", ("final_try", "One more wrong PIN")),
        ("locked", ("locked", "is locked")),
    ],
)
def test_the_pin_s_state_is_told_and_the_last_try_is_not_taken(
    run: Run,
    softhsm: Options,
    luna: Front,
    tmp_path: Path,
    pin: str,
    told: tuple[str, str | None],
) -> None:
    state, problem = told
    logged_in = problem is None
    trace = tmp_path / "trace"
    hsm = run("byok_hsm_info", luna(softhsm, pin=pin, trace=trace), rehearse=True)["hsm"]
    assert (hsm["pin"], hsm["logged_in"]) == (state, logged_in)
    assert ("C_Login 0x0" in trace.read_text()) is logged_in
    if problem:
        assert problem in hsm["problems"][0]
    else:
        assert hsm["problems"] == [] or "zero bytes" in hsm["problems"][0]


def test_the_last_try_is_taken_when_that_is_told(run: Run, softhsm: Options, luna: Front) -> None:
    hsm = run("byok_hsm_info", luna(softhsm, pin="final"), accept_final_try=True)["hsm"]
    assert (hsm["pin"], hsm["logged_in"], hsm["problems"]) == ("final_try", True, [])


def test_without_a_pin_no_login_is_tried(
    run: Run, softhsm: Options, luna: Front, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    options = luna(softhsm, trace=trace)
    del options["pin_file"]
    hsm = run("byok_hsm_info", options)["hsm"]
    assert hsm["logged_in"] is False
    assert hsm["policies"]
    assert "C_Login" not in trace.read_text()


def test_nothing_is_changed(run: Run, softhsm: Options, luna: Front) -> None:
    before = {path: path.read_bytes() for path in Path(softhsm["lock_directory"]).rglob("*.object")}
    assert run("byok_hsm_info", luna(softhsm), rehearse=True)["changed"] is False
    after = {path: path.read_bytes() for path in Path(softhsm["lock_directory"]).rglob("*.object")}
    assert after.keys() == before.keys()


@pytest.mark.parametrize(
    ("settings", "declared", "expected"),
    [
        ({"policies": "1=0"}, EC_KEY, "(P-256) cannot be wrapped in the token byok"),
        (
            {"fips": 1},
            {"name": "k", "type": "EC", "curve": "P-256K"},
            "The key k (P-256K) cannot be made in the token byok",
        ),
    ],
)
def test_keys_that_cannot_be_had_are_an_error_before_anything_is_made(
    run: Run,
    softhsm: Options,
    luna: Front,
    settings: dict[str, Any],
    declared: dict[str, str],
    expected: str,
) -> None:
    failed = run(
        "byok_hsm_info",
        luna(softhsm, **settings),
        rehearse=True,
        allow_trailing_zeros=True,
        target_keys=[declared],
    )
    assert failed["failed"] is True
    assert expected in failed["failures"][0]["msg"]
    assert failed["hsm"]["key_types"]


def test_a_key_that_is_there_need_not_be_made(run: Run, softhsm: Options, luna: Front) -> None:
    key = {"name": "k", "type": "EC", "curve": "P-256K"}
    assert run("byok_target_key", luna(softhsm), target_keys=[key])["changed"] is True
    found = run(
        "byok_hsm_info",
        luna(softhsm, fips=1),
        rehearse=True,
        allow_trailing_zeros=True,
        target_keys=[key],
    )
    assert found.get("failed") is None


def test_nss_and_softhsm_are_known_by_what_they_make(
    run: Run, nss: Options, softhsm: Options
) -> None:
    hsm = run("byok_hsm_info", nss, rehearse=True)["hsm"]
    assert hsm["profile"]["name"] == "nss"
    assert hsm["rehearsal"]["mechanism"] == "CKM_AES_KEY_WRAP_KWP (0x210b)"
    hsm = run("byok_hsm_info", softhsm, rehearse=True)["hsm"]
    assert hsm["profile"]["name"] == "softhsm"
    if hsm["rehearsal"] is None:  # 2.6.1; later ones are right
        assert "followed by 5 zero bytes" in hsm["problems"][0]
        hsm = run("byok_hsm_info", softhsm, rehearse=True, allow_trailing_zeros=True)["hsm"]
        assert hsm["rehearsal"]["mechanism"] == "CKM_AES_KEY_WRAP_PAD (0x210a)"


def test_a_mechanism_that_means_something_else_is_named(
    run: Run, nss: Options, futurex: Front
) -> None:
    hsm = run("byok_hsm_info", futurex(nss, kwp="0x210a"), rehearse=True)["hsm"]
    assert (
        "CKM_AES_KEY_WRAP_KWP (0x210b): RFC 3394 over PKCS#7 padding instead of RFC 5649"
        in hsm["problems"][0]
    )
    assert kinds(hsm, "wrap")["RSA-2048"] is False


def test_nss_without_its_parameters_says_what_it_wants(run: Run, nss: Options) -> None:
    failed = run("byok_hsm_info", dict(nss, library_parameters=None))
    assert (
        "C_Initialize returned CKR_ARGUMENTS_BAD (0x7). NSS wants library_parameters"
        in failed["msg"]
    )


def test_a_futurex_wants_its_configuration_and_its_key(
    run: Run, nss: Options, futurex: Front, tmp_path: Path
) -> None:
    ready = futurex(nss)
    hsm = run("byok_hsm_info", ready, rehearse=True)["hsm"]
    assert hsm["profile"]["name"] == "futurex"
    assert hsm["rehearsal"]["mechanism"] == "CKM_AES_KEY_WRAP_KWP (0x210b)"

    environment = {
        name: value
        for name, value in ready["library_environment"].items()
        if name != "FXPKCS11_CFG"
    }
    failed = run(
        "byok_hsm_info", dict(ready, library_environment=environment, hsm_profile="futurex")
    )
    assert (
        "C_Initialize returned CKR_GENERAL_ERROR (0x5). "
        "The library reads the environment variable FXPKCS11_CFG" in failed["msg"]
    )

    not_ready = futurex(nss, token_key=tmp_path / "not there")
    failed = run("byok_hsm_info", not_ready)
    assert "is not initialised. Load the Futurex Token Key (FTK) into the device" in failed["msg"]


def write_profile(path: Path, *mechanisms: dict[str, str]) -> dict[str, str]:
    """A profile of the user's own; returns the option that names it."""
    document = {
        "format": "keyferry-profile",
        "version": 1,
        "title": "An unknown HSM",
        "source": "Our measurement",
        "wrap_mechanisms": mechanisms,
        "return_codes": {"0x80000105": "CKR_UNKNOWN_CURVE"},
        "remedies": {"CKR_UNKNOWN_CURVE": "Ask the unknown vendor"},
    }
    path.write_text(json.dumps(document))
    return {"hsm_profile_file": str(path)}


def test_a_vendor_that_nobody_knows_is_a_file_of_the_user(
    run: Run, nss: Options, luna: Front, tmp_path: Path
) -> None:
    """The stand-in has no standard number for RFC 5649, and is not taken for a Luna here."""
    token = {**luna(nss, fips=1), "hsm_profile": "generic"}
    unknown = run("byok_hsm_info", token, rehearse=True)["hsm"]
    assert unknown["rehearsal"] is None
    own = {"name": "CKM_UNKNOWN_KWP", "number": "0x80000171", "parameter": "a65959a6"}
    option = write_profile(tmp_path / "own.json", own)
    hsm = run("byok_hsm_info", {**token, **option}, rehearse=True)["hsm"]
    assert hsm["profile"] == {
        "name": "file (An unknown HSM)",
        "title": "An unknown HSM",
        "source": "Our measurement",
    }
    assert hsm["rehearsal"]["mechanism"] == "CKM_UNKNOWN_KWP (0x80000171)"
    assert hsm["rehearsal"]["finding"] == "RFC 5649 over PKCS#8"
    # Its own words for its own codes
    curve = {"name": "k", "type": "EC", "curve": "P-256K"}
    refused = run("byok_target_key", {**token, **option}, target_keys=[curve])["msg"]
    assert "returned CKR_UNKNOWN_CURVE (0x80000105). Ask the unknown vendor." in refused


def test_the_rehearsal_judges_the_user_s_profile(run: Run, nss: Options, tmp_path: Path) -> None:
    """NSS' 0x210A is RFC 3394 over PKCS#7, which Azure cannot unwrap."""
    option = write_profile(
        tmp_path / "own.json", {"name": "CKM_AES_KEY_WRAP_PAD", "number": "0x210a"}
    )
    problems = run("byok_hsm_info", {**nss, **option}, rehearse=True)["hsm"]["problems"]
    assert "RFC 3394 over PKCS#7 padding instead of RFC 5649" in problems[0]


def test_a_profile_that_is_none_is_told_before_the_token_is_touched(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    path = tmp_path / "own.json"
    token = {**softhsm, "pin": "wrong", "hsm_profile_file": str(path)}
    assert f"There is no profile {path} on this host" in run("byok_hsm_info", token)["msg"]
    path.write_text("{}")
    assert f"The profile {path} is no profile of a vendor" in run("byok_hsm_info", token)["msg"]
