# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must hold of a receipt folder that somebody changed: it is noticed, or nothing is proved
that was not proved before.
"""

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import Trust
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    VERDICTS,
    Verification,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    verified,
)

Files: t.TypeAlias = Mapping[str, bytes]


def check(files: Files, trusted: Trust, before: Verification, what: str) -> None:
    """Assert that a change is noticed or has no meaning.

    :param before: the verification of the folder before, which was whole
    """
    after = verified(files, trusted)
    assert VERDICTS.index(after.verdict) >= VERDICTS.index(before.verdict), what
    if after.verdict == before.verdict:
        assert _claims(after) == _claims(before), what
        assert _signers(after) <= _signers(before), what
    assert _proved(after) <= _proved(before), what


def _claims(verification: Verification) -> t.Any:
    """All that is told, without who signed, and how lines stand in their files."""
    shown = json.loads(json.dumps(verification.to_dict()))
    for vault in shown["vaults"]:
        vault["chain"].pop("told")
    return _without(shown, {"signed_by", "named_by", "told", "where"})


def _without(value: t.Any, names: set[str]) -> t.Any:
    if isinstance(value, dict):
        return {name: _without(each, names) for name, each in value.items() if name not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value


def _signers(verification: Verification) -> set[tuple[str, str]]:
    """Which key signed which statement, and which manifests name it."""
    found: set[tuple[str, str]] = set()
    for vault in verification.vaults:
        stated = [*vault.chain.runs]
        for key in vault.keys:
            stated += key.copies
            for version in key.versions:
                stated += filter(None, (version.wrapped, version.imported, version.found))
        for each in stated:
            found |= {(each["sha256"], keyid) for keyid in each["signed_by"]}
            found |= {(each["sha256"], str(run)) for run in each.get("named_by", ())}
    return found


def _proved(verification: Verification) -> set[str]:
    """What is told of keys that are whole, and of runs that somebody trusted signed."""
    proved = set()
    for vault in verification.vaults:
        for key in vault.keys:
            for version in key.versions:
                if version.verdict == "whole":
                    shown = _without(version.to_dict(), {"signed_by", "named_by", "told", "events"})
                    proved.add(json.dumps([vault.vault, shown], sort_keys=True))
        for run in vault.chain.runs:
            if run["signed_by"]:
                shown = _without(dict(run), {"signed_by"})
                proved.add(json.dumps([vault.vault, shown], sort_keys=True))
    return proved


def with_byte(files: Files, path: str, at: int, change: int) -> dict[str, bytes]:
    """The folder with one byte that is another one."""
    content = bytearray(files[path])
    content[at] ^= change
    return {**files, path: bytes(content)}


def of_files(files: Files) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each file lost, cut off, renamed, copied, and swapped with each other one."""
    for path in files:
        rest = {other: content for other, content in files.items() if other != path}
        yield f"{path} is lost", rest
        yield f"{path} is empty", {**files, path: b""}
        yield f"{path} has lost its end", {**files, path: files[path][:-1]}
        yield f"{path} is cut off", {**files, path: files[path][: len(files[path]) // 2]}
        folder, slash, name = path.rpartition("/")
        for other in ("x" + name, "0" * 64 + ".json", "runs.intoto.jsonl", "other.intoto.jsonl"):
            if f"{folder}{slash}{other}" not in files:
                yield f"{path} becomes {other}", {**rest, f"{folder}{slash}{other}": files[path]}
                yield f"{path} is {other} too", {**files, f"{folder}{slash}{other}": files[path]}
        for other in files:
            if other > path:
                swapped = {**files, path: files[other], other: files[path]}
                yield f"{path} and {other} are swapped", swapped


def of_lines(files: Files) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each line lost, there twice, in another file, and swapped with each other one."""
    lines = [
        (path, at)
        for path, content in files.items()
        if path.endswith(".jsonl")
        for at in range(content.count(b"\n"))
    ]
    for path, at in lines:
        own = files[path].splitlines(keepends=True)
        line, rest = own[at], own[:at] + own[at + 1 :]
        yield f"{path}:{at} is lost", {**files, path: b"".join(rest)}
        yield f"{path}:{at} is there twice", {**files, path: b"".join([*own, line])}
        for other, there in lines:
            if other != path and there == 0:
                moved = {**files, path: b"".join(rest), other: files[other] + line}
                yield f"{path}:{at} moved to {other}", moved
                yield f"{path}:{at} is in {other} too", {**files, other: files[other] + line}
            if (other, there) > (path, at):
                yield (
                    f"{path}:{at} and {other}:{there} swapped",
                    _swapped(files, (path, at), (other, there)),
                )


def _swapped(files: Files, one: tuple[str, int], other: tuple[str, int]) -> dict[str, bytes]:
    split = {path: files[path].splitlines(keepends=True) for path, _at in (one, other)}
    first, second = split[one[0]][one[1]], split[other[0]][other[1]]
    split[one[0]][one[1]], split[other[0]][other[1]] = second, first
    return {**files, **{path: b"".join(lines) for path, lines in split.items()}}


def of_envelopes(files: Files) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each payload with the signatures of each other line, and with none."""
    lines = [
        (path, at, json.loads(line))
        for path, content in files.items()
        if path.endswith(".jsonl")
        for at, line in enumerate(content.splitlines())
    ]
    for path, at, envelope in lines:
        others = [(f"those of {other}:{there}", each) for other, there, each in lines]
        for whose, other in [*others, ("none", {"signatures": []})]:
            if other is not envelope:
                own = files[path].splitlines(keepends=True)
                line = {**envelope, "signatures": other["signatures"]}
                own[at] = json.dumps(line, separators=(",", ":")).encode() + b"\n"
                yield f"{path}:{at} has the signatures {whose}", {**files, path: b"".join(own)}
