# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-builder makes of our execution environment; images are built nowhere here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml
from ansible_collections.keyferry.azure.tests.awx.conftest import ROOT, program


def requirements(path: str) -> list[str]:
    return [
        line for line in (ROOT / path).read_text().splitlines() if line and not line.startswith("#")
    ]


def test_requirements_are_found() -> None:
    output = subprocess.check_output(
        [program("ansible-builder"), "introspect", str(ROOT / ".collections")], text=True
    )
    found = {
        kind: [line.split("  #")[0] for line in lines]
        for kind, lines in yaml.safe_load(output).items()
    }
    assert found == {
        "python": requirements("meta/ee-requirements.txt"),
        "system": requirements("meta/ee-bindep.txt"),
    }


def test_example_is_a_build_context(tmp_path: Path) -> None:
    """The vendor's client gets into the image, below the path that docs/hsm/luna.md names."""
    example = shutil.copytree(ROOT / "examples/awx/execution-environment", tmp_path / "example")
    library = example / "client/libs/64/libCryptoki2.so"
    library.parent.mkdir(parents=True)
    library.write_text("a library")
    subprocess.run(
        [program("ansible-builder"), "create", "--output-filename", "Containerfile"],
        cwd=example,
        check=True,
    )
    context = example / "context"
    assert (context / "_build/client/libs/64/libCryptoki2.so").read_text() == "a library"
    assert "\nCOPY _build/client /usr/local/luna\n" in (context / "Containerfile").read_text()
    wanted = yaml.safe_load((context / "_build/requirements.yml").read_text())["collections"]
    assert [each["name"] for each in wanted] == ["https://github.com/keyferry/keyferry.azure.git"]
