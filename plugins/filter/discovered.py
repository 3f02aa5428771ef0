# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: discovered
short_description: Declare the keys that a vault and a token hold already
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes what M(keyferry.azure.byok_vault_info) and M(keyferry.azure.byok_hsm_info) listed, and returns the text of a YAML file
    that declares the keys of the vault that are in the token, so that a plan finds each of them in place.
  - What is not declared stands in comments, with the reason. The entry point C(discover) of the role
    P(keyferry.azure.byok#role) writes such a file for each host.
  - Names, labels and tags are quoted, and comments are printable ASCII, whatever they hold.
positional: _input, listing, host
options:
  _input:
    description: The result of M(keyferry.azure.byok_vault_info) with O(keyferry.azure.byok_vault_info#module:list_keys).
    type: dict
    required: true
  listing:
    description: RV(keyferry.azure.byok_hsm_info#module:listing) of the token.
    type: dict
    required: true
  host:
    description: Inventory name of the vault.
    type: str
    required: true
  token:
    description: Name of the token in the file. If not given, none is written.
    type: str
  token_keys:
    description: Whether keys that only the token has are declared as well, so that they are brought. Otherwise they are comments.
    type: bool
    default: false
seealso:
  - module: keyferry.azure.byok_vault_info
  - module: keyferry.azure.byok_hsm_info
"""

EXAMPLES = r"""
---
- name: Show what could be declared
  ansible.builtin.debug:
    msg: "{{ vault | keyferry.azure.discovered(token.listing, 'contoso') }}"
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.discovery import discover


def discovered(
    vault_info: t.Any, listing: t.Any, host: str, token: str | None = None, token_keys: bool = False
) -> t.Any:  # a str, marked as data
    """Return the text of a file of declarations.

    :raises AnsibleFilterError: for results without a list
    """
    if not isinstance(vault_info, t.Mapping) or vault_info.get("vault_keys") is None:
        raise AnsibleFilterError(
            "discovered takes the result of byok_vault_info with list_keys: true."
        )
    try:
        return wrap_var(discover(vault_info, listing, host, token, token_keys))
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"discovered": discovered}
