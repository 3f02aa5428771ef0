# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time stamps over run manifests, made by an authority of OpenSSL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.summary import summary
from ansible_collections.keyferry.azure.plugins.module_utils._audit.time_stamp import judge_stamp
from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import parse_trust
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    VAULT,
    small,
    trust_files,
    verified,
)

SETTINGS = """
[req]
distinguished_name = name
[name]
[v3]
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = own
[own]
serial = serial
crypto_device = builtin
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Authority:
    """A time-stamping authority in a folder."""

    folder: Path

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def make(self, name: str) -> Authority:
        (self.folder / "settings").write_text(SETTINGS)
        (self.folder / "serial").write_text("01\n")
        for who, signed_by in (("root", []), ("tsa", ["-CA", "root.pem", "-CAkey", "root.key"])):
            extensions = ["-extensions", "v3"] if signed_by else []
            self.openssl(
                *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", "settings"),
                *("-subj", f"/CN={name} {who}", "-days", "30", *extensions),
                *("-keyout", f"{who}.key", "-out", f"{who}.pem", *signed_by),
            )
        return self

    @property
    def root(self) -> str:
        return (self.folder / "root.pem").read_text()

    def stamp(self, sha256: str, algorithm: str = "sha256") -> bytes:
        query = ["-digest", sha256, f"-{algorithm}", "-cert", "-out", "query"]
        self.openssl("ts", "-query", *query)
        reply = ["-queryfile", "query", "-config", "settings", "-section", "own", "-out", "reply"]
        self.openssl("ts", "-reply", *reply)
        return (self.folder / "reply").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa")).make("Fabrikam")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger")).make("Stranger")


def test_a_stamp_tells_when_a_manifest_was_there(authority: Authority) -> None:
    made = small()
    head = made.head(VAULT).sha256
    files = {**made.files(), f"{VAULT}/stamps/{head}.tsr": authority.stamp(head)}
    trusted = {**trust_files(), "stamp-roots/tsa.pem": authority.root.encode()}
    verification = verified(files, parse_trust(trusted, {}))
    (vault,) = [each for each in verification.vaults if each.vault == VAULT]
    (stamp,) = vault.chain.stamps
    assert (stamp.verdict, stamp.sha256) == ("stamped", head)
    assert stamp.time is not None
    assert any("Run 1: A time-stamping authority states" in line for line in summary(verification))
    without = verified(made.files(), parse_trust(trust_files(), {}))
    assert verification.problems == without.problems


@pytest.mark.parametrize("where", ["digest", "stranger", "damaged", "algorithm", "empty"])
def test_a_wrong_stamp_is_found(authority: Authority, stranger: Authority, where: str) -> None:
    made = small()
    head = made.head(VAULT).sha256
    stamps: dict[str, Callable[[], bytes]] = {
        "digest": lambda: authority.stamp("00" * 32),
        "stranger": lambda: stranger.stamp(head),
        "damaged": lambda: authority.stamp(head)[:-1] + b"\0",
        "algorithm": lambda: authority.stamp(head * 2, "sha512"),
        "empty": lambda: b"",
    }
    files = {**made.files(), f"{VAULT}/stamps/{head}.tsr": stamps[where]()}
    trusted = {**trust_files(), "stamp-roots/tsa.pem": authority.root.encode()}
    verification = verified(files, parse_trust(trusted, {}))
    assert verification.verdict == "broken"
    assert [each.code for each in verification.problems if each.verdict == "broken"] == [
        "stamp_wrong"
    ]


def test_a_stamp_of_nothing_that_is_there_is_strange(authority: Authority) -> None:
    other = "ab" * 32
    files = {**small().files(), f"{VAULT}/stamps/{other}.tsr": authority.stamp(other)}
    verification = verified(files, parse_trust(trust_files(), {}))
    assert "strange_file" in [each.code for each in verification.problems]


def test_nothing_needs_a_stamp(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    response = authority.stamp("ab" * 32)
    assert judge_stamp(response, "ab" * 32, []).verdict == "not_checked"
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    stamp = judge_stamp(response, "ab" * 32, [authority.root])
    assert stamp.verdict == "not_checked"
    assert "rfc3161-client is not installed" in stamp.told


def test_a_root_must_be_a_certificate() -> None:
    with pytest.raises(ByokError, match=r"stamp-roots/a\.pem of the trust folder is no certificat"):
        parse_trust({"stamp-roots/a.pem": b"no certificate"}, {})
