# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import re
import typing as t
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import chain, statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import envelope_of
from ansible_collections.keyferry.azure.plugins.plugin_utils import _questions
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer

Fields = dict[str, t.Any]

#: What it holds is not looked at: the fingerprint is of these bytes
KEK = "-----BEGIN PUBLIC KEY-----\nYSBrZXk=\n-----END PUBLIC KEY-----\n"
TASKS = Path(__file__).parents[4] / "roles/byok/tasks"
VAULT = "https://contoso.vault.azure.net"
KEYS: list[Fields] = [
    {"name": "signing", "type": "EC", "curve": "P-256", "after_transfer": "lock"},
    {"name": "new", "type": "RSA", "size": 3072},
    {"name": "session", "type": "oct", "size": 256},
]
REQUEST: Fields = {
    "keys": KEYS,
    "key_defaults": {"tags": {"owner": "payments"}},
    "held_back": [],
    "vault_url": VAULT,
    "token_host": "hsm1",
    "plan_rotates": False,
    "force": "",
    "confirm": "",
    "prove": False,
    "batch_size": 2,
    "package_paths": {},
    "escrow_public_key": None,
    "escrow_fingerprint": None,
    "escrow_directory": None,
}
LOCKS = {"CKA_EXTRACTABLE": {"before": True, "after": False}}


def held(name: str, generation: str | None, thumbprint: str | None) -> Fields:
    there = [{"generation": generation, "thumbprint": thumbprint}] if generation else []
    return {
        "name": name,
        "generation": generation,
        "thumbprint": thumbprint,
        "generations": there,
        "locked": False,
    }


def entry(name: str, action: str = "transfer", **facts: t.Any) -> Fields:
    return {"name": name, "action": action, "reason": "why", "kind": "kind", **facts}


TOKEN: Fields = {
    "target_keys": [
        held("signing", "01", "T1"),
        held("new", None, None),
        held("session", "03", None),
    ]
}
PLAN: Fields = {
    "plan": [
        entry("signing", generation="01", thumbprint="T1", changes=LOCKS),
        entry("new"),
        entry("session", "none", generation="03"),
    ]
}
HOSTS: list[Fields] = [
    {"inventory_hostname": "v", "byok_vault_url": VAULT, "byok_keys": KEYS},
    {"inventory_hostname": "w", "byok_vault_url": "https://w.vault.azure.net", "byok_keys": KEYS},
]


def ask(value: t.Any, question: str, *positional: t.Any, **named: t.Any) -> t.Any:
    return answer(question, value, positional, named)


EVIDENCE: Fields = ask(VAULT, "begin_evidence")


def begin(job: str = "transfer", looks_only: bool = False, **request: t.Any) -> Fields:
    run: Fields = ask({**REQUEST, **request}, "begin", job, looks_only)
    return run


def observed(job: str = "transfer", **request: t.Any) -> Fields:
    run: Fields = ask(begin(job, **request), "planned", TOKEN, PLAN)
    return run


def kid(name: str) -> str:
    return f"{VAULT}/keys/{name}/{'1' * 32}"


def arrived(package: Fields) -> Fields:
    """What byok_import returns of a package that it imported."""
    key = {fact: package[fact] for fact in ("name", "generation", "thumbprint")}
    predicate: Fields = {
        "key": key,
        "vault": VAULT,
        "kid": kid(key["name"]),
        "type": "EC-HSM",
        "attributes": {
            "operations": [],
            "enabled": True,
            "not_before": None,
            "expires": None,
            "tags": {},
        },
        "compared": "thumbprint",
        "identity": "public_key",
        "origin": "token",
        "source": "run",
        "time": "2026-11-30T17:00:00Z",
        "clock": "vault",
        "environment": {"proxy": False, "ca_override": False},
        "tools": {},
        **dict.fromkeys(
            ("hsm_platform", "proof", "replaced", "request_id", "interrupted_at", "attestation")
        ),
    }
    stated = statements.imported(
        predicate, package=package["sha256"], public_key="a" * 64, wrapped=None
    )
    return {
        **key,
        "kid": kid(key["name"]),
        "version": "1" * 32,
        "imported": True,
        "updated": False,
        "current": True,
        "origin": "token",
        "identity": "public_key",
        "envelope": envelope_of(stated).to_line(),
    }


def names(items: t.Iterable[Fields]) -> list[str]:
    return [item["name"] for item in items]


# How a run begins


def test_a_run_begins_with_what_is_declared_and_its_defaults() -> None:
    run = begin(held_back=["new"])
    assert run["state"].startswith("keyferry run {")
    assert run["declared"] == 2
    expected = [
        {**KEYS[0], "tags": {"owner": "payments"}},
        {**KEYS[2], "tags": {"owner": "payments"}},
    ]
    assert ask(run, "declarations") == expected


@pytest.mark.parametrize(
    ("job", "plan_rotates", "rotates"),
    [
        ("rotate", False, True),
        ("prepare", False, True),
        ("show", False, True),
        ("retire", True, False),
        ("plan", True, True),
    ],
)
def test_who_rotates_and_what_is_forced_then(job: str, plan_rotates: bool, rotates: bool) -> None:
    run = begin(job, plan_rotates=plan_rotates, force="T1, 03", looks_only=True)
    assert ask(run, "rotates") is rotates
    assert ask(run, "force", TOKEN) == (["T1", "03"] if rotates else [])
    assert ask(run, "looks_only") is True


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"escrow_public_key": "pem"}, "byok_escrow_fingerprint or byok_escrow_directory is not"),
        ({"escrow_public_key": "pem", "escrow_fingerprint": "f"}, "on hsm1"),
        ({"force": 123}, "byok_force holds the number 123"),
        ({"confirm": 123}, "byok_confirm holds the number 123"),
    ],
)
def test_what_was_asked_for_by_half_ends_the_run(request_: Fields, says: str) -> None:
    run = begin(**request_)
    (told,) = run["refused"]
    assert says in told
    report = {"vault_url": VAULT, "problems": [told], "failures": []}
    assert (run["declared"], run["report"]) == (0, report)


@pytest.mark.parametrize("keys", ["signing", [{"name": "a"}], [KEYS[0], KEYS[0]]])
def test_what_is_declared_wrongly_ends_the_run(keys: t.Any) -> None:
    """Not by an error of the filter, of which ansible-core tells the same lines several times."""
    refused = begin(keys=keys)["refused"]
    assert refused
    assert all("byok_keys" in problem for problem in refused)
    with pytest.raises(ByokError, match="This run was not begun"):
        ask(begin(keys=keys), "declarations")


@pytest.mark.parametrize("text", [None, "signing", {}, [], "keyferry run {}", {"state": 1}])
@pytest.mark.parametrize("question", ["declarations", "planned", "problems"])
def test_a_value_that_was_not_begun_is_refused(text: t.Any, question: str) -> None:
    with pytest.raises(ByokError, match="This run was not begun"):
        ask(text, question)


def test_a_question_that_nobody_knows_names_those_that_are_known() -> None:
    with pytest.raises(ByokError, match=r"the question deklarations\. .*\bdeclarations, "):
        ask(begin(), "deklarations")


# What the host that reaches Azure may say


def test_a_key_that_was_not_declared_is_never_brought() -> None:
    """What a compromised byok_azure_host answered, to get a key that its vault does not declare."""
    stolen = {"name": "a-rsa", "type": "RSA", "size": 2048}
    facts: Fields = {
        "version": None,
        "kid": None,
        "foreign": False,
        "next_due": None,
        "changes": {},
    }
    result = {
        "changed": False,
        "failures": [],
        "plan": [
            {**entry("a-rsa"), "reason": "x", "generation": None, "thumbprint": None, **facts}
        ],
        "transfers": [stolen],
        "orders": [],
        "imports": [stolen],
        "unmanaged": None,
        "versions": None,
    }
    with pytest.raises(ByokError, match=r"does not declare.* a-rsa\. Nothing was made or wrapped"):
        ask(begin(), "planned", TOKEN, result)


def test_the_lists_beside_the_plan_count_for_nothing() -> None:
    stolen = [{"name": "a-rsa", "type": "RSA", "size": 2048}, {"name": "signing", "type": "RSA"}]
    orders = [{"name": name, "newer_than": "ff"} for name in ("a-rsa", "signing", "session")]
    result = {**PLAN, "transfers": stolen, "imports": stolen, "orders": orders}
    run = ask(begin(), "planned", TOKEN, result)
    batch = run["batches"][0]["names"]
    assert batch == ["signing", "new"]
    assert ask(run, "make", batch) == ask(begin(), "declarations")[:2]
    assert [(order["name"], order["newer_than"]) for order in ask(run, "orders", batch)] == [
        ("new", None)
    ]


# Who makes a generation


@pytest.mark.parametrize(
    ("job", "running", "makes"),
    [
        ("transfer", ["v"], False),
        ("rotate", ["v"], False),
        ("transfer", ["v", "w"], True),
        ("prepare", ["v"], True),
        ("plan", ["v"], True),
    ],
)
def test_a_run_without_all_hosts_of_a_key_makes_none(
    job: str, running: list[str], makes: bool
) -> None:
    run = ask(begin(job), "planned", TOKEN, PLAN, HOSTS, "v", running)
    assert names(ask(run, "to_bring")) == (["signing", "new"] if makes else ["signing"])
    assert run["to_bring"] == len(ask(run, "to_bring"))
    assert run["failures"] == len(ask(run, "failures"))
    assert bool(ask(run, "failures")) is not makes


@pytest.mark.parametrize("job", ["transfer", "rotate", "prepare"])
def test_a_slice_makes_none(job: str) -> None:
    here = {**HOSTS[0], "byok_keys_also_on": {"new": ["w"]}}
    run = ask(begin(job), "planned", TOKEN, PLAN, [here], "v", ["v"])
    assert names(ask(run, "to_bring")) == ["signing"]
    (problem,) = ask(run, "problems")
    assert problem.startswith("new: A generation of this key has to be made")


# From the first task to the last


def test_a_whole_run_by_its_questions() -> None:
    run = ask(begin(prove=True, confirm=f"{VAULT}/keys/new/1"), "planned", TOKEN, PLAN)
    run = ask(run, "rehearsed", {"failures": []})
    batch, in_place = (each["names"] for each in run["batches"])
    assert in_place == ["session"]
    made = {"target_keys": [held("signing", "01", "T1"), held("new", "0a", "T10")]}
    assert names(ask(run, "wrap", batch, made)) == batch
    packages = []
    for key in made["target_keys"]:
        facts = {fact: key[fact] for fact in ("name", "generation", "thumbprint")}
        rest = {"kek_id": "kek", "path": "/p", "content": "{}", "sha256": "b" * 64, "wrapped": True}
        packages.append({**facts, **rest, "receipt": None})
    wrapped = {"packages": packages}
    imports = ask(run, "import", batch, made, wrapped)
    assert [item.get("thumbprint") for item in imports] == ["T1", None]
    assert [item.get("confirm") for item in imports] == [None, f"{VAULT}/keys/new/1"]
    assert [item["prove"] for item in imports] == [True, True]
    on_their_way = ask(run, "packages", batch, made, wrapped)
    assert [package["path"] for package in on_their_way] == [None, None]
    results = [arrived(package) for package in packages]
    run = ask(run, "imported", batch, made, wrapped, {"imports": results}, EVIDENCE)
    assert run["standing"] == {"signing": "01", "new": "0a", "session": "03"}
    assert run["arrived"] == {"signing": "01", "new": "0a"}
    assert run["lockable"] == 1
    assert ask(run, "awaited", HOSTS, "v") == {"signing": "w"}
    assert ask(run, "lock", {"signing": "w"}) == []
    there = [HOSTS[0], {**HOSTS[1], "byok_arrived": {"signing": "01"}}]
    assert ask(run, "awaited", there, "v") == {}
    assert names(ask(run, "lock", {})) == ["signing"]
    assert ask(run, "transferred", {}) == ["T1"]
    run = ask(run, "locked", {"target_keys": [{**held("signing", "01", "T1"), "locked": True}]})
    report = run["report"]
    assert report["locked"] == ["signing"]
    assert report["imported"] == {name: kid(name) for name in ("signing", "new")}
    assert (report["problems"], ask(run, "problems"), ask(run, "failures")) == ([], [], [])


def brought() -> tuple[Fields, Fields]:
    """A run that made and brought a key, and its evidence."""
    run = ask(observed(), "uncontradicted", EVIDENCE, PLAN)
    evidence = ask(EVIDENCE, "evidence_planned", run, TOKEN, PLAN)
    made = {"target_keys": [{**held("new", "0a", "T10"), "created": True}]}
    package: Fields = {"name": "new", "generation": "0a", "thumbprint": "T10"}
    package.update(kek_id="kek", path=None, content="{}", wrapped=True, receipt=None)
    package["sha256"] = "b" * 64
    steps = (["new"], made, {"packages": [package]}, {"imports": [arrived(package)]})
    return ask(run, "imported", *steps, evidence), ask(evidence, "evidence_imported", run, *steps)


def test_the_evidence_of_a_run_stands_beside_it() -> None:
    assert (EVIDENCE["count"], EVIDENCE["last_run"]) == (0, None)
    run, evidence = brought()
    assert evidence["state"].startswith("keyferry evidence {")
    assert evidence["count"] == 2  # a receipt and an event
    (line,) = ask(evidence, "to_sign")
    assert json.loads(line)["signatures"] == []
    assert ask(evidence, "to_store") == []
    who = {"user": "ada", "job_id": 42, "commit": "", "ticket": None}
    manifest = ask(evidence, "manifest", run, who)
    chain.next_manifest(manifest, None, None)
    told = manifest["who"]
    assert (told["user"], told["job_id"], told["commit"], told["ticket"]) == (
        "ada",
        "42",
        None,
        None,
    )
    assert told["controller"]
    assert ask(evidence, "manifest", run, {})["who"]["user"]
    assert [each["what"] for each in manifest["events"]] == ["made"]


def test_what_is_stored_of_a_run_is_what_was_signed() -> None:
    run, evidence = brought()
    skipped = {"skipped": True, "changed": False}
    assert ask(evidence, "manifest_to_store", run, {}, skipped)["job"] == "transfer"
    assert ask(evidence, "manifest_to_store", run, {}, {"run": "line"}) == "line"
    assert ask(evidence, "manifest_to_store", run, {}, {"msg": "no PIN", "aborted": True}) is None


def test_evidence_that_could_not_be_kept_is_told_at_the_end() -> None:
    run, _evidence = brought()
    done, skipped = {"aborted": False, "failures": []}, {"skipped": True}
    assert ask(run, "evidence_kept", done, done) == run
    assert ask(run, "evidence_kept", skipped, done) == run
    refused = {"name": "new", "msg": "the token has no such generation", "code": "contradiction"}
    lost = ask(run, "evidence_kept", {**done, "failures": [refused]}, {"msg": "Disk full"})
    first, second = ask(lost, "problems")
    assert first == "new: the token has no such generation"
    assert second.startswith(f"{VAULT}: The receipts of this run were not stored: Disk full. ")
    assert lost["standing"] == run["standing"]
    assert [each["code"] for each in lost["report"]["failures"]] == [
        "contradiction",
        "evidence_unkept",
    ]


def test_a_run_in_a_vault_leaves_evidence_of_what_it_did_there() -> None:
    run = ask(VAULT, "begin_in_vault", "delete", False)
    deleted = {
        "deletions": [
            {"name": "a", "state": "purged", "kid": kid("a")},
            # what a host says that lies
            {"name": "other", "state": "purged", "kid": kid("other")},
            {"name": "b", "state": "purged", "kid": kid("other")},
            {"name": "b", "state": "recovered", "kid": kid("b")},
            {"name": "b", "state": "destroyed", "kid": "\ud800"},
        ],
        "failures": [{"name": "b", "msg": "busy"}],
    }
    asked = [{"name": "A"}, {"name": "b"}]
    evidence = ask(EVIDENCE, "evidence_deleted", deleted, asked, ["deleted", "purged"])
    who = {"ticket": "\udcff 7"}  # as Python reads a variable of the environment
    manifest = ask(evidence, "manifest", ask(run, "rehearsed", deleted), who)
    assert (manifest["job"], manifest["who"]["ticket"]) == ("delete", r"\udcff 7")
    assert [(each["what"], each["kid"]) for each in manifest["events"]] == [("purged", kid("a"))]
    assert [each["name"] for each in manifest["failures"]] == ["b"]
    retired = {"rotations": [{"name": "a", "retired": ["1" * 32]}, {"name": "b", "retired": []}]}
    evidence = ask(EVIDENCE, "evidence_retired", f"{VAULT}/", retired)
    events = ask(evidence, "manifest", ask(VAULT, "begin_in_vault", "recover", False), {})["events"]
    assert [(each["what"], each["kid"]) for each in events] == [("retired", kid("a"))]


def test_each_batch_tells_which_part_of_all_it_is() -> None:
    run = observed(batch_size=1)
    assert run["batches"] == [
        {"names": ["signing"], "span": "1 to 1 of 2"},
        {"names": ["new"], "span": "2 to 2 of 2"},
    ]


def test_a_batch_without_packages_is_brought_in_line() -> None:
    plan = {"plan": [entry("signing", "update", generation="01", thumbprint="T1")]}
    run = ask(begin(), "planned", TOKEN, plan)
    skipped = {"skipped": True, "changed": False}
    batch = run["batches"][0]["names"]
    assert ask(run, "make", batch) == []
    assert names(ask(run, "import", batch, skipped, skipped)) == ["signing"]
    assert ask(run, "packages", batch, skipped, skipped) == []


def test_what_failed_on_the_way_is_told_once_and_in_order() -> None:
    run = ask(observed(), "rehearsed", {"failures": [{"name": "new", "msg": "no such curve"}]})
    batch = run["batches"][0]["names"]
    wrapped = {"failures": [{"name": "signing", "msg": "no room"}]}
    made = {"target_keys": [held("signing", "01", "T1")]}
    assert ask(run, "import", batch, made, wrapped) == []
    nothing = {"msg": "Connection lost", "failures": [{"name": "signing", "msg": "later"}]}
    run = ask(run, "imported", batch, made, wrapped, nothing, EVIDENCE)
    assert ask(run, "problems") == ["new: no such curve", "signing: no room"]
    assert run["batches"] == []


def test_prepare_records_what_could_not_be_made() -> None:
    made = {
        "target_keys": [held("new", "0a", "T10")],
        "failures": [{"name": "signing", "msg": "x"}],
    }
    run = ask(observed("prepare"), "all_made", made)
    assert ask(run, "problems") == ["signing: x"]
    assert ask(observed("prepare"), "all_made", {"skipped": True}) == observed("prepare")


def test_retire_tells_which_data_were_reencrypted() -> None:
    seen = {**TOKEN, "failures": [{"name": "new", "msg": "unfit"}]}
    items = ask(begin("retire"), "retire", seen, "session, signing")
    assert [(item["name"], item["data_reencrypted"]) for item in items] == [
        ("signing", True),
        ("session", True),
    ]
    retired = {"failures": [{"name": "session", "msg": "403"}]}
    run = ask(begin("retire"), "retired", seen, retired)
    assert ask(run, "problems") == ["new: unfit", "session: 403"]


# Questions about what people named


def test_what_people_named_is_told_by_vault() -> None:
    named = f"{VAULT}/keys/a/1 https://w.vault.azure.net/keys/a/2"
    assert ask(named, "named", "byok_delete", VAULT) == [
        {"name": "a", "confirm": f"{VAULT}/keys/a/1"}
    ]
    assert ask(None, "named", "byok_delete", VAULT) == []
    assert ask("a,b a", "recover") == [{"name": "a"}, {"name": "b"}]


def test_keks_and_keys_of_others_are_not_unmanaged() -> None:
    found = [{"name": name} for name in ("old", "Keyferry-kek-1", "my-kek", "elsewhere")]
    plan = {"unmanaged": found}
    assert ask(plan, "unmanaged", "keyferry-kek-", "my-kek", ["elsewhere"]) == [{"name": "old"}]
    assert ask({"unmanaged": None}, "unmanaged", "keyferry-kek-") == []


def test_what_is_kept() -> None:
    keys = [{"name": "a", "kept": [{"version": "1", "reason": "x"}]}, {"name": "b", "kept": []}]
    assert ask({"rotations": keys}, "kept") == {"a": [{"version": "1", "reason": "x"}]}


# The role


def tasks_of(path: Path) -> t.Iterator[Fields]:
    """All tasks and blocks of a file."""
    waiting = list(yaml.safe_load(path.read_text()))
    while waiting:
        task = waiting.pop()
        yield task
        for part in ("block", "rescue", "always"):
            waiting += task.get(part, [])


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yml")), ids=lambda path: path.name)
def test_what_a_block_always_does_has_no_condition_of_the_run(path: Path) -> None:
    """A block's tasks inherit its condition and ask it anew, and a run that failed answers no."""
    for task in tasks_of(path):
        if "always" in task:
            assert "when" not in task, task.get("name")


def test_the_role_asks_only_what_is_answered_and_no_answer_is_idle() -> None:
    files = [import_module(f"{_questions.__name__}.{file}") for file in _questions._FILES]
    known = [question for file in files for question in file.QUESTIONS]
    assert len(known) == len(set(known))
    asked = set()
    root = TASKS.parents[2]
    for path in [*root.glob("roles/**/*.yml"), *root.glob("playbooks/**/*.yml")]:
        asked |= set(re.findall(r"byok_ask\(\s*'(\w+)'", path.read_text()))
    assert asked == set(known)


RULES: Fields = {
    "approved": [],
    "allow_unverified": False,
    "azure_host_trusted": True,
    "owner_roots": {},
    "maker_roots": [],
    "demanded": [],
}


@pytest.mark.parametrize(
    ("rules", "ephemeral", "named", "says"),
    [
        ({}, True, None, ""),
        ({"azure_host_trusted": False}, True, None, "byok_azure_host_trusted"),
        ({"approved": ["ab" * 32]}, True, None, "or set no byok_approved_keks"),
        ({}, False, "kek", ""),
        ({"azure_host_trusted": False}, False, "kek", ""),
        ({}, False, None, f"No KEK is approved for {VAULT} yet, so nothing was made"),
        ({}, False, "", "byok_kek_id and byok_approved_keks"),
    ],
)
def test_a_run_without_a_kek_says_so_before_it_makes_anything(
    rules: Fields, ephemeral: bool, named: str | None, says: str
) -> None:
    told = ask({**RULES, **rules}, "no_kek", VAULT, ephemeral, named)
    assert says in told
    assert bool(told) == bool(says)


def test_a_kek_that_is_refused_is_told_with_the_names_of_the_role() -> None:
    kek = {
        "kek_id": f"{VAULT}/keys/kek/{'0' * 32}",
        "kek_public_key": KEK,
        "kek_fingerprint": fingerprint(KEK),
        "kek_trust": "created",
    }
    told = ask(kek, "judge_kek", {**RULES, "demanded": ["attested"]}, VAULT)["refused"]
    assert "(byok_attestation_owner_roots)" in told


def test_conflicts_are_told_with_their_remedies_and_the_names_of_the_role() -> None:
    plan = {
        "plan": [
            entry("signing", "conflict", reason="it is \x1bforeign", remedy="Use the option force"),
            entry("session", "conflict", reason="so is it", remedy="Use on_deleted"),
        ]
    }
    run = ask(begin(), "planned", TOKEN, plan)
    lines = [
        r"signing: it is \x1bforeign. Use byok_force.",
        "session: so is it. Use byok_on_deleted.",
    ]
    assert ask(run, "problems") == run["report"]["problems"] == lines


def test_a_summary_reads_what_ansible_inventory_wrote() -> None:
    keys = [{"name": {"__ansible_unsafe": "gone"}, "type": "EC"}]
    before = {"_meta": {"hostvars": {"v": {"byok_vault_url": VAULT, "byok_keys": keys}}}}
    planned = {"vault_url": VAULT, "plan": [], "unmanaged": []}
    host = {"inventory_hostname": "v", "byok_vault_url": VAULT, "byok_planned": planned}
    summary = ask([host], "plan_summary", "now", json.dumps(before), ["v"])
    assert [gone["name"] for gone in summary["removed"]] == ["gone"]
    assert ask([host], "plan_summary", "now", "", ["v"])["removed"] is None
    for text in (
        "no JSON",
        "[1]",
        '{"_meta": {"hostvars": []}}',
        '{"_meta": {"hostvars": {"v": 1}}}',
    ):
        with pytest.raises(ByokError, match="is not an inventory"):
            ask([host], "plan_summary", "now", text, ["v"])


HSM_CONFIG = """[ byok ]
libraryName = "/opt/lib.so"
tokenLabel = "byok"
wrappingCiphers = CKG_MGF1_SHA1, CKM_AES_KWP
targetKeyName = "key"
targetKeySpec = CKK_EC, 256, "P-256"
targetKeyFlags = CKF_SIGN, CKF_TOKEN, CKF_EXTRACTABLE
kid = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
SchemaVersion = "1.0.0.0"
"""


def test_an_hsm_config_that_cannot_be_honoured_is_told_and_raises_nothing() -> None:
    place = {"exists": True, "islnk": False, "uid": 0, "wgrp": False, "woth": False}

    def asked(content: bytes, library: str | None = "/usr/lib/lib.so") -> Fields:
        file = {"content": base64.b64encode(content).decode(), "source": "/byok/HsmConfig.ini"}
        return t.cast(Fields, ask(file, "hsm_config", library, None, [place, place], 1000))

    config = asked(HSM_CONFIG.encode())
    assert (config["refused"], config["pkcs11_library"]) == ("", "/usr/lib/lib.so")
    assert asked(HSM_CONFIG.encode(), None)["pkcs11_library"] == "/opt/lib.so"  # only ours
    for content, says in (
        (HSM_CONFIG.encode("utf-16"), "/byok/HsmConfig.ini is UTF-16"),
        (b"[ byok ]", "HsmConfig.ini has no "),
    ):
        refused = asked(content)
        assert list(refused) == ["refused"]
        assert says in refused["refused"]


@pytest.mark.parametrize(
    ("job", "plan_rotates", "refused"),
    [
        ("transfer", False, True),
        ("plan", False, True),
        ("plan", True, False),
        ("rotate", False, False),
        ("prepare", False, False),
        ("retire", False, False),
    ],
)
def test_what_must_be_replaced_is_refused_by_a_run_that_replaces_nothing(
    job: str, plan_rotates: bool, refused: bool
) -> None:
    run = begin(job, force="suspected", plan_rotates=plan_rotates)
    says = "byok_force names suspected, and this run replaces no keys. Run keyferry.azure.rotate"
    assert [each.startswith(says) for each in run["refused"]] == [True] * refused
