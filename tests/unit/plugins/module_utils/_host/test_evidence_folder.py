# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of evidence are added, and nothing that was there is lost or lands elsewhere."""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host import evidence_folder
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
    Lines,
    default_directory,
)
from hypothesis import given, settings
from hypothesis import strategies as st

URL = "https://Contoso.vault.azure.net/"
HOST = "contoso.vault.azure.net"


@pytest.fixture
def folder(tmp_path: Path) -> EvidenceFolder:
    made = EvidenceFolder(str(tmp_path), URL)
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_where_what_is_and_who_can_read_it(folder: EvidenceFolder, tmp_path: Path) -> None:
    folder.add_receipts("Signing-Key", "one", "two")
    folder.add_receipts("signing-key", "three")
    folder.add_run("run 1")
    sha256 = folder.keep_attestation("{}")
    keys = tmp_path / HOST / "keys"
    assert (keys / "signing-key.intoto.jsonl").read_text() == "one\ntwo\nthree\n"
    assert (tmp_path / HOST / "runs.intoto.jsonl").read_text() == "run 1\n"
    kept = tmp_path / HOST / "attestations" / f"{sha256}.json"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == sha256
    modes = {path.is_dir(): mode(path) for path in (tmp_path / HOST).rglob("*")}
    assert modes == {True: 0o700, False: 0o600}
    assert folder.receipts("SIGNING-KEY") == Lines(("one", "two", "three"))
    assert folder.runs() == Lines(("run 1",))
    assert folder.names() == ["signing-key"]


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    folder = EvidenceFolder(str(tmp_path), URL)
    assert (folder.receipts("a"), folder.runs(), folder.names()) == (Lines(), Lines(), [])
    assert list(tmp_path.iterdir()) == []


def test_each_vault_has_its_own(folder: EvidenceFolder, tmp_path: Path) -> None:
    folder.add_run("one")
    other = EvidenceFolder(str(tmp_path), "https://contoso.managedhsm.azure.net")
    assert other.runs() == Lines()
    for url in ("", "https://", "https://../x", "https://a/b"):
        with pytest.raises(ByokError, match="names no host"):
            EvidenceFolder(str(tmp_path), url)


def test_a_torn_line_is_told_and_keeps_nothing_from_following(
    folder: EvidenceFolder, tmp_path: Path
) -> None:
    folder.add_receipts("a", "one")
    path = tmp_path / HOST / "keys/a.intoto.jsonl"
    with path.open("a") as file:
        file.write('{"payl')
    assert folder.receipts("a") == Lines(("one",), '{"payl')
    assert folder.change_receipts("a", str.upper) == 1
    assert path.read_text() == 'ONE\n{"payl'
    folder.add_receipts("a", "two")
    assert folder.receipts("a") == Lines(("ONE", '{"payl', "two"))


def test_a_line_is_replaced_at_once_or_not_at_all(
    folder: EvidenceFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add_receipts("a", "one", "two")
    path = tmp_path / HOST / "keys/a.intoto.jsonl"
    before = path.stat().st_ino
    assert folder.change_receipts("a", lambda line: line) == 0
    assert path.stat().st_ino == before
    assert folder.change_receipts("a", lambda line: line.replace("two", "2")) == 1
    assert path.read_text() == "one\n2\n"
    assert mode(path) == 0o600

    def fail(*_arguments: t.Any, **_options: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evidence_folder, "_write", fail)
    with pytest.raises(ByokError, match="No space left on device"):
        folder.change_receipts("a", str.upper)
    assert path.read_text() == "one\n2\n"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_no_byte_that_was_there_is_changed(
    tmp_path_factory: pytest.TempPathFactory, there: bytes
) -> None:
    directory = tmp_path_factory.mktemp("folder")
    folder = EvidenceFolder(str(directory), URL)
    folder.prepare()
    path = directory / HOST / "keys/a.intoto.jsonl"
    path.write_bytes(there)
    newline = b"\n" if folder.receipts("a").torn else b""
    folder.add_receipts("a", "new")
    assert path.read_bytes() == there + newline + b"new\n"
    folder.change_receipts("a", lambda line: "other" if line == "new" else line)
    lines = (there + newline).split(b"\n")
    changed = [b"other" if line == b"new" else line for line in lines[:-1]]
    assert path.read_bytes() == b"".join(line + b"\n" for line in [*changed, b"other"])


def test_several_writers_lose_nothing(folder: EvidenceFolder) -> None:
    def work(number: int) -> None:
        folder.add_receipts("a", f"line {number}")
        folder.change_receipts("a", lambda line: line.rstrip("+") + "+")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(50)))
    assert sorted(folder.receipts("a").whole) == sorted(f"line {number}+" for number in range(50))


@pytest.mark.parametrize("laid", ["host", "keys", "file", "attestations"])
def test_no_link_is_followed(laid: str, tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    for each in (directory, elsewhere, elsewhere / "keys", elsewhere / "attestations"):
        each.mkdir()
    target = elsewhere / "keys/a.intoto.jsonl"
    target.write_text("theirs\n")
    links = {
        "host": (HOST, elsewhere),
        "keys": (f"{HOST}/keys", elsewhere / "keys"),
        "attestations": (f"{HOST}/attestations", elsewhere / "attestations"),
        "file": (f"{HOST}/keys/a.intoto.jsonl", target),
    }
    name, to = links[laid]
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).symlink_to(to)
    folder = EvidenceFolder(str(directory), URL)
    with pytest.raises(ByokError, match="cannot be"):
        folder.keep_attestation("{}") if laid == "attestations" else folder.add_receipts("a", "b")
    if laid != "attestations":
        with pytest.raises(ByokError, match="cannot be read"):
            folder.receipts("a")
    assert target.read_text() == "theirs\n"
    assert list((elsewhere / "attestations").iterdir()) == []


def test_what_is_no_file_is_not_waited_for(folder: EvidenceFolder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / HOST / "keys/a.intoto.jsonl")
    for use in (lambda: folder.receipts("a"), lambda: folder.add_receipts("a", "b")):
        with pytest.raises(ByokError, match="is no regular file"):
            use()


def test_a_file_that_is_of_no_key_is_none(folder: EvidenceFolder, tmp_path: Path) -> None:
    folder.add_receipts("a", "one")
    for name in ("Copy of a", ".a", "\udcff", "a" * 128):
        (tmp_path / HOST / f"keys/{name}.intoto.jsonl").touch()
    assert folder.names() == ["a"]


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_folder, "_ADMINISTRATORS", "/nowhere")
    monkeypatch.setattr(evidence_folder, "_OWN", "~nobody-has-this-name/receipts")
    with pytest.raises(ByokError, match="has no home directory"):
        EvidenceFolder(None, URL)


def test_a_name_is_no_path(folder: EvidenceFolder) -> None:
    for name in ("../a", "a/b", "", "a.b"):
        with pytest.raises(ByokError):
            folder.add_receipts(name, "line")


def test_what_is_too_big_is_neither_written_nor_read(
    folder: EvidenceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_folder, "MOST_OF_A_LINE", 10)
    monkeypatch.setattr(evidence_folder, "MOST_OF_A_FILE", 20)
    for line in ("12345678901", "a\nb", ""):
        with pytest.raises(ByokError, match="no line of at most 10 bytes"):
            folder.add_receipts("a", line)
    folder.add_receipts("a", "1234567890")
    with pytest.raises(ByokError, match="would have more"):
        folder.add_receipts("a", "1234567890")
    assert folder.receipts("a") == Lines(("1234567890",))
    monkeypatch.setattr(evidence_folder, "MOST_OF_A_FILE", 10)
    with pytest.raises(ByokError, match="would have more"):
        folder.receipts("a")


def test_the_default_is_made_and_what_is_named_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(evidence_folder, "_ADMINISTRATORS", str(tmp_path / "var"))
    own = tmp_path / ".local/share/keyferry/receipts"
    assert default_directory() == str(own)
    EvidenceFolder(None, URL).prepare()
    assert mode(own) == 0o700
    (tmp_path / "var").mkdir()
    assert default_directory() == str(tmp_path / "var")
    with pytest.raises(ByokError, match="does not exist or cannot be written"):
        EvidenceFolder(str(tmp_path / "none"), URL).prepare()


def test_what_cannot_be_made_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / HOST).write_text("a file")
    with pytest.raises(ByokError, match="cannot be made or opened"):
        EvidenceFolder(str(tmp_path), URL).prepare()
