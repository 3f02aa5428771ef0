# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of tasks, documentation and messages use exact words: a list of those to avoid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

#: Patterns to avoid, each with what to write instead
WRITE_INSTEAD = {
    r"name: [\"']?(?-i:See)\b": "Check or Ensure",
    r"name: [\"']?(?-i:Say)\b": "Report",
    r"name: [\"']?(?-i:Take)\b": "Remove or Use",
    r"name: [\"']?(?-i:Hand)\b": "Export",
    r"\bshall\b": "must or should",
    r"\bsees? that\b": "check that or ensure that",
    r"\bhand(s|ed|ing)? ((it|them) )?on\b": "export or pass",
    r"\btak(e|es|en|ing) ((it|them) )?away\b": "remove",
    r"\bwicked\b": "malicious",
    r"\bmend(s|ed|ing)?\b": "fix",
}

WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def files() -> Iterator[str]:
    """Yield the paths of everything whose names, documentation or messages a user reads."""
    patterns = ("roles/**/*.yml", "playbooks/**/*.yml", "examples/**/*.yml", "plugins/**/*.py")
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT))


def texts_of(path: str) -> Iterator[str]:
    """Yield the strings of Python source without its docstrings, and other files whole."""
    source = (ROOT / path).read_text(encoding="utf-8")
    if not path.endswith(".py"):
        yield source
        return
    nodes = list(ast.walk(ast.parse(source)))
    documented = [node for node in nodes if isinstance(node, WITH_DOCSTRING) and node.body]
    docstrings = {id(getattr(node.body[0], "value", None)) for node in documented}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def complaints(text: str) -> Iterator[str]:
    """Yield a sentence for each word in a text that should be another."""
    for pattern, better in WRITE_INSTEAD.items():
        for match in re.finditer(pattern, " ".join(text.split()), re.IGNORECASE):
            around = match.string[max(match.start() - 30, 0) : match.end() + 30]
            yield f"Instead of '{match[0]}', write {better}: ...{around}..."


@pytest.mark.parametrize("path", list(files()))
def test_words_are_exact(path: str) -> None:
    found: list[str] = []
    for text in texts_of(path):
        found += complaints(text)
    assert not found, "\n".join([path, *found])


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("- name: See that keys are named", "Check"),
        ("name: Say what was done", "Report"),
        ("- name: Take an earlier plan away", "Remove"),
        ('- name: "Hand the summary on"', "Export"),
        ("where the listing shall go", "must"),
        ("Correct it, and see\nthat it can be read", "check that"),
        ("what the jobs handed on", "export"),
        ("Take it away", "remove"),
        ("a wicked pull request", "malicious"),
        ("only the newest is mended", "fix"),
    ],
)
def test_each_word_of_the_list_is_found(text: str, better: str) -> None:
    assert better in "\n".join(complaints(text))


def test_exact_words_pass() -> None:
    assert not list(
        complaints("- name: Check the handle\n  msg: Ensure that the seal, amended, exists")
    )
