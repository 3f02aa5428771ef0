# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people ordered is done whole, or the run says so; and the states that dates alone give."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import (
    summarise,
    to_markdown,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.side_by_side import side_by_side
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    BY_ROLE,
    LAB_OPTIONS,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.role import Play, TaskFailed


def host_of(vault: Vault, *keys: Result, **variables: Any) -> Result:
    """The variables of a host."""
    options = {name: value for name, value in LAB_OPTIONS.items() if name != "last_vault"}
    return {
        "inventory_hostname": vault.host,
        "byok_vault_url": vault.url,
        "byok_keys": list(keys),
        **{f"byok_{name}": value for name, value in {**options, **variables}.items()},
    }


def perform(entry: str, host: Result, *others: Result, check: bool = False) -> Play:
    play = Play(host, check, others)
    play.perform(entry)
    return play


def after(play: Play) -> Result:
    """What other hosts see of a host."""
    return {**play.variables, **play.facts}


# KEKs


@BOTH
def test_a_kek_that_must_be_purged_is_deleted_also_where_the_vault_keeps_it(
    vault: Vault, key: Declare
) -> None:
    vault.set(purge_protection=True, retention_days=30)
    brought = vault.rotate(key(), kek_purge=True)
    assert only(brought)["imported"] is True
    (said,) = [warning for warning in brought["warnings"] if "is deleted and not purged" in warning]
    assert "purge protection (recovery level CustomizedRecoverable)" in said
    assert vault.keks() == []


def test_a_deleted_kek_that_cannot_be_purged_is_no_error_twice_in_a_row(vault: Vault) -> None:
    vault.set(purge_protection=True)
    vault.run("byok_kek", name="kek", size=2048)
    for check, changed in ((True, True), (False, True), (False, False)):
        gone = vault.run("byok_kek", check, name="kek", state="absent", purge=True)
        assert (gone["changed"], len(gone["warnings"])) == (changed, 1)


@BY_ROLE
def test_a_plan_reports_keks_of_runs_that_outlived_them(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    vault.run("byok_kek", name="keyferry-kek-left", size=2048, lifetime="PT4H")
    vault.run("byok_kek", name="keyferry-kek-approved", size=2048)
    host = host_of(vault, key())
    assert perform("plan", host).facts["byok_planned"]["expired_keks"] == []
    lab.forward(hours=5)
    play = perform("plan", host)
    assert play.facts["byok_planned"]["expired_keks"] == ["keyferry-kek-left"]
    text = to_markdown(summarise([after(play)], "now"))
    assert f"that earlier runs left: keyferry-kek-left ({vault.host})." in text


@BY_ROLE
@pytest.mark.parametrize("by", ["kek_name", "kek_id"])
def test_a_plan_and_a_look_tell_of_a_kek_that_stays(
    lab: Lab, vault: Vault, key: Declare, by: str
) -> None:
    made = vault.run("byok_kek", name="stays", size=2048, lifetime="P60D")
    host = host_of(vault, key(), **{by: {"kek_name": "stays", "kek_id": made["kek_id"]}[by]})
    states = []
    for days in (0, 31, 30):
        lab.forward(days=days)
        kek = perform("plan", host).facts["byok_planned"]["kek"]
        states.append((kek["name"], kek["state"]))
    assert states == [("stays", None), ("stays", "expires_soon"), ("stays", "expired")]
    play = perform("plan", host)
    assert "**Expired**: KEK stays" in to_markdown(summarise([after(play)], "now"))
    shown = side_by_side([perform("show", host).facts["byok_shown"]])
    assert shown[0].startswith(f"{vault.url}: KEK stays, expired, expires ")
    (warning,) = play.results("byok_plan")[0]["warnings"]
    assert warning.startswith("The KEK stays in the ")


def test_a_kek_of_another_vault_ends_a_plan(vault: Vault) -> None:
    kid = f"https://other.vault.azure.net/keys/stays/{0:032x}"
    with pytest.raises(ByokError, match=r"is in https://other\.vault\.azure\.net"):
        vault.run("byok_plan", declarations=[], target_keys=[], kek_id=kid)


@BY_ROLE
def test_check_mode_shows_that_the_kek_is_deleted(vault: Vault, key: Declare) -> None:
    play = perform("transfer", host_of(vault, key()), check=True)
    made, deleted = [done.changes for done in play.done if done.module == "byok_kek"]
    assert [change.after["type"] for change in made] == ["RSA-HSM"]
    assert [(change.before, change.after) for change in deleted] == [
        ({"state": "present"}, {"state": "deleted"})
    ]
    assert made[0].where == deleted[0].where
    assert vault.keks() == []


# Several hosts


@BY_ROLE
def test_check_mode_shows_a_shared_key_as_made_once(
    new_vault: Callable[[], Vault], key: Declare
) -> None:
    shared, own = key(), key()
    first, second = host_of(new_vault(), shared), host_of(new_vault(), shared, own)
    for job in ("prepare", "transfer"):
        # Ansible performs each task for all hosts; the plans of both are there before one acts
        one = Play(first, True, [second])
        one.perform(job)
        two = Play(second, True)
        two.others = {first["inventory_hostname"]: after(one)}
        two._magic = lambda play=two: ordered(play)  # type: ignore[method-assign,misc]
        two.perform(job)
        assert made(one) == [shared["name"]]
        assert made(two) == [own["name"]]


def ordered(play: Play) -> Result:
    """The magic variables of the last host of the inventory."""
    magic = Play._magic(play)
    names = [*play.others, play.variables["inventory_hostname"]]
    return {**magic, "groups": {"all": names}, "ansible_play_hosts_all": names}


def made(play: Play) -> list[str]:
    _look, *making = play.results("byok_target_key")
    return [each["name"] for result in making for each in result["target_keys"] if each["created"]]


# Names in orders


@BOTH
def test_a_key_is_forced_by_its_name(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key()
    first = only(vault.rotate(declared))
    lab.forward(days=2)
    forced = only(vault.rotate(declared, force=[declared["name"]]))
    assert (forced["action"], forced["code"]) == ("rotate", "forced")
    assert forced["reason"] == f"the replacement of {first['thumbprint']} is forced"
    # A run that is started twice replaces it once, and does not end as if it had replaced it again.
    again = vault.rotate(declared, force=[declared["name"]])
    assert "another one is not made before" in failure(again)
    assert len(vault.versions(declared)) == 2


@BY_ROLE
def test_a_run_tells_the_thumbprint_of_what_replaced_a_forced_key(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key()
    only(vault.rotate(declared))
    lab.forward(days=2)
    play = perform("rotate", host_of(vault, declared, force=declared["name"]))
    newest = vault.versions(declared)[0]["thumbprint"]
    assert play.facts["byok__run"]["report"]["replaced"] == {declared["name"]: newest}
    assert {declared["name"]: newest} in play.told
    assert next(iter(play.stats.values()))[vault.host]["replaced"] == {declared["name"]: newest}


@BY_ROLE
@pytest.mark.parametrize("entry", ["rotate", "prepare", "plan"])
def test_a_value_of_force_that_names_nothing_ends_the_run_before_anything_is_made(
    lab: Lab, vault: Vault, key: Declare, entry: str
) -> None:
    declared, suspected = key(), "n0SuchThumbprintAtAllOnAnyHostOfThisRun1234"
    only(vault.rotate(declared))
    lab.forward(days=2)
    force = [declared["name"], suspected]
    host = host_of(vault, declared, force=force, plan_rotates=True)
    with pytest.raises(TaskFailed, match=f"^byok_force names {suspected}: no host of this run"):
        perform(entry, host)
    assert len(vault.generations(declared)) == 1


@BY_ROLE
def test_a_value_of_force_may_name_a_key_of_another_host(
    lab: Lab, new_vault: Callable[[], Vault], key: Declare
) -> None:
    mine, theirs, force = key(), key(), []
    vault, other = new_vault(), new_vault()
    force = [only(other.rotate(theirs))["thumbprint"], "nothing"]
    only(vault.rotate(mine))
    lab.forward(days=2)
    there = host_of(other, theirs, force=force)
    # Which other host is yet to look at its keys may have it
    perform("rotate", host_of(vault, mine, force=force), there)
    with pytest.raises(TaskFailed, match=r"^byok_force names nothing: "):
        perform("rotate", host_of(vault, mine, force=force), {**there, **named(theirs, force)})
    # A slice of a job in AWX sees a part of the hosts; prepare, which is none, judges for it
    sliced = {**host_of(vault, mine, force=force), "awx_workflow_job_id": 7}
    perform("rotate", sliced)
    with pytest.raises(TaskFailed, match=r"^byok_force names "):
        perform("prepare", sliced)


def named(declared: Result, force: list[str]) -> Result:
    """What a host records of byok_force that has the first of its values."""
    return {"byok__named": {"variable": "byok_force", "found": force[:1], "missing": force[1:]}}


@BY_ROLE
def test_a_name_of_data_that_was_re_encrypted_must_be_a_key(vault: Vault, key: Declare) -> None:
    declared = key(every="P30D", retire="disable")
    only(vault.rotate(declared))
    host = host_of(vault, declared, data_reencrypted=f"{declared['name']}, misspelt")
    with pytest.raises(
        TaskFailed, match=r"^byok_data_reencrypted names misspelt: no host of this run"
    ):
        perform("retire", host)
    perform("retire", {**host, "byok_data_reencrypted": declared["name"]})


# States


def moment(lab: Lab, days: float) -> str:
    return format_moment(lab.now + timedelta(days=days))


@BY_ROLE
def test_a_key_that_has_expired_is_neither_clean_nor_active(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = {**key(), "expires": moment(lab, 40)}
    declared.pop("rotation")
    only(vault.rotate(declared))
    host, seen = host_of(vault, declared), []
    for days in (0, 11, 30):
        lab.forward(days=days)
        play = perform("plan", host)
        (entry,) = play.facts["byok_planned"]["plan"]
        summary = summarise([after(play)], "now")
        (version,) = vault.versions(declared)
        assert (entry["action"], entry["code"]) == ("none", "in_place")
        assert version["state"] == entry["state"]
        seen.append((entry["state"], summary["status"]))
    assert seen == [(None, "clean"), ("expires_soon", "clean"), ("expired", "changes")]
    assert entry["reason"].endswith(f"; the newest version has expired, at {declared['expires']}")
    named = f"**Expired**: {declared['name']} ({vault.host}) {declared['expires']}."
    assert named in to_markdown(summary)
    (warning,) = play.results("byok_plan")[0]["warnings"]
    assert f"that have expired: {declared['name']}. The plan" in warning
    # Runs that are not plans tell it, too, and do nothing
    again = vault.rotate(declared)
    assert (only(again)["changed"], again["warnings"]) == (False, [warning])
    lines = side_by_side([perform("show", host).facts["byok_shown"]])
    assert "newest, expired, enabled" in lines[2]
    assert not any("active" in line for line in lines)


@BOTH
def test_a_key_that_is_not_yet_valid_is_told(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = {**key(), "not_before": moment(lab, 3)}
    brought = vault.rotate(declared)
    assert only(brought)["imported"] is True
    assert any("that are not yet valid" in warning for warning in brought["warnings"])
    lab.forward(days=4)
    assert vault.rotate(declared)["warnings"] == []


def test_how_soon_a_key_expires_is_an_option(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = {**key(), "expires": moment(lab, 40)}
    declared.pop("rotation")
    only(vault.rotate(declared))
    assert vault.rotate(declared, expires_soon="P39D")["warnings"] == []
    assert "that expire soon" in vault.rotate(declared, expires_soon="P41D")["warnings"][0]


def test_times_of_a_foreign_version_are_not_told_as_the_keys_own(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D")

    def times() -> tuple[str | None, str | None]:
        in_token = run("byok_target_key", True, target_keys=[declared])["target_keys"]
        options = {"declarations": [declared], "target_keys": in_token, "all_versions": True}
        (read,) = vault.run("byok_plan", **options)["versions"]["target_keys"]
        return read["last_rotated"], read["next_due"]

    vault.native(declared)
    superseding = {**declared, "rotation": {**declared["rotation"], "on_foreign": "rotate"}}
    only(vault.rotate(superseding))
    last, due = times()
    assert last is None  # it superseded a foreign version, and none of this token
    assert due is not None
    lab.forward(days=31)
    only(vault.rotate(declared))
    rotated, _due = times()
    assert rotated is not None
    lab.forward(days=1)
    vault.native(declared)
    assert times() == (rotated, None)
