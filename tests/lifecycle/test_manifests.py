# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs leave as evidence: receipts that the token signs, and a chain of manifests that names
each of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import judge_chain
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.verify import verify
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    BY_ROLE,
    LAB_OPTIONS,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    generations,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.modules import attempt
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Moment, Reaper
from ansible_collections.keyferry.azure.tests.lifecycle.role import Play, perform

LABEL = "keyferry-evidence-test"


@dataclass
class Folder:
    """The evidence of one vault."""

    path: Path
    public_key: str
    keyid: str

    def receipts(self, key: Result) -> list[tuple[str, Result, bool]]:
        """Of a key, oldest first: kind, predicate, and whether the token signed it."""
        return [self._read(each) for each in self.lines(key)]

    def lines(self, key: Result) -> list[Envelope]:
        """The envelopes of a key, oldest first."""
        return self._lines(f"keys/{key['name'].lower()}")

    def runs(self) -> list[Result]:
        """The manifests, each signed by the token or by nobody."""
        return [self._read(each)[1] for each in self._lines("runs")]

    def whole(self, verdict: str = "whole") -> list[Result]:
        """The manifests of a chain that is whole, each signed, and which name every receipt."""
        envelopes = self._lines("runs")
        assert judge_chain(envelopes, []).verdict == f"whole up to {len(envelopes)}"
        assert all(self._read(each)[2] for each in envelopes)
        named = {receipt["sha256"] for each in self.runs() for receipt in each["receipts"]}
        stored = [
            envelope
            for path in (self.path / "keys").glob("*.intoto.jsonl")
            for envelope in self._lines(f"keys/{path.name.removesuffix('.intoto.jsonl')}")
        ]
        assert {envelope.digest for envelope in stored} == named
        assert all(self._read(each)[2] for each in stored)
        assert self.verified(envelopes)[0] == verdict, self.verified(envelopes)
        return self.runs()

    def verified(self, manifests: list[Envelope]) -> tuple[str, list[tuple[str, str]]]:
        """What somebody else finds who knows the key and the last manifest, and its problems."""
        trusted = self.path.parents[1] / "trust"
        (trusted / "evidence-keys").mkdir(parents=True, exist_ok=True)
        (trusted / "evidence-keys/token.pem").write_text(self.public_key)
        head = f"{self.path.name}={len(manifests)}:{manifests[-1].digest}"
        found = verify(str(self.path.parent), str(trusted), heads=[head])
        return found.verdict, [(each.code, each.msg) for each in found.problems]

    def _lines(self, name: str) -> list[Envelope]:
        path = self.path / f"{name}.intoto.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [parse_envelope(line, str(path)) for line in lines]

    def _read(self, envelope: Envelope) -> tuple[str, Result, bool]:
        kind, statement = statements.read(envelope, "it")
        signers = envelope.signers({self.keyid: self.public_key})
        assert len(signers) == len(envelope.signatures)
        return kind, statement["predicate"], bool(signers)


def unsigned_in(vault: Vault, path: Path) -> Folder:
    """Let a vault's runs keep their evidence here, and have no evidence key."""
    for name in ("receipts", "state"):
        (path / name).mkdir()
    vault.options.update(
        receipt_directory=str(path / "receipts"), state_directory=str(path / "state")
    )
    return Folder(path / "receipts" / vault.host, "", "")


def signed_in(vault: Vault, path: Path) -> Folder:
    """Let a vault's runs keep their evidence here, and sign it."""
    made = run("byok_evidence_key", evidence_key=LABEL)["evidence_key"]
    vault.options["evidence_key"] = LABEL
    return Folder(unsigned_in(vault, path).path, made["public_key"], made["keyid"])


@pytest.fixture
def unsigned(vault: Vault, tmp_path: Path) -> Folder:
    return unsigned_in(vault, tmp_path)


@pytest.fixture
def folder(vault: Vault, tmp_path: Path) -> Folder:
    return signed_in(vault, tmp_path)


def kinds(manifest: Result) -> list[str]:
    return [each["kind"] for each in manifest["receipts"]]


def events(manifest: Result) -> list[tuple[str, str]]:
    return [(each["key"], each["what"]) for each in manifest["events"]]


@BOTH
def test_a_transfer_leaves_signed_receipts_and_a_manifest_and_then_nothing(
    hsm: Vault, key: Declare, tmp_path: Path
) -> None:
    vault, folder = hsm, signed_in(hsm, tmp_path)
    keys = [{**key(), "after_transfer": "lock"}, key("RSA"), key("oct")]
    vault.rotate(*keys, check=True)
    assert folder.runs() == []
    assert vault.rotate(*keys)["failures"] == []
    for declared in keys:
        (wrapped, before, first), (imported, after, second) = folder.receipts(declared)
        assert (wrapped, imported, first, second) == ("wrapped", "imported", True, True)
        assert before["key"]["generation"] == after["key"]["generation"]
        assert after["vault"] == vault.url
    (manifest,) = folder.whole()
    assert sorted(kinds(manifest)) == ["imported"] * 3 + ["wrapped"] * 3
    names = [declared["name"] for declared in keys]
    assert sorted(events(manifest)) == sorted(
        [(names[0], "locked"), *((name, "made") for name in names)]
    )
    assert manifest["evidence_key"] == folder.keyid
    assert manifest["who"]["user"]
    assert "oaep_hash" in {each["code"] for each in manifest["deviations"]}
    again = vault.rotate(*keys)
    assert (again["changed"], again["warnings"]) == (False, [])
    assert len(folder.whole()) == 1


@BOTH
def test_a_key_of_the_vault_signs_beside_the_token(
    lab: Lab, vault: Vault, key: Declare, folder: Folder
) -> None:
    made = lab.client(vault.url).create_ec_key("azure", curve="P-256", hardware_protected=True)
    declared, kid = key(), str(made.id)
    assert vault.rotate(declared, evidence_key_id=kid)["failures"] == []
    assert [len(each.signatures) for each in folder.lines(declared)] == [1, 2]
    with pytest.raises(ByokError, match="cannot sign receipts"):
        vault.rotate(key(), evidence_key_id=f"{kid}0")


@BOTH
def test_a_rotation_is_the_next_in_the_chain(
    lab: Lab, vault: Vault, key: Declare, folder: Folder
) -> None:
    due, other = key(every="P30D"), key()
    vault.rotate(due, other)
    lab.forward(days=31)
    rotated = vault.rotate(due, other)
    assert rotated["failures"] == []
    first, second = folder.whole()
    assert (first["number"], second["number"]) == (1, 2)
    assert {each["key"] for each in second["receipts"]} == {due["name"]}
    assert second["left_alone"] == [other["name"]]
    assert second["job"] == "rotate"
    assert [kind for kind, _predicate, _signed in folder.receipts(due)] == [
        *("wrapped", "imported", "wrapped", "imported")
    ]


@BOTH
def test_without_an_evidence_key_nothing_is_signed_and_the_chain_is_whole(
    vault: Vault, key: Declare, unsigned: Folder
) -> None:
    for declared in (key(), key()):
        assert vault.rotate(declared)["failures"] == []
        assert [signed for _kind, _predicate, signed in unsigned.receipts(declared)] == [False] * 2
    first, second = unsigned.runs()
    assert (first["evidence_key"], second["number"]) == (None, 2)
    envelopes = unsigned._lines("runs")
    assert judge_chain(envelopes, []).verdict == "whole up to 2"


def test_a_run_says_once_that_its_receipts_are_unsigned(
    vault: Vault, key: Declare, unsigned: Folder
) -> None:
    declared = key()
    (told,) = vault.transfer(declared)["told"]
    assert told.startswith("The receipts of this run are not signed")
    assert "keyferry.azure.evidence_key" in told
    assert vault.transfer(declared)["told"] == []


@BOTH
def test_an_evidence_key_that_is_missing_is_told_before_anything_is_made(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    declared = key()
    with pytest.raises(ByokError, match="no-such-key"):
        vault.rotate(declared, evidence_key="no-such-key")
    assert generations(declared) == {declared["name"]: []}
    assert vault.keks() == []
    assert folder.runs() == []


@BY_ROLE
def test_several_batches_are_one_run(vault: Vault, key: Declare, folder: Folder) -> None:
    keys = [key() for _number in range(3)]
    assert vault.rotate(*keys, batch_size=2)["failures"] == []
    (manifest,) = folder.whole()
    assert {each["key"] for each in manifest["receipts"]} == {each["name"] for each in keys}


@BOTH
def test_a_run_in_which_only_one_key_fails_leaves_a_manifest_that_says_so(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    foreign, other = key(), key()
    vault.native(foreign)
    result = vault.rotate(foreign, other)
    (manifest,) = folder.whole()
    assert failure(result)
    assert [each["name"] for each in manifest["failures"]] == [foreign["name"]]
    assert {each["key"] for each in manifest["receipts"]} == {other["name"]}


# What is in place without a receipt, and what killed runs leave


@BOTH
def test_a_version_without_a_receipt_is_found_once(
    hsm: Vault, key: Declare, tmp_path: Path
) -> None:
    vault, folder = hsm, signed_in(hsm, tmp_path)
    keys = [key(), key("oct")]
    vault.rotate(*keys)
    shutil.rmtree(folder.path)
    state = Path(vault.options["state_directory"])
    shutil.rmtree(state)
    state.mkdir()
    found = vault.rotate(*keys)
    assert (found["changed"], found["failures"]) == (False, [])
    (manifest,) = folder.whole("incomplete")
    assert kinds(manifest) == ["found", "found"]
    identities = [folder.receipts(declared)[0][1]["identity"] for declared in keys]
    assert identities == ["public_key", "tag_only"]
    vault.rotate(*keys)
    assert len(folder.whole("incomplete")) == 1


@BOTH
def test_receipts_of_a_killed_run_are_taken_by_the_next(
    vault: Vault, key: Declare, folder: Folder, reaper: Reaper, no_sleep: list[float]
) -> None:
    """It is killed when the keys have arrived, and the KEK is to be deleted."""
    keys = [key(), key()]
    reaper.kills(lambda: vault.rotate(*keys), Moment(0, False, ("DELETE",)))
    assert folder.runs() == []
    assert [signed for _kind, _predicate, signed in folder.receipts(keys[0])] == [True, False]
    assert vault.rotate(*keys)["failures"] == []
    (manifest,) = folder.whole()
    assert sorted(kinds(manifest)) == ["imported"] * 2 + ["wrapped"] * 2


@BOTH
def test_an_import_that_a_killed_run_had_sent_gets_its_receipt(
    vault: Vault, key: Declare, folder: Folder, reaper: Reaper, no_sleep: list[float]
) -> None:
    declared = key()
    reaper.kills(lambda: vault.rotate(declared), Moment(0, True, ("PUT",)))
    assert vault.rotate(declared)["failures"] == []
    manifest = folder.whole()[-1]
    assert "imported" in kinds(manifest)
    (imported,) = [each for kind, each, _signed in folder.receipts(declared) if kind == "imported"]
    assert imported["interrupted_at"] is not None


# A host that lies, and steps that fail


Alter = Callable[[Result], None]


class Lying:
    """Modules of the hosts, of which one changes the results of byok_import."""

    def __init__(self, alter: Alter) -> None:
        self.alter = alter

    def __call__(self, module: str, check: bool, **options: Any) -> Result:
        result = attempt(module, check, **options)
        if module == "byok_import":
            for told in result["imports"]:
                self.alter(told)
        return result


def restated(told: Result, **facts: Any) -> None:
    """Let the host state something else of an import."""
    statement = parse_envelope(told["envelope"], "it").statement()
    statement["predicate"].update(facts)
    told["envelope"] = envelope_of(statement).to_line()


def another_subject(name: str) -> Alter:
    def alter(told: Result) -> None:
        statement = parse_envelope(told["envelope"], "it").statement()
        for subject in statement["subject"]:
            if subject["name"].endswith(name):
                subject["digest"]["sha256"] = "f" * 64
        told["envelope"] = envelope_of(statement).to_line()

    return alter


def another_key(**facts: Any) -> Alter:
    def alter(told: Result) -> None:
        key = parse_envelope(told["envelope"], "it").statement()["predicate"]["key"]
        restated(told, key={**key, **facts})

    return alter


LIES: dict[str, tuple[Alter, str]] = {
    "nothing": (lambda told: told.update(envelope=None), "returned no statement"),
    "nonsense": (lambda told: told.update(envelope="{}"), "returned no statement"),
    "another vault": (lambda told: restated(told, vault="https://evil"), "states the vault"),
    "another thumbprint": (another_key(thumbprint="x"), "states the thumbprint"),
    "another generation": (another_key(generation="00"), "states the generation"),
    "another package": (another_subject(".byok"), "states the package"),
    "another wrapping": (another_subject("wrapped"), "states the wrapping"),
    "another version": (lambda told: told.update(kid=told["kid"][:-1] + "x"), "states the version"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_lying_host_states_is_signed_by_nobody(
    vault: Vault, key: Declare, folder: Folder, lie: str
) -> None:
    alter, says = LIES[lie]
    declared = {**key(), "after_transfer": "lock"}
    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    result = perform(options, [declared], run_module=Lying(alter))
    assert says in failure(result)
    assert result["failures"][0]["code"] == "contradiction"
    assert only_generation(declared)["CKA_EXTRACTABLE"] is True  # what is not sure is not locked
    (manifest,) = folder.runs()
    assert kinds(manifest) == ["wrapped"]
    assert manifest["failures"][0]["code"] == "contradiction"


def only_generation(declared: Result) -> Result:
    (generation,) = generations(declared)[declared["name"]]
    return generation


def test_a_statement_of_a_generation_that_the_token_has_not_is_not_signed(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    """The host says that an interrupted run sent it, which the controller cannot know."""
    declared = key()

    def alter(told: Result) -> None:
        restated(told, interrupted_at="2026-11-30T17:00:00Z")
        another_key(generation="ab", thumbprint="x")(told)

    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    result = perform(options, [declared], run_module=Lying(alter))
    assert result["failures"][0]["code"] == "contradiction"
    (manifest,) = folder.runs()
    assert "contradiction" in {each["code"] for each in manifest["failures"]}


class Failing:
    """Modules of which one always fails."""

    def __init__(self, module: str) -> None:
        self.module = module

    def __call__(self, module: str, check: bool, **options: Any) -> Result:
        if module == self.module:
            return {"failed": True, "changed": False, "msg": "It is broken."}
        return attempt(module, check, **options)


@pytest.mark.parametrize("module", ["byok_sign", "byok_receipts"])
def test_evidence_that_could_not_be_kept_is_told_and_taken_by_the_next_run(
    vault: Vault, key: Declare, folder: Folder, module: str
) -> None:
    keys = [key(), key()]
    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    result = perform(options, keys, run_module=Failing(module))
    assert [each["imported"] for each in result["rotations"]] == [True, True]
    assert "It is broken." in failure(result)
    assert result["failures"][0]["code"] == "evidence_unkept"
    assert any("It is broken." in str(told) for told in result["told"])
    assert folder.runs() == []
    assert perform(options, keys)["failures"] == []
    manifests = folder.whole()  # a manifest that was signed and not stored is stored then
    assert len(manifests) == {"byok_sign": 1, "byok_receipts": 2}[module]
    for manifest in manifests:
        assert sorted(kinds(manifest)) == ["imported"] * 2 + ["wrapped"] * 2


def spoilt(**facts: Any) -> Callable[[Result], None]:
    return lambda result: result.update(facts)


def failing(**facts: str) -> Callable[[Result], None]:
    failed = {"name": "x", "msg": "It is broken.", "code": "failed", **facts}
    return spoilt(failures=[failed])


#: What no module returns: its key's evidence cannot be read, or no JSON has it
SPOILT: dict[str, tuple[str, Callable[[Result], None]]] = {
    "text": ("byok_import", spoilt(imports="x")),
    "numbers": ("byok_import", spoilt(imports=[1])),
    "nothing in it": ("byok_import", spoilt(imports=[{}])),
    "no moment": ("byok_import", lambda result: result["imports"][0].update(interrupted_at="x")),
    "an envelope's kind": ("byok_import", lambda result: result["imports"][0].update(envelope=7)),
    "a failure's name": ("byok_import", failing(name="\ud800")),
    "a failure's code": ("byok_import", failing(code="\ud800")),
    "the last manifest": ("byok_plan", lambda result: result["receipts"].update(last_run=7)),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_result_that_no_module_returns_hides_no_package_that_was_wrapped(
    vault: Vault, key: Declare, folder: Folder, what: str
) -> None:
    spoiling, alter = SPOILT[what]

    def act(module: str, check: bool, **options: Any) -> Result:
        result = attempt(module, check, **options)
        if module == spoiling:
            alter(result)
        return result

    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    with suppress(ByokError):  # of which step it is, does not matter
        perform(options, [key()], run_module=act)
    (manifest,) = folder.runs()
    assert "wrapped" in kinds(manifest)
    assert [happened for _key, happened in events(manifest)] == ["made"]


def test_a_run_that_stops_keeps_the_evidence_of_what_it_did(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    keys, wraps = [key(), key()], []

    def stops(module: str, check: bool, **options: Any) -> Result:
        wraps.extend([module] if module == "byok_wrap" else [])
        second = module == "byok_wrap" and len(wraps) == 2
        return Failing("byok_wrap" if second else "")(module, check, **options)

    options = {**vault._options(), "batch_size": 1}
    with pytest.raises(ByokError, match="It is broken"):
        perform(options, keys, run_module=stops)
    (manifest,) = folder.whole()
    assert kinds(manifest) == ["wrapped", "imported"]
    assert perform(options, keys)["failures"] == []
    assert [len(each["receipts"]) for each in folder.whole()] == [2, 2]


class Gone:
    """Modules of hosts of which one cannot be reached any more from its import on."""

    def __init__(self) -> None:
        self.is_gone = False

    def __call__(self, module: str, check: bool, **options: Any) -> Result:
        self.is_gone |= module == "byok_import"
        if self.is_gone and module in ("byok_import", "byok_kek", "byok_receipts"):
            return {"unreachable": True, "changed": False, "msg": "It let go."}
        return attempt(module, check, **options)


def test_a_host_that_lets_go_of_its_connection_hides_no_package_that_it_got(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    declared = key()
    options = {"vault_url": vault.url, **LAB_OPTIONS, **vault.options}
    with pytest.raises(ByokError, match="It let go"):
        perform(options, [declared], run_module=Gone())
    assert folder.runs() == []
    assert perform(options, [declared])["failures"] == []
    first, _second = folder.whole()
    assert kinds(first) == ["wrapped"]


# Other jobs


def test_keys_that_are_made_ahead_leave_a_manifest(
    vault: Vault, key: Declare, folder: Folder
) -> None:
    declared = key()
    perform({**vault._options(), "stage": "prepare"}, [declared])
    (manifest,) = folder.whole()
    assert (manifest["job"], events(manifest)) == ("prepare", [(declared["name"], "made")])


def test_retiring_deleting_and_recovering_go_on_with_the_chain(
    lab: Lab, vault: Vault, key: Declare, folder: Folder
) -> None:
    declared = key(every="P30D", retire="disable", overlap="P1D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    second = only(vault.rotate(declared))
    lab.forward(days=2)
    options = vault._options()
    perform({**options, "stage": "retire"}, [declared])
    for entry, what in (("delete", second["kid"]), ("recover", declared["name"])):
        variables = {f"byok_{name}": value for name, value in options.items()}
        del variables["byok_last_vault"]  # of byok_rotate
        play = Play({"inventory_hostname": "v", **variables, f"byok_{entry}": what})
        play.perform(entry)
    _first, _second, retired, deleted, recovered = folder.whole()
    assert [retired["job"], deleted["job"], recovered["job"]] == ["retire", "delete", "recover"]
    (event,) = retired["events"]
    assert (event["what"], event["kid"]) == ("retired", first["kid"])
    assert [each["events"][0]["what"] for each in (deleted, recovered)] == ["deleted", "recovered"]
    assert deleted["events"][0]["kid"] == second["kid"]


def test_nobody_else_can_read_evidence(vault: Vault, key: Declare, folder: Folder) -> None:
    vault.rotate(key())
    paths = [*(folder.path / "keys").glob("*"), folder.path / "runs.intoto.jsonl"]
    assert [oct(path.stat().st_mode & 0o777) for path in paths] == ["0o600"] * 2
