# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan tells of receipts, and what byok_receipts adds to them."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Head,
    judge_chain,
    next_manifest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    MOST_SIGNATURES,
    Envelope,
    Signature,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Result,
    Vault,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.test_receipts import EvidenceKey

URL = "https://keyferry-lab-receipts.vault.azure.net"
KID = f"{URL}/keys/a/{'0' * 32}"
MOMENT = "2026-11-30T12:00:00Z"


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    directory = tmp_path / "receipts"
    directory.mkdir()
    return directory


@pytest.fixture
def keep(receipts: Path) -> Callable[..., Result]:
    def keep_in(url: str = URL, check: bool = False, **options: Any) -> Result:
        options = {"vault_url": url, "receipt_directory": str(receipts), **options}
        return run("byok_receipts", check, **options)

    return keep_in


def folder(receipts: Path) -> EvidenceFolder:
    return EvidenceFolder(str(receipts), URL)


def envelopes(lines: tuple[str, ...]) -> list[Envelope]:
    return [parse_envelope(line, "A line") for line in lines]


def found(name: str = "a", url: str = URL) -> Envelope:
    predicate = {
        "key": {"name": name, "generation": None, "thumbprint": "thumbprint"},
        "vault": url,
        "kid": f"{url}/keys/{name}/{'0' * 32}",
        "identity": "public_key",
        "kek": "unknown",
        "told": "found in place",
        "time": MOMENT,
        "clock": "vault",
    }
    return envelope_of(statements.found(predicate, public_key="1" * 64))


def manifest(*named: Envelope, url: str = URL) -> Result:
    return {
        "vault": url,
        "job": "transfer",
        "begun": MOMENT,
        "ended": MOMENT,
        "clock": "host",
        "who": dict.fromkeys(("user", "controller", "job_id", "commit", "ticket")),
        "plan": "2" * 64,
        "receipts": [{"key": "a", "kind": "found", "sha256": each.digest} for each in named],
        "left_alone": [],
        "failures": [],
        "events": [],
        "approvals": [],
        "deviations": [],
    }


def told(vault: Vault, receipts: Path, *keys: Result) -> Result:
    in_token = run("byok_target_key", True, target_keys=list(keys))["target_keys"]
    planned = vault.run(
        "byok_plan",
        declarations=list(keys),
        target_keys=in_token,
        receipt_directory=str(receipts),
    )
    return {**planned["receipts"], "warnings": planned["warnings"]}


def test_a_plan_tells_what_has_no_receipt_and_what_no_manifest_names(
    vault: Vault, key: Declare, receipts: Path, tmp_path: Path
) -> None:
    stated, silent, missing = key(), key(), key()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    only(vault.rotate(stated, receipt_directory=str(receipts)))
    kept = only(vault.rotate(silent, receipt_directory=str(elsewhere)))
    (receipts / vault.host / "runs.intoto.jsonl").unlink()  # as if the run had died before it
    at_first = told(vault, receipts, stated, silent, missing)
    assert at_first["without"] == [
        {
            "name": silent["name"],
            "kid": kept["kid"],
            "version": kept["version"],
            "thumbprint": kept["thumbprint"],
        }
    ]
    (loose,) = envelopes(tuple(at_first["loose"]))
    assert loose.statement()["predicate"]["key"]["name"] == stated["name"]
    assert at_first["last_run"] is None
    options: Result = {"vault_url": vault.url, "receipt_directory": str(receipts)}
    in_place = {
        **found(silent["name"], vault.url).statement()["predicate"],
        "kid": kept["kid"],
    }
    line = envelope_of(statements.found(in_place, public_key="1" * 64)).to_line()
    kept_run = run(
        "byok_receipts", **options, statements=[line], run=manifest(loose, url=vault.url)
    )
    then = told(vault, receipts, stated, silent, missing)
    assert then["without"] == []
    assert then["loose"] == [line]
    assert then["last_run"] == kept_run["last_run"]
    assert parse_envelope(then["last_run"], "it").digest == kept_run["head"]["sha256"]


def test_a_plan_warns_of_what_cannot_be_read_and_goes_on(
    vault: Vault, key: Declare, receipts: Path
) -> None:
    torn, unreadable = key(), key()
    for declared in (torn, unreadable):
        only(vault.rotate(declared, receipt_directory=str(receipts)))
    (receipts / vault.host / "runs.intoto.jsonl").unlink()
    keys = receipts / vault.host / "keys"
    with (keys / f"{torn['name']}.intoto.jsonl").open("a") as file:
        file.write('{"payload')
    path = keys / f"{unreadable['name']}.intoto.jsonl"
    path.unlink()
    path.mkdir()
    seen = told(vault, receipts, torn, unreadable)
    assert any(f"{torn['name']}: the last line" in warning for warning in seen["warnings"])
    assert any(f"{unreadable['name']}: " in warning for warning in seen["warnings"])
    assert seen["without"] == []
    assert len(seen["loose"]) == 1


def test_an_import_of_a_killed_run_is_not_told_as_found(
    vault: Vault, key: Declare, receipts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that plans it finishes it, and states it then."""
    declared = key()
    monkeypatch.setattr(EvidenceFolder, "add_receipts", _fails)
    assert vault.rotate(declared, receipt_directory=str(receipts))["failures"] != []
    monkeypatch.undo()
    assert told(vault, receipts, declared)["without"] == []
    assert only(vault.rotate(declared, receipt_directory=str(receipts)))["imported"] is True
    assert [kind for kind, _told in vault.stated(receipts, declared)] == ["wrapped", "imported"]
    assert len(vault.versions(declared)) == 1


def _fails(*_arguments: Any) -> None:
    raise ByokError("The disk is full", "Make room")


def test_statements_signatures_and_manifests_are_added_once(
    keep: Callable[..., Result], receipts: Path
) -> None:
    statement, key = found(), EvidenceKey()
    signed = key.sign(statement)
    signature = {
        "sha256": statement.digest,
        "keyid": fingerprint(key.pem),
        "sig": base64.b64encode(signed.signatures[0].sig).decode(),
    }
    looked = keep(check=True, statements=[statement.to_line()], run=manifest(statement))
    assert (looked["stored"], looked["head"]["number"], looked["changed"]) == (2, 1, True)
    assert list(receipts.iterdir()) == []
    done = keep(statements=[statement.to_line()], signatures=[signature], run=manifest(statement))
    assert (done["stored"], done["warnings"]) == (3, [])
    assert envelopes(folder(receipts).receipts("a").whole) == [signed]
    assert done["head"]["sha256"] == envelopes(folder(receipts).runs().whole)[0].digest
    options: Result = {"statements": [statement.to_line()], "signatures": [signature]}
    for check in (True, False):
        again = keep(check=check, **options)
        assert (again["stored"], again["changed"], again["head"]) == (0, False, done["head"])
    other = EvidenceKey().sign(statement)
    assert keep(statements=[other.to_line()])["stored"] == 1
    (both,) = envelopes(folder(receipts).receipts("a").whole)
    assert both.signatures == (*signed.signatures, *other.signatures)


def test_signatures_of_nobody_keep_no_true_one_out(
    keep: Callable[..., Result], receipts: Path
) -> None:
    junk = found()
    for number in range(MOST_SIGNATURES):
        junk = junk.with_signature(Signature(f"{number:064x}", b"junk"))
    keep(statements=[junk.to_line()])
    true = EvidenceKey().sign(found())
    keep(statements=[true.to_line()])
    (both,) = envelopes(folder(receipts).receipts("a").whole)
    assert both.signatures[-1] == true.signatures[0]


def test_a_file_that_is_none_keeps_no_manifest_out(
    keep: Callable[..., Result], receipts: Path
) -> None:
    statement = found()
    signed = EvidenceKey().sign(statement)
    keep(statements=[statement.to_line()])
    keys = folder(receipts)._path("keys")
    os.mkfifo(f"{keys}/0.intoto.jsonl")
    done = keep(statements=[signed.to_line()], run=manifest(statement))
    assert (done["stored"], done["head"]["number"]) == (2, 1)
    assert "is no regular file" in done["warnings"][0]


def test_unsigned_manifests_are_numbered_one_after_the_other(
    keep: Callable[..., Result], receipts: Path
) -> None:
    for number in (1, 2, 3):
        assert keep(run=manifest())["head"]["number"] == number
    chain = judge_chain(envelopes(folder(receipts).runs().whole), [])
    assert chain.verdict == "whole up to 3"


def test_a_signed_manifest_keeps_its_number_and_is_there_once(
    keep: Callable[..., Result], receipts: Path
) -> None:
    key = EvidenceKey()

    def signed(head: Head | None) -> Envelope:
        statement = next_manifest(manifest(), head, fingerprint(key.pem))
        return key.sign(envelope_of(statement))

    first = signed(None)
    assert keep(run=first.to_line())["head"] == {"number": 1, "sha256": first.digest}
    assert keep(run=first.to_line())["stored"] == 0
    second = signed(Head(1, first.digest))
    third = signed(Head(2, second.digest))
    both = keep(statements=[second.to_line()], run=third.to_line())
    assert (both["head"]["number"], both["warnings"], both["stored"]) == (3, [], 2)
    assert both["last_run"] == third.to_line()
    fifth = keep(run=signed(Head(4, "3" * 64)).to_line())
    assert "Manifest 5 does not follow" in fifth["warnings"][0]
    assert len(folder(receipts).runs().whole) == 4


def test_with_nothing_to_keep_it_only_reads(keep: Callable[..., Result], receipts: Path) -> None:
    nothing = keep()
    assert (nothing["stored"], nothing["head"], nothing["last_run"]) == (0, None, None)
    assert nothing["changed"] is False
    assert list(receipts.iterdir()) == []


def test_signatures_of_what_is_not_there_are_told(keep: Callable[..., Result]) -> None:
    signature = {"sha256": "4" * 64, "keyid": "5" * 64, "sig": "AAAA"}
    done = keep(signatures=[signature])
    assert (done["stored"], done["changed"]) == (0, False)
    assert "Signatures for 1 statements are not kept" in done["warnings"][0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"statements": [found(url=URL.replace("lab", "lib")).to_line()]}, "is about https://keyf"),
        ({"statements": ["{}"]}, "Statement 2 of statements is no evidence"),
        ({"statements": [envelope_of({"a": 1}).to_line()]}, "no statement of Keyferry"),
        ({"run": manifest(url="https://other.vault.azure.net")}, "is about https://other"),
        ({"run": found().to_line()}, "is found/v1 and no manifest of a run"),
        ({"run": {**manifest(), "number": 3}}, "is not as run/v1 has it"),
        ({"run": "no JSON"}, "it is no JSON"),
        ({"signatures": [{"sha256": "x", "keyid": "5" * 64, "sig": "AAAA"}]}, "its sha256 is no"),
        ({"signatures": [{"sha256": "4" * 64, "keyid": "5" * 64, "sig": "*"}]}, "is no base64"),
    ],
)
def test_what_is_no_evidence_of_this_vault_is_refused_before_anything_is_kept(
    keep: Callable[..., Result], receipts: Path, options: Result, says: str
) -> None:
    lines = [found().to_line(), *options.get("statements", [])]
    with pytest.raises(ByokError) as caught:
        keep(**{**options, "statements": lines})
    assert says in str(caught.value)
    assert caught.value.reason == "evidence_malformed"
    assert list(receipts.iterdir()) == []
