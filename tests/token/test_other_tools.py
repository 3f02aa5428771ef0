# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that other tools made: labels and CKA_IDs that Keyferry would never give."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token.test_wrap import (
    kek,
    private_key,
    public_pem,
    unwrap,
)
from ansible_collections.keyferry.azure.tests.token.tokens import Options

Run = Callable[..., dict[str, Any]]
Key = dict[str, Any]

PLANT = Path(__file__).with_name("plant_others.py")
EC = {"type": "EC", "curve": "P-256"}
RSA = {"type": "RSA", "size": 2048}

PLANTED: list[Key] = [
    *[{"type": "RSA", "label": "twice", "id": "13"}] * 2,  # pkcs11-tool run twice
    *[{"type": "EC", "label": "twice-ec", "id": "13"}] * 2,
    {"type": "EC", "label": "cmu-ec", "id": "12", "public_label": "cmu-ec-pub"},
    {"type": "EC", "label": "shares-id", "id": "12"},  # its public half is its own
    {"type": "RSA", "label": "cmu-rsa", "id": "11", "public_label": "cmu-rsa-pub"},
    {"type": "EC", "label": "noid-ec", "id": ""},
    {"type": "RSA", "label": "noid-rsa", "id": ""},
    {"type": "oct", "label": "noid-oct", "id": ""},
    {"type": "RSA", "label": "padded\0\0", "id": "14"},  # sizeof instead of strlen
    {"type": "EC", "label": " blank ", "id": "16"},
    {"type": "RSA", "label": "Upper-Case", "id": "15"},
    {"type": "EC", "label": "Payments 2023_1", "id": "17"},
    {"type": "EC", "label": "half", "id": "18", "without_public": True},
    # Two private keys, and the public key of one of them
    {"type": "EC", "label": "one-public", "id": "19"},
    {"type": "EC", "label": "one-public", "id": "19", "without_public": True},
]


@pytest.fixture
def token(softhsm: Options, tmp_path: Path) -> Options:
    """A SoftHSM token with all of them."""
    path = tmp_path / "options.json"
    path.write_text(json.dumps(softhsm))
    command = [sys.executable, str(PLANT), str(path)]
    subprocess.run(command, input=json.dumps(PLANTED), text=True, check=True)
    return softhsm


def labels(run: Run, options: Options) -> dict[str, int]:
    """How many generations the token has under each label."""
    listing = run("byok_hsm_info", options, list_keys=True)["listing"]
    return {key["name"]: len(key["generations"]) for key in listing["target_keys"]}


def failures(result: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["msg"] for each in result.get("failures", [])}


REFUSED: list[tuple[Key, tuple[str, ...]]] = [
    (
        {"name": "twice", **RSA},
        ("2 keys", "are labelled twice", "Set generation to the thumbprint"),
    ),
    ({"name": "twice-ec", **EC}, ("2 keys", "Nothing tells them apart")),
    ({"name": "cmu-ec", **EC}, ("public key under another label, 'cmu-ec-pub'", "same CKA_LABEL")),
    ({"name": "noid-ec", **EC}, ("(without CKA_ID)", "has no CKA_ID, so nothing shows which")),
    ({"name": "noid-oct", "type": "oct", "size": 256}, ("recognised in a vault by its CKA_ID",)),
    ({"name": "padded", **RSA}, (r"but one labelled 'padded\x00\x00'", "no other key is made")),
    ({"name": "blank", **EC}, ("but one labelled ' blank '",)),
    ({"name": "upper-case", **RSA}, ("but one labelled 'Upper-Case'",)),
    ({"name": "half", **EC}, ("has no public key object",)),
    ({"name": "one-public", **EC}, ("2 keys", "Nothing tells them apart")),
]


@pytest.mark.parametrize("check", [True, False], ids=["looks", "makes"])
def test_keys_that_are_not_clear_are_named_and_no_other_is_made(
    check: bool, run: Run, token: Options
) -> None:
    before = labels(run, token)
    whole = run("byok_target_key", token, check=check, target_keys=[key for key, _says in REFUSED])
    # One key is searched for in another way than several.
    upper = {"name": "upper-case", **RSA}
    alone = run("byok_target_key", token, check=check, target_keys=[upper])
    assert failures(alone)["upper-case"] == failures(whole)["upper-case"]
    for key, says in REFUSED:
        told = failures(whole)[key["name"]]
        assert all(part in told for part in says), told
    # Nobody is told to change the CKA_ID of a key that other software may find by it.
    assert not any("Give it a CKA_ID" in told for told in failures(whole).values())
    assert not whole["changed"]
    assert labels(run, token) == before


def test_keys_that_are_clear_are_adopted_as_they_are(run: Run, token: Options) -> None:
    before = labels(run, token)
    keys: list[Key] = [
        {"name": "cmu-rsa", **RSA},
        {"name": "noid-rsa", **RSA},
        {"name": "shares-id", **EC},
        {"name": "payments-2023", "label": "Payments 2023_1", **EC},
        {"name": "padded", "label": "padded\0\0", **RSA},
        {"name": "upper-case", "label": "Upper-Case", **RSA, "create": False},
    ]
    done = run("byok_target_key", token, target_keys=keys)
    assert not failures(done)
    assert not done["changed"]
    assert [key["name"] for key in done["target_keys"]] == [key["name"] for key in keys]
    assert [key["generation"] for key in done["target_keys"]] == ["11", "", "12", "17", "14", "15"]
    assert all(key["thumbprint"] for key in done["target_keys"])
    assert labels(run, token) == before


def test_one_of_two_keys_of_one_cka_id_is_named_by_its_thumbprint(run: Run, token: Options) -> None:
    listing = run("byok_hsm_info", token, list_keys=True)["listing"]
    [twice] = [key for key in listing["target_keys"] if key["name"] == "twice"]
    assert len({generation["thumbprint"] for generation in twice["generations"]}) == 2
    for generation in twice["generations"]:
        key = {"name": "twice", **RSA, "generation": generation["thumbprint"]}
        done = run("byok_target_key", token, target_keys=[key])
        chosen = done["target_keys"][0]["thumbprint"]
        assert (done["changed"], chosen) == (False, generation["thumbprint"])
        wrapped = run("byok_wrap", token, packages=[key], **kek(), allow_trailing_zeros=True)
        pkcs8 = unwrap(wrapped["packages"][0], private_key(2048))
        length = 4 + int.from_bytes(pkcs8[2:4], "big")  # SoftHSM 2.6.1 leaves zeros behind it
        assert public_pem(pkcs8[:length]) == generation["public_key"]
    named = {"name": "twice", **RSA, "generation": "13"}
    by_id = run("byok_target_key", token, target_keys=[named])
    assert "2 keys labelled twice have one CKA_ID" in by_id["msg"]
    unknown = {**named, "generation": "A" * 43}
    missing = run("byok_target_key", token, target_keys=[unknown])
    assert "No key labelled twice has the thumbprint AAA" in missing["msg"]


def test_new_generations_are_made_under_the_label(run: Run, softhsm: Options) -> None:
    key = {"name": "payments-2026", "label": "Payments 2026_1", **EC}
    made = run("byok_target_key", softhsm, target_keys=[key])
    assert made["changed"]
    assert labels(run, softhsm) == {"Payments 2026_1": 1}
    again = run("byok_target_key", softhsm, target_keys=[key])
    assert not again["changed"]
    assert again["target_keys"][0]["generation"] == made["target_keys"][0]["generation"]


def test_two_declarations_of_one_label_are_refused(run: Run, softhsm: Options) -> None:
    keys = [{"name": "a", **EC}, {"name": "b", "label": "a", **EC}]
    refused = run("byok_target_key", softhsm, target_keys=keys)
    assert "The keys a, b are declared with one label" in refused["msg"]
    assert labels(run, softhsm) == {}


def test_a_stored_listing_is_judged_in_the_same_way(
    run: Run, token: Options, tmp_path: Path
) -> None:
    path = tmp_path / "listing.json"
    path.write_text(json.dumps(run("byok_hsm_info", token, list_keys=True)["listing"]))
    keys = [key for key, _says in REFUSED]
    by_token = run("byok_target_key", token, check=True, target_keys=keys)
    by_listing = run("byok_target_key", token, check=True, target_keys=keys, listing=str(path))
    assert failures(by_listing) == failures(by_token)
    other = {**token, "token_label": "other"}
    refused = run("byok_target_key", other, check=True, target_keys=keys, listing=str(path))
    assert "the options name the token with label other" in refused["msg"]


def test_a_look_without_a_login_names_labels_that_are_nearly_right(
    run: Run, token: Options
) -> None:
    public = {name: value for name, value in token.items() if name != "pin_file"}
    upper = {"name": "upper-case", **RSA}
    seen = run("byok_target_key", public, check=True, public_session=True, target_keys=[upper])
    assert "but one labelled 'Upper-Case'" in seen["msg"]
