# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""The variables that the role knows, by its own argument specs."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load
from ansible.utils.display import Display
from ansible_collections.keyferry.azure.plugins.module_utils._fleet import variables

#: The one list of the role's options
SPECS = Path(__file__).parents[2] / "roles/byok/meta/argument_specs.yml"


@functools.cache
def role_options() -> frozenset[str]:
    """Return the names of the options of all entry points of the role."""
    specs = yaml_load(SPECS.read_text(encoding="utf-8"))["argument_specs"]
    return frozenset().union(*(entry_point["options"] for entry_point in specs.values()))


def unknown_variables(names: list[str], own: t.Any = None) -> list[str]:
    """Return a sentence for each variable that nobody knows.

    :param own: names or patterns, as a list, or as a text with commas or spaces between
    """
    own = own.replace(",", " ").split() if isinstance(own, str) else own or ()
    for former, name in variables.RENAMED.items():
        if former in names:
            # ansible-test wants to read the version here
            Display().deprecated(
                f"{former} is now called {name}. Rename it.",
                version="1.0.0",
                collection_name="keyferry.azure",
            )
    return variables.unknown_variables(names, role_options(), own)
