# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of declarations that Ansible would read by itself end it, however strict it is."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible import constants as C
from ansible import context
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display
from ansible_collections.keyferry.azure.plugins.inventory import declared

RULES = [{"path": "teams/*.yml"}]


class Configuration(declared.InventoryModule):
    """The plugin, whose configuration is read already."""

    def _read_config_data(self, path: str) -> None:
        pass

    def get_option(self, option: str, hostvars: t.Any = None) -> t.Any:
        """Return what the configuration says: files, and nothing else."""
        return RULES if option == "files" else {}


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[list[str]], None]:
    """Parse an inventory whose sources a command line names."""
    (tmp_path / "inventory/teams").mkdir(parents=True)
    (tmp_path / "inventory/fleet.byok.yml").write_text("plugin: keyferry.azure.declared")
    (tmp_path / "inventory/teams/a.yml").write_text("keys: []")
    monkeypatch.setattr(
        InventoryManager, "_fetch_inventory_plugins", lambda _manager: [Configuration()]
    )

    def parsed(sources: list[str]) -> None:
        paths = [str(tmp_path / source) for source in sources]
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(inventory=paths))
        InventoryManager(loader=DataLoader(), sources=paths)

    return parsed


def test_the_configuration_alone_is_parsed(parse: t.Callable[[list[str]], None]) -> None:
    parse(["inventory/fleet.byok.yml"])


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "sources",
    [
        ["inventory"],
        ["inventory/fleet.byok.yml", "inventory/teams/"],
        ["inventory/fleet.byok.yml", "inventory/teams/a.yml"],
    ],
)
def test_a_source_that_holds_declarations_ends_ansible(
    sources: list[str],
    strict: bool,
    parse: t.Callable[[list[str]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Display, "error", lambda _display, message: told.append(message))
    monkeypatch.setattr(C, "INVENTORY_ANY_UNPARSED_IS_FAILED", strict)
    with pytest.raises(SystemExit) as end:
        parse(sources)
    assert end.value.code == 4
    assert len(told) == 1
    assert "so Ansible renders its texts as templates" in told[0]
    assert "Nothing was run." in told[0]


def test_the_sources_of_ansible_cfg_count_where_no_command_line_names_any(
    parse: t.Callable[[list[str]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "CLIARGS", ImmutableDict())
    monkeypatch.setattr(C, "DEFAULT_HOST_LIST", [str(tmp_path / "inventory")])
    with pytest.raises(SystemExit):
        declared._refuse_data_as_code(str(tmp_path / "inventory"), RULES)
