# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    kek_trust,
    normalise_fingerprint,
)

PRINT = "ab" * 32
COLONS = ":".join(["AB"] * 32)


@pytest.mark.parametrize(
    ("made", "approved", "trust"),
    [
        (True, [], "created"),
        (False, [], "unverified"),
        (False, ["cd" * 32], "unverified"),
        (False, [COLONS], "pinned"),
        (True, [PRINT], "pinned"),
        (True, ["cd" * 32], "unverified"),
    ],
)
def test_trust(made: bool, approved: list[str], trust: str) -> None:
    assert kek_trust(PRINT, made, approved) == trust


@pytest.mark.parametrize("text", ["", PRINT[:-1], PRINT + "00", "sha256:" + PRINT, "xy" * 32])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ByokError, match="64 hexadecimal digits"):
        normalise_fingerprint(text)
