# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking without a PIN, and without the token.

What is told equals what a look with a PIN tells, as far as it can.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.tests.token.test_generations import adopt, plant, planting
from ansible_collections.keyferry.azure.tests.token.tokens import Options

__all__ = ["plant", "planting"]  # fixtures

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KEYS: list[dict[str, Any]] = [
    {"name": "ec", "type": "EC", "curve": "P-256"},
    {"name": "rsa", "type": "RSA", "size": 2048},
    {"name": "oct", "type": "oct", "size": 256},
]
PAIRS = KEYS[:2]
EC = {"type": "EC", "curve": "P-256"}


def without_pin(options: Options) -> Options:
    return {name: value for name, value in options.items() if name != "pin_file"}


def look(run: Run, options: Options, **params: Any) -> dict[str, Any]:
    """Look in check mode; returns what was told, without what this run itself is."""
    done = run("byok_target_key", options, check=True, **params)
    assert "exception" not in done
    return {
        name: value for name, value in done.items() if name not in ("invocation", "ansible_facts")
    }


def stored(run: Run, options: Options, tmp_path: Path, **changes: Any) -> dict[str, str]:
    """Store a listing with these changes; returns the option that names it."""
    listing = run("byok_hsm_info", options, list_keys=True)["listing"]
    path = tmp_path / "listing.json"
    path.write_text(json.dumps({**listing, **changes}))
    return {"listing": str(path)}


def chosen(result: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        key["name"]: (key["created"], key["generation"], key["thumbprint"])
        for key in result["target_keys"]
    }


def test_without_a_pin_the_same_generations_are_chosen(
    run: Run, softhsm: Options, plant: Callable[..., str]
) -> None:
    run("byok_target_key", softhsm, target_keys=KEYS)
    for age in (20, 10):
        plant("ec", -age)  # younger ones
    adopt(softhsm, ("adopted", "1"))
    wanted = [
        *PAIRS,
        {"name": "adopted", "type": "EC", "curve": "P-256"},
        {"name": "new", "type": "RSA", "size": 3072},
    ]
    seen = look(run, softhsm, target_keys=wanted)
    public = look(run, without_pin(softhsm), target_keys=wanted)
    assert chosen(public) == chosen(seen)
    assert public["changed"] is seen["changed"] is True  # the new one would be made
    for with_pin, without in zip(seen["target_keys"], public["target_keys"], strict=True):
        for whole, half in zip(with_pin["generations"], without["generations"], strict=True):
            assert {
                **half,
                **{
                    fact: whole[fact]
                    for fact in half
                    if fact.startswith("CKA_") or fact == "origin"
                },
            } == {
                **whole,
                "public_only": True,
            }
            assert half["origin"] == "unknown"
            assert {value for fact, value in half.items() if fact.startswith("CKA_")} == {None}
    assert "only public keys were seen" in "".join(public["warnings"])
    assert seen["warnings"] == []


def test_without_a_pin_oct_keys_fail_and_name_the_listing(run: Run, softhsm: Options) -> None:
    run("byok_target_key", softhsm, target_keys=KEYS)
    public = look(run, without_pin(softhsm), target_keys=KEYS)
    assert [key["name"] for key in public["target_keys"]] == ["ec", "rsa"]
    assert [failure["name"] for failure in public["failures"]] == ["oct"]
    assert "does not show the AES-256 key oct. Give pin_file, or a stored listing" in public["msg"]


def test_without_a_pin_what_is_not_as_declared_is_refused(run: Run, softhsm: Options) -> None:
    run("byok_target_key", softhsm, target_keys=PAIRS)
    adopt(softhsm, ("twice", "1"), ("twice", "2"), ("same", "3"), ("same", "3"), ("no-id", ""))
    names = ("twice", "same", "no-id")
    wanted = [
        dict(PAIRS[0], curve="P-384"),
        *({"name": name, "type": "EC", "curve": "P-256"} for name in names),
    ]
    seen, public = (
        look(run, options, target_keys=wanted) for options in (softhsm, without_pin(softhsm))
    )
    assert len(public["failures"]) == len(wanted)
    for with_pin, without in zip(seen["failures"], public["failures"], strict=True):
        assert (
            without["msg"].split(": ")[0] == with_pin["msg"].split(": ")[0]
        )  # behind it stand thumbprints


def test_a_missing_pin_is_an_error_where_it_was(run: Run, softhsm: Options) -> None:
    run("byok_target_key", softhsm, target_keys=PAIRS)
    bare = without_pin(softhsm)
    nowhere = {"vaults": ["https://a.vault.azure.net"], "versions": []}
    for failed in (
        run("byok_target_key", bare, target_keys=PAIRS),
        look(run, bare, target_keys=PAIRS, public_session=False),
        look(run, bare, target_keys=PAIRS, state="absent", **nowhere),
        run("byok_hsm_info", bare, list_keys=True),
    ):
        assert (
            "No PIN is given" in failed["msg"]
            or "cannot be listed without a login. Give pin_file" in failed["msg"]
        )
        assert not failed.get("target_keys")


def test_a_token_that_shows_no_public_key_is_not_taken_for_an_empty_one(
    run: Run, softhsm: Options, luna: Front
) -> None:
    empty = look(run, without_pin(softhsm), target_keys=PAIRS)
    assert (
        "shows no public key without a login: it holds none, or hides them. "
        "Give pin_file, or a stored listing" in empty["msg"]
    )
    hiding = luna(softhsm, private_only=1)
    run("byok_target_key", hiding, target_keys=PAIRS)
    assert (
        empty["msg"].partition("shows")[2]
        == look(run, without_pin(hiding), target_keys=PAIRS)["msg"].partition("shows")[2]
    )
    run("byok_target_key", softhsm, target_keys=[{"name": "shown", "type": "EC", "curve": "P-256"}])
    assert chosen(look(run, without_pin(softhsm), target_keys=[dict(PAIRS[0], name="new")])) == {
        "new": (True, None, None)
    }
    cloud = dict(without_pin(softhsm), hsm_profile="cloudhsm")  # whose public keys are private
    assert "hides them" in look(run, cloud, target_keys=[dict(PAIRS[0], name="new")])["msg"]


def test_what_was_withdrawn_is_seen_without_a_pin(
    run: Run, softhsm: Options, plant: Callable[..., str]
) -> None:
    older = run("byok_target_key", softhsm, target_keys=[PAIRS[0]])["target_keys"][0]["generation"]
    plant("ec", -60)
    newest = look(run, softhsm, target_keys=[PAIRS[0]])["target_keys"][0]["thumbprint"]
    run("byok_target_key", softhsm, target_keys=[PAIRS[0]], withdraw=[newest])
    for options in (softhsm, without_pin(softhsm)):
        [key] = look(run, options, target_keys=[PAIRS[0]])["target_keys"]
        assert key["generation"] == older
        assert [each["withdrawn"] for each in key["generations"]] == [False, True]
    assert (
        run("byok_target_key", softhsm, target_keys=[PAIRS[0]])["changed"] is False
    )  # no half is taken for a leftover


def test_a_listing_tells_what_the_token_would(
    run: Run, softhsm: Options, plant: Callable[..., str], tmp_path: Path
) -> None:
    made = run("byok_target_key", softhsm, target_keys=KEYS)["target_keys"]
    plant("ec", 7200, "private")
    plant("ec", 7100, "public")
    plant("rsa", 60, "public")
    plant("withdrawn", 0)
    adopt(softhsm, ("twice", "1"), ("twice", "2"), ("one", "3"))
    gone = look(run, softhsm, target_keys=[{"name": "withdrawn", **EC}])["target_keys"][0][
        "thumbprint"
    ]
    run("byok_target_key", softhsm, target_keys=[{"name": "withdrawn", **EC}], withdraw=[gone])
    wanted = [*KEYS, *({"name": name, **EC} for name in ("twice", "one", "withdrawn", "new"))]
    wanted += [{"name": "two", **EC, "create": False}]
    more = {
        "transferred": [made[0]["thumbprint"]],
        "withdraw": [made[1]["thumbprint"]],
        "rotations": [
            {
                "name": "oct",
                "newer_than": made[2]["generation"],
                "made_at": format_moment(host_clock()),
            }
        ],
    }
    option = stored(run, softhsm, tmp_path)
    nowhere: Options = {"pkcs11_library": "/nonexistent/pkcs11.so"}
    for params in (
        {"target_keys": wanted},
        {"target_keys": [dict(key, after_transfer="lock") for key in wanted], **more},
    ):
        seen = look(run, softhsm, **params)
        assert len(seen["failures"]) == 2
        assert look(run, nowhere, **option, **params) == seen
    assert (
        look(run, {**nowhere, **option, **KEYS[0]})["target_key"]
        == look(run, {**softhsm, **KEYS[0]})["target_key"]
    )


def test_a_listing_that_is_old_or_of_another_token(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, target_keys=PAIRS)
    option = stored(run, softhsm, tmp_path, listed_at="2026-01-31T00:00:00Z")
    old = look(run, softhsm, target_keys=PAIRS, **option)
    assert "told by a listing of 2026-01-31T00:00:00Z, which is " in old["warnings"][0]
    assert (
        "the options name the token with label other"
        in look(run, {**softhsm, "token_label": "other"}, target_keys=PAIRS, **option)["msg"]
    )
    assert (
        "token with serial 1" in look(run, {}, target_keys=PAIRS, token_serial="1", **option)["msg"]
    )
    assert "in check mode" in run("byok_target_key", softhsm, target_keys=PAIRS, **option)["msg"]
    assert (
        "There is no listing /nowhere.json"
        in look(run, {}, target_keys=PAIRS, listing="/nowhere.json")["msg"]
    )


@pytest.mark.parametrize("kind", ["nss", "futurex"])
def test_other_tokens(run: Run, nss: Options, futurex: Front, tmp_path: Path, kind: str) -> None:
    options = futurex(nss) if kind == "futurex" else nss
    keys = [dict(key, allow_external_origin=True) for key in PAIRS]
    run("byok_target_key", options, target_keys=keys)
    seen = look(run, options, target_keys=keys)
    assert chosen(look(run, without_pin(options), target_keys=keys)) == chosen(seen)
    assert look(run, {}, target_keys=keys, **stored(run, options, tmp_path)) == seen
