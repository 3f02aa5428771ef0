# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import date, datetime, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names, text
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("", []),
        (" ,\n\t, ", []),
        ([], []),
        ([None, "", " "], []),
        ("disk-key", ["disk-key"]),
        ("disk-key, sign-key", ["disk-key", "sign-key"]),
        ("disk-key sign-key\nwrap-key,\r\n", ["disk-key", "sign-key", "wrap-key"]),
        (["disk-key", " sign-key "], ["disk-key", "sign-key"]),
        (("disk-key", "sign-key"), ["disk-key", "sign-key"]),
        (["disk-key,sign-key", "wrap-key"], ["disk-key", "sign-key", "wrap-key"]),
        ("0123", ["0123"]),
        ("'0123', \"null\"", ["0123", "null"]),
        ("''", []),
    ],
)
def test_names(value: t.Any, expected: list[str]) -> None:
    assert names(value, "byok_recover") == expected


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (83, "the number 83"),
        (1.5, "the number 1.5"),
        (False, "the truth value false"),
        (date(2024, 1, 1), "the date 2024-01-01"),
        (datetime(2024, 1, 1, tzinfo=timezone.utc), "the date 2024-01-01 00:00:00+00:00"),
        ({"name": "disk-key"}, "a dict"),
    ],
)
def test_what_is_no_text_is_refused(value: t.Any, described: str) -> None:
    for given in (value, ["disk-key", value]):
        with pytest.raises(ByokError) as error:
            names(given, "byok_force")
        assert error.value.what == f"byok_force holds {described}, but must be a text"
        assert "into quotes" in error.value.remedy


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (" ", None),
        (" disk-key ", "disk-key"),
        ("'2026-11-01T00:00:00Z'", "2026-11-01T00:00:00Z"),
    ],
)
def test_text(value: str | None, expected: str | None) -> None:
    assert text(value, "byok_log_from") == expected


@pytest.mark.parametrize("value", [83, True, date(2024, 1, 1), ["disk-key"]])
def test_what_is_no_text_is_no_answer(value: t.Any) -> None:
    with pytest.raises(ByokError, match=r"byok_log_from holds .*, but must be a text\. .* quotes"):
        text(value, "byok_log_from")
