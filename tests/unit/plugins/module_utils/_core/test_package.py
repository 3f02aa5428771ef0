# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import json
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import package as _package
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from hypothesis import given
from hypothesis import strategies as st

KID = "https://contoso.vault.azure.net/keys/kek/" + "0123456789abcdef" * 2


def document(**changes: t.Any) -> str:
    """A package in the shape of a real one; changes replace members.

    A vendor's RSA-4096 under a KEK of 4096 bits.
    """
    ciphertext = base64.urlsafe_b64encode(bytes(range(256)) * 11 + bytes(80)).decode()
    members: dict[str, t.Any] = {
        "schema_version": "1.0.0",
        "header": {"kid": KID, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"},
        "ciphertext": ciphertext,
        "generator": "a vendor's tool v1.2; its HSM 2.9.0",
    }
    return json.dumps({**members, **changes})


def test_a_real_package_s_shape_is_read_with_and_without_padding() -> None:
    padded = document()
    assert json.loads(padded)["ciphertext"].endswith("==")
    bare = document(ciphertext=json.loads(padded)["ciphertext"].rstrip("="))
    for text in (padded, bare):
        package = _package.parse(text)
        assert (package.kid, len(package.ciphertext)) == (KID, 2896)
        _package.lint(package, KeySpec("RSA", size=4096), 4096)
        for other_kek in (2048, 3072):
            with pytest.raises(ByokError, match="bytes long"):
                _package.lint(package, KeySpec("RSA", size=4096), other_kek)


@given(st.binary(min_size=1, max_size=4000), st.text(max_size=50))
def test_what_is_built_is_parsed(ciphertext: bytes, generator: str) -> None:
    text = _package.build(KID, ciphertext, generator)
    assert _package.parse(text) == _package.Package(KID, ciphertext, generator)
    assert "=" not in json.loads(text)["ciphertext"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "package is empty"),
        (" \r\n", "package is empty"),
        ("[]", "not a JSON object"),
        (document()[:-40], "not a JSON object"),
        (document(schema_version="2.0.0"), "schema_version is '2.0.0'"),
        (
            document(header={"kid": KID, "alg": "dir", "enc": "CKM_AES_KEY_WRAP"}),
            "header.enc is 'CKM_AES_KEY_WRAP'",
        ),
        (
            document(header={"kid": KID, "alg": "RSA", "enc": "CKM_RSA_AES_KEY_WRAP"}),
            "header.alg is 'RSA'",
        ),
        (document(header=None), "header.alg is None"),
        (
            document(header={"kid": KID[:-33], "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}),
            "one version of a key",
        ),
        (document(ciphertext="a+b/"), "not base64url"),
        (document(ciphertext="abcde"), "not base64url"),
        (document(ciphertext=""), "not base64url"),
        (document(ciphertext=None), "not base64url"),
    ],
)
def test_other_packages_are_refused(text: str, says: str) -> None:
    with pytest.raises(ByokError, match=says):
        _package.parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_read_or_refused(value: t.Any) -> None:
    for text in (json.dumps(value), document(header=value), document(ciphertext=value)):
        with contextlib.suppress(ByokError):
            _package.parse(text)


def plain_keys() -> t.Iterator[tuple[KeySpec, bytes]]:
    """Plain target keys of every kind, by another implementation: PKCS#8, or an oct key's bytes."""

    def pkcs8(key: t.Any) -> bytes:
        octets: bytes = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return octets

    for size in (2048, 3072, 4096):
        yield KeySpec("RSA", size=size), pkcs8(rsa.generate_private_key(65537, size))
    for curve, implementation in (
        ("P-256", ec.SECP256R1()),
        ("P-384", ec.SECP384R1()),
        ("P-521", ec.SECP521R1()),
        ("P-256K", ec.SECP256K1()),
    ):
        yield KeySpec("EC", curve=curve), pkcs8(ec.generate_private_key(implementation))
    for size in (128, 192, 256):
        yield KeySpec("oct", size=size), bytes(size // 8)


def test_wrapped_lengths_of_every_kind_are_told_apart() -> None:
    for spec, plain in plain_keys():
        wrapped = len(aes_key_wrap_with_padding(bytes(32), plain))
        _package.check_wrapped_length(wrapped, spec)
        with pytest.raises(ByokError, match="truncated"):
            _package.check_wrapped_length(wrapped - 1, spec)
        for other in (
            KeySpec("RSA", size=2048),
            KeySpec("oct", size=256),
            KeySpec("EC", curve="P-521"),
        ):
            if other.type != spec.type:
                with pytest.raises(ByokError):
                    _package.check_wrapped_length(wrapped, other)


@pytest.mark.parametrize(
    "kid", [KID[:-33], KID + "/x", KID.replace("https", "http"), "", KID + "\n"]
)
def test_a_kid_names_one_version(kid: str) -> None:
    with pytest.raises(ByokError, match="one version of a key"):
        _package.parse_kid(kid)


def test_a_package_whose_kid_powershell_printed_stays_as_it_is() -> None:
    printed = f"{KID.replace('.net/', '.net:443/')}/"
    header = {"kid": printed, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    package = _package.parse(document(header=header))
    assert package.kid == printed
    assert _package.parse_kid(package.kid) == _package.parse_kid(KID)


def test_a_kid_is_compared_without_regard_to_case() -> None:
    assert _package.parse_kid(
        KID.upper().replace("HTTPS", "https").replace("/KEYS/", "/keys/")
    ).vault == ("https://contoso.vault.azure.net")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        document()[:-1] + ', "ciphertext": "AAAA"}',
        document().replace('"alg"', '"kid": "' + KID + '", "alg"'),
    ],
)
def test_a_package_that_readers_would_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ByokError, match="is not a JSON object"):
        _package.parse(text)


@given(st.binary(max_size=100))
def test_a_sha256_is_read_as_it_is_spoken(content: bytes) -> None:
    sha256 = _package.digest(content.hex())
    assert len(_package.spoken(sha256).split()) == 16
    assert _package.parse_sha256(f" {_package.spoken(sha256).upper()}\n") == sha256
    assert _package.parse_sha256(":".join(_package.spoken(sha256).split())) == sha256


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "g" * 64])
def test_what_is_no_sha256_is_refused(text: str) -> None:
    with pytest.raises(ByokError, match="is not the SHA-256 of a package"):
        _package.parse_sha256(text)
