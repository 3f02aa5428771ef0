# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A package is read from a file and from an option in the same way."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    KeySpec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import build, digest
from ansible_collections.keyferry.azure.plugins.module_utils._vault.wanted_import import (
    Believed,
    Import,
    read_import,
)

TEXT = build("https://contoso.vault.azure.net/keys/kek/" + "0" * 32, b"x" * 500, "test")


def read(**given: t.Any) -> Import:
    item = dict.fromkeys(("path", "package", "sha256", "replaces", "challenge", "prove"))
    declaration = Declaration("key", KeySpec("EC", curve="P-256"))
    return read_import(declaration, {**item, "thumbprint": "t", **given}, None, Believed())


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_is_neither_sent_nor_counted(mark: str, tmp_path: Path) -> None:
    path = tmp_path / "key.byok"
    path.write_text(mark + TEXT, encoding="utf-8")
    for wanted in (read(path=str(path)), read(package=mark + TEXT)):
        assert (wanted.text, wanted.sha256) == (TEXT, digest(TEXT))
    assert read(path=str(path), sha256=digest(TEXT)).origin == "declared"


def test_an_empty_file_is_empty_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "key.byok"
    with pytest.raises(ByokError, match=f"There is no package {path} on this host"):
        read(path=str(path))
    path.touch()
    with pytest.raises(ByokError, match=f"The package {path} is empty"):
        read(path=str(path))
    path.write_text(TEXT, encoding="utf-16")
    with pytest.raises(ByokError, match=f"The file {path} is UTF-16"):
        read(path=str(path))
    assert read().text is None
