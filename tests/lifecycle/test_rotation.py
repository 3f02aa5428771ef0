# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""byok_rotate: what is due, what is brought, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.keyferry.azure.plugins.module_utils._time import parse_moment
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import Lab, Result, Vault

Declare = Callable[..., Result]


def only(result: Result) -> Result:
    """The one rotation of a run without failures."""
    assert result["failures"] == []
    (rotation,) = result["rotations"]
    return dict(rotation, changed=result["changed"])


def test_a_key_is_brought_kept_and_replaced_when_it_is_due(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(every="P90D", valid_for="P120D")
    first = only(vault.rotate(declared))
    assert (first["action"], first["changed"], first["identity"]) == ("transfer", True, "public_key")
    again = only(vault.rotate(declared))
    assert (again["action"], again["changed"], again["next_due"]) == ("none", False, first["next_due"])
    lab.forward(days=89, hours=23)
    assert only(vault.rotate(declared))["changed"] is False
    lab.forward(hours=2)
    would = only(vault.rotate(declared, check=True))
    assert (would["action"], would["changed"], would["replaced"]) == ("rotate", True, first["version"])
    assert len(vault.versions(declared)) == 1
    second = only(vault.rotate(declared))
    assert (second["action"], second["replaced"]) == ("rotate", first["version"])
    assert abs((parse_moment(second["next_due"]) - lab.now).days - 90) <= 1
    newest, older = vault.versions(declared)
    assert [newest["version"], older["version"]] == [second["version"], first["version"]]
    assert (newest["enabled"], newest["active"], older["enabled"]) == (True, True, True)
    assert abs((parse_moment(newest["expires"]) - lab.now).days - 120) <= 1
    assert newest["tags"].keys() == {f"keyferry-{name}" for name in ("generation", "token", "thumbprint", "package")}
    assert len(vault.generations(declared)) == 2
    assert only(vault.rotate(declared))["changed"] is False
