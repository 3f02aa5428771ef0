# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers as AWX writes them, read by the ansible-core at hand."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.keyferry.azure.plugins.filter.byok_ask import byok_ask

TEMPLATES = Path(__file__).parents[4] / "playbooks/vars/awx/job_templates.yml"


def byok_names(value: t.Any, variable: str) -> t.Any:
    return byok_ask(value, "names", variable)


def texts_asked_for() -> dict[str, str]:
    """The questions of surveys that take a text, by their variables, with the defaults."""
    templates = yaml.safe_load(TEMPLATES.read_text())["controller_templates"]
    surveys = [
        template["survey_spec"]["spec"] for template in templates if "survey_spec" in template
    ]
    questions = [question for survey in surveys for question in survey]
    return {
        question["variable"]: question["default"]
        for question in questions
        if question["type"] == "textarea"
    }


def read(answer: str) -> t.Any:
    """What Ansible makes of an answer that AWX wrote."""
    return DataLoader().load(f"!unsafe 'answer': !unsafe {json.dumps(answer)}\n")["answer"]


@pytest.mark.parametrize(("variable", "default"), texts_asked_for().items())
def test_default_names_nothing(variable: str, default: str) -> None:
    assert byok_names(read(default), variable) == []


@pytest.mark.parametrize("answer", ["disk-key, 0123", "'disk-key', '0123'", "disk-key\n0123,"])
def test_names(answer: str) -> None:
    assert byok_names(read(answer), "byok_recover") == ["disk-key", "0123"]


@pytest.mark.parametrize("answer", ["0123", "2024-01-01", "true"])
def test_text_is_never_mistaken(answer: str) -> None:
    """A text that ansible-core 2.19 and later take for something else is refused, or it stays."""
    value = read(answer)
    if isinstance(value, str):
        assert byok_names(value, "byok_recover") == [answer]
    else:
        with pytest.raises(AnsibleFilterError, match=r"byok_recover holds .* Put it into quotes"):
            byok_names(value, "byok_recover")
    assert byok_names(read(f"'{answer}'"), "byok_recover") == [answer]


def test_answer_is_no_template() -> None:
    """What was marked as unsafe before ansible-core 2.19 stays so."""
    marked = read("{{answer}}, disk-key")
    is_marked = hasattr(marked, "__UNSAFE__")
    for name in byok_names(marked, "byok_recover"):
        assert hasattr(name, "__UNSAFE__") == is_marked
