# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A receipt folder as it is read to be verified: each statement with its place; pure.

Nothing in it is believed: a file that has no place there, a line that cannot be read, and a
statement of another key or vault than its file become problems, and nothing is skipped in silence.
"""

from __future__ import annotations

import hashlib
import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Problem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
    parse_key_id,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    parse_envelope,
)

_HOST = r"[a-z0-9][a-z0-9.-]{0,252}"

#: The file of a vault's run manifests
RUNS = "runs.intoto.jsonl"

#: Directories that are entered, and files that are read; all else in a folder is strange
DIRECTORIES = re.compile(rf"{_HOST}(/(keys|attestations|stamps))?")
FILES = re.compile(
    rf"(?P<host>{_HOST})/(keys/(?P<name>[0-9a-z-]{{1,127}})\.intoto\.jsonl|runs\.intoto\.jsonl|"
    r"attestations/(?P<sha256>[0-9a-f]{64})\.json|stamps/(?P<stamped>[0-9a-f]{64})\.tsr)"
)


@dataclass(frozen=True)
class Stated:
    """A statement, and where it stands.

    :ivar kind: ``wrapped``, ``imported``, ``found`` or ``run``
    :ivar where: file and line
    """

    envelope: Envelope
    kind: str
    statement: Mapping[str, t.Any]
    where: str

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, by which others refer to it."""
        return self.envelope.digest

    @property
    def predicate(self) -> Mapping[str, t.Any]:
        """What it says."""
        told: Mapping[str, t.Any] = self.statement["predicate"]
        return told


@dataclass
class VaultFolder:
    """What a folder has of one vault.

    :ivar keys: statements by the key's name in lower case, in the order of the file
    :ivar attestations: raw answers of Azure by their SHA-256
    :ivar stamps: responses of time-stamping authorities by the digest of the run manifest
    """

    host: str
    keys: dict[str, list[Stated]] = field(default_factory=dict)
    runs: list[Stated] = field(default_factory=list)
    attestations: dict[str, str] = field(default_factory=dict)
    stamps: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass
class ReceiptFolder:
    """A folder.

    :ivar vaults: by their hosts
    :ivar problems: those of no vault
    """

    vaults: dict[str, VaultFolder] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse_folder(files: Mapping[str, bytes], strange: Mapping[str, str]) -> ReceiptFolder:
    """Read the files of a folder.

    :param files: by their paths in the folder, those that FILES matches
    :param strange: what else is there, by its path: what is wrong with it, to end a sentence
    """
    folder = ReceiptFolder()
    for path in sorted(files):
        match = FILES.fullmatch(path)
        if match is None:
            raise ValueError(f"{path} has no place in a receipt folder")
        vault = folder.vaults.setdefault(match["host"], VaultFolder(match["host"]))
        if match["sha256"]:
            _read_attestation(vault, match["sha256"], path, files[path])
        elif match["stamped"]:
            vault.stamps[match["stamped"]] = files[path]
        else:
            _read_statements(vault, match["name"], path, files[path])
    for path, why in sorted(strange.items()):
        known = folder.vaults.get(path.partition("/")[0])
        problems = known.problems if known else folder.problems
        problems.append(
            Problem("strange_file", "incomplete", path, f"It is no part of a receipt folder: {why}")
        )
    return folder


def _read_attestation(vault: VaultFolder, sha256: str, path: str, content: bytes) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        vault.problems.append(
            Problem(
                "altered_file",
                "broken",
                path,
                "The file was changed or renamed: its SHA-256 is not the one in its name",
            )
        )
        return
    vault.attestations[sha256] = content.decode("utf-8", "replace")


def _read_statements(vault: VaultFolder, name: str | None, path: str, content: bytes) -> None:
    """Read the envelopes of a file; of those with one payload the signatures are united.

    :param name: of the key; None for the manifests of runs
    """
    envelopes: dict[bytes, tuple[Envelope, str]] = {}
    for where, line, torn in _lines(path, content):
        try:
            envelope = parse_envelope(line.decode(), where)
        except (ByokError, UnicodeDecodeError) as error:
            vault.problems.append(_unreadable(where, line, torn, error, name))
            continue
        if torn:
            vault.problems.append(_torn(where, name))
        known = envelopes.get(envelope.payload)
        if known:
            for signature in envelope.signatures:
                known = known[0].with_signature(signature), known[1]
        envelopes[envelope.payload] = known or (envelope, where)
    stated = vault.runs if name is None else vault.keys.setdefault(name, [])
    for envelope, where in envelopes.values():
        read = _read_statement(vault, name, envelope, where)
        if isinstance(read, Problem):
            vault.problems.append(replace(read, key=name))
        else:
            stated.append(read)


def _lines(path: str, content: bytes) -> Iterator[tuple[str, bytes, bool]]:
    """Yield where a line stands, the line, and whether its newline is missing."""
    *whole, rest = content.split(b"\n")
    for number, line in enumerate(whole, 1):
        yield f"{path}:{number}", line, False
    if rest:
        yield f"{path}:{len(whole) + 1}", rest, True


def _torn(where: str, name: str | None) -> Problem:
    return Problem(
        "torn_line",
        "incomplete",
        where,
        "A line is torn, as a run leaves it that is killed while it writes",
        name,
    )


def _unreadable(where: str, line: bytes, torn: bool, error: Exception, name: str | None) -> Problem:
    """Return the problem of a line that is no envelope.

    What a killed run began stays in front of what later runs add. Whatever it said, a manifest that
    names it tells that it is lost.
    """
    begun = line.startswith(b'{"payload":"') and not line.endswith(b"}")
    if torn or begun:
        return _torn(where, name)
    why = error.what if isinstance(error, ByokError) else f"{where} is not UTF-8"
    return Problem("evidence_malformed", "broken", where, why, name)


def _read_statement(
    vault: VaultFolder, name: str | None, envelope: Envelope, where: str
) -> Stated | Problem:
    """Return a statement that belongs into its file, or why it does not."""
    try:
        kind, statement = statements.read(envelope, where)
    except ByokError as error:
        return Problem(error.reason, "broken", where, error.what)
    if (kind == "run") is not (name is None):
        return Problem("strange_statement", "broken", where, f"{kind}/v1 does not belong here")
    stated = Stated(envelope, kind, statement, where)
    hosts = {_host(url) for url in _vaults_of(stated)}
    if None in hosts:
        return Problem("evidence_malformed", "broken", where, "It names no version of a key")
    if hosts - {vault.host}:
        others = " and ".join(sorted(str(each) for each in hosts - {vault.host}))
        return Problem("other_vault", "broken", where, f"It is of another vault: {others}")
    names = {each.lower() for each in _names_of(stated)}
    if name is not None and names != {name}:
        others = " and ".join(sorted(names - {name}))
        return Problem("other_key", "broken", where, f"It is of another key: {others}")
    return stated


def _vaults_of(stated: Stated) -> Iterator[str | None]:
    """Yield the URLs of the vaults that a statement names; None for a kid that is none."""
    predicate = stated.predicate
    kid = predicate["kek"]["kid"] if stated.kind == "wrapped" else predicate.get("kid")
    if kid is not None:
        identifier = parse_key_id(kid)
        yield identifier.vault if identifier else None
    if stated.kind != "wrapped":
        yield predicate["vault"]


def _names_of(stated: Stated) -> Iterator[str]:
    """Yield the names that a statement of a key has for it."""
    if stated.kind == "run":
        return
    yield stated.predicate["key"]["name"]
    if stated.kind != "wrapped":
        identifier = parse_key_id(stated.predicate["kid"])
        yield identifier.name if identifier else ""


def _host(url: str | None) -> str | None:
    return None if url is None else comparable_url(url).removeprefix("https://")
