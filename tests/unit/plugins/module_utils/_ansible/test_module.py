# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of a module: whatever is raised, what was done is returned, and it is one sentence."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    EVIDENCE_OPTIONS,
    TOKEN_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    OLDEST_ANSIBLE,
    run_module,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    CALLED_BY_ROLE,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import NamedGeneration
from ansible_collections.keyferry.azure.tests.token.run_module import arguments_of

ROOT = Path(__file__).resolve().parents[5]
SECRET = "hunter2-is-the-pin"
DONE = NamedGeneration("a", "01", None)


def run(
    capsys: pytest.CaptureFixture[str], act: t.Callable[[Outcome], None], **arguments: t.Any
) -> dict[str, t.Any]:
    """What a module returns whose work is ``act``."""
    spec: dict[str, dict[str, t.Any]] = {"names": {"type": "list", "elements": "str"}}
    with arguments_of({"names": ["a"], **arguments}), pytest.raises(SystemExit):
        run_module(lambda params, check_mode, outcome: act(outcome), spec)
    result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return result


def withdraw(outcome: Outcome) -> None:
    outcome.add("withdrawn", DONE)
    outcome.changes.append(Change("key a in the token", {}, {"withdrawn": True}))


def test_what_was_done_before_an_error_is_returned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, warning: told.append(warning))

    def act(outcome: Outcome) -> None:
        withdraw(outcome)
        outcome.warnings.append("mind this")
        outcome.failures.add("b", ByokError("It is bad", "Correct it"))
        raise ByokError("The token is gone", "Plug it in", code="token_refused")

    result = run(capsys, act, _ansible_diff=True)
    assert (result["failed"], result["changed"], result["code"]) == (True, True, "token_refused")
    assert result["msg"] == "The token is gone. Plug it in.\nb: It is bad. Correct it."
    assert result["withdrawn"] == [DONE.to_dict()]
    assert result["failures"] == [{"name": "b", "msg": "It is bad. Correct it.", "code": "failed"}]
    assert [each["after"] for each in result["diff"]] == ["withdrawn: true\n"]
    assert told == ["mind this"]


def test_an_exception_that_nobody_foresaw_is_a_sentence_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(outcome: Outcome) -> None:
        withdraw(outcome)
        raise KeyError(SECRET)

    result = run(capsys, act)
    assert (result["failed"], result["changed"], result["code"]) == (True, True, "unexpected")
    assert result["msg"].startswith("KeyError was raised at _ansible/module.py:")
    assert result["withdrawn"] == [DONE.to_dict()]
    assert SECRET not in json.dumps(result)
    assert "Traceback" not in json.dumps(result)


def test_a_failed_key_fails_the_module_and_keeps_its_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act(outcome: Outcome) -> None:
        with outcome.failures.of("b"):
            raise ValueError(SECRET)
        withdraw(outcome)

    result = run(capsys, act)
    assert (result["failed"], result["changed"], "code" in result) == (True, True, False)
    (failure,) = result["failures"]
    assert (failure["name"], failure["code"]) == ("b", "unexpected")
    assert SECRET not in json.dumps(result)


def test_texts_of_others_add_no_line_and_no_control_character(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag of a vault's key could switch the key off in a diff, and clear the screen."""
    told: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, warning: told.append(warning))

    def act(outcome: Outcome) -> None:
        tags = {"team": "web\n+enabled: false\x1b[2J"}
        outcome.changes.append(Change("key a\u202e", {}, {"tags": tags}))
        outcome.warnings.append("Azure says \x1b[2J\nit")
        outcome.failures.add("b", ByokError("Azure says \x1b[2J\nit", "Wait"))

    result = run(capsys, act, _ansible_diff=True)
    (diff,) = result["diff"]
    assert diff["after"] == "tags: team=web\\n+enabled: false\\x1b[2J\n"
    assert diff["after_header"] == r"key a\u202e"
    assert told == [r"Azure says \x1b[2J\nit"]
    assert result["msg"] == r"b: Azure says \x1b[2J\nit. Wait."


@pytest.mark.parametrize("by_role", [False, True])
def test_messages_name_the_options_that_the_reader_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by_role: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, warning: told.append(warning))
    if by_role:
        monkeypatch.setenv(CALLED_BY_ROLE, "1")

    def act(outcome: Outcome) -> None:
        outcome.warnings.append("Set pin_file")
        outcome.failures.add("b", ByokError("It waits", "Increase lock_timeout"))
        raise ByokError("No PIN is given", "Set pin_file")

    result = run(capsys, act)
    prefix = "byok_" if by_role else ""
    assert told == [f"Set {prefix}pin_file"]
    assert result["failures"][0]["msg"] == f"It waits. Increase {prefix}lock_timeout."
    assert result["msg"] == (
        f"No PIN is given. Set {prefix}pin_file.\nb: It waits. Increase {prefix}lock_timeout."
    )


@pytest.mark.parametrize("version", ["2.16.14", "2.9.27", "2.16.0rc1"])
def test_nothing_is_done_by_an_ansible_core_that_is_too_old(
    capsys: pytest.CaptureFixture[str], version: str
) -> None:
    """Ansible only warns of it, in the middle of a run that then works or does not."""
    result = run(capsys, withdraw, _ansible_version=version)
    assert (result["failed"], result["changed"], result["aborted"]) == (True, False, True)
    assert result["msg"] == (
        f"keyferry.azure does not support ansible-core {version}, so nothing was done. "
        "Upgrade ansible-core to 2.17 or later."
    )


@pytest.mark.parametrize("version", ["2.17.0", "2.20.1", "2.22.0.dev0", "3.0.0"])
def test_supported_ones_work(capsys: pytest.CaptureFixture[str], version: str) -> None:
    assert run(capsys, withdraw, _ansible_version=version)["changed"] is True


def test_the_oldest_ansible_core_is_told_in_one_way() -> None:
    oldest = ".".join(map(str, OLDEST_ANSIBLE))
    assert f"requires_ansible: '>={oldest}.0'" in (ROOT / "meta/runtime.yml").read_text()
    assert f"Keyferry needs ansible-core {oldest} or later" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("mode", "folder", "warns"),
    [(0o644, 0o755, True), (0o640, 0o755, False), (0o600, 0o755, False), (0o644, 0o700, False)],
)
def test_a_pin_file_that_others_can_read_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, folder: int, warns: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, warning: told.append(warning))
    monkeypatch.setattr(Path, "parents", property(lambda path: [path.parent]))
    path = tmp_path / "pin"
    path.write_text("1234")
    path.chmod(mode)
    tmp_path.chmod(folder)
    with arguments_of({"pin_file": str(path)}), pytest.raises(SystemExit):
        run_module(lambda *_: None, dict(TOKEN_OPTIONS))
    other = {"evidence_token": {"token_label": "a", "pin_file": str(path)}}
    with arguments_of(other), pytest.raises(SystemExit):
        run_module(lambda *_: None, {**TOKEN_OPTIONS, **EVIDENCE_OPTIONS})
    warning = (
        f"Every user of this host can read {path} (pin_file). Let only its owner read it: "
        f"chmod 600 {path}"
    )
    assert told == (2 * [warning] if warns else [])
