# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of the collection in this process.

``python run_module.py byok_wrap < arguments.json`` prints its result.
"""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from ansible.module_utils import basic


def arguments_of(params: dict[str, Any]) -> AbstractContextManager[Any]:
    """Let AnsibleModule find these arguments, in the way of the ansible-core that is installed."""
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:  # before 2.19
        return mock.patch.object(
            basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": params}).encode()
        )
    patched: AbstractContextManager[Any] = patch_module_args(params)
    return patched


if __name__ == "__main__":
    module = importlib.import_module(
        f"ansible_collections.keyferry.azure.plugins.modules.{sys.argv[1]}"
    )
    with arguments_of(json.load(sys.stdin)):
        module.main()
