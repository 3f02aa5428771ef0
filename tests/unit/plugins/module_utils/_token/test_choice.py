# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from urllib.parse import quote

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.choice import (
    facts_of,
    fits,
    serial_tells,
    several,
    wanted_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Slot
from hypothesis import given
from hypothesis import strategies as st


def slot(number: int, label: str = "byok", serial: str = "", **facts: t.Any) -> Slot:
    told = {"manufacturer": "IBM", "model": "Soft", "firmware": (3, 27), "flags": 0, **facts}
    return Slot(number, label, serial, free_public_memory=None, free_private_memory=None, **told)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"token_label": "byok"}, [1, 2, 3]),
        ({"token_label": "byok", "token_serial": "7"}, [3]),
        ({"token_slot": 2}, [2]),
        ({"token_slot": 0}, [0]),
        ({"token_slot": 2, "token_label": "other"}, []),
        ({"token_uri": "pkcs11:token=byok;slot-id=1"}, [1]),
        ({"token_uri": "PKCS11:serial=7"}, [3]),
        ({"token_uri": "pkcs11:token=my%20token;manufacturer=IBM;model=Soft"}, [0]),
        ({"token_uri": "pkcs11:manufacturer=IBM", "token_slot": 1}, [1]),
        ({"token_uri": "pkcs11:token=byok", "token_label": "byok"}, [1, 2, 3]),
        ({"token_uri": "pkcs11:model=soft"}, []),
    ],
)
def test_a_token_is_chosen_by_all_that_is_said_of_it(
    options: dict[str, t.Any], chosen: list[int]
) -> None:
    slots = [slot(0, "my token"), slot(1), slot(2), slot(3, serial="7")]
    wanted = wanted_token(options)
    assert [each.id for each in slots if fits(wanted, facts_of(each))] == chosen


@pytest.mark.parametrize(
    "options", [{}, {"token_uri": ""}, {"token_label": "", "token_slot": None}]
)
def test_nothing_said_is_nothing_wanted(options: dict[str, t.Any]) -> None:
    assert wanted_token(options) == {}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("byok", "is no PKCS#11 URI"),
        ("https://vault/", "is no PKCS#11 URI"),
        ("pkcs11:object=key", "the attribute object that does not say which token"),
        ("pkcs11:token=a;token=b", "the attribute token twice"),
        ("pkcs11:token", "the attribute token that"),
        ("pkcs11:slot-id=one", "slot-id in token_uri is no number"),
        ("pkcs11:token=a%2", "token in token_uri has a %"),
        ("pkcs11:token=a?module-path=/lib/x.so", "Remove it; set pkcs11_library"),
        ("pkcs11:token=a?pin-source=/run/pin", "Remove it; set pin_file"),
        ("pkcs11:token=a?pin-value=secret-7", "have the PIN changed"),
        ("pkcs11:token=a?secret-7", "the attribute that is no name"),
        ("pkcs11:token=a;secret-7", "the attribute that is no name"),
    ],
)
def test_another_uri_is_an_error_that_does_not_tell_what_may_be_a_pin(uri: str, says: str) -> None:
    with pytest.raises(ByokError) as refused:
        wanted_token({"token_uri": uri})
    assert says in str(refused.value)
    assert "secret-7" not in str(refused.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_label_can_be_written_in_a_uri(label: str) -> None:
    wanted = wanted_token({"token_uri": f"pkcs11:token={quote(label, safe='')}"})
    assert wanted == {"label": label.strip()}


def test_two_ways_to_name_it_must_agree() -> None:
    with pytest.raises(ByokError, match="token_label is a, and token_uri says b"):
        wanted_token({"token_label": "a", "token_uri": "pkcs11:token=b"})


@pytest.mark.parametrize(
    ("serials", "says"),
    [
        (("7", "8"), "Set token_serial to the one you mean: 7, 8."),
        (
            ("", ""),
            "give one of them another label with the token's own tool, or set token_slot to",
        ),
        (("0" * 16, "7"), "give one of them another label"),
        (("7", "7"), "one you mean: 0, 1."),
    ],
)
def test_several_tokens_are_told_apart_by_what_tells(serials: tuple[str, str], says: str) -> None:
    error = several(
        {"label": "byok"}, [slot(number, serial=each) for number, each in enumerate(serials)]
    )
    assert str(error).startswith("2 tokens have the label byok. ")
    assert says in str(error)


@pytest.mark.parametrize(("serial", "tells"), [("", False), ("0000", False), ("0a", True)])
def test_zeros_are_no_serial_number(serial: str, tells: bool) -> None:
    assert serial_tells(serial) == tells
