# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vaults_behind
short_description: Say which vaults lack the newest generation of a key that another vault has
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the variables of the hosts of a run, after the entry point C(rotate) or C(transfer) of the role
    P(keyferry.azure.byok#role).
positional: _input
options:
  _input:
    description: The variables of hosts.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
---
- name: See which vaults are behind
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | keyferry.azure.vaults_behind }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: A sentence per key and what is behind.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet import other_vaults as _overview


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return it under its name."""
        return {"vaults_behind": _overview.vaults_behind}
