# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors, their codes, and what is told of an exception that nobody foresaw."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Failures
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import FAILURES

PRIVATE = Path(__file__).resolve().parents[5] / "plugins/module_utils"


def test_a_failure_has_a_sentence_and_a_code() -> None:
    failures = Failures()
    failures.add("a", ByokError("It is bad.", "Correct it."))
    failures.add("a", ByokError("It is worse", "Run"))  # the first one counts
    failures.add("b", MissingLibrary("pkcs11", ImportError("no")))
    failures.add("c", ValueError("a secret"))
    assert [(failure.name, failure.code) for failure in failures] == [
        ("a", "failed"),
        ("b", "missing_library"),
        ("c", "unexpected"),
    ]
    assert failures.as_result()[0]["msg"] == "It is bad. Correct it."
    assert "a secret" not in str(failures.as_result())
    assert ("a" in failures, "d" in failures) == (True, False)


def test_an_error_of_ours_stays_what_it_is() -> None:
    error = ByokError("It is bad", "Correct it", code="busy")
    assert as_byok_error(error) is error
    assert error.reason == "busy"


def test_every_code_is_given_somewhere_and_no_other_one() -> None:
    sources = [path.read_text() for path in PRIVATE.rglob("*.py") if path.stem != "reasons"]
    text = "\n".join(sources)
    for code in FAILURES:
        assert f'"{code}"' in text, code
    given = set(re.findall(r'^ +(?:code|reason)="([a-z_]+)",?$', text, re.MULTILINE))
    assert given <= FAILURES.keys()
