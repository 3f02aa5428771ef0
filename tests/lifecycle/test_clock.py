# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Managed HSM sends no Date, and a Date that is wrong ends a run before it made or changed
anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault import client as _client
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import (
    make_credential,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    DAY,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
    run,
)

YEARS = 73 * 365 * DAY


def clock_of(vault: Vault) -> Result:
    found: Result = vault.run("byok_vault_info")["vault"]["clock"]
    return found


def writes(lab: Lab, vault: Vault) -> list[str]:
    """What changed something in a vault."""
    answers = [
        each
        for each in lab.control("GET", "/requests")
        if each["vault"] == vault.host and each["status"] < 300
    ]
    changing = {"create", "import", "update", "delete", "purge", "recover", "set_policy"}
    return [each["operation"] for each in answers if each["operation"] in changing]


def test_a_managed_hsm_without_date_gets_a_keys_whole_life(
    lab: Lab, hsm: Vault, key: Declare
) -> None:
    declared = key(every="P30D", retire="disable", overlap="P3D")
    first = only(hsm.rotate(declared))
    assert (clock_of(hsm)["source"], clock_of(hsm)["difference"] in (-1, 0)) == ("entra", True)
    assert (first["imported"], only(hsm.rotate(declared))["action"]) == (True, "none")
    lab.forward(days=31)
    second = only(hsm.rotate(declared))
    assert (second["action"], second["replaced"]) == ("rotate", first["version"])
    lab.forward(days=4)
    retired = only(hsm.rotate(declared, stage="retire"))
    assert retired["retired"] == [first["version"]]


def test_with_neither_date_this_hosts_clock_counts(
    lab: Lab, hsm: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where az fetches the token."""
    monkeypatch.setattr(
        _client,
        "make_credential",
        lambda options, cloud, clock: make_credential(options, cloud),
    )
    declared = key("oct", every="P30D")
    assert only(hsm.rotate(declared))["imported"]
    assert clock_of(hsm)["source"] == "host"
    lab.forward(days=31)
    assert only(hsm.rotate(declared))["action"] == "rotate"


@pytest.mark.parametrize(
    "offset", [YEARS, -YEARS / 2, 2 * 3600], ids=["years ahead", "years behind", "two hours"]
)
@pytest.mark.parametrize("domain", ["vault.azure.net", "managedhsm.azure.net"])
def test_a_wrong_date_makes_and_changes_nothing(
    lab: Lab, new_vault: Callable[..., Vault], key: Declare, domain: str, offset: float
) -> None:
    """A Managed HSM's is Entra's."""
    there = new_vault(domain)
    whose = f"vault {there.host.partition('.')[0]}" if domain == "vault.azure.net" else "Entra ID"
    old, new = key(every="P30D", retire="disable"), key(every="P30D")
    only(there.rotate(old))
    lab.forward(days=31)
    only(there.rotate(old))
    lab.forward(days=2.5)
    before, written = there.in_vault(old), writes(lab, there)
    generations = [each["generation"] for each in there.generations(old)]
    lab.set_azures_clock(lab.offset + offset)
    try:
        for force in ([], [there.generations(old)[-1]["thumbprint"]]):
            said = failure(there.rotate(old, new, force=force))
            assert "The Date header of" in said
            assert whose in said
            azures, hosts = map(parse_moment, re.findall(r"says (\S+Z)", said))
            assert abs((azures - hosts).total_seconds() - offset) <= 2
        for stage in ("prepare", "retire"):
            assert "they are more than one hour apart" in failure(
                there.rotate(old, new, stage=stage)
            )
        with pytest.raises(ByokError, match="more than one hour apart"):
            there.run("byok_kek", name="keyferry-kek-wrong", size=2048)
        look = there.run("byok_vault_info")["vault"]
        assert abs(look["clock"]["difference"] - offset) <= 2
        assert "more than one hour apart" in look["problems"][0]
        assert writes(lab, there) == written
        assert [each["generation"] for each in there.generations(old)] == generations
        assert there.generations(new) == []
    finally:
        lab.set_azures_clock(lab.offset)
    assert there.in_vault(old) == before
    assert only(there.rotate(old))["action"] == "none"


def test_a_plan_of_another_time_makes_no_key(lab: Lab, key: Declare) -> None:
    declared = key(every="P30D")
    for hours, made in ((-2, False), (2, False), (0.5, True)):
        moment = format_moment(lab.now + timedelta(hours=hours))
        rotations = [
            {"name": declared["name"], "newer_than": None, "made_at": moment, "reason": None}
        ]
        for check in (True, False):
            result = run("byok_target_key", check, target_keys=[declared], rotations=rotations)
            assert result["changed"] == made
            if not made:
                assert f"made_at of its rotation says {moment}" in failure(result)
        assert (
            len(
                run("byok_target_key", True, target_keys=[declared])["target_keys"][0][
                    "generations"
                ]
            )
            == made
        )
