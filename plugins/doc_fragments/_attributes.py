# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module promises."""

from __future__ import annotations


class ModuleDocFragment:
    """Standard attributes; private to the collection."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - python >= 3.10
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the
      token or the vault.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in
      C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row with the same arguments, the second run changes nothing and
      reports that.
    support: full
  action_group:
    description:
      - Use these groups in C(module_defaults) to set options once for a play.
      - C(group/keyferry.azure.byok_host), C(group/keyferry.azure.byok_token) and
        C(group/keyferry.azure.byok_vault) have the
        modules that take the options of the host (O(ignore:lock_directory),
        O(ignore:lock_timeout), O(ignore:state_directory)), of the token and of the
        vault. C(group/keyferry.azure.byok_evidence) has those that sign
        (O(ignore:evidence_key), O(ignore:evidence_token)).
    support: full
"""
