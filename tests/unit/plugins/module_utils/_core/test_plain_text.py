# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import itertools
import typing as t
from functools import partial

import pytest
from ansible.module_utils.common.text import converters
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import (
    decode_text,
    plain_text,
)
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

#: How Ansible's lookups and filters turn bytes to a text
to_text: t.Callable[..., str] = converters.to_text

SECRET = "tokenLabel = \u201cstr\u00f6m-7391\u201d\n"


def der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def readers(content: bytes) -> list[t.Callable[[], str]]:
    """What reads a file, and what reads what Ansible's lookups and filters made of it."""
    return [
        partial(decode_text, content, "The file x"),
        partial(plain_text, to_text(content), "The file x"),
    ]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_utf_8_is_read_with_and_without_its_mark(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        assert decode_text(text.encode(encoding), "The file x") == text
        assert plain_text(text.encode(encoding).decode(), "The file x") == text


#: What other files are called, and how they are saved
REFUSED = {
    "The file x is UTF-16. Save it as UTF-8, .* iconv -f UTF-16 -t UTF-8": [
        SECRET.encode("utf-16"),
        b"\xfe\xff" + SECRET.encode("utf-16-be"),
    ],
    "The file x is UTF-32. .* iconv -f UTF-32": [SECRET.encode("utf-32")],
    "The file x is UTF-16 without a byte order mark": [
        SECRET.encode("utf-16-le"),
        SECRET.replace("\u00f6", "o").encode("utf-16-be"),
        "1234\r\n".encode("utf-16-le"),
    ],
    "The file x is not UTF-8 in line 2, but probably Windows-1252. .* -f WINDOWS-1252": [
        ("[ byok ]\n" + SECRET).encode("cp1252"),
    ],
    "The file x is DER, the binary form, and not a PEM. Convert .* openssl pkey -pubin": [
        der(rsa.generate_private_key(65537, 2048)),
        der(ec.generate_private_key(ec.SECP256R1())),
        der(ec.generate_private_key(ec.SECP521R1())),
    ],
    "The file x is binary, and not text": [b"\x7fELF" + bytes(5) + b"a" * 200],
}


@pytest.mark.parametrize(
    ("says", "content"),
    [(says, each) for says, contents in REFUSED.items() for each in contents],
    ids=itertools.count(),  # keys are made anew by each worker, and must not be in the names
)
def test_another_encoding_is_named_with_the_way_to_save_it(says: str, content: bytes) -> None:
    """As it is read from a file, and as Ansible's lookups and filters hand it over."""
    for read in readers(content):
        with pytest.raises(ByokError, match=says) as error:
            read()
        assert "7391" not in str(error.value)


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for read in readers(content):
        with contextlib.suppress(ByokError):
            assert read().encode() == content.removeprefix(b"\xef\xbb\xbf")


def test_a_text_that_no_bytes_make_is_refused() -> None:
    with pytest.raises(ByokError, match="is not text"):
        plain_text("\ud800", "The file x")
