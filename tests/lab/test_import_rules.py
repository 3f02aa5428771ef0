# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a vault refuses to import, each with its own sentence and without leaving a version."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Vault
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from wrapping import base64url, ec_key, number, package, pkcs8, rsa_key, wrap, wrapped

from lab.package import target_key
from lab.refusals import Refusal


def send(vault: Vault, file: bytes, **key: Any) -> Any:
    target = {"kty": "EC-HSM", "crv": "P-256", "key_hsm": base64url(file)} | key
    return vault.ask("PUT", "/keys/target", {"key": target})


def refused(vault: Vault, file: bytes, status: int = 400, **key: Any) -> str:
    """Import, and return the message of the refusal."""
    response = send(vault, file, **key)
    assert response.status_code == status, response.text
    assert vault.do("GET", "/keys/target/versions")["value"] == []
    return str(response.json()["error"]["message"])


def test_nothing_but_a_package(vault: Vault) -> None:
    assert "key transfer package" in refused(vault, b"not JSON")
    assert "key transfer package" in refused(vault, b'{"header": {}}')
    assert "key_hsm" in refused(vault, b"", key_hsm="")
    file = wrap(vault.kek(), pkcs8(ec_key()))
    assert "expected 1.0.0, dir" in refused(vault, file.replace(b'"dir"', b'"RSA-OAEP"'))
    assert "expected 1.0.0, dir" in refused(vault, file.replace(b'"1.0.0"', b'"2.0.0"'))


@pytest.mark.parametrize(
    ("kid", "expected"),
    [
        (
            "https://keyferry-lab-other.vault.azure.net/keys/kek/{version}",
            "not a key version of this vault",
        ),
        ("{url}/keys/kek", "not a key version of this vault"),
        ("{url}/keys/kek/0123456789abcdef0123456789abcdef", "does not exist"),
        ("{url}/keys/other/{version}", "does not exist"),
    ],
)
def test_kek_is_of_this_vault_and_of_the_exact_version(
    vault: Vault, kid: str, expected: str
) -> None:
    kek = vault.kek()
    version = kek["kid"].rpartition("/")[2]
    file = wrap(kek, pkcs8(ec_key()), kid=kid.format(url=vault.url, version=version))
    assert expected in refused(vault, file)


def test_an_older_version_of_the_kek_is_another_key(vault: Vault) -> None:
    older, newer = vault.kek(), vault.kek()
    assert "not wrapped under this KEK" in refused(
        vault, wrap(older, pkcs8(ec_key()), kid=newer["kid"])
    )
    assert send(vault, wrap(older, pkcs8(ec_key()))).ok


def test_kek_can_do_nothing_but_import(vault: Vault) -> None:
    body = {"kty": "RSA-HSM", "key_ops": ["import", "wrapKey"]}
    assert (
        "mutually exclusive"
        in vault.ask("POST", "/keys/kek/create", body).json()["error"]["message"]
    )
    assert (
        vault.ask("POST", "/keys/kek/create", {"kty": "RSA", "key_ops": ["import"]}).status_code
        == 400
    )
    assert (
        vault.ask("POST", "/keys/kek/create", {"kty": "EC-HSM", "key_ops": ["import"]}).status_code
        == 400
    )
    other = vault.do(
        "POST", "/keys/other/create", {"kty": "RSA-HSM", "key_ops": ["wrapKey", "unwrapKey"]}
    )["key"]
    assert "Operation import is not permitted" in refused(vault, wrap(other, pkcs8(ec_key())), 403)
    kek = vault.kek()
    assert vault.ask("PATCH", "/keys/kek", {"key_ops": ["wrapKey"]}).status_code == 400
    path = kek["kid"][len(vault.url) :] + "/wrapkey"
    answer = vault.ask("POST", path, {"alg": "RSA-OAEP", "value": base64url(b"value")})
    assert answer.json()["error"]["innererror"]["code"] == "KeyOperationForbidden"


def test_software_kek_is_refused(vault: Vault) -> None:
    software = vault.do("POST", "/keys/software/create", {"kty": "RSA"})["key"]
    assert "expected RSA-HSM" in refused(vault, wrap(software, pkcs8(ec_key())))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"enabled": False}, "KeyDisabled"),
        ({"exp": 1_500_000_000}, "KeyExpired"),
        ({"nbf": 4_000_000_000}, "KeyNotYetValid"),
    ],
)
def test_kek_is_enabled_and_valid_now(vault: Vault, change: dict[str, Any], code: str) -> None:
    kek = vault.kek()
    vault.do("PATCH", "/keys/kek", {"attributes": change})
    response = send(vault, wrap(kek, pkcs8(ec_key())))
    assert (response.status_code, response.json()["error"]["innererror"]["code"]) == (403, code)


def test_kek_expires_by_the_vaults_clock(vault: Vault, clock: Callable[[float], None]) -> None:
    created = vault.native("any")["attributes"]["created"]
    file = wrap(vault.kek(exp=created + 100), pkcs8(ec_key()))
    assert send(vault, file).ok
    clock(101)
    assert send(vault, file).status_code == 403


def test_deleted_kek_does_not_unwrap(vault: Vault) -> None:
    file = wrap(vault.kek(), pkcs8(ec_key()))
    vault.do("DELETE", "/keys/kek")
    assert "does not exist" in refused(vault, file)


def test_truncated_and_edited_packages(vault: Vault) -> None:
    kek = vault.kek()
    ciphertext = bytearray(wrapped(kek, pkcs8(ec_key())))
    assert "not wrapped by RFC 5649" in refused(vault, package(kek["kid"], bytes(ciphertext[:-8])))
    assert "not wrapped under this KEK" in refused(
        vault, package(kek["kid"], bytes(ciphertext[:100]))
    )
    ciphertext[-1] ^= 1
    assert "not wrapped by RFC 5649" in refused(vault, package(kek["kid"], bytes(ciphertext)))


@pytest.mark.parametrize("trailing", [bytes(1), bytes(7), bytes(8), b"\x01"])
def test_trailing_bytes_are_refused(vault: Vault, trailing: bytes) -> None:
    message = refused(vault, wrap(vault.kek(), pkcs8(ec_key()) + trailing))
    assert f"{len(trailing)} bytes behind" in message
    assert "--tolerate-trailing-zeros" in message


@pytest.mark.parametrize("trailing", [b"", bytes(1), bytes(7)])
def test_up_to_seven_zeros_can_be_tolerated(trailing: bytes) -> None:
    arrived = target_key("EC", "P-256", pkcs8(ec_key()) + trailing, tolerate_trailing_zeros=True)
    assert number(arrived.public["x"]) == ec_key().public_key().public_numbers().x


@pytest.mark.parametrize("trailing", [bytes(8), b"\x01", bytes(3) + b"\x01"])
def test_nothing_else_is_tolerated(trailing: bytes) -> None:
    with pytest.raises(Refusal, match="bytes behind"):
        target_key("EC", "P-256", pkcs8(ec_key()) + trailing, tolerate_trailing_zeros=True)


def test_other_formats_of_private_keys_are_refused(vault: Vault) -> None:
    kek = vault.kek()
    traditional = ec_key().private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    for plaintext in (
        traditional,
        b"\x30\x03\x02\x01\x00",
        secrets.token_bytes(32),
        pkcs8(ec_key())[:-1],
    ):
        assert "no PKCS#8 private key" in refused(vault, wrap(kek, plaintext))


def test_rfc_3394_is_not_rfc_5649(vault: Vault) -> None:
    """What NSS makes of CKM_AES_KEY_WRAP_PAD: RFC 3394 over PKCS#7."""
    kek, plaintext = vault.kek(), pkcs8(ec_key())
    pad = 8 - len(plaintext) % 8
    ciphertext = wrapped(kek, plaintext + bytes([pad]) * pad, aes_key_wrap)
    assert "not wrapped by RFC 5649" in refused(vault, package(kek["kid"], ciphertext))


def test_type_size_and_curve_are_what_the_package_holds(vault: Vault) -> None:
    kek = vault.kek()
    assert "no RSA key" in refused(vault, wrap(kek, pkcs8(ec_key())), kty="RSA-HSM")
    assert "no EC key on the curve P-256" in refused(vault, wrap(kek, pkcs8(rsa_key(2048))))
    assert "no EC key on the curve P-256K" in refused(
        vault, wrap(kek, pkcs8(ec_key())), crv="P-256K"
    )
    assert "Curve None" in refused(vault, wrap(kek, pkcs8(ec_key())), crv=None)
    assert "no RSA key of 2048" in refused(vault, wrap(kek, pkcs8(rsa_key(1024))), kty="RSA-HSM")


def test_oct_keys_only_in_a_managed_hsm(vault: Vault, hsm: Vault) -> None:
    assert refused(vault, wrap(vault.kek(), bytes(32)), kty="oct-HSM") == (
        "Invalid kty value: oct-HSM"
    )
    assert "no oct key of 16, 24 or 32" in refused(hsm, wrap(hsm.kek(), bytes(20)), kty="oct-HSM")


def test_operations_of_the_type(vault: Vault) -> None:
    file = wrap(vault.kek(), pkcs8(ec_key()))
    expected = (
        'Unsupported key operation(s): "wrapKey", "unwrapKey". '
        'Supported values are "sign", "verify".'
    )
    assert refused(vault, file, key_ops=["wrapKey", "unwrapKey", "sign"]) == expected
    assert "Unsupported" in refused(vault, file, key_ops=["import"])


def test_every_import_makes_a_version(vault: Vault) -> None:
    file = wrap(vault.kek(), pkcs8(ec_key()))
    kids = {send(vault, file).json()["key"]["kid"] for _time in range(3)}
    assert len(kids) == 3
    assert {item["kid"] for item in vault.do("GET", "/keys/target/versions")["value"]} == kids


def test_stray_curve_is_echoed(vault: Vault) -> None:
    arrived = send(
        vault, wrap(vault.kek(), pkcs8(rsa_key(2048))), kty="RSA-HSM", crv="P-521"
    ).json()
    assert arrived["key"]["crv"] == "P-521"
