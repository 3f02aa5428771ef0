# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter inside the templates of the ansible-core at hand; `make test-versions` has others."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.keyferry.azure.plugins.filter.byok_ask import FilterModule

try:
    from ansible.template import trust_as_template
except ImportError:  # before 2.19

    def trust_as_template(value: str) -> str:
        return value


Fields = dict[str, t.Any]

byok_ask = FilterModule().filters()["byok_ask"]

VAULT = "https://contoso.vault.azure.net"
REASON = "{{ 1+1 }} {% raw %} {# no #} }}"
REQUEST: Fields = {
    "key_defaults": {},
    "held_back": [],
    "vault_url": VAULT,
    "token_host": "hsm1",
    "plan_rotates": False,
    "force": "",
    "confirm": "",
    "prove": False,
    "batch_size": 1000,
    "package_paths": {},
    "escrow_public_key": None,
    "escrow_fingerprint": None,
    "escrow_directory": None,
}

#: As a module of another host returns it
TOKEN: Fields = wrap_var(
    {
        "target_keys": [
            {
                "name": "signing",
                "generation": "01",
                "thumbprint": "T1",
                "generations": [{"generation": "01", "thumbprint": "T1", "made_by_keyferry": True}],
                "created": False,
                "locked": False,
            }
        ],
        "failures": [],
    }
)
PLAN: Fields = wrap_var(
    {
        "plan": [
            {
                "name": "signing",
                "action": "conflict",
                "reason": REASON,
                "kind": "P-256",
                "changes": {"tags": {"before": {"owner": REASON}, "after": {}}},
            }
        ],
        "failures": [{"name": "other", "msg": REASON}],
    }
)


def written(value: t.Any) -> t.Any:
    """Text as the author of a playbook wrote it, which is rendered."""
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


class Play:
    """Variables of a host, and tasks that set some of them by templates."""

    def __init__(self, **variables: t.Any) -> None:
        self.variables = variables

    def render(self, template: str) -> t.Any:
        templar = Templar(loader=DataLoader(), variables=self.variables)
        templar.environment.filters["byok_ask"] = byok_ask
        return templar.template(trust_as_template(template))

    def set_fact(self, name: str, template: str) -> t.Any:
        self.variables[name] = self.render(template)
        return self.variables[name]


@pytest.fixture
def play() -> Play:
    """A run that has begun, of which declarations and options are templates in part."""
    keys = [
        {"name": "{{ purpose }}", "type": "EC", "curve": "P-256", "tags": {"owner": "{{ team }}"}}
    ]
    play = Play(
        purpose="signing",
        team="payments",
        hosts=[{"inventory_hostname": "v"}],
        byok_keys=written(keys),
        byok__request=written({**REQUEST, "keys": "{{ byok_keys }}"}),
        byok__in_token=TOKEN,
        byok__plan=PLAN,
    )
    play.set_fact("byok__run", "{{ byok__request | byok_ask('begin', 'transfer', true) }}")
    return play


def test_templates_of_declarations_are_rendered(play: Play) -> None:
    expected = {"name": "signing", "type": "EC", "curve": "P-256", "tags": {"owner": "payments"}}
    assert play.render("{{ byok__run | byok_ask('declarations') }}") == [expected]
    assert play.render("{{ byok__run | byok_ask('looks_only') }}") is True


def test_results_of_other_hosts_are_never_rendered(play: Play) -> None:
    """Whatever is asked, as often as it goes through a variable and a template again."""
    play.set_fact(
        "byok__run",
        "{{ byok__run | byok_ask('planned', byok__in_token, byok__plan, hosts, 'v', ['v']) }}",
    )
    assert REASON in play.variables["byok__run"]["state"]
    play.set_fact("byok__run", "{{ byok__run }}")
    problems = [f"other, signing: {REASON}"]
    assert play.render("{{ byok__run | byok_ask('problems') }}") == problems
    assert play.set_fact("told", "{{ byok__run | byok_ask('problems') }}") == problems
    assert play.render("{{ told }}") == problems
    assert play.render("{{ byok__run | byok_ask('problems') | join(' ') }}") == " ".join(problems)
    report = play.set_fact("report", "{{ byok__run.report }}")
    assert report["problems"] == [f"other: {REASON}", f"signing: {REASON}"]
    assert play.render("{{ report.failures }}") == [
        {"name": "other", "msg": REASON, "code": "failed"},
        {"name": "signing", "msg": REASON, "code": "unknown"},
    ]


def test_answers_are_marked_as_data_whoever_told_them() -> None:
    """Also what no host told, and was no data before."""
    run = byok_ask({**REQUEST, "keys": []}, "begin", "transfer")
    run = byok_ask(run, "rehearsed", {"failures": [{"name": "a", "msg": REASON}]})
    play = Play(run=run, problems=byok_ask(run, "problems"))
    assert play.render("{{ problems }}") == [f"a: {REASON}"]
    assert play.render("{{ run }}") == run
    assert REASON in run["state"]


def test_a_plan_with_a_stranger_fails_the_template(play: Play) -> None:
    stranger = {"name": "a-rsa", "action": "transfer", "reason": REASON, "kind": "RSA"}
    play.variables["byok__plan"] = wrap_var({"plan": [stranger]})
    with pytest.raises(AnsibleError, match=r"does not declare.* a-rsa"):
        play.render("{{ byok__run | byok_ask('planned', byok__in_token, byok__plan) }}")


@pytest.mark.parametrize(
    ("value", "question", "says"),
    [
        ("keyferry run {}", "deklarations", "does not know the question deklarations"),
        ("run", "declarations", "This run was not begun"),
        (None, "problems", "This run was not begun"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_sentence(
    value: t.Any, question: str, says: str
) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        byok_ask(value, question)
