# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inclusion into the package ``ansible`` demands and a test can see.

docs/inclusion.md lists all of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from ansible.playbook.task import Task
from ansible_collections.keyferry.azure.tests.galaxy.conftest import ROOT, run

CATEGORIES = {
    "application",
    "cloud",
    "database",
    "infrastructure",
    "linux",
    "monitoring",
    "networking",
    "security",
    "storage",
    "tools",
}
NEVER_IGNORED = {
    "doc-choices-do-not-match-spec",
    "doc-default-does-not-match-spec",
    "doc-required-mismatch",
    "doc-missing-type",
}
NEVER_IGNORED |= {
    "mutually_exclusive-unknown",
    "no-log-needed",
    "nonexistent-parameter-documented",
    "parameter-list-no-elements",
}
NEVER_IGNORED |= {"parameter-type-not-in-doc", "undocumented-parameter"}


@pytest.fixture(scope="module")
def documentation() -> dict[str, dict[str, Any]]:
    """What ansible-doc says of every plugin, by kind and name."""
    dump: dict[str, dict[str, Any]] = json.loads(
        run("ansible-doc", "--metadata-dump", "keyferry.azure")
    )["all"]
    return {kind: plugins for kind, plugins in dump.items() if kind not in ("keyword", "role")}


def test_galaxy_yml(galaxy_yml: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9a-z.]+)?", galaxy_yml["version"])
    assert CATEGORIES & set(galaxy_yml["tags"])
    assert galaxy_yml["license"] == ["GPL-3.0-or-later"]
    assert galaxy_yml["dependencies"] == {}


def test_utils_are_private_and_say_so() -> None:
    for path in (ROOT / "plugins").glob("*_utils/**/*.py"):
        assert path.relative_to(ROOT / "plugins").parts[1].startswith("_"), path
        assert (
            path.name == "__init__.py"
            or "util is **PRIVATE** to the collection" in path.read_text()
        ), path


def test_every_plugin_is_documented(documentation: dict[str, dict[str, Any]]) -> None:
    assert documentation["module"]
    for kind, plugins in documentation.items():
        for name, plugin in plugins.items():
            assert plugin["doc"]["version_added"], name
            assert plugin["doc"]["author"], name
            assert kind == "callback" or plugin["examples"], name
            assert kind in ("callback", "inventory") or plugin["return"], name


def test_every_module_names_its_python_and_runs_in_check_mode(
    documentation: dict[str, dict[str, Any]],
) -> None:
    for name, module in documentation["module"].items():
        assert "python >= 3.10" in module["doc"]["requirements"], name
        assert module["doc"]["attributes"]["check_mode"]["support"] == "full", name
        assert not name.endswith("_facts"), name
        assert "query" not in module["doc"]["options"].get("state", {}).get("choices", []), name


def test_examples_name_modules_in_full(documentation: dict[str, dict[str, Any]]) -> None:
    for name, module in documentation["module"].items():
        for task in yaml.safe_load(module["examples"]):
            used = set(task) - set(Task.fattributes)
            assert used, name
            assert all(key.count(".") >= 2 for key in used), (name, used)


def test_each_ignored_complaint_has_a_reason_and_may_be_ignored() -> None:
    for path in (ROOT / "tests/sanity").glob("ignore-*.txt"):
        for line in path.read_text().splitlines():
            complaint, reason = line.partition("#")[::2]
            assert reason.strip(), line
            assert not any(never in complaint for never in NEVER_IGNORED), line


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_pages_of_a_project_link_to_what_exists(page: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
        assert (ROOT / link).exists(), link


def test_the_readme_says_where_to_talk_and_how_to_behave() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\n## Communication\n" in readme
    for page in ("community/code_of_conduct.html", "forum.ansible.com", "semver.org"):
        assert page in readme, page
