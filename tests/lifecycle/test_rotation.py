# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""byok_rotate: what is due, what is brought, and what is left alone."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    parse_duration,
    parse_moment,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    DAY,
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    generations,
    only,
    run,
)
from azure.keyvault.keys import JsonWebKey


def test_a_key_is_brought_kept_and_replaced_when_it_is_due(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P90D", valid_for="P120D")
    first = only(vault.rotate(declared))
    assert (first["action"], first["changed"], first["identity"]) == (
        "transfer",
        True,
        "public_key",
    )
    again = only(vault.rotate(declared))
    assert (again["action"], again["changed"], again["next_due"]) == (
        "none",
        False,
        first["next_due"],
    )
    lab.forward(days=89, hours=23)
    assert only(vault.rotate(declared))["changed"] is False
    lab.forward(hours=2)
    would = only(vault.rotate(declared, check=True))
    assert (would["action"], would["changed"], would["replaced"]) == (
        "rotate",
        True,
        first["version"],
    )
    assert len(vault.versions(declared)) == 1
    second = only(vault.rotate(declared))
    assert (second["action"], second["replaced"]) == ("rotate", first["version"])
    assert abs((parse_moment(second["next_due"]) - lab.now).days - 90) <= 1
    newest, older = vault.versions(declared)
    assert [newest["version"], older["version"]] == [second["version"], first["version"]]
    assert (newest["enabled"], newest["active"], older["enabled"]) == (True, True, True)
    assert abs((parse_moment(newest["expires"]) - lab.now).days - 120) <= 1
    assert newest["tags"].keys() == {
        f"keyferry-{name}" for name in ("generation", "token", "thumbprint", "package")
    }
    assert len(vault.generations(declared)) == 2
    assert only(vault.rotate(declared))["changed"] is False


def test_a_version_is_due_when_its_expiry_is_near(lab: Lab, vault: Vault, key: Declare) -> None:
    declared = key(valid_for="P1Y", before_expiry="P1M")
    first = only(vault.rotate(declared))
    expires = parse_moment(vault.versions(declared)[0]["expires"])
    due = parse_moment(first["next_due"])
    assert (
        parse_duration("P1M").before(expires) == due
    )  # by the calendar, whatever the month's length
    lab.forward(days=(due - lab.now).days - 1)
    assert only(vault.rotate(declared))["changed"] is False
    lab.forward(days=2)
    assert only(vault.rotate(declared))["action"] == "rotate"
    assert only(vault.rotate(declared))["changed"] is False


@BOTH
def test_what_check_mode_says_is_what_a_run_does(lab: Lab, vault: Vault, key: Declare) -> None:
    same = {"valid_for": "P120D", "notify_before": "P20D"}
    keys = [
        dict(key(every="P30D", **same), tags={"owner": "old"}, after_transfer="lock"),
        dict(key(**same), tags={"owner": "old"}),
    ]
    only(vault.rotate(keys[0]))
    only(vault.rotate(keys[1]))
    lab.forward(days=31)
    keys = [dict(declared, tags={"owner": "new"}) for declared in keys] + [key("RSA", **same)]
    there = {"made": generations(*keys), "versions": vault.inventory(*keys)}
    would = vault.rotate(*keys, check=True)
    assert {"made": generations(*keys), "versions": vault.inventory(*keys)} == there
    done = vault.rotate(*keys)
    assert [each["action"] for each in done["rotations"]] == ["rotate", "update", "transfer"]
    for said, came in zip(would["rotations"], done["rotations"], strict=True):
        assert {fact: said[fact] for fact in ("name", "action", "replaced", "reason")} == {
            fact: came[fact] for fact in ("name", "action", "replaced", "reason")
        }
        assert said.get("imported") == came.get("imported")
    # A diff names vault or token and key; what is known only afterwards is not in it before.
    new = {"generation", "thumbprint", "version", "tags", "expires"}
    facts = [
        [
            (
                each.where,
                dict(each.before),
                {fact: each.after[fact] for fact in each.after if fact not in new},
            )
            for each in changes
        ]
        for changes in (
            would["changes"],
            [each for each in done["changes"] if "CKA_EXTRACTABLE" not in each.before],
        )
    ]
    assert facts[0] == facts[1]
    for said, came in zip(would["changes"], done["changes"], strict=False):
        assert said.after.keys() | {"version"} == came.after.keys() | {"version"}


@BOTH
def test_force_names_what_it_replaces_and_does_so_once(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(min_interval="P2D")
    first = only(vault.rotate(declared))
    forced = vault.rotate(declared, force=[first["thumbprint"]])
    assert "another one is not made before" in failure(forced)
    assert "min_interval P2D" in failure(forced)
    assert (forced["changed"], len(vault.generations(declared))) == (False, 1)
    lab.forward(days=3)
    if vault.driver == "byok_rotate":  # which sees one vault, so another one may have it
        by_another_name = vault.rotate(declared, force=[first["version"]])
        assert only(by_another_name)["changed"] is False
        assert "force names no generation and no name of" in by_another_name["warnings"][0]
    else:
        with pytest.raises(ByokError, match=r"^byok_force names .*: no host of this run has"):
            vault.rotate(declared, force=[first["version"]])
    second = only(vault.rotate(declared, force=[first["thumbprint"]]))
    assert (second["action"], second["replaced"]) == ("rotate", first["version"])
    again = vault.rotate(declared, force=[first["thumbprint"]])
    assert (only(again)["action"], again["changed"], again["warnings"]) == ("none", False, [])


@BOTH
def test_a_key_that_names_its_generation_is_not_forced_to_another(
    vault: Vault, key: Declare, lab: Lab
) -> None:
    declared = key()
    first = only(vault.rotate(declared))
    lab.forward(days=2)
    named = {**declared, "generation": first["generation"], "rotation": None}
    assert "its declaration fixes the generation" in failure(
        vault.rotate(named, force=[first["thumbprint"]])
    )
    assert len(vault.generations(declared)) == 1
    assert only(vault.rotate(named))["changed"] is False


@BOTH
def test_a_version_that_is_due_waits_for_min_interval_after_any_generation(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D", min_interval="P10D")
    only(vault.rotate(declared))
    lab.forward(days=31)
    ahead = only(vault.rotate(declared, stage="prepare"))
    withdraw(declared, ahead["thumbprint"])
    waits = only(vault.rotate(declared))
    assert (waits["action"], waits["changed"]) == ("none", False)
    assert "min_interval P10D" in waits["reason"]
    assert abs((parse_moment(waits["next_due"]) - lab.now).days - 10) <= 1
    lab.forward(days=11)
    second = only(vault.rotate(declared))
    assert second["action"] == "rotate"
    assert second["generation"] > ahead["generation"]
    assert [each["withdrawn"] for each in vault.generations(declared)] == [False, True, False]


def withdraw(declared: Result, *identities: str) -> Result:
    return run("byok_target_key", target_keys=[declared], withdraw=list(identities))


@BOTH
def test_a_generation_made_ahead_is_brought_by_a_later_run(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D")
    assert only(vault.rotate(declared, stage="prepare"))["changed"] is True
    assert vault.versions(declared) == []
    assert only(vault.rotate(declared, stage="prepare"))["changed"] is False
    assert only(vault.rotate(declared))["action"] == "transfer"
    assert only(vault.rotate(declared, stage="prepare"))["changed"] is False
    lab.forward(days=31)
    ahead = only(vault.rotate(declared, stage="prepare"))
    assert (ahead["action"], ahead["changed"]) == ("rotate", True)
    again = vault.rotate(declared, stage="prepare")
    assert (again["changed"], again["failures"], len(vault.generations(declared))) == (False, [], 2)
    assert len(vault.versions(declared)) == 1
    brought = only(vault.rotate(declared))
    assert (brought["action"], brought["generation"]) == ("transfer", ahead["generation"])
    assert len(vault.generations(declared)) == 2


@BOTH
def test_a_generation_that_is_withdrawn_is_never_brought_and_still_known(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    second = only(vault.rotate(declared))
    assert withdraw(declared, second["thumbprint"])["changed"] is True
    again = withdraw(declared, second["thumbprint"])
    assert (again["changed"], again["withdrawn"]) == (False, [])
    assert [each["withdrawn"] for each in vault.generations(declared)] == [False, True]
    assert [each["ours"] for each in vault.versions(declared)] == [True, True]
    # The first one is not brought back; the key has to be replaced.
    conflict = vault.rotate(declared)
    assert "which was withdrawn. To replace it by another generation" in failure(conflict)
    assert conflict["changed"] is False
    lab.forward(days=2)
    third = only(vault.rotate(declared, force=[second["thumbprint"]]))
    assert third["generation"] not in (first["generation"], second["generation"])
    assert [generation for generation, _enabled in vault.in_vault(declared)] == [
        third["generation"],
        second["generation"],
        first["generation"],
    ]
    assert (
        run("byok_target_key", target_keys=[declared])["changed"] is False
    )  # its public key is no leftover
    with pytest.raises(
        ByokError, match=r"No generation of the keys .* is nobody, so nothing was withdrawn"
    ):
        withdraw(declared, "nobody")


def wrap_and_import(
    vault: Vault, declared: Result, generation: Result, replaces: str | None
) -> Result:
    """Bring a generation as somebody does who has the token and knows the modules."""
    kek = vault.run("byok_kek", name=f"kek-{replaces or 'first'}"[:20], size=2048)
    named = {name: value for name, value in declared.items() if name != "rotation"} | {
        "generation": generation["generation"]
    }
    wrapped = run("byok_wrap", packages=[named], allow_trailing_zeros=True, **for_wrap(kek))
    return vault.run(
        "byok_import",
        imports=[dict(named, replaces=replaces)],
        packages=wrapped["packages"],
        wrapped_in_this_run=True,
    )


def test_an_old_generation_that_somebody_made_current_again_is_replaced_by_a_new_one(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    second = only(vault.rotate(declared))
    old = vault.generations(declared)[0]
    refused = wrap_and_import(vault, declared, old, second["version"])
    assert "is not made the newest again" in refused["warnings"][0]
    # By other means.
    package = run(
        "byok_wrap",
        packages=[dict(declared, rotation=None, generation=old["generation"])],
        allow_trailing_zeros=True,
        **kek(vault),
    )
    vault.lab.client(vault.url).import_key(
        declared["name"],
        JsonWebKey(
            kty="EC-HSM",
            crv="P-256",
            key_ops=["sign"],
            t=package["packages"][0]["content"].encode(),
        ),
    )
    assert vault.in_vault(declared)[0][0] == first["generation"]
    conflict = vault.rotate(declared)
    assert "never made the newest again" in failure(conflict)
    assert conflict["changed"] is False
    lab.forward(days=31)
    third = only(vault.rotate(declared))
    assert third["action"] == "rotate"
    assert third["generation"] not in (first["generation"], second["generation"])
    assert only(vault.rotate(declared))["changed"] is False


def kek(vault: Vault) -> Result:
    return for_wrap(vault.run("byok_kek", name="kek-of-somebody", size=2048))


def for_wrap(kek: Result) -> Result:
    """The options of byok_wrap for a KEK that byok_kek made."""
    return {
        "kek_created": kek["kek_trust"] == "created",
        **{fact: kek[fact] for fact in ("kek_id", "kek_public_key", "kek_fingerprint")},
    }


@BOTH
def test_a_foreign_newest_version_is_a_conflict_that_is_reported_by_name(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    keys = [key(every="P30D"), key(every="P30D")]
    assert vault.rotate(*keys)["failures"] == []
    vault.native(keys[0])
    lab.forward(days=31)
    result = vault.rotate(*keys)
    (failed,) = result["failures"]
    assert failed["name"] == keys[0]["name"]
    assert "is a key that is not in the token" in failed["msg"]
    assert "declare rotation with on_foreign: rotate" in failed["msg"]
    assert [each["action"] for each in result["rotations"]] == ["conflict", "rotate"]
    assert [each["ours"] for each in vault.versions(keys[0])] == [False, True]
    assert len(vault.generations(keys[0])) == 1
    forced = vault.rotate(keys[0], force=[vault.generations(keys[0])[0]["thumbprint"]])
    assert "is a key that is not in the token" in failure(forced)


@BOTH
def test_a_foreign_newest_version_is_superseded_once_where_that_is_declared(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    new, prepared = keys = [
        key(on_foreign="rotate", every="P30D"),
        key(on_foreign="rotate", every="P30D"),
    ]
    assert vault.rotate(*keys)["failures"] == []
    lab.forward(days=31)
    ahead = only(vault.rotate(prepared, stage="prepare"))
    for declared in keys:
        vault.native(declared)
    result = vault.rotate(*keys)
    assert result["failures"] == []
    assert [each["action"] for each in result["rotations"]] == ["rotate", "transfer"]
    assert "the newest version is foreign" in result["rotations"][0]["reason"]
    assert result["rotations"][1]["generation"] == ahead["generation"]
    for declared in keys:
        assert [each["ours"] for each in vault.versions(declared)] == [True, False, True]
        assert len(vault.generations(declared)) == 2
    assert vault.rotate(*keys)["changed"] is False
    vault.native(new)
    assert "min_interval" in failure(vault.rotate(new))  # one a day at most, whoever is quicker


def test_a_name_that_was_somebody_else_s_is_taken_over_only_where_that_is_declared(
    vault: Vault, key: Declare
) -> None:
    declared = key()
    vault.native(declared)
    assert "is a key that is not in the token" in failure(vault.rotate(declared))
    taken = only(vault.rotate(dict(declared, rotation={"on_foreign": "rotate"})))
    assert taken["identity"] == "public_key"
    assert [each["ours"] for each in vault.versions(declared)] == [True, False]
    assert only(vault.rotate(declared))["changed"] is False


@BOTH
def test_tags_are_merged_and_those_that_lie_change_nothing(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = dict(key(every="P30D"), tags={f"tag-{number}": "x" for number in range(10)})
    first = only(vault.rotate(declared))
    client = lab.client(vault.url)
    lies = {
        "keyferry-generation": "00" * 16,
        "keyferry-thumbprint": "nobody",
        "keyferry-token": "none",
        "theirs": "kept",
    }
    client.update_key_properties(
        declared["name"], tags={**vault.versions(declared)[0]["tags"], **lies}
    )
    changed = dict(declared, tags={**declared["tags"], "tag-0": "y"})
    assert only(vault.rotate(changed))["action"] == "update"
    (version,) = vault.versions(declared)
    assert (version["ours"], version["tags"]["theirs"], version["tags"]["tag-0"]) == (
        True,
        "kept",
        "y",
    )
    assert len(version["tags"]) == 15
    # A foreign version with our tags stays foreign.
    vault.native(declared)
    client.update_key_properties(
        declared["name"], tags={"keyferry-generation": first["generation"]}
    )
    assert "is a key that is not in the token" in failure(vault.rotate(changed))
    for tags, words in (
        ({"keyferry-x": "y"}, "begins with keyferry-"),
        (dict.fromkeys(map(str, range(11)), "x"), "at most 10 tags"),
    ):
        with pytest.raises(ByokError, match=words):
            vault.rotate(dict(declared, tags=tags))


def test_the_number_of_versions_is_warned_of_in_time(hsm: Vault, key: Declare) -> None:
    declared = key(on_foreign="rotate", min_interval="PT1S")
    for _number in range(89):
        hsm.native(declared)
    result = hsm.rotate(declared)
    assert (only(result)["identity"], result["warnings"]) == ("public_key", [])
    hsm.native(declared)
    result = hsm.rotate(declared, check=True)
    (warning,) = result["warnings"]
    assert "it has 91 versions in the Managed HSM" in warning
    assert "takes no more than 100" in warning


def test_this_hosts_clock_has_no_say(lab: Lab, vault: Vault, key: Declare) -> None:
    lab.set_clock(-30 * DAY)  # this host is a month ahead of the vault
    declared = key(every="P7D")
    assert only(vault.rotate(declared))["action"] == "transfer"
    lab.forward(days=8)
    assert only(vault.rotate(declared))["action"] == "rotate"
