# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import parse_address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Patience, Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import VaultUnavailable
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace

Item = t.Mapping[str, t.Any]


def vault(concurrency: int) -> Vault:
    return Vault(
        parse_address("https://contoso.vault.azure.net", "AzureCloud"),
        None,
        Patience(60, 60),
        Pace(concurrency, None),
    )


def keys(number: int) -> list[Item]:
    return [{"name": f"key-{n}"} for n in range(number)]


def test_as_many_as_wanted_are_worked_on_at_a_time_and_the_order_is_kept() -> None:
    everyone = threading.Barrier(4, timeout=30)

    def work(item: Item, part: Outcome) -> None:
        if item["name"] != "key-0":
            everyone.wait()  # breaks unless four come at a time
        part.result["done"].append(item["name"])
        part.warnings.append(f"{item['name']} was touched")

    outcome = Outcome({"done": [], "other": None})
    each_key(vault(4), keys(9), outcome, work)
    assert outcome.result == {"done": [f"key-{n}" for n in range(9)], "other": None}
    assert len(outcome.warnings) == 9


def test_one_bad_key_does_not_stop_the_others() -> None:
    def work(item: Item, part: Outcome) -> None:
        if item["name"] == "key-3":
            raise ByokError("It is bad", "Mend it")
        part.result["done"].append(item["name"])

    outcome = Outcome({"done": []})
    each_key(vault(2), keys(6), outcome, work)
    assert outcome.result["done"] == ["key-0", "key-1", "key-2", "key-4", "key-5"]
    assert outcome.failures.as_result() == [
        {"name": "key-3", "msg": "It is bad. Mend it.", "code": "failed"}
    ]


def test_an_exception_that_nobody_foresaw_is_the_failure_of_one_key() -> None:
    def work(item: Item, part: Outcome) -> None:
        part.result["done"].append(item["name"])
        if item["name"] == "key-1":
            raise KeyError("a secret")

    outcome = Outcome({"done": []})
    each_key(vault(2), keys(3), outcome, work)
    assert outcome.result["done"] == ["key-0", "key-1", "key-2"]
    (failure,) = outcome.failures
    assert (failure.name, failure.code) == ("key-1", "unexpected")
    assert failure.msg.startswith("KeyError was raised at _vault/each_key.py:")
    assert "a secret" not in failure.msg


def test_where_the_vault_does_not_serve_only_one_key_finds_out() -> None:
    tried = []

    def work(item: Item, part: Outcome) -> None:
        tried.append(item["name"])
        raise VaultUnavailable("No answer", "Run again")

    outcome = Outcome({"done": []})
    each_key(vault(8), keys(4), outcome, work)
    assert tried == ["key-0"]
    assert [failure["name"] for failure in outcome.failures.as_result()] == ["key-0"]
    assert outcome.warnings == [
        "Not tried, because the vault does not serve this run now: key-1, key-2, key-3"
    ]
