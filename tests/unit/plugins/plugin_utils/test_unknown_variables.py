# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role knows every variable that the collection itself sets, reads or documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.utils.display import Display
from ansible_collections.keyferry.azure.plugins.plugin_utils import _variables as plugin

ROOT = Path(__file__).resolve().parents[4]
FILTER = plugin.unknown_variables

#: Names that are none of variables
NO_VARIABLES = {
    *yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]["byok"],
    *(path.stem for kind in ("callback", "filter") for path in (ROOT / "plugins" / kind).glob("*")),
    "byok_evidence",
    "byok_host",
    "byok_token",
    "byok_vault",
}


def texts() -> list[Path]:
    """The files in which variables are set, read or documented."""
    folders = ("playbooks", "roles", "docs", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return [ROOT / "README.md", *(path for path in files if path.suffix in (".md", ".yml"))]


def test_every_variable_of_the_collection_is_known() -> None:
    names = set()
    for path in texts():
        names.update(re.findall(r"\bbyok_(?!_)\w*[a-z]\b", path.read_text(encoding="utf-8")))
    assert len(names) > 90
    assert FILTER(sorted(names - NO_VARIABLES)) == []


def test_the_options_of_all_entry_points_are_known() -> None:
    assert plugin.role_options() >= {"byok_keys", "byok_force", "byok_delete", "byok_unmanaged"}
    assert FILTER(list(plugin.role_options())) == []


@pytest.mark.parametrize("own", [["byok_a", "byok_b"], "byok_a, byok_b", "byok_[ab]"])
def test_own_variables_are_a_list_or_a_text(own: object) -> None:
    assert FILTER(["byok_a", "byok_b"], own) == []
    assert FILTER(["byok_a", "byok_b"], None)


def test_an_old_name_is_a_deprecation(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(
        Display, "deprecated", lambda display, msg, **when: told.append((msg, when))
    )
    assert FILTER(["byok_profile"]) == []
    ((message, when),) = told
    assert message == "byok_profile is now called byok_hsm_profile. Rename it."
    assert when == {"version": "1.0.0", "collection_name": "keyferry.azure"}
