# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import make_id
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    EVIDENCE,
    Found,
    Generation,
    Leftover,
    by_age,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.listing import (
    Listing,
    parse_listing,
    read_listing,
    write_listing,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import TokenInfo
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
INFO = TokenInfo("byok", "1312109861410", "SafeNet", "LunaSA 7.4.0", "7.4", "/lib/cryptoki.so")
TOLD = {
    "LOCAL": True,
    "ALWAYS_SENSITIVE": True,
    "SENSITIVE": True,
    "EXTRACTABLE": True,
    "NEVER_EXTRACTABLE": False,
}


def ec_public_key(curve: str, kind: ec.EllipticCurve) -> PublicKey:
    numbers = ec.generate_private_key(kind).public_key().public_numbers()
    return EcPublicKey(curve, numbers.x, numbers.y)


def rsa_public_key(bits: int) -> PublicKey:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return RsaPublicKey(numbers.n, numbers.e)


def key(
    identifier: bytes,
    kind: PublicKey | KeySpec | str,
    *,
    withdrawn: bool = False,
    **told: bool | None,
) -> Generation:
    public_key = None if isinstance(kind, (str, KeySpec)) else kind
    spec = kind if isinstance(kind, KeySpec) else None
    if isinstance(public_key, RsaPublicKey):
        spec = KeySpec("RSA", size=public_key.size)
    elif public_key:
        spec = KeySpec("EC", curve=public_key.curve)
    facts: dict[str, t.Any] = {f"CKA_{name}": {**TOLD, **told}.get(name) for name in EVIDENCE}
    return Generation(identifier, str(kind), spec, public_key, facts, withdrawn=withdrawn)


OURS = [make_id(1_790_000_000_000 + number, bytes(10), []) for number in range(3)]
P_256, K_256 = ec_public_key("P-256", ec.SECP256R1()), ec_public_key("P-256K", ec.SECP256K1())
GENERATIONS = [
    key(b"\x01", rsa_public_key(2048), LOCAL=False),
    key(b"\x02", "EC on the curve 06052b81040021"),
    key(b"", "DSA", SENSITIVE=None),
    key(OURS[0], P_256, withdrawn=True),
    key(OURS[1], K_256, EXTRACTABLE=False),
    key(OURS[2], KeySpec("EC", curve="P-384")),  # half-made
    key(b"\x03", KeySpec("oct", size=256)),
]
LISTING = Listing(
    INFO,
    NOW,
    {"b": Found(sorted(GENERATIONS, key=by_age), []), "a\n": Found([], [Leftover(OURS[0])])},
)


def test_a_listing_survives_its_text() -> None:
    text = json.dumps(write_listing(LISTING))
    assert parse_listing(text, "It") == LISTING
    assert [each["name"] for each in json.loads(text)["target_keys"]] == ["a\n", "b"]
    assert all("PRIVATE" not in str(line) for line in text)


def paths(value: t.Any, path: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    """The paths to everything in a document."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(each for at, member in inner for each in paths(member, (*path, at)))]


DOCUMENT = write_listing(LISTING)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("00"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


@given(st.sampled_from(paths(DOCUMENT)[1:]), JSON)
def test_a_listing_that_was_changed_is_an_error_or_consistent(
    path: tuple[t.Any, ...], value: t.Any
) -> None:
    changed: t.Any = copy.deepcopy(DOCUMENT)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    try:
        read = read_listing(changed, "The listing x.json")
    except ByokError as error:
        said = str(error)
    else:
        assert read_listing(write_listing(read), "It") == read
        return
    assert said.startswith("The listing x.json ")
    assert "playbooks/list.yml" in said


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("thumbprint", "x"),
        ("kind", "P-384"),
        ("public_key", None),
        ("curve", "P-384"),
        ("type", None),
        ("origin", "external"),
        ("CKA_LOCAL", False),
        ("withdrawn", "no"),
        ("generation", b"\1".hex()),
        ("made", "2020-01-01T00:00:00Z"),
        ("half_made", True),
        ("public_only", True),
    ],
)
def test_a_fact_that_contradicts_another_one_is_an_error(fact: str, value: t.Any) -> None:
    document = copy.deepcopy(DOCUMENT)
    place = next(
        number
        for number, each in enumerate(document["target_keys"][1]["generations"])
        if each["kind"] == "P-256K"
    )
    document["target_keys"][1]["generations"][place][fact] = value
    with pytest.raises(ByokError, match=rf"at target_keys\[1\].generations\[{place}\]\."):
        read_listing(document, "It")


@pytest.mark.parametrize("kind", [None, 5, True, [], {}])
def test_a_kind_that_is_no_text_is_an_error(kind: t.Any) -> None:
    document = copy.deepcopy(DOCUMENT)
    [dsa] = (facts for facts in document["target_keys"][1]["generations"] if facts["kind"] == "DSA")
    dsa["kind"] = kind
    with pytest.raises(ByokError, match="has an unexpected value at"):
        read_listing(document, "It")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "not the listing of a token"),
        ("{}", "not the listing of a token"),
        ('{"format": "keyferry-listing", "version": 2}', "of version 2, and 1 is known"),
        ('{"format": "keyferry-listing", "version": 1}', r"at token\."),
        (json.dumps({**DOCUMENT, "listed_at": "yesterday"}), r"at listed_at\."),
        (
            json.dumps(
                {**DOCUMENT, "target_keys": [{"name": "a", "generations": [], "leftovers": []}] * 2}
            ),
            r"at target_keys\[1\]\.",
        ),
        (
            json.dumps(
                {**DOCUMENT, "target_keys": [{"name": "a", "generations": [], "leftovers": ["x"]}]}
            ),
            r"leftovers\.",
        ),
    ],
)
def test_what_is_no_listing_is_an_error(text: str, says: str) -> None:
    with pytest.raises(ByokError, match=says):
        parse_listing(text, "It")


@pytest.mark.parametrize(
    ("age", "says"),
    [
        (-25, "is yet to come"),
        (-1, None),
        (24, None),
        (24.1, "is 1 day old"),
        (73, "is 3 days old"),
    ],
)
def test_a_listing_that_is_more_than_a_day_away_is_warned_of(age: float, says: str | None) -> None:
    warning = LISTING.age_warning(NOW + timedelta(hours=age))
    assert warning is None if says is None else says in (warning or "")
