# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Options of groups that a module is not in: ignored for one release, as it took them before.

``module_defaults`` of the group ``byok`` used to set the options of token and vault for every
module. Such plays go on working until 1.0.0.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    OPTION_GROUPS,
    Spec,
)


class GroupedModule(AnsibleModule):  # type: ignore[misc]  # Ansible has no types
    """A module that takes some of the option groups, and ignores the options of the others."""

    def __init__(self, **arguments: t.Any) -> None:
        """Parse the arguments.

        :param arguments: as AnsibleModule takes them
        """
        self.unused: list[str] = []
        super().__init__(**arguments)
        if self.unused:
            # ansible-test wants to read the version here
            self.deprecate(
                _unused(self._name, self.unused),
                version="1.0.0",
                collection_name="keyferry.azure",
            )

    def _load_params(self) -> None:
        super()._load_params()
        self.unused = unused_options(self.argument_spec, self.params)
        for option in self.unused:
            del self.params[option]


def unused_options(argument_spec: Spec, given: t.Iterable[str]) -> list[str]:
    """Return which of the options that were given are of groups that the module does not take."""
    foreign: set[str] = set()
    for options in OPTION_GROUPS.values():
        for name, option in options.items():
            if name not in argument_spec:
                foreign.update((name, *option.get("aliases", ())))
    return sorted(foreign.intersection(given))


def _unused(module: str, options: list[str]) -> str:
    groups = ", ".join(f"group/keyferry.azure.{name}" for name in OPTION_GROUPS)
    return (
        f"{module} ignores {', '.join(options)}. If module_defaults set that for"
        f" group/keyferry.azure.byok, use {groups} instead."
    )
