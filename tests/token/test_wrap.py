# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""byok_wrap on every kind of token.

What it makes is unwrapped by another implementation, as strictly as can be.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.keyferry.azure.tests.token.conftest import (
    ROOT,
    escrow_options,
    pem_and_fingerprint,
)
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KID = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
KEYS: list[dict[str, Any]] = [
    *({"name": f"rsa-{size}", "type": "RSA", "size": size} for size in (2048, 3072, 4096)),
    *(
        {"name": curve.lower(), "type": "EC", "curve": curve}
        for curve in ("P-256", "P-384", "P-521")
    ),
]
EC_KEY = {"name": "ec", "type": "EC", "curve": "P-256"}


@functools.cache
def private_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def kek(bits: int = 2048) -> dict[str, Any]:
    """The options of byok_wrap that name the KEK, which somebody approved."""
    pem, fingerprint = pem_and_fingerprint(private_key(bits))
    return {
        "kek_id": KID,
        "kek_public_key": pem,
        "approved_keks": [fingerprint],
    }


def escrow() -> dict[str, str]:
    return escrow_options(private_key(3072))


def unwrap(package: dict[str, Any], key: rsa.RSAPrivateKey) -> bytes:
    """Return what Azure would unwrap, or fail."""
    document = json.loads(package["content"])
    ciphertext = base64.urlsafe_b64decode(document["ciphertext"] + "==")
    size = key.key_size // 8
    aes_key = key.decrypt(
        ciphertext[:size], padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    )
    return aes_key_unwrap_with_padding(aes_key, ciphertext[size:])


def public_pem(pkcs8: bytes) -> str:
    """Return the public key of a PKCS#8, which has to be DER to its last byte."""
    public_key = serialization.load_der_private_key(pkcs8, None).public_key()
    return public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@pytest.fixture(params=["luna", "luna in FIPS mode", "futurex", "nss"])
def token(request: pytest.FixtureRequest, nss: Options) -> Options:
    """A token whose RFC 5649 is right to the last byte."""
    options: dict[str, Callable[[], Options]] = {
        "luna": lambda: request.getfixturevalue("luna")(nss),
        "luna in FIPS mode": lambda: request.getfixturevalue("luna")(nss, fips=1, null_iv="refuse"),
        "futurex": lambda: request.getfixturevalue("futurex")(nss),
        "nss": lambda: nss,
    }
    return options[request.param]()


def test_every_kind_of_key_arrives_byte_for_byte(run: Run, token: Options) -> None:
    # NSS says of every key that it was made elsewhere.
    keys = [dict(key, allow_external_origin="library_parameters" in token) for key in KEYS]
    made = run("byok_target_key", token, target_keys=keys)
    wrapped = run("byok_wrap", token, packages=keys, **kek(3072))
    assert [package["name"] for package in wrapped["packages"]] == [key["name"] for key in KEYS]
    for key, package in zip(made["target_keys"], wrapped["packages"], strict=True):
        assert public_pem(unwrap(package, private_key(3072))) == key["generations"][0]["public_key"]
        assert package["thumbprint"] == key["thumbprint"]
        assert json.loads(package["content"])["schema_version"] == "1.0.0"


def test_one_call_wraps_where_the_token_can(
    run: Run, nss: Options, futurex: Front, tmp_path: Path
) -> None:
    """CKM_RSA_AES_KEY_WRAP: no AES key is ever an object of its own that could wrap again."""
    trace = tmp_path / "trace"
    keys = [
        EC_KEY,
        {"name": "rsa", "type": "RSA", "size": 2048},
        {"name": "aes", "type": "oct", "size": 256},
    ]
    made = run("byok_target_key", futurex(nss), target_keys=keys)["target_keys"]
    wrapped = run("byok_wrap", futurex(nss, one_shot=1, trace=trace), packages=keys, **kek(3072))
    assert wrapped["rehearsal"]["mechanism"] == "CKM_RSA_AES_KEY_WRAP (0x1054)"
    for key, package in zip(made[:2], wrapped["packages"], strict=False):
        assert public_pem(unwrap(package, private_key(3072))) == key["generations"][0]["public_key"]
    assert len(unwrap(wrapped["packages"][2], private_key(3072))) == 32
    lines = trace.read_text().splitlines()
    assert [line for line in lines if line.startswith("C_GenerateKey ")] == []
    assert [line for line in lines if line.startswith("C_WrapKey")] == [
        "C_WrapKey 0x0 mechanism=0x1054"
    ] * 4


def test_one_call_that_makes_something_else_is_not_used(
    run: Run, nss: Options, futurex: Front
) -> None:
    run("byok_target_key", futurex(nss), target_keys=[EC_KEY])
    failed = run("byok_wrap", futurex(nss, one_shot=1, kwp="0x210a"), packages=[EC_KEY], **kek())
    assert (
        "CKM_RSA_AES_KEY_WRAP (0x1054): RFC 3394 over PKCS#7 padding instead of RFC 5649; "
        "CKM_AES_KEY_WRAP_KWP" in failed["msg"]
    )


def test_a_secret_key_leaves_as_it_is(run: Run, nss: Options, luna: Front) -> None:
    key = {"name": "aes", "type": "oct", "size": 256}
    run("byok_target_key", luna(nss), target_keys=[key])
    wrapped = run("byok_wrap", luna(nss), packages=[key], **kek())
    assert len(unwrap(wrapped["packages"][0], private_key(2048))) == 32


def test_a_luna_is_asked_for_nothing_but_its_own_mechanisms_and_leaves_no_object_behind(
    run: Run, nss: Options, luna: Front, tmp_path: Path
) -> None:
    run("byok_target_key", luna(nss), target_keys=[EC_KEY])
    trace = tmp_path / "trace"
    run("byok_wrap", luna(nss, trace=trace), packages=[EC_KEY], **kek())
    lines = trace.read_text().splitlines()
    mechanisms = [line.partition("mechanism=")[2] for line in lines if line.startswith("C_WrapKey")]
    assert mechanisms == ["0x9", "0x80000171"] * 2  # the rehearsal, then the key
    made = sum(line.startswith(("C_CreateObject", "C_GenerateKey ")) for line in lines)
    made += 2 * sum(line.startswith("C_GenerateKeyPair") for line in lines)
    assert sum(line.startswith("C_DestroyObject 0x0") for line in lines) == made


def test_several_sessions_wrap_the_same(run: Run, softhsm: Options) -> None:
    keys = [{"name": f"key-{number}", "type": "EC", "curve": "P-384"} for number in range(12)]
    made = run("byok_target_key", softhsm, sessions=3, target_keys=keys)
    wrapped = run(
        "byok_wrap", softhsm, sessions=3, packages=keys, allow_trailing_zeros=True, **kek()
    )
    for key, package in zip(made["target_keys"], wrapped["packages"], strict=True):
        assert public_pem(unwrap(package, private_key(2048))) == key["generations"][0]["public_key"]


def test_a_key_that_fails_leaves_the_others(run: Run, nss: Options, luna: Front) -> None:
    keys = [dict(EC_KEY, name=name) for name in ("a", "b", "c")]
    run("byok_target_key", luna(nss), target_keys=keys)
    # Calls of C_WrapKey: two of the rehearsal, then two per key.
    failed = run("byok_wrap", luna(nss, faults="C_WrapKey:6:0x80000076"), packages=keys, **kek())
    assert [package["name"] for package in failed["packages"]] == ["a", "c"]
    assert "Wrapping the key b by CKM_AES_KWP in the token byok" in failed["msg"]
    assert "C_WrapKey returned CKR_HSM_TAMPERED (0x80000076)" in failed["msg"]


def test_an_escrow_package_is_the_same_key_for_no_vault(
    run: Run, softhsm: Options, tmp_path: Path
) -> None:
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    paths = {"path": str(tmp_path / "ec.byok"), "escrow_path": str(tmp_path / "ec.escrow")}
    options: dict[str, Any] = {
        "packages": [{**EC_KEY, **paths}],
        "allow_trailing_zeros": True,
        **kek(),
        **escrow(),
    }
    both = run("byok_wrap", softhsm, **options)
    package, escrowed = both["packages"][0], both["escrows"][0]
    same = [
        unwrap(package, private_key(2048)).rstrip(b"\0"),
        unwrap(escrowed, private_key(3072)).rstrip(b"\0"),
    ]
    assert same[0] == same[1]
    header = json.loads(escrowed["content"])["header"]
    assert header == {
        "escrow": f"sha256:{escrow()['escrow_fingerprint']}",
        "alg": "dir",
        "enc": "CKM_RSA_AES_KEY_WRAP",
    }
    assert escrowed["kek_id"] is None
    assert escrowed["receipt"]["predicate"]["kek"]["fingerprint"] == escrow()["escrow_fingerprint"]
    for receipt in (package["receipt"], escrowed["receipt"]):
        jsonschema.validate(receipt, json.loads((ROOT / "docs/receipt.schema.json").read_text()))
    assert Path(paths["escrow_path"]).read_text() == escrowed["content"]
    assert Path(paths["escrow_path"]).stat().st_mode & 0o777 == 0o600

    # Who restores the key has to put its public key in as well
    public = Path(f"{paths['escrow_path']}.pub.pem")
    assert public.stat().st_mode & 0o777 == 0o600
    public_key = serialization.load_pem_public_key(public.read_bytes())
    private: Any = serialization.load_der_private_key(same[1], None)
    assert public_key == private.public_key()
    assert not Path(f"{paths['path']}.pub.pem").exists()

    again = run("byok_wrap", softhsm, **options)
    assert again["changed"] is False
    assert [again["packages"][0]["wrapped"], again["escrows"][0]["wrapped"]] == [False, False]
    assert again["escrows"][0]["sha256"] == escrowed["sha256"]

    # Without its public key it would be of no use.
    public.unlink()
    completed = run("byok_wrap", softhsm, **options)["escrows"][0]
    assert (completed["wrapped"], public.exists()) == (True, True)

    # The one is never taken for the other.
    swapped = {"path": paths["escrow_path"], "escrow_path": paths["path"]}
    assert (
        run("byok_wrap", softhsm, check=True, **{**options, "packages": [{**EC_KEY, **swapped}]})[
            "changed"
        ]
        is True
    )


def test_escrow_works_without_a_vault(run: Run, softhsm: Options) -> None:
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    done = run("byok_wrap", softhsm, allow_trailing_zeros=True, packages=[EC_KEY], **escrow())
    assert (done["packages"], len(done["escrows"])) == ([], 1)
    assert unwrap(done["escrows"][0], private_key(3072))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"escrow_fingerprint": None},
            "The escrow key is given without its fingerprint; that of the given PEM is",
        ),
        (
            {"escrow_fingerprint": "00" * 32},
            "The escrow key was substituted, or comes from elsewhere",
        ),
        (
            {"escrow_public_key": pem_and_fingerprint(rsa.generate_private_key(65537, 1024))[0]},
            "The escrow key was substituted",
        ),
    ],
)
def test_an_escrow_key_has_to_be_pinned(
    run: Run, softhsm: Options, changes: dict[str, Any], expected: str
) -> None:
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    failed = run(
        "byok_wrap",
        softhsm,
        allow_trailing_zeros=True,
        packages=[EC_KEY],
        **{**escrow(), **changes},
    )
    assert failed["msg"].startswith(expected)


def test_an_escrow_key_that_is_too_short(run: Run, softhsm: Options) -> None:
    failed = run(
        "byok_wrap",
        softhsm,
        packages=[EC_KEY],
        **escrow_options(rsa.generate_private_key(65537, 1024)),
    )
    assert failed["msg"].startswith("The escrow key has 1024 bits")


def test_a_luna_that_appends_its_initial_value_is_seen_through(
    run: Run, nss: Options, luna: Front
) -> None:
    """Forced to the NULL parameter by a fault at the first candidate.

    The rehearsal then judges the parameter by what came out.
    """
    run("byok_target_key", luna(nss), target_keys=[EC_KEY])
    failed = run("byok_wrap", luna(nss, faults="C_WrapKey:2:0x71"), packages=[EC_KEY], **kek())
    assert "CKM_AES_KWP (0x80000171): RFC 5649, with 8 bytes appended" in failed["msg"]


def test_a_token_that_takes_private_objects_alone(run: Run, nss: Options, luna: Front) -> None:
    """As Luna Cloud HSM may.

    Documents say that every template has to name CKA_PRIVATE true there.
    """
    keys = [EC_KEY, {"name": "rsa", "type": "RSA", "size": 2048}]
    made = run("byok_target_key", luna(nss, private_only=1), target_keys=keys)
    wrapped = run("byok_wrap", luna(nss, private_only=1), packages=keys, **kek())
    for key, package in zip(made["target_keys"], wrapped["packages"], strict=True):
        assert public_pem(unwrap(package, private_key(2048))) == key["generations"][0]["public_key"]


def test_single_purpose_partitions_say_what_to_declare(run: Run, nss: Options, luna: Front) -> None:
    options = luna(nss, policies="10=0")
    failed = run(
        "byok_target_key", options, target_keys=[{"name": "two", "type": "RSA", "size": 2048}]
    )
    assert (
        "CKR_TEMPLATE_INCONSISTENT (0xd1). "
        "Where partition policy 10 (multipurpose keys) is off, declare" in failed["msg"]
    )
    one = {"name": "one", "type": "RSA", "size": 2048, "operations": ["sign", "verify"]}
    assert run("byok_target_key", options, target_keys=[one])["changed"] is True


def test_flags_of_the_token_alone(run: Run, softhsm: Options, tmp_path: Path, plain: Front) -> None:
    key = dict(EC_KEY, derive=True, modifiable=False)
    assert run("byok_target_key", softhsm, target_keys=[key])["changed"] is True
    # CKA_MODIFIABLE false: the key cannot be locked any more.
    thumbprint = run("byok_target_key", softhsm, target_keys=[key])["target_keys"][0]["thumbprint"]
    failed = run(
        "byok_target_key",
        softhsm,
        target_keys=[dict(key, modifiable=True, after_transfer="lock")],
        transferred=[thumbprint],
    )
    assert "C_SetAttributeValue returned" in failed["msg"]


def test_a_key_that_shall_not_be_made(run: Run, softhsm: Options) -> None:
    for check in (True, False):
        failed = run(
            "byok_target_key", softhsm, check=check, target_keys=[dict(EC_KEY, create=False)]
        )
        assert "There is no key ec in the token byok" in failed["msg"]
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    assert (
        run("byok_target_key", softhsm, target_keys=[dict(EC_KEY, create=False)])["changed"]
        is False
    )


#: Every way to say that a KEK is trustworthy, but approval
ASSERTIONS: dict[str, Any] = {
    "kek_trust": "pinned",
    "kek_created": True,
    "allow_unverified_kek": True,
}


@pytest.mark.parametrize("asserted", [{}, *({name: ASSERTIONS[name]} for name in ASSERTIONS)])
def test_where_a_kek_is_approved_no_other_one_is_used(
    run: Run, softhsm: Options, tmp_path: Path, asserted: dict[str, Any]
) -> None:
    """As a host that reaches Azure could answer that somebody else controls."""
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    pem, fingerprint = pem_and_fingerprint(private_key(3072))
    lie = {**kek(), "kek_public_key": pem, "kek_fingerprint": fingerprint, **asserted}
    key = {**EC_KEY, "path": str(tmp_path / "ec.byok")}
    failed = run("byok_wrap", softhsm, allow_trailing_zeros=True, packages=[key], **lie)
    assert f"The KEK {KID} is not among the approved KEKs" in failed["msg"]
    assert f"Its fingerprint is {fingerprint}" in failed["msg"]
    assert failed.get("packages", []) == []
    assert not (tmp_path / "ec.byok").exists()


@pytest.mark.parametrize(
    ("options", "trust"),
    [
        ({"approved_keks": ["ab" * 32, kek()["approved_keks"][0].upper()]}, "pinned"),
        ({**kek(), "kek_trust": "unverified"}, "pinned"),
        ({"kek_created": True}, "created"),
        ({"kek_created": True, "kek_trust": "created"}, "created"),
        ({"allow_unverified_kek": True}, "unverified"),
        ({"allow_unverified_kek": True, "kek_trust": "created"}, "unverified"),
        ({"kek_trust": "created"}, "is said to be created (kek_trust), which counts only with"),
        ({"kek_trust": "pinned"}, "is said to be pinned (kek_trust), but approved_keks does not"),
        ({"kek_created": True, "kek_trust": "unverified"}, "Nothing shows that the KEK"),
        ({}, "Nothing shows that the KEK"),
    ],
)
def test_what_shows_whose_the_kek_is(
    run: Run, softhsm: Options, options: dict[str, Any], trust: str
) -> None:
    run("byok_target_key", softhsm, target_keys=[EC_KEY])
    whole = {**kek(), "approved_keks": [], **options}
    done = run("byok_wrap", softhsm, allow_trailing_zeros=True, packages=[EC_KEY], **whole)
    if " " in trust:
        assert trust in done["msg"]
    else:
        assert done["packages"][0]["receipt"]["predicate"]["kek"]["trust"] == trust
