# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of the collection in this process, and print its result.

python run_module.py byok_wrap < arguments.json

The variable POLICY_PLACES names the folder that stands for /etc/keyferry.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from ansible.module_utils import basic
from ansible_collections.keyferry.azure.plugins.module_utils._host import policy_files


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


def policies_in(folder: str) -> AbstractContextManager[Any]:
    """Let policies be looked for in this folder."""
    places = tuple(str(Path(folder) / Path(place).name) for place in policy_files.DEFAULT_PLACES)
    return mock.patch.object(policy_files, "DEFAULT_PLACES", places)


if __name__ == "__main__":
    module = importlib.import_module(
        f"ansible_collections.keyferry.azure.plugins.modules.{sys.argv[1]}"
    )
    folder = os.environ.get("POLICY_PLACES", "/nowhere")
    with arguments_of(json.load(sys.stdin)), policies_in(folder):
        module.main()
