# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The digest of a plan, which people sign."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import plan_digest
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import PlannedKey

VAULT = "https://contoso.vault.azure.net"
WEB = PlannedKey("web", "transfer", "it is not in the vault")
MAIL = PlannedKey(
    "mail", "update", "tags differ", "01a2", "_WPW", version="0123", changes={"tags": {"a": "ä"}}
)


def digest(*plan: PlannedKey, vault: str = VAULT) -> str | None:
    return plan_digest(vault, plan)


def test_the_digest_is_of_canonical_json() -> None:
    text = (
        '{"keys":['
        '{"action":"update","changes":{"tags":{"a":"ä"}},"generation":"01a2","name":"mail",'
        '"thumbprint":"_WPW","version":"0123"},'
        '{"action":"transfer","changes":{},"generation":null,"name":"web","thumbprint":null,'
        '"version":null}],"vault":"https://contoso.vault.azure.net"}'
    )
    assert digest(WEB, MAIL) == hashlib.sha256(text.encode()).hexdigest()


def test_what_does_nothing_has_no_digest() -> None:
    idle = [replace(WEB, action=action) for action in ("none", "conflict")]
    assert digest() is None
    assert digest(*idle) is None
    assert digest(MAIL, *idle) == digest(MAIL)


def test_order_time_words_and_spelling_do_not_count() -> None:
    later = datetime(2027, 1, 1, tzinfo=timezone.utc)
    told = replace(MAIL, reason="other words", code="due", next_due=later, remedy="Do it")
    assert digest(told, WEB) == digest(WEB, MAIL)
    assert digest(WEB, vault=f"{VAULT.upper()}:443/") == digest(WEB)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "mail2"},
        {"action": "rotate"},
        {"generation": "01a3"},
        {"thumbprint": "_WPX"},
        {"version": "0124"},
        {"changes": {"tags": {"a": "b"}}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_done_counts(change: dict[str, t.Any]) -> None:
    assert digest(replace(MAIL, **change)) != digest(MAIL)
    assert digest(MAIL, vault="https://fabrikam.vault.azure.net") != digest(MAIL)
