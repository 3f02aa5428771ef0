# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import _read_pin


def test_a_file_is_read_as_its_bytes_are_but_for_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "key.byok"
    assert read_text(str(path)) is None
    path.write_bytes(b'\xef\xbb\xbf{"a":\r\n 1}')
    assert read_text(str(path)) == '{"a":\r\n 1}'


def test_a_file_that_is_no_utf_8_is_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "key.byok"
    path.write_bytes("text".encode("utf-16"))
    with pytest.raises(ByokError, match=f"^The file {path} is UTF-16. Save it as UTF-8"):
        read_text(str(path))


def test_a_mark_before_a_pin_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    for content in (b"1234", b"1234\r\n", b"\xef\xbb\xbf1234\n"):
        path.write_bytes(content)
        assert _read_pin(str(path)) == "1234"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("p\u00fcn-7391".encode("utf-16"), "is UTF-16"),
        ("p\u00fcn-7391".encode("cp1252"), "is not UTF-8 in line 1, but probably Windows-1252"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (None, "cannot be read \\(No such file or directory\\)"),
    ],
)
def test_a_pin_that_is_not_sent_is_not_shown(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "pin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ByokError, match=f"^The PIN file {path} {says}") as error:
        _read_pin(str(path))
    assert "7391" not in str(error.value)
