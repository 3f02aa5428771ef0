# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each import leaves what both sides state of it, and asks the hardware about the key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import wrapped_of
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Signature,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps import evidence
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
)
from ansible_collections.keyferry.azure.tests.lifecycle.test_trust import Carried
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    directory = tmp_path / "receipts"
    directory.mkdir()
    return directory


@pytest.fixture
def pinned(lab: Lab, hsm: Vault) -> Result:
    """The roots of the lab's pool, which nobody need know to import."""
    kek = hsm.run("byok_kek", name="kek", size=2048)
    return {
        "attestation_owner_roots": {hsm.url: kek["kek_owner_roots"][0]},
        "attestation_maker_roots": [(lab.folder / "maker-root.pem").read_text()],
    }


def digest_named(statement: Result, name: str) -> str:
    (digest,) = (each["digest"]["sha256"] for each in statement["subject"] if each["name"] == name)
    return str(digest)


@BOTH
def test_both_sides_state_an_import(
    hsm: Vault, key: Declare, pinned: Result, receipts: Path
) -> None:
    declared = key()
    arrived = only(hsm.rotate(declared, **pinned, receipt_directory=str(receipts)))
    (first, wrapped), (second, imported) = hsm.stated(receipts, declared)
    assert (first, second) == ("wrapped", "imported")
    assert wrapped == wrapped_of(arrived["receipt"])
    assert digest_named(imported, "wrapped") == envelope_of(wrapped).digest
    for subject in wrapped["subject"]:
        assert digest_named(imported, subject["name"]) == subject["digest"]["sha256"]
    told, merged = imported["predicate"], arrived["receipt"]["predicate"]["import"]
    assert told["key"]["thumbprint"] == merged["thumbprint"] == arrived["thumbprint"]
    assert told["key"]["generation"] == arrived["generation"]
    for fact in ("kid", "type", "attributes", "identity", "origin", "proof", "request_id"):
        assert told[fact] == merged[fact], fact
    assert told["interrupted_at"] is None
    attestation = told["attestation"]
    assert attestation["verdict"] == "attested"
    assert attestation["owner_root"] in pinned["attestation_owner_roots"].values()
    judged = {attestation["sha256"], wrapped["predicate"]["kek"]["attestation"]}
    kept = list((receipts / hsm.host / "attestations").iterdir())
    assert {hashlib.sha256(each.read_bytes()).hexdigest() for each in kept} == judged
    assert {f"{sha256}.json" for sha256 in judged} == {each.name for each in kept}
    assert hsm.rotate(declared, **pinned, receipt_directory=str(receipts))["changed"] is False
    assert len(hsm.stated(receipts, declared)) == 2


def test_what_byok_import_returns_is_what_it_wrote(
    vault: Vault, key: Declare, tmp_path: Path, receipts: Path
) -> None:
    carried = Carried(vault, key(), tmp_path)
    options: Result = {"receipt_directory": str(receipts)}
    item = {
        **carried.declared,
        "path": str(carried.path),
        "thumbprint": carried.told["thumbprint"],
    }
    looked = vault.run("byok_import", True, declarations=[item], **options)
    assert looked["imports"][0]["envelope"] is None
    assert list(receipts.iterdir()) == []
    (arrived,) = vault.run("byok_import", declarations=[item], **options)["imports"]
    (_kind, wrapped), (_kind, imported) = vault.stated(receipts, carried.declared)
    envelope = parse_envelope(arrived["envelope"], "it")
    assert envelope.statement() == imported
    assert arrived["wrapped_sha256"] == envelope_of(wrapped).digest
    assert imported["predicate"]["attestation"] is None  # a vault has none
    assert imported["predicate"]["source"] == "carrier"
    (again,) = vault.run("byok_import", declarations=[item], **options)["imports"]
    assert (again["imported"], again["envelope"]) == (False, None)


@pytest.mark.parametrize("judged", [True, False])
def test_the_attestation_by_which_a_kek_was_judged_is_kept(
    hsm: Vault, key: Declare, tmp_path: Path, receipts: Path, judged: bool
) -> None:
    carried = Carried(hsm, key(), tmp_path)
    attestation = carried.kek["kek_attestation"]
    sha256 = hashlib.sha256(attestation.encode()).hexdigest()
    statement = wrapped_of(carried.told["receipt"])
    statement["predicate"]["kek"] = {
        **statement["predicate"]["kek"],
        "attestation": sha256 if judged else "0" * 64,
    }
    package = {**carried.told, "receipt": None, "envelope": envelope_of(statement).to_line()}
    done = hsm.run(
        "byok_import",
        declarations=[{**carried.declared, "thumbprint": carried.told["thumbprint"]}],
        packages=[package],
        kek_attestation=attestation,
        receipt_directory=str(receipts),
    )
    assert done["failures"] == []
    kept = receipts / hsm.host / "attestations" / f"{sha256}.json"
    assert kept.exists() == judged
    assert not judged or kept.read_text() == attestation


@BOTH
def test_a_root_that_is_not_pinned_is_no_fault(hsm: Vault, key: Declare, receipts: Path) -> None:
    declared = key("oct")
    result = hsm.rotate(declared, receipt_directory=str(receipts))
    only(result)
    attestation = hsm.stated(receipts, declared)[1][1]["predicate"]["attestation"]
    assert (attestation["verdict"], attestation["owner_root"]) == ("root_not_pinned", None)
    assert not [warning for warning in result["warnings"] if "hardware" in warning]
    assert (receipts / hsm.host / "attestations" / f"{attestation['sha256']}.json").exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("firewall", "ForbiddenByFirewall"),
        ("throttle", "429"),
        ("drop_and_commit", "could not be fetched"),
    ],
)
def test_an_attestation_that_cannot_be_fetched_fails_nothing(
    hsm: Vault, key: Declare, receipts: Path, no_sleep: list[float], kind: str, says: str
) -> None:
    declared = key()
    hsm.fault(operation="attestation", kind=kind, key=declared["name"], count=20)
    result = hsm.rotate(declared, receipt_directory=str(receipts), throttle_timeout=3)
    assert only(result)["imported"] is True
    attestation = hsm.stated(receipts, declared)[1][1]["predicate"]["attestation"]
    assert (attestation["verdict"], attestation["sha256"]) == ("not_fetched", None)
    assert says in attestation["told"]


@BOTH
def test_the_attestation_of_another_key_alarms(
    hsm: Vault,
    key: Declare,
    pinned: Result,
    receipts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = json.dumps({"kek": hsm.run("byok_kek", name="kek", size=2048)["kek_attestation"]})
    monkeypatch.setattr(evidence, "fetch_attestation", lambda *_all: json.loads(other)["kek"])
    declared = key()
    result = hsm.rotate(declared, **pinned, receipt_directory=str(receipts))
    assert only(result)["imported"] is True
    assert any("of the imported key is wrong" in warning for warning in result["warnings"])
    attestation = hsm.stated(receipts, declared)[1][1]["predicate"]["attestation"]
    assert attestation["verdict"] == "differs"


@BOTH
def test_what_cannot_be_written_is_refused_before_an_import(
    vault: Vault, key: Declare, tmp_path: Path, receipts: Path
) -> None:
    declared = key()
    with pytest.raises(ByokError, match="does not exist or cannot be written"):
        vault.rotate(declared, receipt_directory=str(tmp_path / "none"))
    planned = vault.rotate(declared, receipt_directory=str(tmp_path / "none"), check=True)
    assert any("no key is imported without it" in each for each in planned["warnings"])
    keys = receipts / vault.host / "keys"
    keys.mkdir(parents=True)
    (keys / f"{declared['name']}.intoto.jsonl").symlink_to(tmp_path / "elsewhere")
    result = vault.rotate(declared, receipt_directory=str(receipts))
    refused, unkept = result["failures"]
    assert "cannot be read" in refused["msg"]
    assert unkept["code"] == "evidence_unkept"
    assert vault.versions(declared) == []


class EvidenceKey:
    """A key that signs as a token would."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        self.pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, envelope: Envelope) -> Envelope:
        signature = self._key.sign(envelope.to_be_signed, ec.ECDSA(hashes.SHA256()))
        return envelope.with_signature(Signature(fingerprint(self.pem), signature))


@pytest.fixture(scope="module")
def evidence_key() -> EvidenceKey:
    return EvidenceKey()


Bring = Callable[..., Result]


@pytest.fixture(params=["EC", "oct"])
def carried(request: pytest.FixtureRequest, hsm: Vault, key: Declare, tmp_path: Path) -> Carried:
    return Carried(hsm, key(request.param), tmp_path)


def unsigned(carried: Carried) -> Envelope:
    return envelope_of(wrapped_of(carried.told["receipt"]))


def bring(carried: Carried, line: str, *trusted: EvidenceKey, beside: bool = False) -> Result:
    """Import the file with an envelope, and nothing else that says which key it holds."""
    package: Result = {"name": carried.declared["name"], "path": str(carried.path)}
    if beside:
        Path(f"{carried.path}.intoto.jsonl").write_text(f"{line}\n")
    else:
        package["envelope"] = line
    return carried.vault.run(
        "byok_import",
        declarations=[carried.declared],
        packages=[package],
        trusted_evidence_keys=[key.pem for key in trusted],
        settle_time=0,
    )


@pytest.mark.parametrize("beside", [False, True])
def test_a_signed_receipt_says_which_key_a_package_holds(
    carried: Carried, evidence_key: EvidenceKey, beside: bool
) -> None:
    line = evidence_key.sign(unsigned(carried)).to_line()
    (arrived,) = bring(carried, line, EvidenceKey(), evidence_key, beside=beside)["imports"]
    assert arrived["origin"] == "receipt"
    is_oct = carried.declared["type"] == "oct"
    assert arrived["identity"] == ("proved" if is_oct else "public_key")
    assert arrived["receipt"]["predicate"]["import"]["source"] == "receipt"
    assert arrived["generation"] == carried.held["generation"]
    assert arrived["wrapped_sha256"] == unsigned(carried).digest
    assert carried.only_version().properties.enabled


@pytest.mark.parametrize("how", ["unsigned", "by another key", "keyid of another", "other bytes"])
def test_any_other_receipt_says_nothing(
    carried: Carried, evidence_key: EvidenceKey, how: str
) -> None:
    statement = unsigned(carried)
    signed = evidence_key.sign(statement)
    other = EvidenceKey().sign(statement)
    tampered = wrapped_of(carried.told["receipt"])
    tampered["predicate"]["token"] = {**tampered["predicate"]["token"], "label": "another"}
    envelopes = {
        "unsigned": statement,
        "by another key": other,
        "keyid of another": statement.with_signature(
            Signature(fingerprint(evidence_key.pem), other.signatures[0].sig)
        ),
        "other bytes": Envelope(envelope_of(tampered).payload, signed.signatures),
    }
    result = bring(carried, envelopes[how].to_line(), evidence_key)
    assert "origin: unverified" in failure(result)
    assert carried.in_vault() == []


def test_an_envelope_has_to_be_about_this_package(
    carried: Carried, evidence_key: EvidenceKey
) -> None:
    def of(change: Callable[[Result], Any]) -> str:
        statement = json.loads(unsigned(carried).payload)
        change(statement)
        return evidence_key.sign(envelope_of(statement)).to_line()

    def rename(statement: Result) -> None:
        statement["predicate"]["key"]["name"] = "other"
        for subject in statement["subject"]:
            subject["name"] = subject["name"].replace(carried.declared["name"], "other")

    another = of(lambda it: it["subject"][0]["digest"].update(sha256="0" * 64))
    for line, says in (
        (another, "is not the one that its receipt is about"),
        (of(rename), "is about another key: its name is other"),
    ):
        assert says in failure(bring(carried, line, evidence_key))
    found = envelope_of({"predicateType": "https://example.org/x"}).to_line()
    for line in (found, "{}", "no envelope"):
        assert "is no evidence" in failure(bring(carried, line, evidence_key))
    assert carried.in_vault() == []


def test_an_envelope_must_not_contradict_the_receipt_beside_it(
    carried: Carried, evidence_key: EvidenceKey
) -> None:
    statement = json.loads(unsigned(carried).payload)
    statement["predicate"]["token"]["label"] = "another"
    line = evidence_key.sign(envelope_of(statement)).to_line()
    result = carried.vault.run(
        "byok_import",
        declarations=[carried.declared],
        packages=[{**carried.told, "envelope": line}],
        trusted_evidence_keys=[evidence_key.pem],
    )
    assert "says something else than its envelope" in failure(result)


def test_what_is_no_evidence_key_is_refused(vault: Vault, key: Declare) -> None:
    with pytest.raises(ByokError, match="PEM"):
        vault.run("byok_import", declarations=[key()], trusted_evidence_keys=["no key"])


def make_evidence_key(vault: Vault, **properties: Any) -> str:
    options: Result = {"curve": "P-256", "hardware_protected": True, **properties}
    made = vault.lab.client(vault.url).create_ec_key("evidence", **options)
    return str(made.id)


def bring_signed(carried: Carried, kid: str, receipts: Path) -> Result:
    return carried.vault.run(
        "byok_import",
        declarations=[
            {
                **carried.declared,
                "path": str(carried.path),
                "thumbprint": carried.told["thumbprint"],
            }
        ],
        evidence_key_id=kid,
        receipt_directory=str(receipts),
        settle_time=0,
    )


@pytest.mark.parametrize("kind", ["vault", "hsm"])
def test_a_key_of_the_vault_signs_what_azures_side_states(
    request: pytest.FixtureRequest, kind: str, key: Declare, tmp_path: Path, receipts: Path
) -> None:
    vault: Vault = request.getfixturevalue(kind)
    carried, kid = Carried(vault, key(), tmp_path), make_evidence_key(vault)
    (arrived,) = bring_signed(carried, kid, receipts)["imports"]
    public = vault.lab.client(vault.url).get_key("evidence").key
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(public.x, "big"), int.from_bytes(public.y, "big"), ec.SECP256R1()
    )
    pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    keys = {fingerprint(pem.decode()): pem.decode()}
    assert parse_envelope(arrived["envelope"], "it").signers(keys) == frozenset(keys)
    assert vault.stated(receipts, carried.declared)[1][0] == "imported"


def test_a_vault_that_does_not_sign_fails_no_import(
    vault: Vault, key: Declare, tmp_path: Path, receipts: Path
) -> None:
    carried, kid = Carried(vault, key(), tmp_path), make_evidence_key(vault)
    vault.fault(operation="sign", kind="firewall", key="evidence")
    done = bring_signed(carried, kid, receipts)
    assert done["failures"] == []
    assert parse_envelope(done["imports"][0]["envelope"], "it").signatures == ()
    assert any("of the import is not signed" in warning for warning in done["warnings"])


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"curve": "P-384"}, "no key on P-256"),
        ({"hardware_protected": False}, "is EC and no key"),
        ({"key_operations": ["verify"]}, "use the public key alone"),
        ({"enabled": False}, "is disabled"),
    ],
)
def test_an_unfit_evidence_key_is_refused_before_an_import(
    vault: Vault, key: Declare, tmp_path: Path, receipts: Path, properties: Result, says: str
) -> None:
    carried, kid = Carried(vault, key(), tmp_path), make_evidence_key(vault, **properties)
    gone = f"{kid.rpartition('/')[0]}/{'0' * 32}"
    other = kid.replace(vault.url, "https://keyferry-lab-other.vault.azure.net")
    for given, why in ((kid, says), (gone, "does not exist"), (other, "does not name one version")):
        with pytest.raises(ByokError, match=why) as caught:
            bring_signed(carried, given, receipts)
        assert caught.value.reason == "evidence_key"
    assert carried.in_vault() == []
