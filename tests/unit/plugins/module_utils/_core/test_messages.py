# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages name options as their readers set them, and tell one reason once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import OPTION_GROUPS
from ansible_collections.keyferry.azure.plugins.module_utils._core import option_names
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import told
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure

ROLE = Path(__file__).resolve().parents[5] / "roles/byok"
SPECS = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
ROLE_OPTIONS = {name for entry_point in SPECS.values() for name in entry_point["options"]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "Set pin_file, or the environment variable BYOK_PIN_FILE.",
            "Set byok_pin_file, or the environment variable BYOK_PIN_FILE.",
        ),
        ("Set byok_pin_file.", "Set byok_pin_file."),
        (
            "use force by the option force",
            "use force by byok_force",
        ),
        ("Set lock_directory to /a/vault_url/b", "Set byok_lock_directory to /a/vault_url/b"),
        ("my-vault_url, vault_urls, x.token_label.y", "my-vault_url, vault_urls, x.token_label.y"),
        ("Correct vault_url. Then run.", "Correct byok_vault_url. Then run."),
    ],
)
def test_a_message_has_the_names_of_the_role(text: str, named: str) -> None:
    assert as_set_in_role(text) == named


def test_each_name_is_a_variable_of_the_role_and_none_is_missing() -> None:
    shared = set(option_names._SHARED)
    assert {f"byok_{name}" for name in shared} <= ROLE_OPTIONS
    of_groups = {name for options in OPTION_GROUPS.values() for name in options if "_" in name}
    assert {name for name in of_groups if f"byok_{name}" in ROLE_OPTIONS} <= shared


def test_keys_with_one_reason_are_told_together() -> None:
    refused = "The key {0} is refused. Azure answered 403 (Forbidden, request {1}-4dc2-9da3)."
    failures = [
        Failure("a", refused.format("a", "11111111")),
        Failure("b", "It has no curve."),
        Failure("a-b", refused.format("a-b", "22222222")),
        Failure("c", "It has no curve."),
    ]
    assert told(failures) == [
        f"a: {failures[0].msg}",
        "a-b: the same reason as a.",
        "b, c: It has no curve.",
    ]
    assert told([Failure("a", "it\x1b is\nso")]) == [r"a: it\x1b is\nso"]
