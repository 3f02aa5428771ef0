# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import ActionName
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import (
    _COUNTED,
    read_inventory,
    summarise,
    to_markdown,
    unchecked,
)

AT = "2026-11-22T12:00:00Z"


def entry(name: str, action: str = "none", **facts: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "action": action,
        "kind": "P-256",
        "reason": "because",
        "next_due": None,
        **facts,
    }


def host(
    name: str,
    *plan: dict[str, t.Any],
    url: str = "",
    unmanaged: t.Sequence[str] = (),
    **standing: str,
) -> dict[str, t.Any]:
    url = url or f"https://{name}.vault.azure.net"
    planned = {
        "vault_url": url,
        "plan": list(plan),
        "unmanaged": [{"name": each} for each in unmanaged],
    }
    keys = [{"name": each["name"]} for each in plan]
    return {
        "inventory_hostname": name,
        "byok_vault_url": url,
        "byok_keys": keys,
        "byok_planned": planned,
        "byok_standing": standing,
    }


def test_a_run_without_anything_to_do_is_clean() -> None:
    summary = summarise(
        [host("one", entry("a")), host("two"), {"inventory_hostname": "no-vault"}], AT
    )
    assert (summary["status"], summary["actions"], summary["made_at"]) == ("clean", {"none": 1}, AT)
    assert list(summary["hosts"]) == ["one", "two"]
    assert to_markdown(summary) == f"### Keys: clean\n\n2 vaults, {AT}: 1 unchanged.\n"


@pytest.mark.parametrize("action", ["transfer", "rotate", "update", "recover", "conflict"])
def test_what_is_to_be_done_or_decided_is_a_change(action: str) -> None:
    summary = summarise([host("one", entry("a"), entry("b", action))], AT)
    assert summary["status"] == "changes"
    assert f"| one | b | P-256 | {action} | because |" in to_markdown(summary)
    assert "| one | a |" not in to_markdown(summary)


def test_keys_of_another_host_of_the_same_vault_are_declared() -> None:
    url = "https://shared.vault.azure.net"
    summary = summarise(
        [
            host("one", entry("mine"), url=url, unmanaged=["Other", "nobodys"]),
            host("two", entry("other"), url=f"{url}/", unmanaged=["mine", "nobodys"]),
        ],
        AT,
    )
    assert [[key["name"] for key in each["unmanaged"]] for each in summary["hosts"].values()] == [
        ["nobodys"],
        ["nobodys"],
    ]
    assert summary["status"] == "clean"  # what nobody declared is reported and no drift
    assert f"\n1 vault, {AT}: 2 unchanged." in to_markdown(summary)
    assert "Not declared: nobodys (one), nobodys (two)." in to_markdown(summary)


def test_vaults_that_are_behind_are_named() -> None:
    summary = summarise([host("one", entry("a"), a="02"), host("two", entry("a", "transfer"))], AT)
    assert len(summary["behind"]) == 1
    assert "- two (https://two.vault.azure.net): behind with the key a" in to_markdown(summary)


def test_what_is_due_next_comes_first() -> None:
    plan = [entry(f"k{day}", next_due=f"2027-01-{day:02}T00:00:00Z") for day in range(20, 0, -1)]
    text = to_markdown(summarise([host("one", *plan)], AT))
    assert "Due next: k1 (one) 2027-01-01T00:00:00Z, k2" in text
    assert "k10 (one) 2027-01-10T00:00:00Z and 10 more." in text


def test_a_long_plan_fits_into_a_comment() -> None:
    plan = [entry(f"key-{number}", "transfer", reason="r" * 200) for number in range(5000)]
    standing = {f"key-{number}": "02" for number in range(5000)}
    text = to_markdown(
        summarise([host("one", *map(entry, standing), **standing), host("two", *plan)], AT)
    )
    assert (
        text.count("and 4900 more in plan.json") == 2
    )  # of what is to be done, and of what is behind another vault
    assert len(text) < 65536  # GitHub's limit


def test_texts_are_text_and_no_markup() -> None:
    reason = "a | b\n# c <img> @team [x](y)\x1b[2J\u202e"
    text = to_markdown(summarise([host("one", entry("a", "conflict", reason=reason))], AT))
    assert r"a \| b\\n\# c \<img\> \@team \[x\](y)\\x1b\[2J\\u202e |" in text


def test_actions_are_counted_in_words() -> None:
    plan = [*(entry(f"a{number}") for number in range(200)), entry("b", "transfer")]
    text = to_markdown(summarise([host("one", *plan, entry("c", "conflict"))], AT))
    assert ": 200 unchanged, 1 to transfer, 1 in conflict.\n" in text
    assert list(_COUNTED) == ["none", *(each for each in t.get_args(ActionName) if each != "none")]


def row_of(planned: dict[str, t.Any]) -> str:
    """The row of a key in the table of changes."""
    text = to_markdown(summarise([host("one", planned)], AT))
    return next(line for line in text.splitlines() if line.startswith("| one |"))


def test_attributes_are_told_before_and_after() -> None:
    changes = {
        "enabled": {"before": True, "after": False},
        "operations": {"before": ["sign", "verify"], "after": ["sign"]},
        "expires": {"before": None, "after": "2027-01-01T00:00:00Z"},
        "tags": {"before": {"a": "1", "b": "2"}, "after": {"b": "\x1b[2J\n3", "c": "|", "a": "1"}},
    }
    assert row_of(entry("k", "update", changes=changes)).endswith(
        " because | enabled from true to false; operations from sign, verify to sign; "
        "expires from not set to 2027-01-01T00:00:00Z; "
        r"tags.b from 2 to \\x1b\[2J\\n3; tags.c from not set to \| |"
    )


def test_what_a_new_key_will_be_able_to_do_is_told() -> None:
    version = {
        "operations": ["sign", "verify"],
        "enabled": True,
        "not_before": None,
        "expires": None,
        "tags": {"team": "web", "keyferry-generation": "01"},
    }
    assert row_of(entry("k", "transfer", new_version=version)).endswith(
        " | because | can sign, verify; expires never; tags team=web |"
    )
    later = {"enabled": False, "not_before": AT, "expires": "2027-01-01T00:00:00Z", "tags": {}}
    assert row_of(entry("k", "transfer", new_version={**version, **later})).endswith(
        f" can sign, verify; disabled; valid from {AT}; expires 2027-01-01T00:00:00Z |"
    )


def test_what_to_do_about_a_conflict_is_told_with_the_names_of_the_role() -> None:
    row = row_of(entry("k", "conflict", remedy="Set the option force to X, or on_deleted"))
    assert row.endswith(r" | Set byok\_force to X, or byok\_on\_deleted. |")


def test_one_bad_key_does_not_hide_the_plan_of_all_others() -> None:
    good, bad = host("one", entry("a", "transfer"), a="01"), host("two", entry("b"))
    bad["byok_planned"]["unchecked"] = ["c: Azure refuses it.\x1b"]
    bad["byok_keys"].append({"name": "a"})
    refused = {
        "inventory_hostname": "three",
        "byok_vault_url": "https://three.vault.azure.net",
        "byok_planned": {},
        "byok__not_checked": "byok_keys[0] (a): has no type.\nbyok_keys[1] (b): has no type.",
    }
    gone = {"inventory_hostname": "four", "byok_vault_url": "https://four.vault.azure.net"}
    hosts = [good, bad, refused, gone, {"inventory_hostname": "no-vault"}]
    left = unchecked(hosts)
    assert left == [
        r"two: c: Azure refuses it.\x1b",
        "three: byok_keys[0] (a): has no type.",
        "three: byok_keys[1] (b): has no type.",
        "four: It was not reached.",
    ]
    summary = summarise(hosts, AT)
    assert summary["behind"] == []  # of a key that was not checked nobody knows
    text = to_markdown(summary, left)
    assert text.startswith(f"### Keys: incomplete\n\n2 vaults, {AT}: 1 unchanged, 1 to transfer.\n")
    assert "**Not checked**, so there is no verdict:\n\n- two: c: Azure refuses it." in text
    assert "| one | a | P-256 | transfer | because |" in text
    assert unchecked([good, {"inventory_hostname": "no-vault"}]) == []


def before(**hosts: t.Any) -> dict[str, t.Any]:
    """The variables of hosts before a change, from the keys of each, as they are read."""
    variables = {
        name: {"byok_vault_url": f"https://{name}.vault.azure.net/", "byok_keys": keys}
        for name, keys in hosts.items()
    }
    return read_inventory(json.dumps({"_meta": {"hostvars": variables}, "all": {}}))


def test_a_declaration_that_a_change_removes_is_told_with_what_it_was() -> None:
    unsafe = {"__ansible_unsafe": "gone"}
    # As ansible-inventory sorts them
    fields = {"operations": ["sign", "verify"], "size": 3072, "tags": {"a": "b|c"}, "type": "RSA"}
    base = before(
        one=[{"name": "Kept", "type": "EC"}, {"name": unsafe, **fields}],
        left=[{"name": "with-its-vault", "type": "EC"}],
        limited=[{"name": "not-looked-at", "type": "EC"}],
    )
    summary = summarise([host("one", entry("kept"))], AT, base, ["one", "limited"])
    assert summary["status"] == "clean"  # nothing is done
    assert [(gone["host"], gone["name"]) for gone in summary["removed"]] == [
        ("left", "with-its-vault"),
        ("one", "gone"),
    ]
    assert summary["removed"][1]["declaration"] == fields
    text = to_markdown(summary)
    assert "These keys stay in vault and token" in text
    assert r"| one | gone | type: RSA, size: 3072, operations: sign verify, tags: a=b\|c |" in text
    assert "kept" not in text.lower()


def test_a_key_that_moves_to_another_host_of_its_vault_is_not_removed() -> None:
    url = "https://one.vault.azure.net"
    base = before(one=[{"name": "a", "type": "EC"}])
    summary = summarise([host("one", url=url), host("one.hsm2", entry("a"), url=url)], AT, base)
    assert summary["removed"] == []


def test_without_a_base_nothing_is_said_of_removed_declarations() -> None:
    assert summarise([host("one", entry("a"))], AT)["removed"] is None


@pytest.mark.parametrize(
    ("state", "words", "status"),
    [
        ("expired", "Expired", "changes"),
        ("expires_soon", "Expires soon", "clean"),
        ("not_yet_valid", "Not yet valid", "clean"),
    ],
)
def test_states_of_keys_and_keks_are_told(state: str, words: str, status: str) -> None:
    one = host("one", entry("a", state=state, state_at=AT), entry("b"))
    one["byok_planned"]["kek"] = {"name": "kek", "state": state}
    summary = summarise([one], AT)
    assert summary["status"] == status
    assert f"**{words}**: a (one) {AT}, KEK kek (one)." in to_markdown(summary)


def test_what_a_template_would_declare_is_not_taken_for_removed() -> None:
    keys = [{"name": "{{ a }}", "type": "EC"}, "{{ b }}", {"type": "EC"}]
    base = before(one=keys, two="{{ keys }}", three=None)
    base["four"] = {"byok_vault_url": "{{ url }}", "byok_keys": [{"name": "a"}]}
    assert summarise([host("one", entry("a"))], AT, base)["removed"] == []


def test_a_plan_shows_what_those_sign_who_approve_it() -> None:
    summary = summarise([host("one", entry("a", "transfer")), host("two", entry("b"))], AT)
    digest = summary["hosts"]["one"]["digest"]
    assert len(digest) == 64
    assert summary["hosts"]["two"]["digest"] is None
    told = to_markdown(summary)
    assert "ssh-keygen -Y sign -n keyferry-approval@keyferry.azure -f KEY" in told
    assert told.count("- plan ") == 1
    assert f"- plan {digest} (one)" in told
    assert "To approve a plan" not in to_markdown(summarise([host("two", entry("b"))], AT))
