# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import typing as t

import pytest
from ansible.module_utils.common.text import converters
from ansible_collections.keyferry.azure.plugins.filter.explain_package import FilterModule
from ansible_collections.keyferry.azure.plugins.module_utils._core import package
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from hypothesis import given
from hypothesis import strategies as st

explain = FilterModule().filters()["explain_package"]

KID = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"

#: An RSA-2048 under a KEK of 2048 bits: OAEP makes 256 bytes, and RFC 5649 1,232 of its PKCS#8
CIPHERTEXT = b"\xfb\xef" + os.urandom(256 + 1232 - 2)
URL_SAFE = base64.urlsafe_b64encode(CIPHERTEXT).decode().rstrip("=")
STANDARD = base64.b64encode(CIPHERTEXT).decode()


def document(**changes: t.Any) -> dict[str, t.Any]:
    members = {
        "schema_version": "1.0.0",
        "header": {"kid": KID, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
        "ciphertext": URL_SAFE,
        "generator": "a vendor's tool 1.2",
    }
    return {**members, **changes}


def header(**changes: t.Any) -> dict[str, t.Any]:
    return {"header": {**document()["header"], **changes}}


def without(member: str) -> dict[str, t.Any]:
    return {name: value for name, value in document().items() if name != member}


FITS = [{"kek_size": 2048, "keys": ["RSA-2048"]}]

#: Packages that can be imported, as tools write them
FIT = {
    "ours": package.build(KID, CIPHERTEXT, "keyferry.azure 0.1.0; a token"),
    "with padding": json.dumps(document(ciphertext=f"{URL_SAFE}==")),
    "indented, with CRLF": json.dumps(document(), indent=2).replace("\n", "\r\n") + "\r\n",
    "with a byte order mark": "\ufeff" + json.dumps(document()),
    "without a generator": json.dumps(without("generator")),
    "a kid of PowerShell": json.dumps(document(**header(kid=KID.replace(".net", ".net:443")))),
}


@pytest.mark.parametrize("text", FIT.values(), ids=FIT)
def test_a_package_is_explained_without_a_vault(text: str) -> None:
    told = explain(text)
    assert told["problems"] == []
    assert told["fits"] == FITS
    assert (told["kek_id"], told["vault_url"]) == (KID, "https://contoso.vault.azure.net")
    assert told["ciphertext_bytes"] == len(CIPHERTEXT)
    assert told["sha256"] == package.digest(text.removeprefix("\ufeff"))
    package.lint(package.parse(text.removeprefix("\ufeff")), KeySpec("RSA", size=2048), 2048)


BODY = {"key": {"kty": "RSA-HSM", "key_hsm": base64.b64encode(FIT["ours"].encode()).decode()}}
PASCAL = {
    "SchemaVersion": "1.0.0",
    "Header": {"Kid": KID, "Alg": "dir", "Enc": "CKM_RSA_AES_KEY_WRAP"},
    "CipherText": URL_SAFE,
}

#: What is told of other packages, and whether what they say is explained all the same
UNFIT: dict[str, tuple[str, str, bool]] = {
    "empty": ("", "The key transfer package is empty.", False),
    "no JSON": (FIT["ours"][:-30], "is not a JSON object (Unterminated string", False),
    "a list": ("[]", "is not a JSON object.", False),
    "UTF-16": (
        converters.to_text(FIT["ours"].encode("utf-16")),
        "The key transfer package is UTF-16. Save it as UTF-8",
        False,
    ),
    "standard base64": (
        json.dumps(document(ciphertext=STANDARD)),
        "is not base64url: standard base64, which has '+' as character 1.",
        True,
    ),
    "standard base64 in lines": (
        json.dumps(document(ciphertext=base64.encodebytes(b"\0" * 60 + CIPHERTEXT[60:]).decode())),
        "is not base64url: standard base64, which has ",
        True,
    ),
    "lines": (
        json.dumps(document(ciphertext=f"{URL_SAFE[:76]}\n{URL_SAFE[76:]}")),
        "is not base64url: standard base64, which has '\\n' as character 77.",
        True,
    ),
    "another character": (
        json.dumps(document(ciphertext=f"{URL_SAFE[:9]}*{URL_SAFE[9:]}")),
        "is not base64url: '*' as character 10.",
        False,
    ),
    "no ciphertext": (json.dumps(without("ciphertext")), "is not base64url: it is no text.", False),
    "an empty ciphertext": (json.dumps(document(ciphertext="")), "it is empty.", False),
    "PascalCase": (
        json.dumps(PASCAL),
        "'SchemaVersion' is written instead of 'schema_version'.",
        True,
    ),
    "a header in PascalCase": (
        json.dumps(document(header=PASCAL["Header"])),
        "'Kid' is written instead of 'kid'.",
        True,
    ),
    "a request's body": (json.dumps(BODY), "This is the body of a request to Azure", True),
    "a JWK": (json.dumps(BODY["key"]), "This is the body of a request to Azure", True),
    "another schema": (
        json.dumps(document(schema_version="1.0")),
        "schema_version is '1.0' instead of '1.0.0'.",
        True,
    ),
    "another mechanism": (
        json.dumps(document(**header(enc="CKM_AES_KEY_WRAP"))),
        "header.enc is 'CKM_AES_KEY_WRAP' instead of 'CKM_RSA_AES_KEY_WRAP'.",
        True,
    ),
    "a kid without a version": (
        json.dumps(document(**header(kid=KID[:-33]))),
        "header.kid: 'https://contoso.vault.azure.net/keys/kek' does not name one version",
        True,
    ),
}


@pytest.mark.parametrize(("text", "says", "explained"), UNFIT.values(), ids=UNFIT)
def test_what_is_wrong_with_a_package_is_told(text: str, says: str, explained: bool) -> None:
    told = explain(text)
    assert any(says in problem for problem in told["problems"]), told["problems"]
    assert all(problem.endswith(".") and problem.isprintable() for problem in told["problems"])
    assert (told["fits"] == FITS) is explained


@pytest.mark.parametrize("text", [text for text, _says, _explained in UNFIT.values()], ids=UNFIT)
def test_byok_wrap_is_advised_only_for_a_package_that_it_made(text: str) -> None:
    with pytest.raises(ByokError) as refused:
        package.parse(text)
    assert "byok_wrap" not in str(refused.value) or "kid" in str(refused.value)
    ours = json.loads(FIT["ours"]) | {"ciphertext": STANDARD}
    with pytest.raises(ByokError, match="Wrap the key again with byok_wrap"):
        package.parse(json.dumps(ours))


def test_a_package_for_an_escrow_key_says_so() -> None:
    told = explain(package.build_escrow("ab" * 32, CIPHERTEXT, "keyferry.azure 0.1.0"))
    assert (told["escrow_fingerprint"], told["kek_id"], told["problems"]) == ("ab" * 32, None, [])


def test_a_ciphertext_that_no_key_has_is_told() -> None:
    cut = base64.urlsafe_b64encode(CIPHERTEXT[:-4]).decode()
    [problem] = explain(json.dumps(document(ciphertext=cut)))["problems"]
    assert problem.startswith("The ciphertext has 1484 bytes, which no key has under a KEK of 2048")


@pytest.mark.parametrize(
    ("plain", "kek_size", "key"),
    [(16, 2048, "AES-128"), (32, 3072, "AES-256"), (138, 4096, "P-256"), (2375, 2048, "RSA-4096")],
)
def test_the_keys_that_fit_are_told_for_each_size_of_a_kek(
    plain: int, kek_size: int, key: str
) -> None:
    size = kek_size // 8 + 8 * -(-plain // 8) + 8
    text = json.dumps(document(ciphertext=base64.urlsafe_b64encode(bytes(size)).decode()))
    assert {"kek_size": kek_size, "keys": [key]} in [
        {**fit, "keys": [each for each in fit["keys"] if each == key]}
        for fit in explain(text)["fits"]
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["key", "key_hsm", "header", "Header", "kid", "ciphertext", "t"]),
                inner,
            )
        ),
    )
)
def test_any_json_is_explained(value: t.Any) -> None:
    assert explain(json.dumps(value))["problems"]


@given(st.text())
def test_any_text_is_explained(text: str) -> None:
    assert explain(text)["problems"]
