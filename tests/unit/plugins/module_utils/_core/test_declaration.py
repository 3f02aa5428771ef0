# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OPERATIONS,
    KeySpec,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from hypothesis import given
from hypothesis import strategies as st


def options(**given_options: t.Any) -> dict[str, t.Any]:
    """The options of one key as a module gets them: all of them, None where they are not given."""
    return {
        **{name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()},
        **given_options,
    }


@pytest.mark.parametrize(
    ("given_options", "spec", "words", "azure_type"),
    [
        ({"type": "RSA", "size": 3072}, KeySpec("RSA", size=3072), "RSA-3072", "RSA-HSM"),
        ({"type": "EC", "curve": "P-256K"}, KeySpec("EC", curve="P-256K"), "P-256K", "EC-HSM"),
        ({"type": "oct", "size": 256}, KeySpec("oct", size=256), "AES-256", "oct-HSM"),
    ],
)
def test_specs(given_options: dict[str, t.Any], spec: KeySpec, words: str, azure_type: str) -> None:
    parsed = parse_declaration(options(name="key", **given_options)).spec
    assert (parsed, str(parsed), parsed.azure_type) == (spec, words, azure_type)


@pytest.mark.parametrize(
    ("given_options", "says"),
    [
        ({"type": "RSA", "size": 1024}, "2048, 3072, 4096 bits"),
        ({"type": "RSA"}, "2048, 3072, 4096 bits"),
        ({"type": "RSA", "size": 2048, "curve": "P-256"}, "no curve"),
        ({"type": "EC"}, "P-256, P-384, P-521, P-256K"),
        ({"type": "EC", "curve": "P-192"}, "P-256, P-384, P-521, P-256K"),
        ({"type": "EC", "curve": "P-256", "size": 256}, "no size"),
        ({"type": "oct", "size": 512}, "128, 192, 256 bits"),
        (
            {"type": "EC", "curve": "P-256", "operations": ["sign", "wrapKey"]},
            "one or more of sign, verify",
        ),
        (
            {"type": "oct", "size": 256, "operations": ["sign"]},
            "encrypt, decrypt, wrapKey, unwrapKey",
        ),
        ({"type": "RSA", "size": 2048, "operations": []}, r"\(none\)"),
        (
            {"type": "RSA", "size": 2048, "tags": {str(n): "x" for n in range(16)}},
            "at most 10 tags",
        ),
        ({"type": "oct", "size": 256, "tags": {str(n): "x" for n in range(15)}}, "at most 10 tags"),
        ({"type": "RSA", "size": 2048, "tags": {"x": "y" * 257}}, "256 characters"),
        ({"type": "RSA", "size": 2048, "tags": {"x": 0o412}}, "no texts: x. Put them into quotes"),
        ({"type": "RSA", "size": 2048, "tags": {"x": True}}, "no texts: x. Put them into quotes"),
        (
            {"type": "RSA", "size": 2048, "after_transfer": "lock", "modifiable": False},
            "after_transfer: lock and modifiable: false. A key that cannot be modified",
        ),
        ({"type": "RSA", "size": 2048, "expires": "soon"}, "moment"),
        (
            {
                "type": "RSA",
                "size": 2048,
                "not_before": "2027-01-01T00:00:00Z",
                "expires": "2027-01-01T00:00:00Z",
            },
            "before it becomes valid",
        ),
    ],
)
def test_what_azure_cannot_hold_is_refused(given_options: dict[str, t.Any], says: str) -> None:
    with pytest.raises(ByokError, match=says):
        parse_declaration(options(name="key", **given_options))


@pytest.mark.parametrize("name", ["", "a_b", "a.b", "a/b", "ä", "x" * 128, "a\n"])
def test_names_that_azure_does_not_take_are_refused(name: str) -> None:
    with pytest.raises(ByokError, match="letters, digits and hyphens"):
        parse_declaration(options(name=name, type="EC", curve="P-256"))


def test_operations_come_in_one_order_and_default_to_all() -> None:
    declared = parse_declaration(
        options(name="key", type="RSA", size=2048, operations=["verify", "sign"])
    )
    assert declared.operations == declared.wanted_operations == ("sign", "verify")
    undeclared = parse_declaration(options(name="key", type="RSA", size=2048))
    assert (undeclared.operations, undeclared.wanted_operations) == (None, OPERATIONS["RSA"])


@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.none() | st.sampled_from([128, 192, 256, 2048, 3072, 4096]) | st.integers(),
    st.none() | st.sampled_from(list(CURVES)),
)
def test_every_spec_is_taken_or_refused_with_a_remedy(
    kind: str, size: int | None, curve: str | None
) -> None:
    sizes = {"RSA": (2048, 3072, 4096), "oct": (128, 192, 256), "EC": (None,)}[kind]
    if size in sizes and (curve is None) == (kind != "EC"):
        parse_declaration(options(name="key", type=kind, size=size, curve=curve))
    else:
        with pytest.raises(ByokError, match="Give "):
            parse_declaration(options(name="key", type=kind, size=size, curve=curve))


def test_a_name_declared_twice_is_refused_whatever_its_case() -> None:
    check_unique(["a", "b"])
    with pytest.raises(ByokError, match="more than once: a"):
        check_unique(["a", "b", "A"])
