# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt as _receipt

ROOT = Path(_receipt.__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/receipt.schema.json").read_text())
TOKEN = {
    "label": "byok",
    "serial": "1312109861410",
    "manufacturer": "SafeNet",
    "model": "LunaSA 7.4.0",
    "firmware": "7.4",
    "library": "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
}
EVIDENCE = {
    "origin": "token",
    "CKA_LOCAL": True,
    "CKA_ALWAYS_SENSITIVE": True,
    "CKA_SENSITIVE": True,
    "CKA_EXTRACTABLE": True,
    "CKA_NEVER_EXTRACTABLE": False,
    "CKA_KEY_GEN_MECHANISM": None,
}
KID = "https://contoso.vault.azure.net/keys/kek/" + "0" * 32


def receipt(**key: t.Any) -> dict[str, t.Any]:
    """A receipt of a wrapped key."""
    return _receipt.begin(
        key={
            "name": "signing-key",
            "kind": "P-256",
            "generation": "0a",
            "thumbprint": "x",
            "sha256": "a" * 64,
            **key,
        },
        package_sha256="b" * 64,
        token=TOKEN,
        evidence=EVIDENCE,
        kek={"kid": KID, "fingerprint": "c" * 64, "trust": "created", "size": 4096},
        wrap={
            "oaep": "SHA-1, MGF1 with SHA-1",
            "aes_bits": 256,
            "rehearsal": {
                "profile": "luna",
                "mechanism": "CKM_AES_KWP",
                "parameter": "a65959a6",
                "finding": "good",
            },
            "time": "2026-11-22T12:00:00Z",
        },
    )


def test_a_receipt_follows_its_schema_before_and_after_the_import() -> None:
    wrapped = receipt()
    jsonschema.validate(wrapped, SCHEMA)
    assert _receipt.package_sha256(wrapped) == "b" * 64
    imported = _receipt.complete(
        wrapped,
        {
            "kid": KID,
            "type": "EC-HSM",
            "hsm_platform": "2",
            "attributes": {
                "operations": ["sign"],
                "enabled": True,
                "not_before": None,
                "expires": None,
                "tags": {},
            },
            "compared": "thumbprint",
            "time": "2026-11-22T12:00:01Z",
            "thumbprint": "x",
            "origin": "token",
            "identity": "public_key",
            "proof": {"unprovable": "the version is disabled"},
            "replaced": None,
            "request_id": None,
        },
    )
    jsonschema.validate(imported, SCHEMA)
    assert "import" not in wrapped["predicate"]


def test_an_oct_key_has_the_package_as_its_only_subject() -> None:
    wrapped = receipt(thumbprint=None, sha256=None)
    jsonschema.validate(wrapped, SCHEMA)
    assert [subject["name"] for subject in wrapped["subject"]] == ["signing-key.byok"]


def test_the_schema_refuses_what_does_not_belong_there() -> None:
    wrapped = receipt()
    wrapped["predicate"]["ciphertext"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="ciphertext"):
        jsonschema.validate(wrapped, SCHEMA)


@pytest.mark.parametrize(
    "strange", [{}, {"subject": []}, {"subject": None}, {"subject": [{"digest": None}]}]
)
def test_what_is_no_receipt_has_no_package(strange: dict[str, t.Any]) -> None:
    assert _receipt.package_sha256(strange) is None


def test_the_version_is_that_of_the_collection() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"] == _receipt.VERSION
    assert (
        _receipt.generator(TOKEN) == f"keyferry.azure {_receipt.VERSION}; SafeNet LunaSA 7.4.0 7.4"
    )


def test_a_proxy_and_a_ca_override_are_told() -> None:
    assert _receipt.environment({}) == {"proxy": False, "ca_override": False}
    assert _receipt.environment({"https_proxy": ""}) == {"proxy": False, "ca_override": False}
    lab = {"HTTPS_PROXY": "http://127.0.0.1:18443", "REQUESTS_CA_BUNDLE": "ca.pem"}
    assert _receipt.environment(lab) == {"proxy": True, "ca_override": True}
