# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""byok_sign signs what the token stands by and nothing else, and keeps one chain of manifests."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import WRAPPED
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    head_of,
    judge_chain,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Signature,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.tests.long import mostly_long
from ansible_collections.keyferry.azure.tests.token.tokens import Options

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

VAULT = "https://contoso.managedhsm.azure.net"
MOMENT = "2026-11-22T12:00:00Z"
LABEL = "evidence"


@pytest.fixture(params=mostly_long(("softhsm", "nss"), 1))
def token(request: pytest.FixtureRequest, tmp_path: Path, run: Run) -> Options:
    """A token with an evidence key, as the options of byok_sign."""
    base: Options = request.getfixturevalue(request.param)
    made = run("byok_evidence_key", base, evidence_key=LABEL)
    assert "msg" not in made
    return {
        **base,
        "evidence_key": LABEL,
        "vault_url": VAULT,
        "state_directory": str(tmp_path / "state"),
    }


def without_vault(token: Options) -> Options:
    others = ("evidence_key", "vault_url")
    return {name: value for name, value in token.items() if name not in others}


def generations(run: Run, token: Options, *names: str, **kind: Any) -> list[dict[str, Any]]:
    """Keys that are made in the token: name, generation, thumbprint and public key."""
    kind = kind or {"type": "EC", "curve": "P-256"}
    declared = [{"name": name, **kind, "allow_external_origin": True} for name in names]
    made = run("byok_target_key", without_vault(token), declarations=declared)
    assert "msg" not in made
    return [{"name": key["name"], **key["generations"][-1]} for key in made["target_keys"]]


def found(key: dict[str, Any], **changes: Any) -> Envelope:
    pem = key["public_key"]
    predicate = {
        "key": {name: key[name] for name in ("name", "generation", "thumbprint")},
        "vault": VAULT,
        "kid": f"{VAULT}/keys/{key['name']}/{'1' * 32}",
        "identity": "public_key" if pem else "tag_only",
        "kek": "unknown",
        "told": "found in place",
        "time": MOMENT,
        "clock": "vault",
        **changes,
    }
    return envelope_of(statements.found(predicate, public_key=pem and fingerprint(pem)))


def predicate_of_run(*receipts: Envelope, **changes: Any) -> dict[str, Any]:
    listed = [
        {
            "key": each.statement()["predicate"]["key"]["name"],
            "kind": "found",
            "sha256": each.digest,
        }
        for each in receipts
    ]
    return {
        "vault": VAULT,
        "job": "transfer",
        "begun": MOMENT,
        "ended": MOMENT,
        "clock": "host",
        "who": dict.fromkeys(("user", "controller", "job_id", "commit", "ticket")),
        "plan": "a" * 64,
        "receipts": listed,
        **{name: [] for name in ("left_alone", "failures", "events", "approvals", "deviations")},
        **changes,
    }


def with_signatures(envelope: Envelope, result: dict[str, Any]) -> Envelope:
    for each in result["signatures"]:
        if each["sha256"] == envelope.digest:
            sig = base64.b64decode(each["sig"])
            envelope = envelope.with_signature(Signature(each["keyid"], sig))
    return envelope


def keys_of(result: dict[str, Any]) -> dict[str, str]:
    return {result["keyid"]: result["public_key"]}


def test_what_the_token_holds_is_signed_with_the_run(run: Run, token: Options) -> None:
    lines = [found(key) for key in generations(run, token, "ec-1", "ec-2")]
    (secret,) = generations(run, token, "oct", type="oct", size=256)
    lines.append(found(secret))
    wanted = predicate_of_run(*lines)
    options = {"statements": [each.to_line() for each in lines], "run": json.dumps(wanted)}
    planned = run("byok_sign", token, check=True, **options)
    assert (planned["changed"], planned["signatures"], planned["run"]) == (True, [], None)
    assert not Path(token["state_directory"]).exists()
    done = run("byok_sign", token, **options)
    assert "msg" not in done, done["msg"]
    assert planned["diff"] == done["diff"]
    assert {each["sha256"] for each in done["signatures"]} == {each.digest for each in lines}
    for line in lines:
        assert with_signatures(line, done).signers(keys_of(done)) == {done["keyid"]}
    manifest = parse_envelope(done["run"], "It")
    assert manifest.signers(keys_of(done)) == {done["keyid"]}
    assert manifest.statement()["predicate"] == {
        **wanted,
        "number": 1,
        "previous": None,
        "evidence_key": done["keyid"],
    }
    head = Path(token["state_directory"], "heads/contoso.managedhsm.azure.net.json")
    assert json.loads(head.read_text())["sha256"] == manifest.digest
    assert (head.stat().st_mode & 0o777, head.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    # What is signed already is not signed again.
    signed = [with_signatures(each, done).to_line() for each in lines]
    again = run("byok_sign", token, statements=signed)
    assert (again["changed"], again["signatures"], again["run"]) == (False, [], None)


def lies(key: dict[str, Any], other: dict[str, Any]) -> dict[str, Envelope | str]:
    """Statements that the host that reaches Azure could make up, by what is wrong with them."""
    elsewhere = "https://fabrikam.managedhsm.azure.net"
    strange = hashlib.sha256(b"another key").hexdigest()
    honest = found(key).statement()
    subject = [{"name": "ec-1 (public key)", "digest": {"sha256": strange}}]
    return {
        "thumbprint": found({**key, "thumbprint": "x" * 43}),
        "no thumbprint": found({**key, "thumbprint": None}),
        "generation": found({**key, "generation": "0b" * 16}),
        "other key's identity": found({**other, "name": "ec-1"}),
        "name": found({**key, "name": "ec-9"}),
        "vault": found(key, vault=elsewhere),
        "kid": found(key, kid=f"{elsewhere}/keys/ec-1/{'1' * 32}"),
        "subject": envelope_of({**honest, "subject": subject}),
        "more": envelope_of({**honest, "more": 1}),
        "wrapped": envelope_of({**honest, "predicateType": WRAPPED}),
        "no JSON": "}{",
        "payload": found(key).to_line().replace('"payload":"ey', '"payload":"e'),
        "type": found(key).to_line().replace("in-toto", "other"),
        "run": envelope_of(
            statements.run(
                {**predicate_of_run(), "number": 1, "previous": None, "evidence_key": None}
            )
        ),
    }


#: Lies that are no statements of Azure's side at all
NO_STATEMENTS = ("more", "wrapped", "no JSON", "payload", "type", "run")


def test_no_statement_about_another_key_is_ever_signed(run: Run, token: Options) -> None:
    key, other = generations(run, token, "ec-1", "ec-2")
    honest, made_up = found(other), lies(key, other)
    named = [each for each in made_up.values() if isinstance(each, Envelope)]
    of_keys = [each for each in named if "key" in each.statement()["predicate"]]
    done = run(
        "byok_sign",
        token,
        statements=[
            *(each if isinstance(each, str) else each.to_line() for each in made_up.values()),
            honest.to_line(),
        ],
        run=json.dumps(predicate_of_run(honest, *of_keys)),
    )
    assert [each["sha256"] for each in done["signatures"]] == [honest.digest]
    by_number = [f"statement {list(made_up).index(what) + 1}" for what in NO_STATEMENTS]
    codes = {failure["name"]: failure["code"] for failure in done["failures"]}
    assert codes.keys() == {"ec-1", "ec-9", *by_number}
    assert set(codes.values()) == {"contradiction", "evidence_malformed"}
    manifest = parse_envelope(done["run"], "It").statement()["predicate"]
    assert [each["sha256"] for each in manifest["receipts"]] == [honest.digest]
    assert manifest["failures"] == done["failures"]


def test_a_run_that_is_none_or_of_another_vault_is_refused(run: Run, softhsm: Options) -> None:
    run("byok_evidence_key", softhsm, evidence_key=LABEL)
    options = {**softhsm, "evidence_key": LABEL, "vault_url": VAULT}
    for wrong, code in (
        ("}{", "evidence_malformed"),
        (json.dumps({**predicate_of_run(), "number": 7}), "evidence_malformed"),
        (json.dumps(predicate_of_run(plan=None)), "evidence_malformed"),
        (json.dumps(predicate_of_run(vault="https://x.vault.azure.net")), "contradiction"),
    ):
        refused = run("byok_sign", options, run=wrong)
        assert (refused["code"], refused["run"], refused["changed"]) == (code, None, False)
    nobody = run("byok_sign", {**options, "evidence_key": None}, run=json.dumps(predicate_of_run()))
    assert "No evidence key is named" in nobody["msg"]


@pytest.fixture
def chain(run: Run, softhsm: Options, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sign the manifest of a further run: ``chain(last_run=...)``."""
    run("byok_evidence_key", softhsm, evidence_key=LABEL)
    options = {
        **softhsm,
        "evidence_key": LABEL,
        "vault_url": VAULT,
        "state_directory": str(tmp_path / "state"),
    }

    def sign(**params: Any) -> dict[str, Any]:
        params = {"run": json.dumps(predicate_of_run()), **params}
        done = run("byok_sign", options, **params)
        assert "msg" not in done, done["msg"]
        return done

    return sign


def number_of(line: str) -> int:
    return head_of(parse_envelope(line, "It"), "It").number


def test_manifests_make_one_chain(chain: Callable[..., dict[str, Any]]) -> None:
    lines: list[str] = []
    for number in range(1, 4):
        done = chain(last_run=lines[-1] if lines else None)
        assert (done["warnings"], done["unstored"]) == ([], [])
        lines.append(done["run"])
        assert number_of(lines[-1]) == number
    envelopes = [parse_envelope(line, "It") for line in lines]
    assert judge_chain(envelopes, [head_of(envelopes[-1], "It")]).verdict == "whole"


def test_a_manifest_that_was_never_stored_is_returned_again(
    chain: Callable[..., dict[str, Any]],
) -> None:
    lost = chain()["run"]
    done = chain(last_run=None)
    assert done["unstored"] == [lost]
    assert "signed and never stored" in done["warnings"][0]
    after = chain(last_run=lost)
    assert after["unstored"] == [done["run"]]
    envelopes = [parse_envelope(line, "It") for line in (lost, done["run"], after["run"])]
    assert judge_chain(envelopes, []).verdict == "whole up to 3"


def test_manifests_of_two_interrupted_runs_are_returned_until_they_are_stored(
    chain: Callable[..., dict[str, Any]],
) -> None:
    stored = chain()["run"]
    lost = [chain(last_run=stored)["run"] for _time in range(3)]
    done = chain(last_run=stored)
    assert done["unstored"] == lost
    assert "Manifest 2 to 4 were signed and never stored" in done["warnings"][0]
    # The host died when it had stored one of them.
    after = chain(last_run=lost[0])
    assert after["unstored"] == [*lost[1:], done["run"]]
    envelopes = [parse_envelope(line, "It") for line in (stored, *lost, done["run"], after["run"])]
    assert judge_chain(envelopes, []).verdict == "whole up to 6"
    assert chain(last_run=after["run"])["unstored"] == []


def test_what_a_manifest_names_is_returned_with_it_until_it_is_stored(
    chain: Callable[..., dict[str, Any]],
) -> None:
    named = '{"payload":"x"}'
    lost = chain(to_store=[named])["run"]
    again = chain(last_run=None)
    assert again["unstored"] == [named, lost]
    assert chain(last_run=lost)["unstored"] == [again["run"]]


def test_a_number_without_room_for_more_ends_no_chain(
    chain: Callable[..., dict[str, Any]],
) -> None:
    for number in (statements.MOST_RUNS, int("9" * 4300)):
        place = {"number": 1, "previous": None, "evidence_key": None}
        statement = statements.run({**predicate_of_run(), **place})
        statement["predicate"].update(number=number, previous="b" * 64)
        done = chain(last_run=envelope_of(statement).to_line())
        assert "The last manifest (last_run) is no evidence" in done["warnings"][0]
    assert number_of(done["run"]) == 2


def test_an_older_manifest_makes_no_second_chain(
    chain: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first = chain()["run"]
    chain(last_run=first)
    third = chain()["run"]
    done = chain(last_run=first)
    assert number_of(done["run"]) == 4
    assert "lost or replaced" in done["warnings"][0]
    # Without a note, what the evidence key signed is taken as the last.
    (head,) = Path(tmp_path, "state/heads").iterdir()
    head.unlink()
    resumed = chain(last_run=third)
    assert (number_of(resumed["run"]), resumed["warnings"]) == (4, [])


def test_a_manifest_that_nobody_signed_is_taken_with_a_warning(
    chain: Callable[..., dict[str, Any]],
) -> None:
    numbered = {**predicate_of_run(), "number": 9, "previous": "b" * 64, "evidence_key": None}
    unsigned = envelope_of(statements.run(numbered))
    done = chain(last_run=unsigned.to_line())
    assert number_of(done["run"]) == 10
    assert "not signed by the evidence key in use" in done["warnings"][0]


@pytest.mark.parametrize("shown", ["{}", '{"payload":"x"}', "other vault"])
def test_what_is_no_last_manifest_is_passed_over(
    chain: Callable[..., dict[str, Any]], shown: str
) -> None:
    if shown == "other vault":
        predicate = predicate_of_run(vault="https://fabrikam.vault.azure.net")
        first = {"number": 1, "previous": None, "evidence_key": None}
        shown = envelope_of(statements.run({**predicate, **first})).to_line()
    done = chain(last_run=shown)
    assert number_of(done["run"]) == 1
    assert "The last manifest (last_run) is no evidence" in done["warnings"][0]


def test_a_note_that_cannot_be_read_is_never_passed_over(
    chain: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    chain()
    (head,) = Path(tmp_path, "state/heads").iterdir()
    note = json.loads(head.read_text())
    for text in ("", "{}", json.dumps({**note, "runs": []})):
        head.write_text(text)
        with pytest.raises(AssertionError, match="is no note of the last run manifest"):
            chain()
    head.write_text(json.dumps({**note, "runs": [{"line": "{}", "statements": []}]}))
    with pytest.raises(AssertionError, match="is no evidence"):
        chain()


def test_labels_say_which_key_is_meant(run: Run, softhsm: Options) -> None:
    run("byok_evidence_key", softhsm, evidence_key=LABEL)
    options = {**softhsm, "evidence_key": LABEL, "vault_url": VAULT}
    (key,) = generations(run, options, "in-token")
    line = found({**key, "name": "in-vault"}).to_line()
    assert run("byok_sign", options, statements=[line])["signatures"] == []
    named = run("byok_sign", options, statements=[line], labels={"in-vault": "in-token"})
    assert len(named["signatures"]) == 1


def test_json_that_became_a_dict_on_its_way_is_taken(run: Run, softhsm: Options) -> None:
    """As before ansible-core 2.19."""
    run("byok_evidence_key", softhsm, evidence_key=LABEL)
    options = {**softhsm, "evidence_key": LABEL, "vault_url": VAULT}
    options["state_directory"] = softhsm["lock_directory"]
    (key,) = generations(run, options, "ec")
    statement = found(key)
    given = {"statements": [json.loads(statement.to_line())], "run": predicate_of_run(statement)}
    first = run("byok_sign", options, **given)
    assert [each["sha256"] for each in first["signatures"]] == [statement.digest]
    second = run("byok_sign", options, **given, last_run=json.loads(first["run"]))
    assert (number_of(second["run"]), second["warnings"]) == (2, [])


def test_a_token_that_stops_signing_leaves_the_chain_as_it_is(
    run: Run, softhsm: Options, plain: Front, tmp_path: Path
) -> None:
    run("byok_evidence_key", softhsm, evidence_key=LABEL)
    refusing = {
        **plain(softhsm, faults="C_Sign:2:0x30"),  # the first one is the trial
        "evidence_key": LABEL,
        "vault_url": VAULT,
        "state_directory": str(tmp_path / "state"),
    }
    refused = run("byok_sign", refusing, run=json.dumps(predicate_of_run()))
    assert "C_Sign returned CKR_DEVICE_ERROR" in refused["msg"]
    assert (refused["code"], refused["run"]) == ("token_refused", None)
    assert list(Path(tmp_path, "state/heads").iterdir()) == []
