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
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from hypothesis import given
from hypothesis import strategies as st

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


def receipt(kek: dict[str, t.Any] | None = None, **key: t.Any) -> dict[str, t.Any]:
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
        kek={
            "kid": KID,
            "fingerprint": "c" * 64,
            "trust": "created",
            "size": 4096,
            **(kek or {}),
        },
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
            "source": "run",
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
    _receipt.check(imported, "It")
    assert "import" not in wrapped["predicate"]
    assert (wrapped["predicateType"], imported["predicateType"]) == (
        _receipt.WRAPPED,
        _receipt.TRANSFER,
    )
    assert _receipt.wrapped_of(imported) == _receipt.wrapped_of(wrapped) == wrapped
    with pytest.raises(ByokError, match="predicate is not as"):
        _receipt.check({**imported, "predicateType": _receipt.WRAPPED}, "It")


def test_a_receipt_tells_what_attested_its_kek_and_whose_clock_its_time_is_by() -> None:
    attested = {"attestation": "d" * 64, "owner_root": "e" * 64, "maker": "not Marvell"}
    whole = receipt(kek={"trust": "attested", **attested})
    jsonschema.validate(whole, SCHEMA)
    _receipt.check(whole, "It")
    assert attested.items() <= whole["predicate"]["kek"].items()
    assert set(attested.values()).isdisjoint(receipt()["predicate"]["kek"].values())
    assert whole["predicate"]["wrap"]["clock"] == "host"
    with pytest.raises(ByokError, match=r"predicate\.kek\.maker is not as"):
        _receipt.check(receipt(kek={"maker": "Someone"}), "It")


def test_an_oct_key_has_the_package_as_its_only_subject() -> None:
    wrapped = receipt(thumbprint=None, sha256=None)
    jsonschema.validate(wrapped, SCHEMA)
    assert [subject["name"] for subject in wrapped["subject"]] == ["signing-key.byok"]


def test_the_schema_refuses_what_does_not_belong_there() -> None:
    wrapped = receipt()
    wrapped["predicate"]["ciphertext"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="ciphertext"):
        jsonschema.validate(wrapped, SCHEMA)


CHALLENGE = {"algorithm": "A256KW", "ciphertext": "ab" * 40, "sha256": "d" * 64}


def with_challenge(**changes: t.Any) -> dict[str, t.Any]:
    return _receipt.with_challenge(receipt(), {**CHALLENGE, **changes})


@pytest.mark.parametrize(
    "whole",
    [
        receipt(),
        receipt(thumbprint=None, sha256=None),
        with_challenge(),
        with_challenge(algorithm="A128CBCPAD", iv="0" * 32),
    ],
)
def test_a_receipt_is_read_as_it_was_written(whole: dict[str, t.Any]) -> None:
    jsonschema.validate(whole, SCHEMA)
    assert _receipt.parse(_receipt.to_text(whole), "The file a") == whole


def _members(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    """The paths of all members of a receipt, at every depth, but for free text of libraries."""
    if path[-1:] == ("tools",):
        return
    if path:
        yield path
    if isinstance(value, dict):
        for name in value:
            yield from _members(value[name], (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _members(each, (*path, number))


def _changed(whole: t.Any, path: tuple[t.Any, ...], value: t.Any) -> t.Any:
    changed = json.loads(json.dumps(whole))
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize("strange", [[], [[]], 7.5, {"a": 1}])
@pytest.mark.parametrize("path", list(_members(with_challenge())), ids=str)
def test_a_member_of_another_kind_is_refused_in_a_sentence(
    path: tuple[t.Any, ...], strange: t.Any
) -> None:
    spoilt = _changed(with_challenge(), path, strange)
    with pytest.raises(
        ByokError, match=r"The (file a|challenge in The file a) is not .*"
    ) as refused:
        _receipt.parse(json.dumps(spoilt), "The file a")
    assert "a member" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"x"',
        "null",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"predicateType": "x"}',
        json.dumps(receipt())[:-1] + ', "subject": []}',
        json.dumps(receipt()).replace('"size": 4096', '"size": NaN'),
        json.dumps({**receipt(), "more": 1}),
        json.dumps({**receipt(), "subject": []}),
        json.dumps(receipt(name="../../etc/passwd")),
        json.dumps(receipt(name="a\0b")),
    ],
)
def test_what_is_no_receipt_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ByokError, match=r"The file a is not (JSON|a receipt)"):
        _receipt.parse(text, "The file a")


@given(
    whole=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda some: (
            st.lists(some)
            | st.dictionaries(st.sampled_from(["subject", "predicate", "key", "kek"]), some)
        ),
    )
)
def test_no_json_at_all_raises_anything_else(whole: t.Any) -> None:
    for predicate_type in (_receipt.WRAPPED, _receipt.TRANSFER):
        text = json.dumps({"predicateType": predicate_type, "predicate": whole})
        with pytest.raises(ByokError):
            _receipt.parse(text, "The file a")


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
