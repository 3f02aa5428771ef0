# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import json
import os
import stat
import typing as t
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible_collections.keyferry.azure.plugins.callback import byok_log
from ansible_collections.keyferry.azure.plugins.callback.byok_log import CallbackModule
from ansible_collections.keyferry.azure.plugins.module_utils._host.job_log import (
    LogFile,
    events,
    redact,
    secrets_in,
    to_line,
)

try:
    from ansible.template import trust_as_template
except ImportError:  # before ansible-core 2.19, where any text may be a template

    def trust_as_template(value: str) -> str:
        return value


PREFIX = "keyferry.azure."
KID = "https://contoso.vault.azure.net/keys/key/0123456789abcdef0123456789abcdef"
ROOT = Path(byok_log.__file__).resolve().parents[2]


def told(module: str, result: dict[str, t.Any], **how: bool) -> list[tuple[str, ...]]:
    """Level, action and key of each event."""
    found = events(PREFIX + module, {"failures": [], **result}, **how)
    return [(event["level"], event["action"], event.get("key", "")) for event in found]


@pytest.mark.parametrize(
    ("module", "result", "expected"),
    [
        (
            "byok_target_key",
            {"target_keys": [{"name": "a", "created": True}, {"name": "b", "created": False}]},
            [("INFO", "create", "a")],
        ),
        (
            "byok_target_key",
            {"destroyed": [{"name": "a"}], "target_keys": []},
            [("INFO", "destroy", "a")],
        ),
        ("byok_target_key", {"withdrawn": [{"name": "a"}]}, [("INFO", "withdraw", "a")]),
        (
            "byok_plan",
            {
                "plan": [
                    {"name": name, "action": name, "reason": "why"}
                    for name in ("transfer", "none", "conflict", "newer")
                ],
                "rotations": [{"name": "a"}],
                "imports": [{"name": "a", "imported": True}],
            },
            [
                ("INFO", "plan", "transfer"),
                ("INFO", "plan", "newer"),
                ("ERROR", "conflict", "conflict"),
            ],
        ),
        (
            "byok_wrap",
            {"packages": [{"name": "a", "wrapped": True}, {"name": "b", "wrapped": False}]},
            [("INFO", "wrap", "a")],
        ),
        ("byok_wrap", {"escrows": [{"name": "a", "wrapped": True}]}, [("INFO", "escrow", "a")]),
        (
            "byok_import",
            {"imports": [{"name": "a", "imported": True, "updated": False}]},
            [("INFO", "import", "a")],
        ),
        (
            "byok_import",
            {"imports": [{"name": "a", "imported": False, "updated": True}]},
            [("INFO", "update", "a")],
        ),
        (
            "byok_import",
            {
                "deletions": [
                    {"name": "a", "state": state}
                    for state in ("deleted", "purged", "recovered", "frozen")
                ]
            },
            [("INFO", action, "a") for action in ("delete", "purge", "recover", "frozen")],
        ),
        (
            "byok_kek",
            {"changed": True, "kek_id": KID, "kek": {"name": "kek"}},
            [("INFO", "set_kek", "kek")],
        ),
        (
            "byok_kek",
            {"changed": False, "kek_id": KID, "kek": {"name": "kek"}},
            [("INFO", "byok_kek", "")],
        ),
        (
            "byok_kek",
            {"changed": True, "deleted": ["kek", "other"]},
            [("INFO", "delete_kek", "kek"), ("INFO", "delete_kek", "other")],
        ),
        (
            "byok_rotate",
            {
                "rotations": [
                    {"name": "a", "action": "rotate", "imported": True},
                    {"name": "b", "action": "update", "imported": False},
                    {"name": "c", "action": "transfer", "imported": False},
                    {"name": "d", "action": "rotate"},
                    {"name": "e", "action": "rotate"},
                    {"name": "f", "action": "none"},
                    {"name": "g", "action": "conflict"},
                    {"name": "h", "action": "retire", "retired": ["1", "2"]},
                ],
                "failures": [{"name": "e", "msg": "no"}, {"name": "g", "msg": "conflict"}],
            },
            [
                *[
                    ("ERROR", "conflict", "g"),
                    ("INFO", "rotate", "a"),
                    ("INFO", "update", "b"),
                    ("INFO", "prepare", "d"),
                ],
                *[("INFO", "retire", "h"), ("INFO", "retire", "h"), ("ERROR", "byok_rotate", "e")],
            ],
        ),
        (
            "byok_hsm_info",
            {"hsm": {}, "target_keys": [{"name": "a", "created": True}]},
            [("INFO", "byok_hsm_info", "")],
        ),
        (
            "byok_of_tomorrow",
            {"target_keys": [{"created": True}]},
            [("INFO", "byok_of_tomorrow", "")],
        ),
        (
            "byok_import",
            {"imports": [{"name": "a", "imported": False, "updated": False}]},
            [("INFO", "byok_import", "")],
        ),
    ],
)
def test_what_was_done_is_told(
    module: str, result: dict[str, t.Any], expected: list[tuple[str, ...]]
) -> None:
    assert told(module, result) == expected


def test_an_event_holds_what_is_known_of_the_key() -> None:
    entry = {
        "name": "a",
        "kid": KID,
        "version": "1",
        "thumbprint": "t",
        "generation": "01",
        "request_id": "r",
        "imported": True,
    }
    [event] = events(
        PREFIX + "byok_import",
        {"imports": [{**entry, "identity": "public_key", "replaced": "0", "content": "x"}]},
    )
    del entry["name"], entry["request_id"], entry["imported"]
    message = "Imported. Recognised by: public_key. Version before: 0."
    assert event == {
        **entry,
        "key": "a",
        "request_ids": ["r"],
        "level": "INFO",
        "action": "import",
        "message": message,
    }


def test_what_is_only_prepared_has_no_version_yet() -> None:
    entry = {
        "name": "a",
        "action": "rotate",
        "kid": KID,
        "version": "old",
        "generation": "new",
        "reason": "it is due",
    }
    [event] = events(PREFIX + "byok_rotate", {"rotations": [entry]})
    assert (event["action"], event["kid"], event["version"], event["generation"]) == (
        "prepare",
        "",
        "",
        "new",
    )


def test_keys_that_need_nothing_are_counted_in_one_event() -> None:
    result = {
        "plan": [{"name": str(number), "action": "none"} for number in range(1000)],
        "failures": [],
    }
    [event] = events(PREFIX + "byok_plan", result)
    assert event["message"] == "Nothing was changed. Keys: 1000."


@pytest.mark.parametrize(
    ("result", "how", "expected"),
    [
        (
            {"failures": [{"name": "a", "msg": "no"}], "msg": "a: no"},
            {"failed": True},
            [("ERROR", "byok_wrap", "a")],
        ),
        (
            {"failures": [{"name": "a", "msg": "no"}], "msg": "a: no"},
            {},
            [("ERROR", "byok_wrap", "a")],
        ),
        (
            {"failures": [{"name": "a", "msg": "no"}]},
            {"failed": True, "ignored": True},
            [("WARNING", "byok_wrap", "a")],
        ),
        ({"msg": "no"}, {"failed": True}, [("ERROR", "byok_wrap", "")]),
        ({"msg": "no"}, {}, [("WARNING", "byok_wrap", "")]),
        (
            {"warnings": ["careful", {"event": {"msg": "very"}}, {"msg": "much"}]},
            {},
            [("WARNING", "byok_wrap", "")] * 3,
        ),
        ({"censored": "hidden", "failures": None}, {"failed": True}, [("ERROR", "byok_wrap", "")]),
        (
            {"censored": "hidden", "packages": [{"name": "a", "wrapped": True}]},
            {},
            [("INFO", "byok_wrap", "")],
        ),
    ],
)
def test_what_went_wrong_has_its_level(
    result: dict[str, t.Any], how: dict[str, bool], expected: list[tuple[str, ...]]
) -> None:
    assert told("byok_wrap", result, **how) == expected


def test_a_message_is_the_modules_own() -> None:
    said = "failed: Azure answered 403 (Forbidden, request 6a4b-1234-5678): no. Ask."
    [event] = events(PREFIX + "byok_kek", {"msg": said, "failures": []}, failed=True)
    assert (event["message"], event["request_ids"]) == (said, ["6a4b-1234-5678"])
    [other] = events(
        PREFIX + "byok_kek", {"msg": "argument pin is of the wrong type: [1234]"}, failed=True
    )
    assert "1234" not in other["message"]
    warnings = events(PREFIX + "byok_kek", {"warnings": ["careful", {"event": {"msg": "very"}}]})
    assert [each["message"] for each in warnings] == ["careful", "very"]


#: A part of byok_kek's argument spec
SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "size": {"type": "int", "choices": [2048, 3072, 4096]},
    "delete_timeout": {"type": "int"},
    "tags": {"type": "dict"},
    "secret": {"type": "dict"},
    "expires": {"type": "str"},
    "lifetime": {"type": "str"},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": 3000, "name": "a"}, "value of size must be one of: 2048, 3072, 4096, got: 3000"),
        ({}, "missing required arguments: name"),
        ({"delete_timeout": "long", "name": "a"}, "argument 'delete_timeout' is of type"),
        ({"expires": "x", "lifetime": "y", "name": "a"}, "parameters are mutually exclusive"),
        ({"tags": 5, "name": "a"}, "argument 'tags' is of type"),
        ({"secret": "hush", "name": "a"}, ""),
    ],
)
def test_a_wrong_argument_is_told_in_ansibles_own_sentence(
    given: dict[str, t.Any], said: str
) -> None:
    validator = ArgumentSpecValidator(SPEC, mutually_exclusive=[("expires", "lifetime")])
    (sentence,) = validator.validate(given).error_messages
    [event] = events(PREFIX + "byok_kek", {"msg": sentence}, failed=True)
    if said:
        assert event["message"] == sentence
        assert said in sentence
    else:
        assert event["message"].startswith("It failed without a message")
    [event] = events(
        PREFIX + "byok_kek",
        {"msg": "Unsupported parameters for (keyferry.azure.byok_kek) module: sise. Known: pin"},
        failed=True,
    )
    assert event["message"].startswith("Unsupported parameters for")


def test_a_wrong_argument_of_the_role_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    run = Run(monkeypatch, {"byok_log_path": str(path)})
    task = run.task("ansible.builtin.validate_argument_spec", "Validating arguments")
    errors = [
        "value of byok_on_deleted must be one of: fail, recover, purge, got: purged",
        "something that quotes a secret",
    ]
    for role, told_there in ((ROOT / "roles/byok", errors[0]), ("/roles/other", "")):
        context = {"type": "role", "name": "byok", "path": str(role)}
        result = {"msg": "no", "argument_errors": errors, "validate_args_context": context}
        run.plugin.v2_runner_on_failed(run.result(task, result))
        message = json.loads(path.read_text().splitlines()[-1])["message"]
        assert message.startswith(told_there or "Validating arguments (ansible.builtin.")
        assert "secret" not in message


def test_states_of_keys_are_warnings() -> None:
    plan = [
        {"name": state, "action": "none", "state": state, "reason": f"it is {state}"}
        for state in ("expired", "expires_soon", "not_yet_valid")
    ]
    healthy = {"name": "a", "action": "none", "state": None, "reason": "as declared"}
    for check in (False, True):
        found = events(
            PREFIX + "byok_plan", {"plan": [*plan, healthy], "failures": []}, check=check
        )
        assert [
            (event["level"], event["action"], event["key"], event["message"]) for event in found
        ] == [("WARNING", entry["state"], entry["name"], entry["reason"]) for entry in plan]


def test_in_check_mode_only_what_would_change_is_told() -> None:
    result = {"target_keys": [{"name": "a", "created": True}], "plan": []}
    assert told("byok_target_key", result, check=True) == [("INFO", "byok_target_key", "")]
    [event] = events(PREFIX + "byok_target_key", {**result, "changed": True}, check=True)
    assert (event["action"], event["message"]) == (
        "create",
        "Check mode, not done: Made in the token.",
    )
    assert told("byok_plan", {"plan": [{"name": "a", "action": "transfer"}]}, check=True) == [
        ("INFO", "plan", "a")
    ]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"target_keys": None},
        {"target_keys": "text", "failures": "text", "warnings": 1},
        {
            "target_keys": [
                None,
                1,
                "text",
                {},
                {"created": []},
                {"created": {"x": 1}},
                {"created": 1.5},
            ]
        },
        {
            "target_keys": [
                {"created": True, "name": ["list"], "thumbprint": {"a": 1}, "request_id": 5}
            ],
            "failures": [{"msg": None}],
        },
    ],
)
def test_a_weird_result_is_tolerated(result: dict[str, t.Any]) -> None:
    for module in ("byok_target_key", "byok_kek", "byok_rotate"):
        found = events(PREFIX + module, result)
        assert all(json.loads(to_line(event))["level"] for event in found)


def test_a_line_holds_only_the_known_members_in_their_order() -> None:
    event = {
        "message": "é\n",
        "level": "INFO",
        "time": "now",
        "duration": 0.0,
        "key": "",
        "kid": None,
        "request_ids": [],
        "pin": "1",
    }
    assert (
        to_line(event)
        == '{"time": "now", "level": "INFO", "duration": 0.0, "message": "\\u00e9\\n"}\n'
    )


def test_secrets_of_any_type_and_length_are_redacted() -> None:
    arguments = {
        "pin": 1234,
        "secret": ["long-secret", {"a": "other\n"}],
        "client_secret": None,
        "password": "ab",
        "name": "key",
    }
    secrets = secrets_in(arguments)
    assert secrets == {"1234", "long-secret", "other\n", "other", "ab"}
    assert redact("x1234y long-secrets other ab abc", secrets) == "x***y ***s *** *** abc"
    assert redact("nothing", {""}) == "nothing"


def append_lines(path: str, writer: int) -> None:
    file = LogFile(path, 2000, 100)
    for number in range(200):
        file.append(f'{{"writer": {writer}, "number": {number}}}\n')


def test_several_runs_write_whole_lines_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(append_lines, [str(path)] * 4, range(4)))
    lines = [
        json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()
    ]
    assert len(lines) == 800
    assert len({(line["writer"], line["number"]) for line in lines}) == 800
    assert (tmp_path / "log.1").exists()  # how often it was renamed hangs on who came in between


def test_the_log_is_private_and_renamed_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path), 10, 2)
    for number in range(4):
        file.append(f"line {number:4}\n")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "log.1": "line    3\n",
        "log.2": "line    2\n",
    }
    assert stat.S_IMODE((tmp_path / "log.1").stat().st_mode) == 0o600


def test_another_run_that_renames_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        LogFile(str(path), 1, 1).append("line\n")
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_a_log_that_cannot_be_renamed_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "log.1").mkdir()
    failed: list[OSError] = []
    file = LogFile(str(path), 1, 1, failed.append)
    file.append("one\n")
    file.append("two\n")
    assert path.read_text() == "one\ntwo\n"
    assert len(failed) == 1


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"time": ')
    file = LogFile(str(path), 0, 1)
    file.append("one\n")
    file.append("two\n")
    assert path.read_text() == '{"time": \none\ntwo\n'


class Run:
    """A run of Ansible, as a callback sees it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any], **variables: t.Any
    ) -> None:
        for name in ("AWX_HOST", "JOB_ID", *byok_log._SECRET_VARIABLES):
            monkeypatch.delenv(name, raising=False)
        self.warnings: list[str] = []
        self.variables = {
            name: trust_as_template(value) if isinstance(value, str) else value
            for name, value in variables.items()
        }
        self.plugin = CallbackModule(
            display=SimpleNamespace(warning=self.warnings.append, verbosity=0)
        )
        self.plugin._plugin_options = {
            "byok_log_max_bytes": 0,
            "byok_log_backups": 1,
            "byok_log_path": None,
            **options,
        }
        self.plugin.v2_playbook_on_start(SimpleNamespace(_file_name="/somewhere/byok.yml"))
        self.play(self.task(PREFIX + "byok_plan"))

    def play(self, *tasks: t.Any) -> None:
        manager = SimpleNamespace(get_vars=lambda **about: self.variables)
        lists = {"roles": [], "pre_tasks": [], "tasks": list(tasks), "post_tasks": []}
        play = SimpleNamespace(get_variable_manager=lambda: manager, get_loader=DataLoader, **lists)
        self.plugin.v2_playbook_on_play_start(play)

    @staticmethod
    def task(
        action: str, name: str = "Do it", path: str = "/somewhere/byok.yml:1", **members: t.Any
    ) -> t.Any:
        own = {
            "args": {},
            "check_mode": False,
            "ignore_errors": None,
            "ignore_unreachable": None,
            "_uuid": "1",
            "_role": None,
        }
        return SimpleNamespace(
            action=action, get_name=lambda: name, get_path=lambda: path, **{**own, **members}
        )

    def result(self, task: t.Any, result: dict[str, t.Any], host: str = "vault-a") -> t.Any:
        at = SimpleNamespace(get_name=lambda: host)
        self.plugin.v2_runner_on_start(at, task)
        return SimpleNamespace(_task=task, _host=at, _result=result)

    def end(self, failures: int = 0) -> None:
        stats = SimpleNamespace(
            processed={"vault-a": 1}, failures=dict.fromkeys(range(failures), 1), dark={}
        )
        self.plugin.v2_playbook_on_stats(stats)


def lines(path: Path) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_is_a_job_with_start_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "byok.log"
    url = "{{ scheme }}://Contoso.vault.azure.net/"
    run = Run(
        monkeypatch, {}, byok_log_path=str(path), byok_vault_url=url, scheme="https", awx_job_id=42
    )
    wrap = run.task(PREFIX + "byok_wrap", args={"name": "key"}, check_mode=True)
    run.plugin.v2_runner_on_ok(
        run.result(
            wrap, {"packages": [{"name": "a", "wrapped": True}], "changed": True, "failures": []}
        )
    )
    run.plugin.v2_runner_on_failed(run.result(wrap, {"msg": "no", "failures": []}))
    run.end(failures=1)
    start, wrapped, failed, end = lines(path)
    assert [start["action"], end["action"], end["level"]] == ["start", "end", "ERROR"]
    assert end["message"] == (
        "byok.yml ended. Hosts: 1, failed: 1, unreachable: 0. Events: INFO 1, WARNING 0, ERROR 1."
    )
    assert {(event["job"], event["awx_job"]) for event in (start, wrapped, failed, end)} == {
        (start["job"], "42")
    }
    assert (wrapped["host"], wrapped["vault"], wrapped["check"]) == (
        "vault-a",
        "https://contoso.vault.azure.net",
        True,
    )
    assert (wrapped["key"], failed["key"], failed["message"]) == ("a", "key", "no")
    assert not run.warnings


def test_a_variable_wins_over_the_configuration_and_a_broken_one_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, used in (
        (str(tmp_path / "variable"), "variable"),
        ("{{ missing }}/x", "configured"),
        (None, "configured"),
    ):
        run = Run(
            monkeypatch, {"byok_log_path": str(tmp_path / "configured")}, byok_log_path=variable
        )
        run.plugin.v2_runner_on_ok(run.result(run.task(PREFIX + "byok_wrap"), {"failures": []}))
        assert len(lines(tmp_path / used)) == 2
        (tmp_path / used).unlink()


def test_awx_is_known_by_its_environment_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for awx, expected in (("https://awx", "7"), (None, None)):
        run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
        monkeypatch.setenv("JOB_ID", "7")
        if awx:
            monkeypatch.setenv("AWX_HOST", awx)
        run.plugin.v2_runner_on_ok(run.result(run.task(PREFIX + "byok_wrap"), {"failures": []}))
        assert lines(tmp_path / "log")[-1].get("awx_job") == expected


def test_the_turns_of_a_loop_are_logged_and_not_their_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    task = run.task(
        PREFIX + "byok_wrap",
        args={"vault_url": "https://contoso.vault.azure.net"},
        ignore_errors=True,
    )
    run.plugin.v2_runner_item_on_ok(run.result(task, {"failures": []}))
    run.plugin.v2_runner_item_on_failed(run.result(task, {"msg": "no", "failures": []}))
    run.plugin.v2_runner_on_failed(run.result(task, {"msg": "All items completed", "results": []}))
    run.plugin.v2_runner_on_ok(
        run.result(task, {"failures": []})
    )  # the next host or play has the same task
    assert [event["level"] for event in lines(tmp_path / "log")] == [
        "INFO",
        "INFO",
        "WARNING",
        "INFO",
    ]


def test_failures_of_other_modules_are_named_without_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    other = run.task("ansible.builtin.uri", "Ask")
    run.plugin.v2_runner_on_ok(run.result(other, {"msg": "topsecret"}))
    run.plugin.v2_runner_on_failed(run.result(other, {"msg": "topsecret"}))
    run.plugin.v2_runner_on_unreachable(
        run.result(run.task(PREFIX + "byok_kek", "Make"), {"msg": "topsecret"})
    )
    run.plugin.v2_runner_on_failed(
        run.result(run.task("ansible.builtin.fail", "Give up"), {"msg": "topsecret"})
    )
    assert [(event["level"], event["message"]) for event in lines(tmp_path / "log")[1:]] == [
        ("ERROR", "Ask (ansible.builtin.uri): failed."),
        ("ERROR", "Make: its host was not reached."),
        ("ERROR", "Give up (ansible.builtin.fail): failed."),
    ]


def test_the_roles_own_sentences_are_logged_unless_they_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    pinned = run.task(PREFIX + "byok_wrap", args={"pin": "topsecret"})
    run.plugin.v2_runner_on_ok(
        run.result(pinned, {"failures": [{"name": "a", "msg": "topsecret is wrong"}], "msg": "..."})
    )
    fail = run.task("ansible.builtin.fail", path=f"{ROOT}/roles/byok/tasks/transfer.yml:1")
    run.plugin.v2_runner_on_failed(run.result(fail, {"msg": "a: topsecret is wrong b: more"}))
    run.plugin.v2_runner_on_failed(run.result(fail, {"msg": "nobody approved topsecret"}))
    run.plugin.v2_runner_on_failed(
        run.result(fail, {"msg": "a: topsecret is wrong"}, host="vault-b")
    )
    messages = [event["message"] for event in lines(tmp_path / "log")[1:]]
    assert messages == ["*** is wrong", "nobody approved ***", "a: *** is wrong"]


@pytest.mark.parametrize("how", ["role", "block", "include", "import", "own"])
def test_a_play_is_ours_before_our_modules_run(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    role = SimpleNamespace(get_name=lambda: "keyferry.azure.byok")
    tasks = {
        "own": run.task(PREFIX + "byok_wrap"),
        "include": run.task("ansible.builtin.include_role", args={"name": "keyferry.azure.byok"}),
        "import": run.task("ansible.builtin.debug", _role=role),
        "block": SimpleNamespace(block=[], rescue=[], always=[run.task(PREFIX + "byok_wrap")]),
    }
    run.play(tasks.get(how, run.task("ansible.builtin.debug")))
    if how == "role":
        run.plugin._play.roles.append(role)
        run.plugin.v2_playbook_on_play_start(run.plugin._play)
    run.plugin.v2_runner_on_failed(run.result(run.task("ansible.builtin.slurp"), {}))
    assert len(lines(tmp_path / "log")) == 2


def test_a_play_of_others_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    run.play(run.task("ansible.builtin.debug"))
    run.plugin.v2_runner_on_failed(run.result(run.task("ansible.builtin.slurp"), {}))
    run.end()
    assert list(tmp_path.iterdir()) == []
    assert run.warnings == []


def test_a_missing_path_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch, {})
    for number in range(2):
        run.plugin.v2_runner_on_ok(
            run.result(run.task(PREFIX + "byok_wrap", _uuid=str(number)), {"failures": []})
        )
    run.end()
    assert len(run.warnings) == 1
    assert "byok_log_path is not set" in run.warnings[0]


@pytest.mark.parametrize("path", ["/dev/full", "/nonexistent/log", "", "/proc/version"])
def test_a_log_that_cannot_be_written_ends_with_one_warning(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, {"byok_log_path": path or str(tmp_path)})
    run.plugin.v2_runner_on_ok(run.result(run.task(PREFIX + "byok_wrap"), {"failures": []}))
    assert run.plugin.disabled
    assert len(run.warnings) == 1
    assert "but the play continues" in run.warnings[0]


def test_a_fifo_without_reader_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "fifo")})
    run.plugin.v2_runner_on_ok(run.result(run.task(PREFIX + "byok_wrap"), {"failures": []}))


def test_what_an_unforeseen_error_says_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(monkeypatch, {"byok_log_path": str(tmp_path / "log")})
    result = run.result(run.task(PREFIX + "byok_wrap"), {"failures": []})
    result._result = ValueError("topsecret")
    run.plugin.v2_runner_on_ok(result)
    assert run.plugin.disabled
    assert "topsecret" not in run.warnings[0]


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Or somebody who may write to its folder has events appended to another file of ours."""
    precious = tmp_path / "precious"
    precious.write_text("x")
    link = tmp_path / "log"
    link.symlink_to(precious)
    with pytest.raises(OSError, match="log is a link; set byok_log_path to the file itself"):
        LogFile(str(link), 0, 1).append("line\n")
    link.unlink()
    link.symlink_to(tmp_path / "nothing yet")
    with pytest.raises(OSError, match="is a link"):
        LogFile(str(link), 0, 1).append("line\n")
    assert precious.read_text() == "x"
    assert not (tmp_path / "nothing yet").exists()
