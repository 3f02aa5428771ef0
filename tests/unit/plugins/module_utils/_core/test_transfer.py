# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    GenerationFacts,
    ImportedKey,
    TargetKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    BroughtKey,
    Held,
    LockedKey,
    MadeKey,
    Request,
    TokenGeneration,
    TokenKey,
    Transfer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

Fields = dict[str, t.Any]

NOW = "2026-11-22T18:00:00Z"
VAULT = "https://contoso.vault.azure.net"
LOCKS = {"CKA_EXTRACTABLE": {"before": True, "after": False}}

#: The fields of a declaration by its type
SPECS: dict[str, Fields] = {
    "EC": {"type": "EC", "curve": "P-256"},
    "RSA": {"type": "RSA", "size": 3072},
    "oct": {"type": "oct", "size": 256},
}


def declare(name: str = "a", kind: str = "EC", **fields: t.Any) -> Fields:
    """The declaration of a key."""
    return {"name": name, **SPECS[kind], "tags": {"owner": name}, **fields}


def cka_id(number: int) -> str:
    return f"{number:02x}"


def thumb(number: int, kind: str = "EC") -> str | None:
    return None if kind == "oct" else f"thumbprint-{number}"


def in_token(
    name: str = "a", *numbers: int, kind: str = "EC", half_made: t.Collection[int] = ()
) -> Fields:
    """What byok_target_key says of a key, of which the youngest whole generation is meant."""
    whole = [number for number in numbers if number not in half_made]
    generations = []
    for number in numbers:
        facts = {"thumbprint": thumb(number, kind), "half_made": number in half_made}
        generations.append({"generation": cka_id(number), **facts})
    return {
        "name": name,
        "generation": cka_id(whole[-1]) if whole else None,
        "thumbprint": thumb(whole[-1], kind) if whole else None,
        "generations": generations,
        "created": False,
        "locked": False,
    }


def plan(name: str = "a", action: str = "transfer", **facts: t.Any) -> Fields:
    """What byok_plan says of a key."""
    return {"name": name, "action": action, "reason": "why", "kind": "P-256", **facts}


def package(name: str = "a", number: int = 1, **facts: t.Any) -> Fields:
    return {
        "name": name,
        "generation": cka_id(number),
        "thumbprint": thumb(number),
        "kek_id": "kek",
        "path": None,
        "content": "{}",
        "sha256": "00",
        "wrapped": True,
        "receipt": {"predicate": {}},
        **facts,
    }


def imported(name: str = "a", number: int = 1, kind: str = "EC", **facts: t.Any) -> Fields:
    """What byok_import says of a key that it imported."""
    return {
        "name": name,
        "kid": f"https://contoso.vault.azure.net/keys/{name}/1",
        "version": "1",
        "thumbprint": thumb(number, kind),
        "generation": cka_id(number),
        "imported": True,
        "updated": False,
        "current": True,
        "origin": "token",
        "identity": "proved" if kind == "oct" else "public_key",
        **facts,
    }


def failed(*names: str, why: str = "broken") -> list[Fields]:
    return [{"name": name, "msg": why, "code": why} for name in names]


def observed(
    declared: t.Sequence[Fields],
    token: t.Sequence[Fields],
    entries: t.Sequence[Fields],
    **request: t.Any,
) -> Transfer:
    """A run that has seen both sides."""
    run = Transfer.begin(Request(**{"job": "rotate", "rotates": True, **request}), declared)
    return run.seen_in_token({"target_keys": token}).planned({"plan": entries})


def names(items: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    return [item["name"] for item in items]


# What each side saw


def test_a_run_leaves_alone_what_is_held_back() -> None:
    run = Transfer.begin(Request(held_back=("b",)), [declare("a"), declare("b")])
    assert names(run.declared) == ["a"]
    run = run.seen_in_token({"target_keys": [in_token("a", 1), in_token("b", 2)]})
    assert names(run.in_token()) == ["a"]
    with pytest.raises(ByokError, match=r"does not declare.*: b\."):
        run.planned({"plan": [plan("b")]})


def test_azure_is_asked_only_about_keys_that_the_token_could_be_asked_about() -> None:
    run = Transfer.begin(Request(), [declare("a"), declare("b"), declare("c")])
    token = {"target_keys": [in_token("a", 1), in_token("c", 3)], "failures": failed("b", "c")}
    assert run.found(token) == [declare("a")]
    run = run.seen_in_token(token)
    assert run.in_token() == [declare("a")]
    assert [failure.name for failure in run.problems()] == ["b", "c"]


@pytest.mark.parametrize(
    "entries",
    [[plan("crown-jewel")], [plan("A")], [plan("b")], [plan(), plan()], [plan(action="none")] * 2],
    ids=["undeclared", "another case", "not asked about", "twice", "twice in place"],
)
def test_a_plan_for_other_keys_ends_the_run(entries: list[Fields]) -> None:
    run = Transfer.begin(Request(), [declare("a"), declare("b")])
    run = run.seen_in_token({"target_keys": [in_token("a", 1)], "failures": failed("b")})
    with pytest.raises(ByokError, match=rf"{entries[0]['name']}\. Nothing was made or wrapped"):
        run.planned({"plan": entries})


@pytest.mark.parametrize("action", ["transfer", "rotate", "update", "recover", "lock", "none"])
@pytest.mark.parametrize(
    "facts", [{"generation": "ff"}, {"thumbprint": "strange"}], ids=["generation", "thumbprint"]
)
def test_a_plan_for_another_generation_than_the_tokens_fails_the_key(
    action: str, facts: Fields
) -> None:
    run = observed([declare()], [in_token("a", 1)], [plan(action=action, changes=LOCKS, **facts)])
    (problem,) = run.problems()
    assert (problem.name, problem.code) == ("a", "contradiction")
    assert str(*facts.values()) in problem.msg
    assert (run.to_bring(), run.batches(), run.lockable(), run.arrived()) == ([], [], {}, {})


def test_a_run_that_does_not_rotate_never_replaces_a_key() -> None:
    token, entries = [in_token("a", 1)], [plan(action="rotate")]
    run = observed([declare()], token, entries, job="transfer", rotates=False)
    assert [problem.code for problem in run.problems()] == ["contradiction"]
    assert run.to_be_made() == []
    assert observed([declare()], token, entries).to_be_made() == ["a"]


def test_a_conflict_may_name_any_generation_and_is_a_problem() -> None:
    entry = plan(action="conflict", generation="ff", code="foreign")
    run = observed([declare()], [in_token("a", 1)], [entry])
    assert [(problem.msg, problem.code) for problem in run.problems()] == [("why", "foreign")]
    assert run.failures == ()
    assert run.standing() == {}
    assert run.batches() == []


@pytest.mark.parametrize(
    "result",
    [
        {"plan": [{"name": "a", "action": "destroy", "reason": "", "kind": ""}]},
        {"plan": [{"name": "a"}]},
        {"plan": "a"},
        {"plan": [None]},
        {"plan": [], "orders": [{}]},
        {"plan": [], "failures": [{"msg": "no name"}]},
    ],
)
def test_a_plan_that_is_none_ends_the_run(result: Fields) -> None:
    run = Transfer.begin(Request(), [declare()])
    with pytest.raises(ByokError, match=r"is no such result|instead of"):
        run.seen_in_token({"target_keys": [in_token("a", 1)]}).planned(
            result if isinstance(result["plan"], list) else {"plan": [result["plan"]]}
        )


def test_a_skipped_task_says_nothing() -> None:
    skipped = {"skipped": True, "changed": False}
    run = Transfer.begin(Request(), [declare()])
    assert run.rehearsed(skipped) == run
    assert run.locking_done(skipped) == run
    assert run.all_at_once().made(skipped).transfer == run


# What comes next

MISSING, THERE, DUE = plan("m"), plan("t", generation="01"), plan("d", "rotate", version="v1")
DECLARED = [declare("d"), declare("m"), declare("t"), declare("u"), declare("n")]
TOKEN = [
    in_token("d", 1, 2),
    in_token("m"),
    in_token("t", 1),
    in_token("u", 1),
    in_token("n", 1),
]
ENTRIES = [
    THERE,
    MISSING,
    plan("u", "update", generation="01", thumbprint=thumb(1)),
    DUE,
    plan("n", "none", generation="01", thumbprint=thumb(1)),
]


def test_what_is_brought_made_and_imported() -> None:
    run = observed(DECLARED, TOKEN, ENTRIES)
    assert names(run.to_bring()) == ["d", "m", "t"]
    assert run.to_be_made() == ["m", "d"]
    (batch,) = run.batches()
    assert batch.names == ("t", "m", "u", "d")
    assert names(batch.to_make().target_keys) == ["d", "m", "t"]
    orders = {order.name: order.newer_than for order in batch.to_make().orders}
    assert orders == {"m": None, "d": "02"}
    assert [order.reason for order in batch.to_make().orders] == ["why", "why"]


@pytest.mark.parametrize("kind", list(SPECS))
def test_what_half_made_generations_count_for(kind: str) -> None:
    token = [in_token("a", 1, 2, 3, kind=kind, half_made=(3,))]
    run = observed([declare(kind=kind)], token, [plan(action="rotate")])
    assert run.held == (Held("a", "02", thumb(2, kind), "02"),)
    (order,) = run.all_at_once().to_make().orders
    assert order.newer_than == "02"
    token = [in_token("a", 3, kind=kind, half_made=(3,))]
    run = observed([declare(kind=kind)], token, [plan()])
    assert run.to_be_made() == ["a"]
    (order,) = run.all_at_once().to_make().orders
    assert order.newer_than is None


def test_a_withdrawn_youngest_generation_is_what_a_new_one_is_newer_than() -> None:
    key = in_token("a", 1, 2)
    key.update(generation="01", thumbprint=thumb(1))
    key["generations"][1]["withdrawn"] = True
    run = observed([declare()], [key], [plan(action="rotate")])
    (order,) = run.all_at_once().to_make().orders
    assert order.newer_than == "02"


def test_the_time_of_the_plan_is_that_of_the_new_generations() -> None:
    run = Transfer.begin(Request(), [declare()]).seen_in_token({"target_keys": [in_token("a")]})
    order = {"name": "stranger", "newer_than": "ff", "made_at": NOW, "reason": "mine"}
    run = run.planned({"plan": [plan()], "orders": [order]})
    (made,) = run.all_at_once().to_make().orders
    assert (made.name, made.newer_than, made.reason) == ("a", None, "why")
    assert made.made_at == parse_moment(NOW)


def test_batches_are_of_the_asked_size_and_order() -> None:
    keys = "edcba"
    declared, token = [declare(key) for key in "abcde"], [in_token(key, 1) for key in "abcde"]
    for size, expected in ((2, ["ed", "cb", "a"]), (5, ["edcba"]), (0, ["e", "d", "c", "b", "a"])):
        run = observed(declared, token, [plan(key) for key in keys], batch_size=size)
        assert ["".join(batch.names) for batch in run.batches()] == expected
    assert names(run.all_at_once().to_make().target_keys) == list("abcde")


def test_what_was_not_rehearsed_is_not_made_and_the_rest_is() -> None:
    run = observed(DECLARED, TOKEN, ENTRIES).rehearsed({"failures": failed("m", "d")})
    assert names(run.to_bring()) == ["t"]
    assert run.to_be_made() == []
    assert names(run.all_at_once().to_make().target_keys) == ["t"]
    assert [batch.names for batch in run.batches()] == [("t", "u")]
    assert [problem.name for problem in run.problems()] == ["m", "d"]


@pytest.mark.parametrize(
    ("job", "says"), [("transfer", "--limit"), ("rotate", "--limit"), ("prepare", "without slices")]
)
def test_a_key_of_which_hosts_are_elsewhere_is_never_made(job: str, says: str) -> None:
    run = observed(DECLARED, TOKEN, ENTRIES, job=job)
    run = run.refuse_to_make({"m": ["w", "v"], "d": ["v"], "t": ["v"], "u": ["v"], "n": []})
    assert names(run.to_bring()) == ["t"]
    assert run.to_be_made() == []
    assert [problem.code for problem in run.problems()] == ["needs_prepare", "needs_prepare"]
    assert "(v, w are not in it)" in run.problems()[0].msg
    assert says in run.problems()[0].msg
    assert [batch.names for batch in run.batches()] == [("t", "u")]


# A batch on its way


def one_batch(run: Transfer) -> Batch:
    (batch,) = run.batches()
    return batch


def test_what_was_made_is_wrapped_and_what_failed_is_not() -> None:
    batch = one_batch(observed(DECLARED, TOKEN, ENTRIES))
    made = [in_token("t", 1), in_token("d", 1, 2, 3), in_token("u", 1), in_token("stranger", 1)]
    batch = batch.made({"target_keys": made, "failures": failed("m")})
    assert batch.to_wrap() == [declare("d"), declare("t")]
    assert names(batch.to_import()) == ["t", "u", "d"]
    packages = [package("t", path="/p"), package("d", 3), package("m"), package("stranger")]
    batch = batch.wrapped({"packages": packages, "failures": failed("d")})
    assert names(batch.to_import()) == ["t", "u"]
    (only,) = batch.packages()
    assert (only.name, only.path, only.content) == ("t", None, "{}")
    assert [problem.name for problem in batch.transfer.problems()] == ["m", "d"]


def test_a_receipt_is_handed_over_once() -> None:
    batch = one_batch(observed([declare()], [in_token("a", 1)], [plan()]))
    batch = batch.made({"target_keys": [in_token("a", 1)]})
    (only,) = batch.wrapped({"packages": [package(envelope="line")]}).packages()
    assert (only.envelope, only.receipt) == ("line", None)


def test_a_kept_package_is_imported_like_a_new_one() -> None:
    batch = one_batch(observed([declare()], [in_token("a", 1)], [plan()]))
    batch = batch.made({"target_keys": [in_token("a", 1)]})
    batch = batch.wrapped({"packages": [package(path="/kept.byok", wrapped=False)]})
    (only,) = batch.packages()
    assert (only.wrapped, only.path, only.receipt) == (False, None, {"predicate": {}})


@pytest.mark.parametrize("kind", list(SPECS))
def test_in_check_mode_the_older_generation_is_not_what_would_be_wrapped(kind: str) -> None:
    token = [in_token("a", 1, kind=kind), in_token("b", kind=kind)]
    run = observed(
        [declare("a", kind), declare("b", kind)],
        token,
        [plan("a", "rotate"), plan("b")],
        looks_only=True,
        package_paths={"a": "/a.byok"},
    )
    replaced = {**in_token("a", 1, kind=kind), "generation": None, "thumbprint": None}
    batch = one_batch(run).made({"target_keys": [replaced, in_token("b", kind=kind)]})
    assert batch.to_wrap() == [declare("b", kind)]
    imports = batch.to_import()
    assert imports == [declare("a", kind), declare("b", kind)]
    would = [imported(name, 1, kind, generation=None, identity=None, kid=None) for name in "ab"]
    run = batch.imported({"imports": would})
    assert run.standing() == {"a": None, "b": None}
    assert run.arrived() == {}


def test_where_packages_go() -> None:
    paths = {"a": "/a.byok", "b": None, "stranger": "/s.byok"}
    of_another_tool = {**in_token("n", 3), "generation": ""}  # without a CKA_ID
    token = [in_token("a", 1), in_token("b", 2), in_token("m"), of_another_tool]
    run = observed(
        [declare("a"), declare("b"), declare("m"), declare("n")],
        token,
        [plan("a"), plan("b"), plan("m"), plan("n")],
        package_paths=paths,
        escrow_directory="/escrow",
        looks_only=True,
    )
    assert one_batch(run).made({"target_keys": token}).to_wrap() == [
        {**declare("a"), "path": "/a.byok", "escrow_path": "/escrow/a-01.escrow"},
        {**declare("b"), "escrow_path": "/escrow/b-02.escrow"},
        declare("m"),
        {**declare("n"), "escrow_path": f"/escrow/n-{thumb(3)}.escrow"},
    ]


@pytest.mark.parametrize(
    ("entry", "facts"),
    [
        (plan(), {"generation": "01", "thumbprint": thumb(1)}),
        (plan(version="v1"), {"replaces": "v1", "generation": "01", "thumbprint": thumb(1)}),
        (plan(action="rotate", version="v1"), {"replaces": "v1"}),
        (plan(action="update", version="v1"), {"generation": "01", "thumbprint": thumb(1)}),
        (plan(action="recover", version="v1"), {"generation": "01", "thumbprint": thumb(1)}),
    ],
)
@pytest.mark.parametrize("kind", list(SPECS))
def test_what_the_import_is_told(entry: Fields, facts: Fields, kind: str) -> None:
    more = {"confirmations": {"a": "kid", "stranger": "kid"}, "prove": True}
    for request, told in (({}, {}), (more, {"confirm": "kid", "prove": True})):
        run = observed([declare(kind=kind)], [in_token("a", 1, kind=kind)], [entry], **request)
        expected = {**declare(kind=kind), **facts, **told}
        if kind == "oct":
            expected.pop("thumbprint", None)
        assert one_batch(run).to_import() == [expected]


def test_what_was_imported_is_recorded_and_only_that() -> None:
    batch = one_batch(observed(DECLARED, TOKEN, ENTRIES))
    made = [in_token("d", 1, 2, 3), in_token("m", 4), in_token("t", 1)]
    batch = batch.made({"target_keys": made, "failures": failed("m")})
    batch = batch.wrapped({"packages": [package("d", 3), package("t", 1)]})
    results = [
        imported("t", 1),
        imported("d", 3),
        imported("u", 1, imported=False, updated=True),
        imported("m", 4),
        imported("n", 1, updated=True),
        imported("stranger", 1),
    ]
    run = batch.imported({"imports": results, "failures": failed("t")})
    report = run.report()
    assert sorted(report["imported"]) == ["d", "t"]
    assert report["updated"] == ["u"]
    assert report["unchanged"] == 1
    assert run.standing() == {"d": "03", "u": "01", "n": "01"}
    assert run.arrived() == {"d": "03", "u": "01", "n": "01"}
    assert [problem.name for problem in run.problems()] == ["m", "t"]


def test_the_next_batch_goes_on_from_what_the_last_one_did() -> None:
    declared, token = [declare("a"), declare("b")], [in_token("a", 1), in_token("b", 2)]
    run = observed(declared, token, [plan("a"), plan("b")], batch_size=1)
    for batch, number in zip(run.batches(), (1, 2), strict=True):
        assert tuple(names(batch.to_make().target_keys)) == batch.names
        wrapped = replace(batch, transfer=run).made({"target_keys": token})
        run = wrapped.imported({"imports": [imported(batch.names[0], number)]})
    assert run.arrived() == {"a": "01", "b": "02"}
    assert sorted(run.progress.imported) == ["a", "b"]


# What has arrived, and may be locked


@pytest.mark.parametrize(
    ("kind", "facts", "shown"),
    [
        ("EC", {}, True),
        ("RSA", {}, True),
        ("EC", {"imported": False}, True),
        ("EC", {"identity": "proved"}, True),
        ("EC", {"generation": None}, True),
        ("EC", {"generation": "ff"}, False),
        ("EC", {"thumbprint": "strange"}, False),
        ("EC", {"thumbprint": None}, False),
        ("EC", {"identity": "tag_only"}, False),
        ("EC", {"identity": "unverified"}, False),
        ("EC", {"identity": None}, False),
        ("oct", {}, True),
        ("oct", {"identity": "tag_only"}, False),
        ("oct", {"identity": "public_key"}, False),
        ("oct", {"generation": None}, False),
        ("oct", {"generation": "ff"}, False),
    ],
)
def test_only_what_is_shown_to_be_ours_has_arrived_and_is_locked(
    kind: str, facts: Fields, shown: bool
) -> None:
    declared, token = [declare(kind=kind, after_transfer="lock")], [in_token("a", 1, kind=kind)]
    batch = one_batch(observed(declared, token, [plan(changes=LOCKS)]))
    run = batch.made({"target_keys": token}).imported(
        {"imports": [imported("a", 1, kind, **facts)]}
    )
    identity = thumb(1, kind) or "01"
    assert run.standing().get("a") in ("01", None)
    assert run.arrived() == ({"a": "01"} if shown else {})
    assert run.lockable() == ({"a": identity} if shown else {})
    wanted = run.to_lock(())
    assert (wanted.target_keys, wanted.transferred) == (
        (declared, [identity]) if shown else ([], [])
    )
    assert run.to_lock({"a": "another vault"}).target_keys == []


@pytest.mark.parametrize(
    ("entry", "kind", "shown"),
    [
        (plan(action="lock", generation="01", thumbprint=thumb(1)), "EC", True),
        (plan(action="none", generation="01", thumbprint=thumb(1)), "EC", True),
        (plan(action="none", generation="01"), "EC", False),
        (plan(action="none", generation="01"), "oct", False),
        (plan(action="lock", generation="01", thumbprint=thumb(1)), "oct", False),
        (plan(action="update", generation="01", thumbprint=thumb(1)), "EC", False),
        (plan(action="conflict", generation="01", thumbprint=thumb(1)), "EC", False),
    ],
)
def test_what_was_there_before_has_arrived_if_its_public_key_shows_it(
    entry: Fields, kind: str, shown: bool
) -> None:
    declared = [declare(kind=kind, after_transfer="lock")]
    run = observed(declared, [in_token("a", 1, kind=kind)], [{**entry, "changes": LOCKS}])
    assert run.arrived() == ({"a": "01"} if shown else {})
    assert list(run.lockable()) == (["a"] if shown else [])


@pytest.mark.parametrize(
    ("after_transfer", "changes", "locks"),
    [("lock", LOCKS, True), ("lock", {}, False), ("keep", LOCKS, False), (None, LOCKS, False)],
)
def test_only_what_is_declared_so_is_locked(
    after_transfer: str | None, changes: Fields, locks: bool
) -> None:
    entry = plan(action="lock", generation="01", thumbprint=thumb(1), changes=changes)
    declared = declare(after_transfer=after_transfer) if after_transfer else declare()
    assert bool(observed([declared], [in_token("a", 1)], [entry]).lockable()) is locks


def test_of_a_key_that_failed_nothing_is_certain() -> None:
    entry = plan(action="lock", generation="01", thumbprint=thumb(1), changes=LOCKS)
    run = observed([declare(after_transfer="lock")], [in_token("a", 1)], [entry])
    assert run.arrived() == {"a": "01"}
    run = run.rehearsed({"failures": failed("a")})
    assert (run.arrived(), run.lockable(), run.standing()) == ({}, {}, {})


@pytest.mark.parametrize("looks_only", [True, False])
def test_what_would_be_imported_would_be_locked_in_check_mode(looks_only: bool) -> None:
    declared, token = [declare(after_transfer="lock")], [in_token("a", 1)]
    run = observed(declared, token, [plan(changes=LOCKS)], looks_only=looks_only)
    would = imported(identity=None, kid=None, version=None)
    run = one_batch(run).made({"target_keys": token}).imported({"imports": [would]})
    assert run.lockable() == ({"a": thumb(1)} if looks_only else {})


# What came of it


def test_the_report_tells_everything_in_the_order_in_which_it_happened() -> None:
    entry = plan("n", "none", generation="01", thumbprint=thumb(1))
    run = Transfer.begin(
        Request(vault_url=VAULT, looks_only=True), [declare(key) for key in "abcn"]
    )
    token = {"target_keys": [in_token("b", 1), in_token("c", 1), in_token("n", 1)]}
    run = run.seen_in_token({**token, "failures": failed("a", why="first")})
    run = run.planned(
        {"plan": [plan("c", "conflict"), entry, plan("b")], "failures": failed("a", why="second")}
    )
    run = run.rehearsed({"failures": failed("b", why="third")})
    locked = [{**in_token("n", 1), "locked": True}, in_token("b", 1)]
    run = run.locking_done({"target_keys": locked})
    assert run.report() == {
        "vault_url": VAULT,
        "check_mode": True,
        "imported": {},
        "updated": [],
        "locked": ["n"],
        "unchanged": 1,
        "replaced": {},
        "problems": ["a: first", "b: third", "c: why"],
        "failures": [
            {"name": "a", "msg": "first", "code": "first"},
            {"name": "b", "msg": "third", "code": "third"},
            {"name": "c", "msg": "why", "code": "unknown"},
        ],
    }


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (TokenGeneration, GenerationFacts),
        (TokenKey, TargetKey),
        (MadeKey, TargetKey),
        (LockedKey, TargetKey),
        (BroughtKey, ImportedKey),
    ],
)
def test_what_the_engine_reads_of_a_result_is_a_part_of_it(
    part: type[Shape], whole: type[Shape]
) -> None:
    types = {**t.get_type_hints(whole), "generations": tuple[TokenGeneration, ...]}
    for name, hint in t.get_type_hints(part).items():
        assert hint == types[name], name


def test_two_failures_of_one_key_in_one_result_are_both_told() -> None:
    run = Transfer.begin(Request(), [declare()])
    run = run.rehearsed({"failures": [*failed("a", why="one"), *failed("a", why="two")]})
    assert [problem.msg for problem in run.problems()] == ["one", "two"]


def test_an_empty_run_does_nothing() -> None:
    run = observed([], [], [])
    assert (run.batches(), run.to_bring(), run.lockable(), run.problems()) == ([], [], {}, [])
    assert run.all_at_once().to_make().target_keys == []


# Whatever both sides say

KEYS = "abcd"
STRANGERS = "xy"
subset = st.sets(st.sampled_from(KEYS), max_size=2)


def again(run: Transfer) -> Transfer:
    """The run as the next task of the role gets it."""
    read = Transfer.from_dict(json.loads(json.dumps(run.to_dict())))
    assert read == run
    return read


class World:
    """What the declarations and the token say, and what Azure's host makes up."""

    def __init__(self, draw: t.Callable[[st.SearchStrategy[t.Any]], t.Any]) -> None:
        self.draw = draw
        self.kinds = {name: self.one_of(*SPECS) for name in self.one_of(KEYS, "abc", "ab", "")}
        self.declared = {}
        for name, kind in self.kinds.items():
            after = self.one_of("lock", "lock", "keep")
            self.declared[name] = declare(name, kind, after_transfer=after)
        self.token = {name: self._in_token(name) for name in self.kinds}

    def _in_token(self, name: str) -> Fields:
        numbers = self.draw(st.sets(st.integers(1, 4), max_size=3))
        half_made = self.one_of((), (), (max(numbers, default=0),))
        return in_token(name, *sorted(numbers), kind=self.kinds[name], half_made=half_made)

    def youngest(self, name: str) -> str | None:
        generations = self.token[name]["generations"]
        whole = [facts["generation"] for facts in generations if not facts["half_made"]]
        return max(whole, default=None)

    def one_of(self, *choices: t.Any) -> t.Any:
        return self.draw(st.sampled_from(choices))

    def mostly(self, truth: t.Any, *lies: t.Any) -> t.Any:
        return self.one_of(*[truth] * 3 * len(lies), *lies)

    def others(self) -> str:
        """Keys that a host speaks of although it should not."""
        return str(self.one_of(*[""] * 25, *KEYS, STRANGERS))

    def failures(self) -> list[Fields]:
        return failed(*self.others())

    def plan(self, asked: t.Sequence[str]) -> Fields:
        """Mostly what could be true; the lists beside the plan are all made up."""
        entries = []
        for name in (*asked, *self.others()):
            held = self.token.get(name, in_token(name))
            actions = ("transfer", "transfer", "rotate", "update", "recover", "lock", "none")
            facts = {
                "generation": self.mostly(held["generation"], None, "ff"),
                "thumbprint": self.mostly(held["thumbprint"], None, "strange"),
                "version": self.one_of(None, "v1"),
                "changes": self.mostly(LOCKS, {}),
            }
            entries.append(plan(name, self.one_of(*actions, "conflict"), **facts))
        stolen = [declare(name, "RSA") for name in KEYS + STRANGERS]
        orders = [
            {"name": name, "newer_than": "ee", "made_at": NOW, "reason": "mine"}
            for name in KEYS + STRANGERS
        ]
        return {
            "plan": entries,
            "transfers": stolen,
            "imports": stolen,
            "orders": orders,
            "failures": self.failures(),
        }

    def made(self, batch: Batch) -> Fields:
        made = []
        orders = {order.name: order for order in batch.to_make().orders}
        for item in batch.to_make().target_keys:
            key = dict(self.token[item["name"]])
            if item["name"] in orders:
                number = self.draw(st.integers(10, 99))
                kind = self.kinds[item["name"]]
                key.update(generation=cka_id(number), thumbprint=thumb(number, kind))
                if batch.transfer.request.looks_only:
                    key.update(generation=None, thumbprint=None)
            made.append(key)
        return {"target_keys": [*made, in_token("x", 1)], "failures": self.failures()}

    def wrapped(self) -> Fields:
        packages = [package(name, self.draw(st.integers(1, 9))) for name in KEYS + STRANGERS]
        return {"packages": packages, "failures": self.failures()}

    def imported(self, batch: Batch) -> Fields:
        """What Azure's host claims to have imported, of any key."""
        held = {key.name: key for key in (*batch.transfer.held, *batch.held.values())}
        results = []
        for name in (*batch.names, *self.others()):
            key = held.get(name, Held(name, "01", None, None))
            facts = {
                "generation": self.one_of(key.generation, key.generation, None, "ff"),
                "thumbprint": self.one_of(key.thumbprint, key.thumbprint, None, "strange"),
                "identity": self.one_of("public_key", "proved", "tag_only", "unverified", None),
                "imported": self.draw(st.booleans()),
                "current": self.mostly(True, False),
            }
            results.append(imported(name, **facts))
        return {"imports": results, "failures": self.failures()}


class Witness:
    """Watches one run, and knows what must be true of each of its answers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.failed: set[str] = set()
        self.made: set[str] = set()
        self.claims: dict[str, list[tuple[Held, Fields]]] = {}

    def saw(self, run: Transfer, result: Fields | None = None) -> Transfer:
        """(f) the state survives, and (h) no failure is ever lost."""
        self.failed |= {failure["name"] for failure in (result or {}).get("failures", [])}
        self.failed |= {failure.name for failure in run.failures}
        assert {problem.name for problem in run.problems()} >= self.failed
        return again(run)

    def check_items(self, items: t.Iterable[t.Mapping[str, t.Any]], *more: str) -> None:
        """(a) declared field by field, (h) of no key that failed."""
        for item in items:
            bare = {field: value for field, value in item.items() if field not in more}
            assert bare == self.world.declared[item["name"]]
            assert item["name"] not in self.failed

    def check_making(self, batch: Batch, elsewhere: t.Collection[str]) -> None:
        wanted = batch.to_make()
        self.check_items(wanted.target_keys)
        entries = {entry.name: entry for entry in batch.transfer.plan}
        for item in wanted.target_keys:
            assert entries[item["name"]].action in ("transfer", "rotate")
        for order in wanted.orders:
            name = order.name
            assert name in names(wanted.target_keys)
            assert name not in elsewhere  # (d)
            assert name not in self.made
            self.made.add(name)
            if entries[name].action == "rotate":  # (c)
                assert batch.transfer.request.rotates
                assert order.newer_than == self.world.youngest(name)
            else:
                assert order.newer_than is None
                assert self.world.token[name]["generation"] is None

    def check_brought_although_elsewhere(self, run: Transfer, elsewhere: set[str]) -> None:
        """(d) what is there already is brought."""
        for entry in run.plan:
            there = self.world.token[entry.name]["generation"] is not None
            if entry.name in elsewhere - self.failed and entry.action == "transfer":
                assert there
                assert entry.name in names(run.to_bring())

    def claimed(self, batch: Batch, result: Fields) -> None:
        keys = {key.name: key for key in (*batch.transfer.held, *batch.held.values())}
        asked = names(batch.to_import())
        for key in result["imports"]:
            if key["name"] in asked:
                self.claims.setdefault(key["name"], []).append((keys[key["name"]], key))

    def has_arrived(self, run: Transfer, name: str) -> bool:
        held, entries = self.world.token[name], {entry.name: entry for entry in run.plan}
        entry = entries[name]
        in_place = entry.action in ("none", "lock")
        if in_place and held["thumbprint"] and entry.thumbprint == held["thumbprint"]:
            return True
        return any(self._is_shown(run, ours, result) for ours, result in self.claims.get(name, []))

    def _is_shown(self, run: Transfer, ours: Held, result: Fields) -> bool:
        if ours.generation is None or result["generation"] not in (None, ours.generation):
            return False
        if result["identity"] is None:
            return run.request.looks_only
        if ours.thumbprint:
            same = result["thumbprint"] == ours.thumbprint
            return same and result["identity"] in ("public_key", "proved")
        return bool(result["identity"] == "proved" and result["generation"])

    def check_locking(self, run: Transfer, awaited: t.Collection[str]) -> None:
        """(e) what is locked has arrived, is declared so, and nobody waits for it."""
        wanted = run.to_lock(awaited)
        self.check_items(wanted.target_keys)
        assert len(wanted.transferred) == len(wanted.target_keys)
        for item in wanted.target_keys:
            assert item["after_transfer"] == "lock"
            assert item["name"] not in awaited
            assert self.has_arrived(run, item["name"])
        for name in run.arrived():
            assert name not in self.failed
            assert self.has_arrived(run, name)


@settings(max_examples=200)
@given(
    data=st.data(),
    looks_only=st.booleans(),
    rotates=st.booleans(),
    batch_size=st.integers(0, 3),
    elsewhere=subset,
    awaited=subset,
)
def test_whatever_both_sides_say(
    data: st.DataObject,
    looks_only: bool,
    rotates: bool,
    batch_size: int,
    elsewhere: set[str],
    awaited: set[str],
) -> None:
    world = World(data.draw)
    witness = Witness(world)
    request = Request(looks_only=looks_only, rotates=rotates, batch_size=batch_size, prove=True)
    run = witness.saw(Transfer.begin(request, world.declared.values()))
    seen = {"target_keys": list(world.token.values()), "failures": world.failures()}
    run = witness.saw(run.seen_in_token(seen), seen)
    witness.check_items(run.in_token())
    result = world.plan(names(run.in_token()))
    planned = names(result["plan"])
    if len(set(planned)) < len(planned) or not set(planned) <= set(names(run.in_token())):
        with pytest.raises(ByokError):
            run.planned(result)
        return
    run = witness.saw(run.planned(result), result)
    run = witness.saw(run.refuse_to_make({name: ["v"] for name in elsewhere}))
    witness.check_brought_although_elsewhere(run, elsewhere)
    rehearsal = {"failures": world.failures()}
    run = witness.saw(run.rehearsed(rehearsal), rehearsal)
    batches = run.batches()
    together = [name for batch in batches for name in batch.names]  # (g)
    acted_on = {"transfer", "rotate", "update", "recover"}
    if not looks_only:  # the vault proves what is in place as well
        acted_on |= {"none", "lock"}
    whole = [entry.name for entry in run.plan if entry.action in acted_on]
    assert together == [name for name in whole if name not in witness.failed]
    assert len(set(together)) == len(together)
    for batch in batches:
        run = one_by_one(witness, Batch(run, batch.names), elsewhere)
    witness.check_locking(run, awaited)
    assert set(run.standing()).isdisjoint(witness.failed)


def one_by_one(witness: Witness, batch: Batch, elsewhere: set[str]) -> Transfer:
    """Take one batch through all of its steps."""
    world = witness.world
    witness.check_making(batch, elsewhere)
    made = world.made(batch)
    batch = batch.made(made)
    witness.saw(batch.transfer, made)
    witness.check_items(batch.to_wrap(), "path", "escrow_path")
    assert set(names(batch.to_wrap())) <= set(names(batch.to_make().target_keys))
    wrapped = world.wrapped()
    batch = batch.wrapped(wrapped)
    witness.saw(batch.transfer, wrapped)
    wanted = batch.to_import()
    witness.check_items(wanted, "generation", "thumbprint", "replaces", "prove", "challenge")
    assert set(names(wanted)) <= set(batch.names)
    assert {package.name for package in batch.packages()} <= set(names(wanted))
    result = world.imported(batch)
    witness.claimed(batch, result)
    before, run = batch.transfer, witness.saw(batch.imported(result), result)
    new = {*run.progress.imported, *run.progress.updated, *run.progress.standing}
    assert new - {*before.progress.imported, *before.progress.standing} <= set(names(wanted))
    ours = {key.name: key.generation for key in before.held}
    ours.update({key["name"]: key["generation"] for key in made.get("target_keys") or ()})
    for name in batch.names:
        assert run.progress.standing.get(name) in (None, ours[name])
    return run


@pytest.mark.parametrize("job", ["transfer", "rotate", "prepare", "plan", "show"])
@pytest.mark.parametrize("looks_only", [False, True])
def test_a_key_in_place_is_proved_where_that_is_asked_for(job: str, looks_only: bool) -> None:
    declared = [declare("a", "oct"), declare("b", "EC"), declare("c", "oct")]
    challenge = {"algorithm": "A256KW", "ciphertext": "00", "sha256": "11"}
    token = [
        {**in_token("a", 1, kind="oct"), "challenge": challenge},
        in_token("b", 1),
        {**in_token("c", 1, kind="oct"), "challenge": challenge},
    ]
    there = {"generation": cka_id(1), "version": "1"}
    entries = [
        plan("a", "none", **there),
        plan("b", "none", **there, thumbprint=thumb(1)),
        plan("c", "transfer", generation=cka_id(1)),
    ]
    asked = {"job": job, "prove": True, "looks_only": looks_only}
    run = observed(declared, token, entries, **asked)
    proves = job in ("transfer", "rotate") and not looks_only
    assert run.request.asks_for_challenges == proves
    batches = run.batches()
    assert [list(batch.names) for batch in batches] == [["a", "b", "c"] if proves else ["c"]]
    if not proves:
        return
    (batch,) = batches
    items = {item["name"]: item for item in batch.to_import()}
    assert items["a"]["challenge"] == challenge
    # Of a package that is on its way, the challenge comes with it
    assert [name for name in items if "challenge" in items[name]] == ["a"]
    assert all(item["prove"] for item in items.values())
    result = imported("a", 1, "oct", imported=False)
    assert batch.imported({"imports": [result]}).arrived()["a"] == cka_id(1)
    unproved = failed("a", why="not_proved")
    run = batch.imported({"imports": [{**result, "identity": "tag_only"}], "failures": unproved})
    assert "a" not in run.arrived()
