# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.filter.declarations import FilterModule

declarations = FilterModule().filters()["declarations"]


def test_keys_get_their_defaults_and_nothing_else() -> None:
    keys = [
        {"name": "a", "tags": {"env": "prod"}},
        {"name": "b", "type": "EC", "curve": "P-256", "expires": None},
    ]
    assert declarations(keys, {"type": "RSA", "size": 3072, "tags": {"owner": "payments"}}) == [
        {"name": "a", "type": "RSA", "size": 3072, "tags": {"owner": "payments", "env": "prod"}},
        {"name": "b", "type": "EC", "curve": "P-256", "tags": {"owner": "payments"}},
    ]
    assert declarations([]) == declarations([], None) == []


def test_all_problems_of_all_keys_are_told() -> None:
    keys = [
        {"name": "storage-key", "type": "RSA", "size": 3072, "rotation": {"evry": "P1Y"}},
        {"nme": "b"},
        {"name": "Storage-Key", "type": "EC", "curve": "P-256"},
    ]
    with pytest.raises(AnsibleFilterError) as told:
        declarations(keys, {"sise": 3072})
    assert str(told.value).splitlines() == [
        "byok_key_defaults: sise is not a field; did you mean size?",
        "byok_keys[0] (storage-key): rotation.evry is not a field; did you mean every?",
        "byok_keys[1]: nme is not a field; did you mean name?",
        "byok_keys[1]: name is missing.",
        "byok_keys[1]: type is missing.",
        "byok_keys[2] (Storage-Key): declared already as byok_keys[0] (storage-key).",
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("{{ keys }}", "keys is the text '{{ keys }}', but must be a list of keys."),
        (None, "keys is empty, but must be a list"),
    ],
)
def test_what_is_no_list_is_told(keys: object, told: str) -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"^" + told.replace("{", r"\{").replace("}", r"\}")
    ):
        declarations(keys, {}, where="keys")


def test_five_thousand_keys_take_less_than_a_second() -> None:
    rotation = {"every": "P1Y", "valid_for": "P400D"}
    keys = [
        {"name": f"k{number}", "tags": {"number": str(number)}, "rotation": rotation}
        for number in range(5000)
    ]
    began = time.process_time()
    assert (
        len(declarations(keys, {"type": "RSA", "size": 3072, "tags": {"owner": "payments"}}))
        == 5000
    )
    assert time.process_time() - began < 1
