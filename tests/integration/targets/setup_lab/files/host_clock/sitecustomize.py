# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves this host's clock with the lab's, for the modules' own file _clock alone.

A module refuses a vault's Date that is more than an hour from this host's clock. A target that moves
the lab's clock runs its playbooks with this folder in PYTHONPATH, from which every Python imports
this file as it starts, and with the path of lab.json in KEYFERRY_TEST_LAB. Nothing of it is in the
Galaxy tarball.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from types import ModuleType

MODULE = "ansible_collections.keyferry.azure.plugins.module_utils._core.clock"


def offset() -> float:
    """By how many seconds the lab's clock is ahead."""
    with open(os.environ["KEYFERRY_TEST_LAB"], encoding="utf-8") as file:
        control = json.load(file)["control"]
    request = urllib.request.Request(
        f"{control['url']}/clock", headers={"Authorization": f"Bearer {control['key']}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return float(json.load(response)["offset"])


class Moved(importlib.abc.Loader):
    """Loads the file as its own loader does, then moves its clock."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        ahead = offset()
        vars(module)["_system_clock"] = lambda: time.time() + ahead


class Finder(importlib.abc.MetaPathFinder):
    """Finds that one file, and nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == MODULE else None
        if spec and spec.loader:
            spec.loader = Moved(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
