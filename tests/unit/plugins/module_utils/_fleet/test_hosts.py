# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from fnmatch import fnmatchcase

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._fleet import hosts
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.hosts import (
    Fleet,
    Rule,
    Share,
    read_rules,
    read_vaults,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import MOST_PROBLEMS

TOKENS: dict[str, t.Any] = {"luna": {"byok_token_label": "byok"}, "dpod": None, "old": {}}
VAULTS: dict[str, dict[str, t.Any]] = {
    "pay-weu": {
        "url": "https://pay-weu.vault.azure.net",
        "tokens": ["luna", "dpod"],
        "tags": {"region": "westeurope"},
    },
    "pay-neu": {
        "url": "https://pay-neu.vault.azure.net",
        "tokens": ["luna"],
        "variables": {"byok_primary": True},
    },
    "store": {"url": "https://store.vault.azure.net", "tokens": ["dpod"]},
}
EVERYTHING = {"path": "a.yml"}
KEY = {"name": "k", "type": "RSA", "size": 3072}


def declared(*files: tuple[t.Any, dict[str, t.Any]]) -> tuple[dict[str, Share], list[str]]:
    """What becomes of documents, each with what it may name."""
    problems: list[str] = []
    vaults = read_vaults(VAULTS, TOKENS, problems)
    rules = read_rules([rule for _document, rule in files], vaults, TOKENS, problems)
    assert not problems
    fleet = Fleet(vaults, TOKENS, problems)
    for number, ((document, _rule), rule) in enumerate(zip(files, rules, strict=True)):
        fleet.declare(
            f"{'abc'[number]}.yml",
            document,
            {("keys", index): 10 + index for index in range(9)},
            rule,
        )
    return {share.host: share for share in fleet.shares()}, problems


def names(shares: dict[str, Share]) -> dict[str, list[str]]:
    return {host: [key["name"] for key in share.keys] for host, share in shares.items()}


@pytest.mark.parametrize(
    ("vaults", "tokens", "told"),
    [
        (
            {2026: VAULTS["store"]},
            TOKENS,
            "vaults holds the number 2026, but must hold names. Put it into quotes.",
        ),
        (
            {"all": VAULTS["store"]},
            TOKENS,
            "vaults holds all, which is not a valid name. Choose another.",
        ),
        (
            {},
            {True: {}},
            "tokens holds the boolean true, but must hold names. Put it into quotes.",
        ),
        (
            {
                "one": VAULTS["store"],
                "two": {**VAULTS["store"], "url": "https://STORE.vault.azure.net:443/"},
            },
            TOKENS,
            "vaults: one and two have the same url https://store.vault.azure.net. "
            "Name each vault once.",
        ),
    ],
)
def test_names_that_are_none(vaults: t.Any, tokens: t.Any, told: str) -> None:
    problems: list[str] = []
    read_vaults(vaults, tokens, problems)
    assert problems == [told]


def test_a_key_that_is_no_mapping_has_no_line() -> None:
    problems: list[str] = []
    vaults = read_vaults(VAULTS, TOKENS, problems)
    Fleet(vaults, TOKENS, problems).declare(
        "a.yml", {"vaults": ["store"], "keys": [None]}, {}, Rule("a.yml", [], [], ["*"])
    )
    assert problems[0].startswith("a.yml: keys[0] ")


def test_each_vault_is_a_host_and_each_further_token_with_keys_one_more() -> None:
    document = {
        "vaults": ["pay-*"],
        "defaults": {"type": "RSA", "size": 3072},
        "keys": [
            {"name": "everywhere"},
            {"name": "there", "vaults": ["pay-neu"]},
            {"name": "cloud", "vaults": ["pay-weu", "store"], "token": "dpod"},
        ],
    }
    shares, problems = declared((document, EVERYTHING))
    assert not problems
    assert names(shares) == {
        "pay-weu": ["everywhere"],
        "pay-weu.dpod": ["cloud"],
        "pay-neu": ["everywhere", "there"],
        "store": ["cloud"],
    }
    assert shares["pay-weu"].keys == [{"name": "everywhere", "type": "RSA", "size": 3072}]
    assert (shares["pay-weu"].elsewhere, shares["pay-weu.dpod"].elsewhere) == (
        ["cloud"],
        ["everywhere"],
    )
    assert shares["store"].files == ["a.yml"]
    assert shares["pay-weu"].also_on == {"everywhere": ["pay-neu"]}
    assert (shares["pay-weu.dpod"].also_on, shares["store"].also_on) == (
        {"cloud": ["store"]},
        {"cloud": ["pay-weu.dpod"]},
    )
    assert {
        share.token for share in shares.values() if share.host in ("store", "pay-weu.dpod")
    } == {"dpod"}


def test_a_vault_without_keys_is_a_host() -> None:
    assert names(declared()[0]) == {"pay-weu": [], "pay-neu": [], "store": []}


def test_the_token_of_a_file_is_that_of_its_keys() -> None:
    document = {
        "vaults": ["pay-weu"],
        "token": "dpod",
        "keys": [KEY, {**KEY, "name": "l", "token": "luna"}],
    }
    assert names(declared((document, EVERYTHING))[0])["pay-weu.dpod"] == ["k"]
    assert names(declared((document, EVERYTHING))[0])["pay-weu"] == ["l"]


#: What is told of a key, by its fields
TOLD_OF_KEYS: dict[str, dict[str, t.Any]] = {
    "vaults holds pay-wue, which is not known; did you mean pay-weu?": {"vaults": ["pay-wue"]},
    "vaults holds store, which is not allowed for this file; allowed are pay-weu, pay-neu.": {
        "vaults": ["store"]
    },
    "vaults holds 'st*', which matches none of pay-weu, pay-neu.": {"vaults": ["st*"]},
    "vaults holds '{{ x }}', which is not known.": {"vaults": ["{{ x }}"]},
    "vaults holds 'PAY-*', which matches none of pay-weu, pay-neu.": {"vaults": ["PAY-*"]},
    f"vaults holds {'*' * 60!r}..., which matches none of pay-weu, pay-neu.": {
        "vaults": ["*" * 1000]
    },
    "vaults is missing, for the key and for the file.": {"vaults": []},
    "vaults is the text 'pay-weu', but must be a list.": {"vaults": "pay-weu"},
    "vaults[0] is the number 1, but must be a text: put it into quotes.": {"vaults": [1]},
    "token is old, which is not allowed for this file; allowed are luna.": {"token": "old"},
    "token is lun, which is not known; did you mean luna?": {"token": "lun"},
    "token is 'l*', which is not known.": {"token": "l*"},
    "name is not one that this file may declare; those are k*, pay-*.": {"name": "other"},
    "label is not one that this file may declare; those are k*, pay-*.": {"label": "Store 1"},
    "rotation.evry is not a field; did you mean every?": {"rotation": {"evry": "P1Y"}},
}


@pytest.mark.parametrize(
    ("told", "fields"), TOLD_OF_KEYS.items(), ids=[str(fields) for fields in TOLD_OF_KEYS.values()]
)
def test_what_a_file_may_not_is_told(told: str, fields: dict[str, t.Any]) -> None:
    rule = {"path": "a.yml", "vaults": ["pay-*"], "tokens": ["luna"], "names": ["k*", "pay-*"]}
    key = {**KEY, "vaults": ["pay-weu"], **fields}
    _shares, problems = declared(({"keys": [key]}, rule))
    assert problems == [f"a.yml:10: keys[0] ({key['name']}): {told}"]


#: What is told of a file, by what it holds
TOLD_OF_FILES: dict[str, t.Any] = {
    "a.yml is empty, but must be a mapping with keys.": None,
    "a.yml is a list, but must be a mapping with keys.": [KEY],
    "a.yml: keys is missing.": {"vaults": ["store"]},
    "a.yml: kyes is not a field; did you mean keys?": {"kyes": [], "keys": []},
    "a.yml: plugin is not a field.": {"plugin": "x", "keys": []},
    "a.yml: keys is a mapping, but must be a list.": {"keys": {}},
    "a.yml: token has no value.": {"keys": [], "token": None},
    "a.yml: defaults: rotation.evry is not a field; did you mean every?": {
        "keys": [],
        "defaults": {"rotation": {"evry": "P1Y"}},
    },
    "a.yml: defaults: name can be no default: it belongs to one key.": {
        "keys": [],
        "defaults": {"name": "k"},
    },
    "a.yml: defaults: vaults is not a field.": {"keys": [], "defaults": {"vaults": []}},
    "a.yml:10: keys[0] is the number 3, but must be a mapping of fields.": {"keys": [3]},
    "a.yml:10: keys[0] (k): vaults is missing, for the key and for the file.": {"keys": [KEY]},
}


@pytest.mark.parametrize(("told", "document"), TOLD_OF_FILES.items())
def test_what_a_file_is_not_is_told(told: str, document: t.Any) -> None:
    _shares, problems = declared((document, EVERYTHING))
    assert problems == [told]


def test_a_token_has_to_be_one_of_the_vault_and_allowed() -> None:
    document = {"keys": [{**KEY, "vaults": ["*"], "token": "luna"}]}
    assert declared((document, EVERYTHING))[1] == [
        "a.yml:10: keys[0] (k): token luna does not belong to the vault store; its tokens are dpod."
    ]
    document = {"keys": [{**KEY, "vaults": ["*"]}]}
    assert declared((document, {"path": "a.yml", "tokens": ["luna"]}))[1] == [
        "a.yml:10: keys[0] (k): token is missing: "
        "dpod, the first of the vault store, is not allowed for this file."
    ]


def test_a_key_is_declared_once_for_a_vault() -> None:
    first = {
        "keys": [
            {**KEY, "vaults": ["pay-*"]},
            {**KEY, "name": "K", "vaults": ["pay-weu"], "token": "dpod"},
        ]
    }
    assert declared((first, EVERYTHING))[1] == [
        "a.yml:11: keys[1] (K): it is declared for the vault pay-weu already, "
        "as a.yml:10: keys[0] (k)."
    ]
    second = {"keys": [{**KEY, "vaults": ["pay-neu"]}]}
    assert declared((first, EVERYTHING), (second, {"path": "b.yml"}))[1][-1] == (
        "b.yml:10: keys[0] (k): it is declared for the vault pay-neu already, "
        "as a.yml:10: keys[0] (k)."
    )


def test_no_file_takes_another_files_key_out_of_the_token() -> None:
    ours = {"keys": [{**KEY, "vaults": ["pay-weu"]}]}
    theirs = {"keys": [{**KEY, "vaults": ["pay-neu"]}]}
    assert declared((ours, EVERYTHING), (theirs, {"path": "b.yml"}))[1] == [
        "b.yml:10: keys[0] (k): a.yml declares a key of that name in the token luna, "
        "as a.yml:10: keys[0] (k); one file must declare both."
    ]
    by_label = {"keys": [{**KEY, "name": "mine", "label": "K", "vaults": ["pay-neu"]}]}
    assert declared((ours, EVERYTHING), (by_label, {"path": "b.yml"}))[1] == [
        "b.yml:10: keys[0] (mine): a.yml declares a key of that label in the token luna, "
        "as a.yml:10: keys[0] (k); one file must declare both."
    ]
    elsewhere = {"keys": [{**KEY, "vaults": ["store"]}]}
    assert not declared((ours, EVERYTHING), (elsewhere, {"path": "b.yml"}))[1]


def test_a_key_in_one_token_is_one_key() -> None:
    document = {
        "keys": [{**KEY, "vaults": ["pay-weu"]}, {**KEY, "size": 4096, "vaults": ["pay-neu"]}]
    }
    assert declared((document, EVERYTHING))[1] == [
        "a.yml:11: keys[1] (k): name, type, size or curve differs from the same key "
        "in the token luna, as a.yml:10: keys[0] (k)."
    ]
    document["keys"][1] = {**KEY, "name": "other", "label": "k", "vaults": ["pay-neu"]}
    assert "name, type, size or curve differs" in declared((document, EVERYTHING))[1][0]
    document["keys"][1] = {**KEY, "tags": {"a": "b"}, "vaults": ["pay-neu"]}
    assert not declared((document, EVERYTHING))[1]


def test_all_problems_of_all_files_are_told_at_once() -> None:
    first = {"keys": [{**KEY, "vaults": ["x"]}, {**KEY, "name": "l", "evry": 1}], "token": "x"}
    assert len(declared((first, EVERYTHING), (None, {"path": "b.yml"}))[1]) == 4


VAULT = VAULTS["store"]
TOLD_OF_THE_CONFIGURATION: dict[str, dict[str, t.Any]] = {
    "vaults.v: url is missing.": {"vaults": {"v": {"tokens": ["luna"]}}},
    "vaults.v: tokens is missing.": {"vaults": {"v": {"url": "https://v", "tokens": []}}},
    "vaults.v: tokens holds lunar, which is not known; did you mean luna?": {
        "vaults": {"v": {**VAULT, "tokens": ["lunar"]}}
    },
    "vaults.v: tagz is not a field; did you mean tags?": {"vaults": {"v": {**VAULT, "tagz": {}}}},
    "vaults.v: tags: a is the boolean true, but must be a text. Put it into quotes.": {
        "vaults": {"v": {**VAULT, "tags": {"a": True}}}
    },
    "vaults.v is the text 'https://v', but must be a mapping with url and tokens.": {
        "vaults": {"v": "https://v"}
    },
    "vaults.v.variables.byok_keys cannot be given, because the inventory plugin sets it.": {
        "vaults": {"v": {**VAULT, "variables": {"byok_keys": []}}}
    },
    "tokens.t.byok_vault_url cannot be given, because the inventory plugin sets it.": {
        "tokens": {"t": {"byok_vault_url": "x"}}
    },
    "tokens.t is a list, but must be a mapping of variables.": {"tokens": {"t": []}},
    "vaults: two hosts would be named a.b.": {
        "vaults": {
            "a": {**VAULT, "tokens": ["luna", "b"]},
            "a.b": {**VAULT, "url": "https://ab.vault.azure.net"},
        },
        "tokens": {**TOKENS, "b": {}},
    },
    "files[0]: path is missing.": {"files": [{}]},
    "files[0]: vault is not a field; did you mean vaults?": {"files": [{"path": "a", "vault": []}]},
    "files[0]: vaults holds stor, which is not known; did you mean store?": {
        "files": [{"path": "a", "vaults": ["stor"]}]
    },
    "files[0]: tokens holds 'x*', which matches none of luna, dpod, old.": {
        "files": [{"path": "a", "tokens": ["x*"]}]
    },
    "files[0] is the text 'a.yml', but must be a mapping with path.": {"files": ["a.yml"]},
}


@pytest.mark.parametrize(("told", "given"), TOLD_OF_THE_CONFIGURATION.items())
def test_what_is_wrong_with_the_configuration_is_told(told: str, given: dict[str, t.Any]) -> None:
    problems: list[str] = []
    tokens = given.get("tokens", TOKENS)
    vaults = read_vaults(given.get("vaults", VAULTS if tokens is TOKENS else {}), tokens, problems)
    read_rules(given.get("files", []), vaults, tokens, problems)
    assert problems == [told]


def test_a_rule_that_says_nothing_allows_everything() -> None:
    assert read_rules([{"path": "a"}], ["v"], ["t"], []) == [Rule("a", ["v"], ["t"], ["*"])]


def test_names_of_a_file_are_matched_once_and_told_once() -> None:
    keys = [{**KEY, "name": f"k{number}"} for number in range(3)]
    document = {"vaults": ["pay-weu", "pay-wue", "x*"], "keys": keys}
    shares, problems = declared((document, EVERYTHING))
    assert problems == [
        "a.yml: vaults holds pay-wue, which is not known; did you mean pay-weu?",
        "a.yml: vaults holds 'x*', which matches none of pay-weu, pay-neu, store.",
    ]
    assert names(shares)["pay-weu"] == ["k0", "k1", "k2"]


def test_a_file_of_many_names_costs_no_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name was compared for each key: 12,000 names and 4,500 keys took minutes."""
    matched: list[str] = []

    def match(name: str, pattern: str) -> bool:
        matched.append(pattern)
        return fnmatchcase(name, pattern)

    monkeypatch.setattr(hosts, "fnmatchcase", match)
    keys = [{**KEY, "name": f"k{number}"} for number in range(500)]
    patterns = ["*", "p*", "pay-*"] * 300
    documents: list[dict[str, t.Any]] = [
        {"vaults": patterns, "keys": keys},
        {"keys": [{**key, "vaults": patterns} for key in keys[:50]]},
    ]
    for document in documents:
        matched.clear()
        shares, problems = declared((document, EVERYTHING))
        assert not problems
        assert len(shares["pay-weu"].keys) == len(document["keys"])
        # The rule's own pattern of names, and each of the three with each vault
        assert len(matched) == len(document["keys"]) + 3 * len(VAULTS)


@pytest.mark.parametrize("vaults", [["x"] * 1001, ["pay-weu"] * 1001])
def test_a_list_of_names_has_an_end(vaults: list[str]) -> None:
    told = "vaults has 1001 elements, but must have at most 1000."
    assert declared(({"vaults": vaults, "keys": [KEY]}, EVERYTHING))[1] == [f"a.yml: {told}"]
    problems = declared(({"keys": [{**KEY, "vaults": vaults}]}, EVERYTHING))[1]
    assert problems == [f"a.yml:10: keys[0] (k): {told}"]


def test_many_patterns_and_many_problems_have_an_end() -> None:
    distinct = [
        [f"*[{'p' * (10 * key + number + 1)}]*" for number in range(10)] for key in range(9)
    ]
    keys = [{**KEY, "name": f"k{n}", "vaults": distinct[n % 9]} for n in range(9)]
    assert not declared(({"keys": keys}, EVERYTHING))[1]
    keys = [
        {**KEY, "name": f"k{key}", "vaults": [f"x{key}-{number}" for number in range(900)]}
        for key in range(9)
    ]
    assert len(declared(({"keys": keys}, EVERYTHING))[1]) < 2 * MOST_PROBLEMS
    wrong = {**KEY, "operations": [1] * 900}
    assert len(declared(({"keys": [wrong] * 9}, EVERYTHING))[1]) < 1.1 * MOST_PROBLEMS


def test_keys_of_the_same_vaults_share_one_list_of_hosts() -> None:
    keys = [{**KEY, "name": f"k{number}", "vaults": ["pay-*"]} for number in range(3)]
    shares, _problems = declared(({"keys": keys}, EVERYTHING))
    lists = list(shares["pay-weu"].also_on.values())
    assert lists == [["pay-neu"]] * 3
    assert lists[0] is lists[1] is lists[2]
