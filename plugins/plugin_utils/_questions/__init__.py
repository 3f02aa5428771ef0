# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""The questions of the filter byok_ask: each is the input of one of the role's tasks."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from importlib import import_module

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: Files of questions, the lighter first: each is imported when it may know the answer, because a
#: task is a process of its own, in which importing takes longer than answering
_FILES = ("variables", "run", "receipts", "start", "fleet", "evidence")


def answer(
    question: str, value: t.Any, positional: Sequence[t.Any], named: Mapping[str, t.Any]
) -> t.Any:
    """Return the answer to a question.

    :param value: the run as the role keeps it, or what the question is about
    :raises ByokError: for a question that nobody knows, and for what cannot go on
    """
    known: list[str] = []
    for file in _FILES:
        questions = import_module(f"{__name__}.{file}").QUESTIONS
        if question in questions:
            return questions[question](value, *positional, **named)
        known += questions
    raise ByokError(
        f"byok_ask does not know the question {question}",
        f"Ask one of {', '.join(sorted(known))}",
    )
