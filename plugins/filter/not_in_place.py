# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: not_in_place
short_description: Name the keys that a primary vault has to wait with
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the variables of the hosts of a run, after the entry point C(rotate) of the role P(keyferry.azure.byok#role) ran for
    those that are not primary, and returns the names of keys of the same token that one of them could not take.
positional: _input, primary
options:
  _input:
    description: The variables of hosts.
    type: list
    elements: dict
    required: true
  primary:
    description: Inventory name of the primary vault.
    type: str
    required: true
"""

EXAMPLES = r"""
---
- name: See which keys wait
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | keyferry.azure.not_in_place(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Names of keys.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet import other_vaults as _overview


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return it under its name."""
        return {"not_in_place": _overview.not_in_place}
