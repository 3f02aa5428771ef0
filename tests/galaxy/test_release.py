# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changelog and the documentation that a release would have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.keyferry.azure.tests.galaxy.conftest import ROOT, run


@pytest.fixture(scope="module")
def released(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, with a changelog as the next release would have it."""
    copy = tmp_path_factory.mktemp("released")
    shutil.copytree(tree, copy, symlinks=True, dirs_exist_ok=True)
    run("antsibull-changelog", "release", "--update-existing", cwd=copy)
    return copy


@pytest.fixture(scope="module")
def releases(released: Path, galaxy_yml: dict[str, Any]) -> list[dict[str, Any]]:
    """Every release of that changelog."""
    content = yaml.safe_load((released / "changelogs/changelog.yaml").read_text())["releases"]
    assert galaxy_yml["version"] in content
    return list(content.values())


def names(releases: list[dict[str, Any]], kind: str, field: str) -> set[str]:
    return {entry["name"] for release in releases for entry in release.get(kind, {}).get(field, [])}


def stems(folder: str, pattern: str = "[!_]*.py") -> set[str]:
    return {path.stem for path in (ROOT / folder).glob(pattern)}


def test_the_fragments_are_valid() -> None:
    assert run("antsibull-changelog", "lint") == ""


def test_the_changelog_names_all_there_is(releases: list[dict[str, Any]]) -> None:
    assert {
        module["name"] for release in releases for module in release.get("modules", [])
    } == stems("plugins/modules")
    for kind in {"callback", "filter", "inventory", "lookup"} & stems("plugins", "*"):
        assert names(releases, "plugins", kind) == stems(f"plugins/{kind}"), kind
    assert names(releases, "objects", "role") == stems("roles", "*")
    assert names(releases, "objects", "playbook") == stems("playbooks", "*.yml")


def test_a_release_takes_up_all_fragments(released: Path) -> None:
    assert list((released / "changelogs/fragments").glob("*")) == []
    assert "Nothing is released" not in (released / "CHANGELOG.md").read_text()


def test_the_documentation_is_written_without_a_warning(installed: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    document = [
        "antsibull-docs",
        "collection",
        "--use-current",
        "--squash-hierarchy",
        "--fail-on-error",
    ]
    said = run(
        *document,
        "--dest-dir",
        str(tmp_path),
        "keyferry.azure",
        cwd=tmp_path,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
    )
    pages = {page.stem for page in tmp_path.glob("*.rst")}
    assert said == ""
    assert {f"{module}_module" for module in stems("plugins/modules")} <= pages
    assert {f"{role}_role" for role in stems("roles", "*")} <= pages
