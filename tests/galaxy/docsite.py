# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation as Sphinx builds it, ``make test-long``.

The only warnings are about pages of ansible-core.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.keyferry.azure.tests.galaxy.conftest import run

ELSEWHERE = re.compile(
    r"undefined label: '(ansible_configuration_settings|callback_plugins|common_return_values"
    r"|inventory_plugins|list_of_collections|ansible_collections\.ansible\.builtin\..*)'"
    r"|reference target not found: ANSIBLE_"
)


def test_the_site_is_built_without_warnings(installed: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    of_installed = {"ANSIBLE_COLLECTIONS_PATH": str(installed)}
    initialise = [
        "antsibull-docs",
        "sphinx-init",
        "--use-current",
        "--fail-on-error",
        "--dest-dir",
        str(tmp_path),
    ]
    run(*initialise, "keyferry.azure", cwd=tmp_path, **of_installed)
    (tmp_path / "rst").chmod(0o700)
    collection = [
        "antsibull-docs",
        "--config-file",
        "antsibull-docs.cfg",
        "collection",
        "--use-current",
        "--fail-on-error",
    ]
    run(*collection, "--dest-dir", "rst", "keyferry.azure", cwd=tmp_path, **of_installed)
    # Neither a theme nor intersphinx, which would ask the network for ansible-core's pages.
    build = [
        "sphinx-build",
        "-q",
        "-b",
        "dummy",
        "-n",
        "-c",
        ".",
        "-D",
        "extensions=sphinx_antsibull_ext",
    ]
    said = run(*build, "rst", "build", cwd=tmp_path).splitlines()
    assert [line for line in said if line.strip() and not ELSEWHERE.search(line)] == []
    assert said
