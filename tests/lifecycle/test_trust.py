# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages that somebody carries in files: only what is shown to be the key is ever enabled."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import envelope_of
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Result,
    Vault,
    failure,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Reaper
from ansible_collections.keyferry.azure.tests.lifecycle.test_rotation import for_wrap
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

UNCHECKED = "keyferry-unchecked"


class Carried:
    """A package in a file with its receipt, as byok_wrap wrote them.

    :ivar declared: the key, without its rotation
    :ivar told: what byok_wrap returned
    """

    def __init__(self, vault: Vault, declared: Result, folder: Path) -> None:
        self.vault = vault
        self.declared = {name: declared[name] for name in declared if name != "rotation"}
        self.path = folder / f"{declared['name']}.byok"
        self.receipt_path = Path(f"{self.path}.receipt.json")
        self.envelope_path = Path(f"{self.path}.intoto.jsonl")
        kek_name = f"kek-{declared['name']}"
        self.kek = vault.run("byok_kek", name=kek_name, size=2048)
        self.held = run("byok_target_key", target_keys=[self.declared])["target_keys"][0]
        self.told = self.wrap()

    def wrap(self) -> Result:
        wrapped = run(
            "byok_wrap",
            packages=[{**self.declared, "path": str(self.path)}],
            allow_trailing_zeros=True,
            **for_wrap(self.kek),
        )
        assert wrapped["failures"] == []
        return dict(wrapped["packages"][0])

    def bring(self, **options: Any) -> Result:
        """Import the file."""
        item = {**self.declared, "path": str(self.path), **options}
        return self.vault.run("byok_import", imports=[item], settle_time=0)

    def change_receipt(self, change: Callable[[Result], Any]) -> None:
        """Change what byok_wrap told, in both files that lie beside the package."""
        receipt = json.loads(self.receipt_path.read_text())
        change(receipt)
        self.receipt_path.write_text(json.dumps(receipt))
        self.envelope_path.write_text(envelope_of(receipt).to_line() + "\n")

    def substitute(self, plain: bytes) -> None:
        """Put another key into the package, and let its receipt and challenge fit.

        Whoever holds both for a minute can do so: only public things are used.
        """
        pem = self.kek["kek_public_key"].encode()
        public_key: Any = serialization.load_pem_public_key(pem)
        aes = os.urandom(32)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        ciphertext = public_key.encrypt(aes, oaep) + keywrap.aes_key_wrap_with_padding(aes, plain)
        package = json.loads(self.path.read_text())
        package["ciphertext"] = base64.urlsafe_b64encode(ciphertext).rstrip(b"=").decode()
        text = json.dumps(package)
        self.path.write_text(text)
        nonce, iv = os.urandom(32), os.urandom(16)
        encryptor = Cipher(algorithms.AES(plain), modes.CBC(iv)).encryptor()
        padded = nonce + bytes([16]) * 16

        def fit(receipt: Result) -> None:
            receipt["subject"][0]["digest"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
            receipt["predicate"]["challenge"] = {
                "algorithm": "A256CBCPAD",
                "iv": iv.hex(),
                "ciphertext": (encryptor.update(padded) + encryptor.finalize()).hex(),
                "sha256": hashlib.sha256(nonce).hexdigest(),
            }

        self.change_receipt(fit)

    def in_vault(self) -> list[Any]:
        """All versions of the key, as the SDK returns them."""
        client = self.vault.lab.client(self.vault.url)
        listed = client.list_properties_of_key_versions(self.declared["name"])
        return [client.get_key(each.name, each.version) for each in listed]

    def only_version(self) -> Any:
        (version,) = self.in_vault()
        return version


@pytest.fixture
def carried(hsm: Vault, key: Declare, tmp_path: Path) -> Carried:
    """An oct key on its way to a Managed HSM."""
    return Carried(hsm, key("oct"), tmp_path)


@pytest.mark.parametrize("prove", [False, True])
def test_an_oct_key_that_was_substituted_on_its_way_is_not_imported(
    carried: Carried, prove: bool
) -> None:
    carried.substitute(b"SOMEBODY-KNOWS-THIS-KEY-32-BYTE!")
    generation, sha256 = carried.held["generation"], carried.told["sha256_spoken"]
    by_name = carried.bring(generation=generation, prove=prove)
    assert "origin: unverified" in failure(by_name)
    assert "Give sha256" in failure(by_name)
    by_sha256 = carried.bring(generation=generation, sha256=sha256, prove=prove)
    assert "not the one whose SHA-256 is declared" in failure(by_sha256)
    assert carried.in_vault() == []


@pytest.mark.parametrize("whole", [True, False], ids=["content", "path"])
def test_an_oct_key_of_packages_out_of_a_file_is_not_imported(
    carried: Carried, whole: bool
) -> None:
    """What byok_wrap returned can be written to a file, and read by another run."""
    carried.substitute(b"SOMEBODY-KNOWS-THIS-KEY-32-BYTE!")
    text = carried.path.read_text()
    receipt = json.loads(carried.receipt_path.read_text())
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    envelope = carried.envelope_path.read_text()
    content = {"content": text, "sha256": sha256, "receipt": receipt, "envelope": envelope}
    nothing = dict.fromkeys(("content", "receipt", "envelope"))
    package = {**carried.told, **(content if whole else nothing)}
    options: Result = {"imports": [carried.declared], "packages": [package]}
    assert "origin: unverified" in failure(carried.vault.run("byok_import", **options))
    if not whole:
        believed = carried.vault.run("byok_import", **options, wrapped_in_this_run=True)
        assert "not the one that" in failure(believed)
    assert carried.in_vault() == []


def test_an_oct_key_whose_sha256_came_another_way_is_proved_and_enabled(
    carried: Carried,
) -> None:
    done = carried.bring(sha256=carried.told["sha256_spoken"].upper(), prove=True)
    (imported,) = done["imports"]
    assert (imported["origin"], imported["identity"]) == ("declared", "proved")
    assert imported["attributes"]["enabled"] is True
    assert imported["receipt"]["predicate"]["import"]["source"] == "carrier"
    version = carried.only_version()
    assert version.properties.enabled
    assert sorted(version.key_operations) == imported["attributes"]["operations"]
    assert sorted(version.properties.tags) == ["keyferry-package"]  # the rest a carrier told
    again = carried.bring(sha256=carried.told["sha256"], prove=True)
    assert (again["changed"], again["failures"]) == (False, [])
    assert again["imports"][0]["identity"] == "proved"


def test_a_challenge_of_a_carrier_proves_nothing_where_the_risk_is_taken(
    carried: Carried,
) -> None:
    carried.substitute(b"SOMEBODY-KNOWS-THIS-KEY-32-BYTE!")
    item = {**carried.declared, "path": str(carried.path)}
    done = carried.vault.run("byok_import", imports=[item], allow_unverified_origin=True)
    (imported,) = done["imports"]
    assert (imported["origin"], imported["identity"]) == ("unverified", "unverified")


def test_a_version_that_does_not_answer_the_challenge_stays_disabled(carried: Carried) -> None:
    """The package is the right one by its SHA-256, and the vault has another key all the same."""

    def spoil(receipt: Result) -> None:
        receipt["predicate"]["challenge"]["sha256"] = "0" * 64

    carried.change_receipt(spoil)
    done = carried.bring(sha256=carried.told["sha256"])
    assert done["failures"][0]["code"] == "not_our_key"
    assert done["imports"] == []
    assert not carried.only_version().properties.enabled


@pytest.mark.parametrize("kind", ["EC", "oct"])
def test_what_came_from_a_file_is_disabled_until_it_is_shown_to_be_the_key(
    hsm: Vault, key: Declare, tmp_path: Path, reaper: Reaper, kind: str
) -> None:
    """A run dies around each of its changes, and the next run goes on."""

    def options(carried: Carried) -> Result:
        option = "sha256" if kind == "oct" else "thumbprint"
        return {option: carried.told[option]}

    living = Carried(hsm, key(kind), tmp_path)
    moments = reaper.watch(lambda: living.bring(**options(living)))
    (expected,) = [
        (each.properties.enabled, sorted(each.key_operations)) for each in living.in_vault()
    ]
    assert expected[0] is True
    for moment in moments:
        carried = Carried(hsm, key(kind), tmp_path)
        reaper.kills(lambda carried=carried: carried.bring(**options(carried)), moment)  # type: ignore[misc]
        for version in carried.in_vault():
            is_final = UNCHECKED not in version.properties.tags
            usable = version.properties.enabled and version.key_operations != ["decrypt"]
            assert is_final == bool(usable)
        done = carried.bring(**options(carried))
        assert done["failures"] == []
        version = carried.only_version()
        assert (version.properties.enabled, sorted(version.key_operations)) == expected
        assert UNCHECKED not in version.properties.tags
        assert carried.bring(**options(carried))["changed"] is False


def test_a_plan_tells_that_a_version_was_left_unchecked(
    vault: Vault, key: Declare, tmp_path: Path, reaper: Reaper
) -> None:
    carried = Carried(vault, key(), tmp_path)
    thumbprint = carried.told["thumbprint"]
    moments = reaper.watch(lambda: carried.bring(thumbprint=thumbprint))
    patches = [name for name in reaper.calls if name.startswith("PATCH")]
    assert len(patches) == 1
    assert moments
    other = Carried(vault, key(), tmp_path)
    thumbprint = other.told["thumbprint"]
    for moment in moments:
        if not other.in_vault():
            reaper.kills(lambda: other.bring(thumbprint=thumbprint), moment)
    planned = vault.run("byok_plan", declarations=[other.declared], target_keys=[other.held])
    (entry,) = planned["plan"]
    assert (entry["action"], entry["changes"]["enabled"]["after"]) == ("update", True)
    assert vault.transfer(other.declared)["failures"] == []
    assert other.only_version().properties.enabled


def test_an_oct_key_is_wrapped_anew_although_a_package_is_there(carried: Carried) -> None:
    assert carried.wrap()["sha256"] != carried.told["sha256"]


def test_a_key_that_cannot_be_proved_is_not_imported_where_a_proof_is_asked_for(
    carried: Carried,
) -> None:
    def forget(receipt: Result) -> None:
        del receipt["predicate"]["challenge"]

    carried.change_receipt(forget)
    sha256 = carried.told["sha256"]
    done = carried.bring(sha256=sha256, prove=True)
    assert done["failures"][0]["code"] == "not_proved"
    assert "there is no challenge from the token" in failure(done)
    assert carried.in_vault() == []
    (imported,) = carried.bring(sha256=sha256)["imports"]  # it is not asked for
    assert imported["identity"] == "tag_only"
    assert carried.bring(sha256=sha256, prove=True)["failures"][0]["code"] == "not_proved"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda key, kek: key.update(name="another"), "its name is another instead of key-"),
        (lambda key, kek: key.update(kind="AES-256"), "its kind is AES-256 instead of P-256"),
        (lambda key, kek: key.update(thumbprint="x"), "Two different keys are named for"),
        (lambda key, kek: kek.update(kid=None), "its KEK is none instead of https://"),
        (lambda key, kek: key.update(generation=["a"]), "is not a receipt of Keyferry: predicate"),
    ],
)
def test_a_receipt_that_contradicts_what_is_known_is_an_error(
    vault: Vault, key: Declare, tmp_path: Path, change: Callable[..., Any], says: str
) -> None:
    carried = Carried(vault, key(), tmp_path)
    thumbprint = carried.told["thumbprint"]
    carried.change_receipt(lambda it: change(it["predicate"]["key"], it["predicate"]["kek"]))
    carried.envelope_path.unlink()  # whose statement is judged as a whole
    assert says in failure(carried.bring(thumbprint=thumbprint))
    assert carried.in_vault() == []


def test_what_a_carrier_tells_becomes_no_tag(vault: Vault, key: Declare, tmp_path: Path) -> None:
    carried = Carried(vault, key(), tmp_path)
    carried.change_receipt(lambda it: it["predicate"]["token"].update(serial="not-our-token"))
    done = carried.bring(thumbprint=carried.told["thumbprint"])
    assert done["failures"] == []
    tags = carried.only_version().properties.tags
    assert sorted(tags) == ["keyferry-package", "keyferry-thumbprint"]


def test_a_thumbprint_of_packages_out_of_a_file_is_not_believed(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    carried = Carried(vault, key(), tmp_path)
    options: Result = {"imports": [carried.declared], "packages": [carried.told]}
    assert "origin: unverified" in failure(vault.run("byok_import", **options))
    (imported,) = vault.run("byok_import", **options, wrapped_in_this_run=True)["imports"]
    assert (imported["origin"], imported["identity"]) == ("token", "public_key")


@BOTH
def test_a_key_that_is_there_already_is_proved_when_that_is_asked_for(
    hsm: Vault, key: Declare
) -> None:
    """A run that died, or lacked a permission, may have brought a key and never proved it."""
    keys = [key("oct"), key()]
    assert hsm.rotate(*keys)["failures"] == []
    again = hsm.rotate(*keys, prove=True)
    assert (again["failures"], again["changed"]) == ([], False)
    used = [each["operation"] for each in hsm.answers("sign") + hsm.answers("decrypt")]
    assert sorted(set(used)) == ["decrypt", "sign"]


@BOTH
def test_another_oct_key_under_our_tag_is_found_when_a_proof_is_asked_for(
    hsm: Vault, key: Declare
) -> None:
    declared = key("oct")
    made = hsm.native(declared)
    generation = run("byok_target_key", target_keys=[declared])["target_keys"][0]["generation"]
    client = hsm.lab.client(hsm.url)
    version = made["key"]["kid"].rpartition("/")[2]
    tags = {"keyferry-generation": generation}
    client.update_key_properties(declared["name"], version, tags=tags)
    assert hsm.rotate(declared)["failures"] == []  # its tag says that it is the key
    (failed,) = hsm.rotate(declared, prove=True)["failures"]
    assert failed["code"] == "not_our_key"


@BOTH
def test_a_key_that_cannot_prove_itself_fails_where_a_proof_is_asked_for(
    vault: Vault, key: Declare
) -> None:
    declared = key()
    assert vault.rotate(declared)["failures"] == []
    stopped = {**declared, "enabled": False}
    (failed,) = vault.rotate(stopped, prove=True)["failures"]
    assert failed["code"] == "not_proved"
    assert "the version is disabled" in failed["msg"]


@pytest.mark.parametrize("kind", ["EC", "oct"])
def test_a_key_that_arrived_without_its_proof_has_a_receipt_and_is_proved_later(
    hsm: Vault, key: Declare, tmp_path: Path, kind: str
) -> None:
    declared = key(kind)
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    may = ["list", "versions", "get", "create", "import", "update", "delete", "get_deleted"]
    hsm.set(roles={"operator": [*may, "get_policy", "set_policy"]})
    options: Result = {"prove": True, "receipt_directory": str(receipts), "kek_ephemeral": True}
    failed = hsm.transfer(declared, **options)
    assert "Proving the key" in failure(failed)
    (_wrapped, (_kind, written)) = hsm.stated(receipts, declared)
    told = written["predicate"]
    assert told["identity"] == ("tag_only" if kind == "oct" else "public_key")
    assert "403" in told["proof"]["unprovable"]
    assert "Proving the key" in failure(hsm.transfer(declared, **options))
    hsm.set(roles={"operator": ["Managed HSM Crypto User"]})
    assert hsm.transfer(declared, **options)["failures"] == []
    assert len(hsm.versions(declared)) == 1
    kinds = [kind for kind, _statement in hsm.stated(receipts, declared)]
    assert kinds == ["wrapped", "imported", "imported"]
    last = hsm.stated(receipts, declared)[-1][1]["predicate"]
    assert "operation" in last["proof"]


def test_a_stray_mark_on_a_key_in_use_takes_no_operation_from_it(
    carried: Carried, reaper: Reaper
) -> None:
    """Who may write tags can set ours, and a key in use must not stand still for that."""
    sha256 = carried.told["sha256"]
    assert carried.bring(sha256=sha256)["failures"] == []
    version = carried.only_version()
    client = carried.vault.lab.client(carried.vault.url)
    tags = {**version.properties.tags, UNCHECKED: "true"}
    client.update_key_properties(version.name, version.properties.version, tags=tags)
    reaper.watch(lambda: carried.bring(sha256=sha256))
    assert [name.partition(" ")[0] for name in reaper.calls if "PATCH" in name] == ["PATCH"]
    after = carried.only_version()
    assert after.properties.enabled is True
    assert sorted(after.key_operations) == sorted(version.key_operations)
    assert UNCHECKED not in after.properties.tags
