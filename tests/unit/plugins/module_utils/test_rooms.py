# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may import whom: read from the imports of every file, also from those inside of functions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PLUGINS = Path(__file__).parents[4] / "plugins"
ROOMS = PLUGINS / "module_utils"
OURS = "ansible_collections.keyferry.azure.plugins.module_utils."

#: What a room may import, beside itself and the standard library. The pure part imports nothing,
#: and the token's side and the vault's side never meet.
MAY_IMPORT = {
    "_core": set(),
    "_host": {"_core"},
    "_token": {"_core", "_host"},
    "_vault": {"_core", "_host"},
    "_attestation": {"_core"},
    "_approval": {"_core"},
    "_evidence": {"_core"},
    "_audit": {"_core", "_attestation", "_evidence"},
    "_ansible": {"_core", "_host"},
    "_fleet": {"_core", "_token", "_ansible"},
    "_steps": {
        *("_core", "_host", "_token", "_vault", "_attestation", "_approval", "_evidence", "_audit"),
        "_ansible",
    },
}

#: The only files that touch a library; what else needs it asks them.
TOUCHED_BY = {
    "azure": {"_vault/client.py", "_vault/credentials.py", "_vault/transport.py"},
    "requests": {"_vault/transport.py"},
    "pkcs11": {"_token/cryptoki.py"},
    "cryptography": {
        "_core/public_key.py",
        "_attestation/certificate.py",
        "_evidence/signature.py",
        "_audit/time_stamp.py",
        "_token/rehearsal.py",
        "_vault/proof.py",
    },
    "rfc3161_client": {"_audit/time_stamp.py"},
}

#: The only file of module_utils that reads YAML, and only where it is given some
READS_YAML = ROOMS / "_host/policy_files.py"

#: What is there wherever Ansible is, and the rooms that use it
ANSIBLE = {"ansible", "yaml"}
SPEAK_TO_ANSIBLE = {"_ansible", "_fleet"}


class Import(NamedTuple):
    """One import of one file, and whether it waits in a function until it is needed."""

    file: Path
    module: str
    lazy: bool


def imports_of(file: Path) -> Iterator[Import]:
    """Yield the imports of a file, of whole modules and of names in them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield Import(file, f"{node.module}", id(node) in inside)
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield Import(file, name.name, id(node) in inside)


IMPORTS = [imported for file in sorted(PLUGINS.rglob("*.py")) for imported in imports_of(file)]


@pytest.mark.parametrize("room", sorted(path.name for path in ROOMS.iterdir() if path.is_dir()))
def test_a_room_imports_only_what_it_may(room: str) -> None:
    if room == "__pycache__":
        return
    imported = {
        each.module.removeprefix(OURS).partition(".")[0]
        for each in IMPORTS
        if each.file.is_relative_to(ROOMS / room) and each.module.startswith(OURS)
    }
    assert imported - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("library", TOUCHED_BY)
def test_a_library_is_touched_by_few_files_and_only_when_it_is_needed(library: str) -> None:
    touching = [each for each in IMPORTS if each.module.partition(".")[0] == library]
    assert {each.file for each in touching} == {ROOMS / name for name in TOUCHED_BY[library]}
    assert all(each.lazy for each in touching)


def test_one_file_alone_calls_a_vendor_s_library() -> None:
    loading = [path for path in ROOMS.rglob("*.py") if "ctypes.CDLL(path)" in path.read_text()]
    assert loading == [ROOMS / "_token/cryptoki.py"]


def test_no_other_library_is_needed() -> None:
    known = {*sys.stdlib_module_names, *TOUCHED_BY, *ANSIBLE, "ansible_collections"}
    assert {each.module.partition(".")[0] for each in IMPORTS} <= known


def test_ansible_is_imported_by_what_speaks_to_it() -> None:
    importing = {
        each.file.relative_to(ROOMS).parts[0]
        for each in IMPORTS
        if each.file.is_relative_to(ROOMS) and each.module.partition(".")[0] in ANSIBLE
        if (each.file, each.module, each.lazy) != (READS_YAML, "yaml", True)
    }
    assert importing <= SPEAK_TO_ANSIBLE
