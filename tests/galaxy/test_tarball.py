# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball holds what runs on a user's machine, all of it and nothing else."""

from __future__ import annotations

import tarfile
from pathlib import Path

TOP = {"plugins", "roles", "playbooks", "meta", "docs", "changelogs", "LICENSES", "extensions"}
TOP |= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "COPYING"}
WRITTEN_BY_GALAXY = {"MANIFEST.json", "FILES.json"}


def test_it_holds_what_is_meant_for_users_and_nothing_else(tarball: Path, files: set[str]) -> None:
    with tarfile.open(tarball) as archive:
        names = {member.name for member in archive if not member.isdir()}
    fragments = {name for name in files if name.startswith("changelogs/fragments/")}
    assert names - WRITTEN_BY_GALAXY == {
        name for name in files - fragments if name.split("/")[0] in TOP
    }


def test_it_is_small(tarball: Path) -> None:
    assert tarball.stat().st_size < 1_000_000  # Galaxy takes 20 MB
