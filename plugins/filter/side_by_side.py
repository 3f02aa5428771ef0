# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: side_by_side
short_description: Show the generations and versions of keys in several vaults side by side
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes what the entry point C(show) of the role P(keyferry.azure.byok#role) saw, for one vault or for several, and returns
    lines that show, per key, its generations in the token, the versions in each vault, and when it was and will be rotated there.
positional: _input
options:
  _input:
    description: What C(show) left as C(byok_shown), per vault.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
---
- name: Show all vaults of the play
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts | map('extract', hostvars, 'byok_shown') | keyferry.azure.side_by_side }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet import side_by_side as _overview


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return it under its name."""
        return {"side_by_side": _overview.side_by_side}
