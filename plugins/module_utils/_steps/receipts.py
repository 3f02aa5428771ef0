# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_receipts does: add to the evidence folder what the token's side signed, what a run
found, and the manifest of the run. And what byok_plan tells of the folder.
"""

from __future__ import annotations

import base64
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
    parse_key_id,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import (
    Head,
    head_of,
    next_manifest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    MOST_SIGNATURES,
    Envelope,
    Malformed,
    Signature,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence import envelopes_in

Params = t.Mapping[str, t.Any]

#: Statements that a plan returns at most, of which some KiB each; the next run takes more
MOST_LOOSE = 5000


def keep_receipts(params: Params, check_mode: bool, outcome: Outcome) -> None:
    """Add statements, then signatures, then the manifest, so that it names nothing that is missing.

    :raises ByokError: for what is no evidence of this vault, before anything is written; and when
        the folder cannot be written
    """
    url = comparable_url(params["vault_url"])
    folder = EvidenceFolder(params["receipt_directory"], url)
    told = [
        _Stated.read(line, f"Statement {number} of statements", url)
        for number, line in enumerate(params["statements"], 1)
    ]
    stated = [each for each in told if each.name is not None]
    runs: list[Envelope | dict[str, t.Any]] = [each.envelope for each in told if each.name is None]
    signatures = _read_signatures(params["signatures"])
    if params["run"]:
        runs.append(_read_run(params["run"], url))
    if (told or signatures or runs) and not check_mode:
        folder.prepare()
    lock = f"receipts {url}"
    with process_lock(lock, params["lock_directory"], params["lock_timeout"]):
        keeping = _Keeping(folder, url, check_mode, outcome)
        count = keeping.add_statements(stated) + keeping.add_signatures(signatures, stated)
        last = last_run(folder, outcome.warnings.append)
        for run in runs:
            last = keeping.add_run(run, last)
        count += keeping.added_runs
    head = head_of(last, "The last manifest") if last else None
    outcome.result["stored"] = count
    outcome.result["head"] = {"number": head.number, "sha256": head.sha256} if head else None
    outcome.result["last_run"] = last.to_line() if last else None
    outcome.result["receipt_directory"] = folder.directory


@dataclass(frozen=True)
class _Stated:
    """A statement that is to be kept.

    :ivar name: of the key that it is about; None for a manifest
    """

    name: str | None
    envelope: Envelope

    @classmethod
    def read(cls, line: str, where: str, vault_url: str) -> _Stated:
        """Read an envelope.

        :raises ByokError: for what is no statement about this vault
        """
        envelope = parse_envelope(line, where)
        kind, statement = statements.read(envelope, where)
        predicate = statement["predicate"]
        _refuse_other_vault(_vault_of(kind, predicate), vault_url, where)
        return cls(None if kind == "run" else predicate["key"]["name"], envelope)


@dataclass
class _Keeping:
    """One run that adds to the folder of a vault, or looks what it would add."""

    folder: EvidenceFolder
    vault_url: str
    check_mode: bool
    outcome: Outcome
    added_runs: int = 0

    def add_statements(self, stated: t.Iterable[_Stated]) -> int:
        """Add what is not there; returns how many that were."""
        count = 0
        for each in stated:
            name = str(each.name)
            there = envelopes_in(self.folder.receipts(name).whole)
            if any(envelope.payload == each.envelope.payload for envelope in there):
                continue
            if not self.check_mode:
                self.folder.add_receipts(name, each.envelope.to_line())
            self._tell(f"key {name}", {"statement": each.envelope.digest})
            count += 1
        return count

    def add_signatures(
        self, signatures: t.Mapping[str, list[Signature]], stated: t.Iterable[_Stated]
    ) -> int:
        """Add signatures to what is there, also those that came with statements.

        :param signatures: by the digest of what they sign
        :returns: how many statements have a signature more
        """
        wanted = {digest: list(each) for digest, each in signatures.items()}
        for each in stated:
            wanted.setdefault(each.envelope.digest, []).extend(each.envelope.signatures)
        wanted = {digest: each for digest, each in wanted.items() if each}
        missing, count = set(signatures), 0
        for name in self.folder.names() if wanted else ():
            try:
                there = self.folder.receipts(name).whole
            except ByokError as error:  # whatever that file is, the manifest has to be kept
                self.outcome.warnings.append(f"{name}: {error}")
                continue
            signed = {
                envelope.to_line(): _with_all(envelope, wanted[envelope.digest])
                for envelope in envelopes_in(there)
                if envelope.digest in wanted
            }
            missing -= {envelope.digest for envelope in signed.values()}
            more = {line for line, envelope in signed.items() if envelope.to_line() != line}
            if not more:
                continue
            if not self.check_mode:
                self.folder.change_receipts(name, lambda line: _signed(line, wanted))
            self._tell(f"key {name}", {"signatures": len(more)})
            count += len(more)
        if missing and not self.check_mode:
            self.outcome.warnings.append(
                f"Signatures for {len(missing)} statements are not kept, because the statements "
                f"are not in {self.folder.directory}: {', '.join(sorted(missing)[:3])}"
            )
        return count

    def add_run(self, run: Envelope | dict[str, t.Any], last: Envelope | None) -> Envelope:
        """Add the manifest of a run; a signed one has its number, another one gets it here.

        :param last: the last one that is there
        :returns: the last one that is there then
        """
        head = head_of(last, "The last manifest") if last else None
        if not isinstance(run, Envelope):
            run = envelope_of(next_manifest(run, head, None))
        elif last and run.payload in {each.payload for each in _runs(self.folder)}:
            return last  # an earlier try of this run wrote it
        else:
            self._warn_of_gap(run, head)
        if not self.check_mode:
            self.folder.add_run(run.to_line())
        self.added_runs += 1
        number = head_of(run, "The manifest of the run").number
        self._tell("runs", {"manifest": number, "sha256": run.digest})
        return run

    def _warn_of_gap(self, run: Envelope, head: Head | None) -> None:
        previous = run.statement()["predicate"]["previous"]
        if previous != (head.sha256 if head else None):
            number = head_of(run, "The manifest of the run").number
            there = f"the last one there is {head.number}" if head else "there is none"
            self.outcome.warnings.append(
                f"Manifest {number} does not follow what is in {self.folder.directory}: {there}. "
                "Find out who else writes manifests of this vault, or where its folder went"
            )

    def _tell(self, what: str, after: dict[str, t.Any]) -> None:
        where = f"evidence of {self.vault_url} in {self.folder.directory}: {what}"
        self.outcome.changes.append(Change(where, {}, after))


def look_at_receipts(
    folder: EvidenceFolder, entries: t.Iterable[Params], warn: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """Return which versions have no receipt, and which receipts no manifest names.

    :param entries: of the plan: all declared keys
    :param warn: is told what cannot be read
    """
    entries = list(entries)
    if folder.is_lacking and any(entry["action"] == "transfer" for entry in entries):
        warn(
            f"The directory {folder.directory} for the receipts does not exist, and no key is "
            "imported without it. Create it, or set receipt_directory to another directory."
        )
    try:
        named = {
            receipt["sha256"]
            for run in _runs(folder)
            for receipt in run.statement()["predicate"]["receipts"]
        }
        last = last_run(folder, warn)
    except ByokError as error:
        warn(str(error))
        return {"without": [], "loose": [], "last_run": None}
    without: list[dict[str, t.Any]] = []
    loose: list[str] = []
    for entry in entries:
        try:
            lines = folder.receipts(entry["name"])
        except ByokError as error:
            warn(f"{entry['name']}: {error}")
            continue
        if lines.torn:
            warn(
                f"{entry['name']}: the last line of its receipts is cut off, as a run leaves it "
                "that died while it wrote. The next run adds what is missing"
            )
        told = [
            (envelope, statement["predicate"]["kid"])
            for envelope in envelopes_in(lines.whole)
            for kind, statement in _read(envelope)
            if kind in ("imported", "found")
        ]
        loose += [envelope.to_line() for envelope, _kid in told if envelope.digest not in named]
        if _is_in_place(entry) and entry["kid"].lower() not in {
            kid.lower() for _envelope, kid in told
        }:
            without.append({fact: entry[fact] for fact in ("name", "kid", "version", "thumbprint")})
    loose = list(dict.fromkeys(loose))[:MOST_LOOSE]
    return {"without": without, "loose": loose, "last_run": last.to_line() if last else None}


def last_run(folder: EvidenceFolder, warn: t.Callable[[str], None]) -> Envelope | None:
    """Return the last manifest; None where there is none.

    :param warn: is told of lines that are none
    """
    runs, lines = _runs(folder), folder.runs()
    if len(runs) != len(lines.whole) or lines.torn:
        warn(
            f"Not all lines of the run manifests in {folder.directory} can be read. Verify the "
            "folder, and find out what changed it"
        )
    return runs[-1] if runs else None


def _runs(folder: EvidenceFolder) -> list[Envelope]:
    """Return the manifests, oldest first; what is none is left out."""
    return [
        envelope
        for envelope in envelopes_in(folder.runs().whole)
        for kind, _statement in _read(envelope)
        if kind == "run"
    ]


def _read(envelope: Envelope) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield an envelope's statement with its kind; nothing for what is none."""
    try:
        yield statements.read(envelope, "A line")
    except Malformed:
        return


def _is_in_place(entry: Params) -> bool:
    """Tell whether the newest version stays, and is this token's by what is known of it.

    An import of an interrupted run gets its receipt in this run.
    """
    stays = entry["action"] in ("none", "update", "lock")
    return bool(stays and entry["kid"] and entry["code"] != "interrupted_import")


def _vault_of(kind: str, predicate: t.Mapping[str, t.Any]) -> str | None:
    """Return which vault a statement is about; None for an escrow package, which goes to none."""
    if kind != "wrapped":
        return str(predicate["vault"])
    kid = predicate["kek"]["kid"]
    key_id = parse_key_id(kid) if kid else None
    return key_id.vault if key_id else None


def _refuse_other_vault(vault: str | None, vault_url: str, where: str) -> None:
    """:raises Malformed: for a statement about another vault"""
    if vault is not None and comparable_url(vault) != vault_url:
        raise Malformed(where, f"it is about {vault} and not about {vault_url}")


def _read_run(text: str, vault_url: str) -> Envelope | dict[str, t.Any]:
    """Return a manifest: in its envelope, or what a run says of itself without a number.

    :raises ByokError: for what is neither, and for one of another vault
    """
    where = "The manifest in run"
    try:
        read = parse_json(text)
    except ValueError as error:
        raise Malformed(where, f"it is no JSON ({error})") from None
    if not (isinstance(read, dict) and "payload" in read):
        statements.check_run(read, where)
        _refuse_other_vault(read["vault"], vault_url, where)
        return t.cast("dict[str, t.Any]", read)
    envelope = parse_envelope(text, where)
    head_of(envelope, where)
    _refuse_other_vault(envelope.statement()["predicate"]["vault"], vault_url, where)
    return envelope


def _read_signatures(items: t.Iterable[Params]) -> dict[str, list[Signature]]:
    """Return signatures by the digest of what they sign.

    :raises Malformed: for what is no signature
    """
    signatures: dict[str, list[Signature]] = {}
    for number, item in enumerate(items, 1):
        where = f"Signature {number} of signatures"
        for member in ("sha256", "keyid"):
            if not re.fullmatch("[0-9a-f]{64}", item[member]):
                raise Malformed(where, f"its {member} is no SHA-256 in hexadecimal digits")
        try:
            sig = base64.b64decode(item["sig"], validate=True)
        except ValueError:
            sig = b""
        if not sig:
            raise Malformed(where, "its sig is no base64")
        signatures.setdefault(item["sha256"], []).append(Signature(item["keyid"], sig))
    return signatures


def _with_all(envelope: Envelope, signatures: t.Iterable[Signature]) -> Envelope:
    """Return an envelope with these signatures, of all as many as a reader takes: the newest."""
    for signature in signatures:
        envelope = envelope.with_signature(signature)
    return replace(envelope, signatures=envelope.signatures[-MOST_SIGNATURES:])


def _signed(line: str, wanted: t.Mapping[str, list[Signature]]) -> str:
    """Return a line with the signatures that are for it."""
    for envelope in envelopes_in([line]):
        if envelope.digest in wanted:
            return _with_all(envelope, wanted[envelope.digest]).to_line()
    return line
