# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The frame of every module: arguments in, result out, and an error as one sentence."""

from __future__ import annotations

import itertools
import os
import re
import stat
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.option_groups import (
    GroupedModule,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    CALLED_BY_ROLE,
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome, told
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import (
    one_line,
    printable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.child import in_a_child

#: The oldest ansible-core with which this is tested, as meta/runtime.yml says
OLDEST_ANSIBLE = (2, 17)

#: Options that name files with a secret
_SECRET_FILES = ("pin_file", "secret_file")

Params = t.Mapping[str, t.Any]
Act = t.Callable[[Params, bool, Outcome], None]


def run_module(act: Act, argument_spec: dict[str, t.Any], **constraints: t.Any) -> None:
    """Parse the arguments, call ``act(params, check_mode, outcome)`` and exit with the outcome.

    :param act: fills the outcome as it goes, so whatever it raises, what was done is returned
    :param constraints: such as ``required_by``, as AnsibleModule takes them
    """
    module = GroupedModule(argument_spec=argument_spec, supports_check_mode=True, **constraints)
    outcome, error = Outcome(), _too_old(module.ansible_version)
    if error is None:
        outcome, error = _attempt(act, module.params, module.check_mode)
    outcome.warnings[:0] = _exposed(module.params)
    named = as_set_in_role if os.environ.get(CALLED_BY_ROLE) else str
    for warning in outcome.warnings:
        module.warn(named(printable(warning)))
    failures = [replace(failure, msg=named(failure.msg)) for failure in outcome.failures]
    result = dict(
        outcome.result,
        changed=bool(outcome.changes),
        failures=[failure.to_dict() for failure in failures],
        aborted=error is not None,
        invocation=_invocation(module.params),
    )
    if module._diff:
        result["diff"] = _diff(outcome)
    if error:
        lines = [named(str(error)), *told(failures)]
        module.fail_json(msg="\n".join(lines), code=error.reason, **result)
    if failures:
        module.fail_json(msg="\n".join(told(failures)), **result)
    module.exit_json(**result)


def _attempt(act: Act, params: Params, check_mode: bool) -> tuple[Outcome, ByokError | None]:
    """Return what was done, and what failed outside of single keys, as one sentence."""

    def work(outcome: Outcome) -> None:
        act(params, check_mode, outcome)

    outcome = Outcome()
    try:
        if "pkcs11_library" in params:  # a library of others, which may crash or hang
            library = params["pkcs11_library"] or ""
            return in_a_child(work, library, params["library_timeout"])
        work(outcome)
    except Exception as error:
        return outcome, as_byok_error(error)
    return outcome, None


def _too_old(version: str) -> ByokError | None:
    """Return what is wrong with an ansible-core; Ansible itself only warns, and goes on.

    :param version: of the ansible-core that runs the module; 0.0 where it does not tell
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers == (0, 0) or numbers >= OLDEST_ANSIBLE:
        return None
    return ByokError(
        f"keyferry.azure does not support ansible-core {version}, so nothing was done",
        f"Upgrade ansible-core to {'.'.join(map(str, OLDEST_ANSIBLE))} or later",
    )


def _exposed(params: Params) -> list[str]:
    """Return a warning for each file with a secret that every user of this host can read."""
    warnings = []
    named = (params, params.get("evidence_token") or {})
    for option, options in itertools.product(_SECRET_FILES, named):
        path = options.get(option)
        if path and _others_can_read(Path(path).resolve()):
            warnings.append(
                f"Every user of this host can read {path} ({option}). Let only its owner read it: "
                f"chmod 600 {path}"
            )
    return warnings


def _others_can_read(path: Path) -> bool:
    try:
        ways_open = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
        return ways_open and bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # whoever reads the file says so
        return False


def _invocation(params: Params) -> dict[str, t.Any]:
    """Return the arguments but for lists of keys: there may be thousands."""
    arguments = {name: value for name, value in params.items() if not isinstance(value, list)}
    return {"module_args": arguments}


def _diff(outcome: Outcome) -> list[dict[str, str]]:
    """Return what Ansible shows as the diff, of what was done and of what a later step would do."""
    return [
        {
            "before_header": printable(change.where),
            "after_header": printable(change.where),
            "before": _lines(change.before),
            "after": _lines(change.after),
        }
        for change in (*outcome.changes, *outcome.planned)
    ]


def items_of(params: Params, list_option: str) -> list[Params]:
    """Return the keys that a module was given: of its list option, or of its own options."""
    many = params[list_option]
    return [params] if many is None else many


def add_singles(params: Params, list_option: str, outcome: Outcome, **lists: str) -> None:
    """Return the last entry of a list under its own name as well, where a module got one key.

    :param lists: the return values that are lists, by the names of their only entries
    """
    if params[list_option] is not None:
        return
    for single, many in lists.items():
        if outcome.result[many]:
            outcome.result[single] = outcome.result[many][-1]


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    told = {name: value for name, value in facts.items() if value is not None}
    return "".join(f"{name}: {one_line(value)}\n" for name, value in told.items())
