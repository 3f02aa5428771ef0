# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import AzureError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.unmanaged import list_unmanaged


class Refusing:
    """A vault that answers a list with an error."""

    def __init__(self, status: int, code: str | None) -> None:
        self._error = AzureError("Listing failed", "Ask for the permission", status, code)

    def read(self, what: str, call: t.Any) -> t.NoReturn:
        raise self._error


@pytest.mark.parametrize(
    ("status", "code", "can_do_without"),
    [
        (403, "ForbiddenByRbac", True),
        (403, "ForbiddenByPolicy", True),
        (403, "ForbiddenByFirewall", False),
        (401, None, False),
    ],
)
def test_who_may_not_list_can_do_without_and_others_cannot(
    status: int, code: str | None, can_do_without: bool
) -> None:
    vault: t.Any = Refusing(status, code)
    with pytest.raises(ByokError, match="Ask for the permission") as refused:
        list_unmanaged(vault, [])
    assert (
        "set unmanaged to ignore (byok_unmanaged of the role)" in str(refused.value)
    ) == can_do_without
