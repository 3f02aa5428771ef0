# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._steps import plan as _planning
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import parse_address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Patience, Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from azure.core.exceptions import HttpResponseError, ServiceRequestError

NOTHING_ROTATED: dict[str, t.Any] = {
    "rotate": False,
    "force": [],
    "on_deleted": "fail",
    "all_versions": False,
    "unmanaged": "ignore",
    "expires_soon": "P30D",
    "kek_name": None,
    "kek_id": None,
    "expired_prefix": None,
    "receipt_directory": "/nonexistent",
    "state_directory": "/nowhere",
}


def plan(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> tuple[list[str], list[str], list[str]]:
    """Plan three keys for a vault that answers every request with ``error``.

    Returns who failed, who was asked for, and the warnings.
    """
    asked: list[str] = []

    def get_key(name: str, version: str | None, **options: t.Any) -> None:
        asked.append(name)
        raise error

    address = parse_address("https://contoso.vault.azure.net", "AzureCloud")
    vault = Vault(
        address,
        SimpleNamespace(get_key=get_key),
        Patience(0, 0),
        Pace(1, None),
        lambda seconds: None,
    )
    monkeypatch.setattr(_planning, "open_vault", lambda *_: vault)
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    items = [{**empty, "name": name, "type": "EC", "curve": "P-256"} for name in ("a", "b", "c")]
    in_token: list[dict[str, t.Any]] = [
        {"name": item["name"], "generation": None, "generations": []} for item in items
    ]
    outcome = Outcome()
    params = {"declarations": items, "target_keys": in_token, **NOTHING_ROTATED}
    _planning.plan_keys(params, False, outcome)
    return [failure["name"] for failure in outcome.failures.as_result()], asked, outcome.warnings


def test_a_vault_that_is_not_there_is_not_asked_for_every_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed, asked, warnings = plan(
        monkeypatch, ServiceRequestError("(Caused by NameResolutionError('contoso'))")
    )
    assert (failed, set(asked)) == (["a"], {"a"})
    assert warnings == ["Not tried, because the vault does not serve this run now: b, c"]


def test_a_key_that_azure_refuses_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = HttpResponseError(message="no")
    refused.status_code = 403
    assert plan(monkeypatch, refused) == (["a", "b", "c"], ["a", "b", "c"], [])


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (None, None),
        (31, None),
        (30, "expires soon, at 2026-12-30T12:00:00Z. Nothing can be imported"),
        (-1, "has expired, at 2026-11-29T12:00:00Z"),
    ],
)
def test_a_plan_says_in_time_when_a_kek_that_stays_ends(
    monkeypatch: pytest.MonkeyPatch, days: int | None, says: str | None
) -> None:
    now = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
    expires = None if days is None else now + timedelta(days=days)
    vault = SimpleNamespace(
        address=parse_address("https://contoso.vault.azure.net", "AzureCloud"), now=now
    )
    asked: list[str] = []

    def read_version(_vault: t.Any, name: str, _version: str | None) -> t.Any:
        asked.append(name)
        return SimpleNamespace(not_before=None, expires=expires, kid="kid")

    monkeypatch.setattr(_planning, "open_vault", lambda *_: vault)
    monkeypatch.setattr(_planning, "read_version", read_version)
    outcome = Outcome()
    params = {"declarations": [], "target_keys": [], **NOTHING_ROTATED, "kek_name": "stays"}
    _planning.plan_keys(params, True, outcome)
    assert asked == ["stays"]
    assert len(outcome.warnings) == (says is not None)
    if says:
        assert outcome.warnings[0].startswith("The KEK stays in the ")
        assert says in outcome.warnings[0]
