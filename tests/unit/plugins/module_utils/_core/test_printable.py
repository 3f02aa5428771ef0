# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import unicodedata

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    DeclarationError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Schlüssel 密钥 'a' → b", "Schlüssel 密钥 'a' → b"),
        ("\x1b[2Jx", r"\x1b[2Jx"),
        ("a\nenabled: false\r\u2028\x85", r"a\nenabled: false\r\u2028\x85"),
        ("\u202egnp.exe\u2066\u200b", r"\u202egnp.exe\u2066\u200b"),
        ("\udc80\x00\xad", r"\udc80\x00\xad"),
        (7, "7"),
    ],
)
def test_what_cannot_be_seen_is_told_by_its_escape(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_the_result_is_one_visible_line_and_stays_as_it_is(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & {unicodedata.category(char) for char in shown}
    assert printable(shown) == shown
    shown.encode()  # no half of a character, which a terminal's encoding would refuse


def test_every_error_is_one_printable_line() -> None:
    error = ByokError("Azure says \x1b]0;x\x07", "Look at\nit", code="busy")
    assert str(error) == r"Azure says \x1b]0;x\x07. Look at\nit."
    assert (error.what, error.remedy) == (r"Azure says \x1b]0;x\x07", r"Look at\nit")
    declared = DeclarationError("a\nb: is fine", "c")
    assert (str(declared), declared.problems) == ("a\\nb: is fine\nc", [r"a\nb: is fine", "c"])
