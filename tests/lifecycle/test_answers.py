# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of Azure that cannot be read or do not fit: one key fails with a sentence, the others
arrive, and no version stays enabled that is not shown to be the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault import client as _client
from ansible_collections.keyferry.azure.plugins.module_utils._vault import transport
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Result,
    Vault,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.test_journal import interrupt, noted
from ansible_collections.keyferry.azure.tests.long import mostly_long
from azure.keyvault.keys import KeyClient
from cryptography.hazmat.primitives.asymmetric import ec, rsa

Alter = Callable[[Result], Any]
Answering = Callable[..., None]

_OTHER_RSA = rsa.generate_private_key(65537, 3072).public_key().public_numbers().n
_OTHER = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()


def _number(number: int) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(number.to_bytes(32, "big")).decode().rstrip("=")


def _wide(number: int) -> str:
    from base64 import urlsafe_b64encode

    octets = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return urlsafe_b64encode(octets).decode().rstrip("=")


def _key(**members: Any) -> Alter:
    """Replace members of the key; None takes one away."""

    def alter(body: Result) -> Result:
        key = {**body["key"], **members}
        return {**body, "key": {name: value for name, value in key.items() if value is not None}}

    return alter


def _attributes(**members: Any) -> Alter:
    return lambda body: {**body, "attributes": {**body["attributes"], **members}}


def _kid(old: str, new: str) -> Alter:
    return lambda body: _key(kid=body["key"]["kid"].replace(old, new))(body)


def _bytes(content: bytes) -> Alter:
    return lambda body: content


def _without(member: str) -> Alter:
    return lambda body: {name: value for name, value in body.items() if name != member}


#: Another key arrived as far as the answer tells
OTHER_KEYS: dict[str, Alter] = {
    "another key": _key(x=_number(_OTHER.x), y=_number(_OTHER.y)),
    "not on the curve": _key(x="AQ"),
    "another curve": _key(crv="P-384"),
    "kty oct": _key(kty="oct-HSM", x=None, y=None),
    "kty of software": _key(kty="EC"),
    "kty unknown": _key(kty="OKP-HSM"),
}

#: The answer tells nothing that can be believed
UNREADABLE: dict[str, Alter] = {
    "curve unknown": _key(crv="P-999"),
    "no curve": _key(crv=None),
    "no x": _key(x=None),
    "no y": _key(y=None),
    "x too long": _key(x="_" + "A" * 60),
    "x no base64": _key(x="!!!!"),
    "x a list": _key(x=[1]),
    "kty RSA without n": _key(kty="RSA-HSM"),
    "no kty": _key(kty=None),
    "kty a number": _key(kty=7),
    "key null": lambda body: {**body, "key": None},
    "key a list": lambda body: {**body, "key": []},
    "no attributes": _without("attributes"),
    "attributes a list": lambda body: {**body, "attributes": []},
    "kid of another vault": _kid("keyferry-lab", "evil"),
    "kid of another key": _kid("/keys/", "/keys/other-"),
    "kid without version": lambda body: _key(kid=body["key"]["kid"].rpartition("/")[0])(body),
    "kid with a NUL": lambda body: _key(kid=body["key"]["kid"] + "\0")(body),
    "kid upwards": lambda body: _key(kid=body["key"]["kid"].rpartition("/")[0] + "/..")(body),
    "kid a number": _key(kid=5),
    "no kid": _key(kid=None),
    "key_ops a text": _key(key_ops="sign"),
    "tags a text": lambda body: {**body, "tags": "x"},
    "tags a list": lambda body: {**body, "tags": ["a"]},
    "exp a text": _attributes(exp="soon"),
    "exp huge": _attributes(exp=10**18),
    "created a text": _attributes(created="x"),
    "empty": _bytes(b""),
    "a list": _bytes(b"[]"),
    "a text": _bytes(b'"x"'),
    "HTML": _bytes(b"<html>Sign in to the proxy</html>"),
    "deep JSON": _bytes(b"[" * 100_000),
    "no UTF-8": _bytes(b"\xff\xfe\x00"),
}

#: Odd, and nothing depends on it
HARMLESS: dict[str, Alter] = {
    "key_ops numbers": _key(key_ops=[1, {}]),
    "tags numbers": lambda body: {**body, "tags": {"a": 1}},
    "hsmPlatform a mapping": _attributes(hsmPlatform={"a": 1}),
    "created null": _attributes(created=None),
    "tags null": lambda body: {**body, "tags": None},
    "a member more": lambda body: {**body, "new": {"a": [1]}},
}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Alter Azure's answers about a key: ``answering("-evil", alter, "PUT")``, where the URL holds
    that and the method is one of those.
    """
    rules: list[tuple[str, tuple[str, ...], Alter]] = []
    make = transport.vault_transport

    def altering(url: str, concurrency: int) -> Any:
        made = make(url, concurrency)
        send = made.send

        def sent(request: Any, **options: Any) -> Any:
            response = send(request, **options)
            for part, methods, alter in rules:
                if part not in request.url or request.method not in methods:
                    continue
                body = json.loads(response.read())
                if "key" in body:
                    altered = alter(body)
                    whole = isinstance(altered, bytes)
                    response._content = altered if whole else json.dumps(altered).encode()
                    response._json = None
            return response

        made.send = sent
        return made

    monkeypatch.setattr(_client, "vault_transport", altering)
    return lambda part, alter, *methods: rules.append((part, methods, alter))


def bring(vault: Vault, declared: Result, tag: str) -> tuple[Result, list[Result]]:
    """Import one package under three names, the second of which gets the altered answers."""
    keys = [dict(declared, name=f"{tag}-{name}") for name in ("one", "evil", "three")]
    kek = vault.run("byok_kek", name=f"kek-{tag}", size=2048, lifetime="PT4H")
    facts = ("kek_id", "kek_public_key", "kek_fingerprint")
    run("byok_target_key", target_keys=[declared])
    wrapped = run(
        "byok_wrap",
        packages=[declared],
        allow_trailing_zeros=True,
        kek_created=kek["kek_trust"] == "created",
        **{fact: kek[fact] for fact in facts},
    )
    (package,) = wrapped["packages"]
    nameless = {**package, "receipt": None, "envelope": None}  # which are about one name
    packages = [dict(nameless, name=key["name"]) for key in keys]
    imported = vault.run(
        "byok_import", imports=keys, packages=packages, settle_time=0, wrapped_in_this_run=True
    )
    return imported, keys


def enabled(vault: Vault, keys: list[Result]) -> dict[str, list[bool]]:
    """By the end of a key's name, which of its versions are enabled."""
    client = vault.lab.client(vault.url)
    return {
        key["name"].rpartition("-")[2]: [
            each.enabled for each in client.list_properties_of_key_versions(key["name"])
        ]
        for key in keys
    }


def others_arrived(result: Result) -> None:
    names = {each["name"].rpartition("-")[2]: each["identity"] for each in result["imports"]}
    assert names == {"one": "public_key", "three": "public_key"}


def only_failure(result: Result) -> Result:
    (failed,) = result["failures"]
    assert failed["name"].endswith("-evil")
    assert failed["msg"].endswith(".")
    assert "Traceback" not in failed["msg"]
    assert failed["code"] != "unexpected", failed["msg"]
    return dict(failed)


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_another_key_than_ours_is_disabled(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    answering("-evil", OTHER_KEYS[kind], "PUT")
    result, keys = bring(vault, key(), "t")
    others_arrived(result)
    failed = only_failure(result)
    assert failed["code"] == "not_our_key"
    assert "was disabled" in failed["msg"]
    assert enabled(vault, keys) == {"one": [True], "evil": [False], "three": [True]}


@pytest.mark.parametrize("kind", mostly_long(UNREADABLE, 8))
def test_an_answer_to_an_import_that_cannot_be_read_is_read_back(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    answering("-evil", UNREADABLE[kind], "PUT")
    result, keys = bring(vault, key(), "t")
    assert result["failures"] == []
    assert {each["identity"] for each in result["imports"]} == {"public_key"}
    assert enabled(vault, keys) == {"one": [True], "evil": [True], "three": [True]}


@pytest.mark.parametrize("kind", mostly_long(UNREADABLE))
def test_what_cannot_be_read_back_either_is_disabled(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    """All answers about the key are altered; lists of its versions, and that it is disabled, are
    not.
    """

    def alter(body: Result) -> Any:
        return UNREADABLE[kind](body) if body["attributes"]["enabled"] else body

    answering("-evil", alter, "PUT", "GET")
    result, keys = bring(vault, key(), "t")
    others_arrived(result)
    failed = only_failure(result)
    assert failed["code"] == "not_our_key"
    assert "was disabled" in failed["msg"]
    assert enabled(vault, keys) == {"one": [True], "evil": [False], "three": [True]}


def test_what_an_interrupted_run_imported_and_cannot_be_read_is_disabled(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], tmp_path: Path
) -> None:
    vault.options["lock_directory"] = str(tmp_path)
    declared = key()
    only(vault.rotate(declared))
    interrupt(vault, tmp_path, declared)

    def alter(body: Result) -> Any:
        return b"" if body["attributes"]["enabled"] else body

    answering(declared["name"], alter, "GET")
    for check in (True, False):
        result = vault.run("byok_import", check, **declared)
        (failed,) = result["failures"]
        assert ("was disabled" in failed["msg"]) == (not check)
    assert failed["code"] == "not_our_key"
    assert noted(tmp_path) == []


def test_what_cannot_be_disabled_is_said(
    vault: Vault,
    key: Declare,
    answering: Answering,
    no_sleep: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No answer about this key can be read, so which versions there are is not known."""
    answering("-evil", UNREADABLE["empty"], "PUT", "GET")
    list_versions = KeyClient.list_properties_of_key_versions

    def unreadable(self: KeyClient, name: str, **options: Any) -> Any:
        listed = list(list_versions(self, name, **options))
        if name.endswith("-evil"):
            raise KeyError(name)
        return listed

    monkeypatch.setattr(KeyClient, "list_properties_of_key_versions", unreadable)
    result, _keys = bring(vault, key(), "t")
    others_arrived(result)
    failed = only_failure(result)
    assert failed["code"] == "uncertain"
    assert "disable by hand what was imported just now" in failed["msg"]


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_nothing_depends_on_may_be_odd(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    answering("-evil", HARMLESS[kind], "PUT", "GET")
    result, keys = bring(vault, key(), "t")
    assert result["failures"] == []
    assert enabled(vault, keys) == {"one": [True], "evil": [True], "three": [True]}


@pytest.mark.parametrize("kind", mostly_long(UNREADABLE))
def test_a_key_that_cannot_be_read_fails_alone(
    vault: Vault, key: Declare, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    _result, keys = bring(vault, key(), "t")
    answering("-evil", UNREADABLE[kind], "GET")
    in_token = run("byok_target_key", True, target_keys=keys)["target_keys"]
    planned = vault.run("byok_plan", declarations=keys, target_keys=in_token, all_versions=True)
    assert [entry["name"] for entry in planned["plan"]] == ["t-one", "t-three"]
    only_failure(planned)
    listed = vault.run("byok_vault_info", list_keys=True)
    assert [each["name"] for each in listed["vault_keys"]] == ["kek-t", "t-one", "t-three"]
    only_failure(listed)


def test_an_exception_that_nobody_foresaw_leaves_no_version_enabled(
    vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.keyferry.azure.plugins.module_utils._steps import import_keys

    compare = import_keys._compare

    def fails(lab: Any, wanted: Any, version: Any) -> str:
        if wanted.declaration.name.endswith("-evil"):
            raise RuntimeError("a secret")
        return compare(lab, wanted, version)

    monkeypatch.setattr(import_keys, "_compare", fails)
    result, keys = bring(vault, key(), "t")
    others_arrived(result)
    (failed,) = result["failures"]
    assert failed["code"] == "not_our_key"
    assert "RuntimeError was raised at" in failed["msg"]
    assert "a secret" not in failed["msg"]
    assert enabled(vault, keys) == {"one": [True], "evil": [False], "three": [True]}


#: KEKs that no vault makes, or not on this question, and what is said of them
BAD_KEKS: dict[str, tuple[Alter, str]] = {
    "1024 bits": (_key(n=_wide((1 << 1024) - 105)), "that has 1024 bits"),
    "another size": (_key(n=_wide(_OTHER_RSA)), "has 3072 bits, but 2048 are declared"),
    "e 1": (_key(e="AQ"), "the public exponent 1 instead of 65537"),
    "e 3": (_key(e="Aw"), "the public exponent 3 instead of 65537"),
    "e even": (_key(e=_wide(65536)), "the public exponent 65536 instead of 65537"),
    "e huge": (_key(e=_wide((1 << 2000) + 1)), "the public exponent of 2001 bits"),
    "n even": (_key(n=_wide((1 << 2047) + 2)), "a modulus with a small factor"),
    "n of small primes": (_key(n=_wide(3**1292)), "a modulus with a small factor"),
    "n a square": (_key(n=_wide(((1 << 1024) - 105) ** 2)), "a power of a smaller number"),
    "kty of software": (_key(kty="RSA"), "is no KEK"),
    "may sign": (_key(key_ops=["import", "sign"]), "is no KEK"),
    "another vault": (_kid("keyferry-lab", "evil"), "another vault or key"),
    "another name": (_kid("/keys/", "/keys/x"), "another vault or key"),
    "upwards": (UNREADABLE["kid upwards"], "names no version"),
    "an escape sequence": (
        lambda body: _key(kid=body["key"]["kid"] + "\x1b[31mhi")(body),
        "names no version",
    ),
}


@pytest.mark.parametrize("kind", mostly_long(BAD_KEKS))
def test_a_kek_that_no_vault_makes_is_not_returned(
    vault: Vault, answering: Answering, no_sleep: list[float], kind: str
) -> None:
    alter, says = BAD_KEKS[kind]
    answering("kek-evil", alter, "POST", "GET")
    with pytest.raises(ByokError) as refused:
        vault.run("byok_kek", name="kek-evil", size=2048, settle_time=0)
    assert says in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_a_list_with_a_key_of_another_vault_is_not_believed(
    vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.rotate(key())
    listed = KeyClient.list_properties_of_keys

    def elsewhere(self: KeyClient, **options: Any) -> Any:
        for properties in listed(self, **options):
            properties._id = properties.id.replace("keyferry-lab", "evil")
            yield properties

    monkeypatch.setattr(KeyClient, "list_properties_of_keys", elsewhere)
    with pytest.raises(ByokError, match="another vault or key"):
        vault.run("byok_vault_info", list_keys=True)
