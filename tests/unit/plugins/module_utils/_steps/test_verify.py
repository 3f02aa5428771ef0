# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifying from files, and the plain command where there is no Ansible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._steps.verify import verify
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    POOL,
    TOKEN,
    VAULT,
    Made,
    small,
    trust_files,
)

ROOT = Path(__file__).resolve().parents[5]


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def made() -> Made:
    return small()


@pytest.fixture
def receipts(tmp_path: Path, made: Made) -> Path:
    return put(tmp_path / "receipts", made.files())


@pytest.fixture
def trusted(tmp_path: Path, made: Made) -> Path:
    heads = {host: vars(made.head(host)) for host in (POOL, VAULT)}
    return put(
        tmp_path / "trust",
        {
            **trust_files(),
            "heads.json": json.dumps(heads).encode(),
            "allowed_signers": b"",
            ".gitignore": b"",
        },
    )


def test_a_folder_is_read_and_judged(receipts: Path, trusted: Path, made: Made) -> None:
    assert verify(str(receipts), str(trusted)).verdict == "whole"
    (trusted / "heads.json").unlink()
    heads = [f"{host}={made.head(host).number}:{made.head(host).sha256}" for host in (POOL, VAULT)]
    assert verify(str(receipts), str(trusted), heads=heads[:1]).exit == 1
    assert verify(str(receipts), str(trusted), heads=heads).verdict == "whole"


def test_a_link_in_the_place_of_a_file_is_no_file(receipts: Path, trusted: Path) -> None:
    file = receipts / POOL / "keys/web.intoto.jsonl"
    shutil.move(file, receipts.parent / "web")
    file.symlink_to(receipts.parent / "web")
    found = verify(str(receipts), str(trusted))
    assert {each.code for each in found.problems} >= {"strange_file", "lost_receipt"}


@pytest.mark.parametrize(
    ("option", "says"), [("listings", "listing"), ("vaults", "export of vaults")]
)
def test_an_input_that_is_not_there_is_told(
    receipts: Path, trusted: Path, option: str, says: str
) -> None:
    with pytest.raises(ByokError, match=f"The {says} /nowhere is not there") as caught:
        verify(str(receipts), str(trusted), **{option: ["/nowhere"]})
    assert caught.value.reason == "not_found"


# The plain command


def only_cryptography(folder: Path) -> Path:
    """A folder of packages with cryptography and what it needs, and nothing else."""
    packages = folder / "packages"
    packages.mkdir()
    for name in ("cryptography", "cffi", "_cffi_backend", "typing_extensions"):
        spec = find_spec(name)
        if spec and spec.origin:
            origin = Path(spec.origin)
            found = origin.parent if origin.name == "__init__.py" else origin
            (packages / found.name).symlink_to(found)
    return packages


def run(packages: Path, command: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return subprocess.run(
        [sys.executable, "-S", command, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = only_cryptography(tmp_path)
    probe = "import sys, importlib.util as u; sys.exit(any(map(u.find_spec, ('ansible', 'yaml'))))"
    (folder / "probe.py").write_text(probe)
    assert run(folder, folder / "probe.py").returncode == 0
    return folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The collection as it is installed, in a folder that has another name."""
    collection = tmp_path / "anywhere/keyferry-azure"
    shutil.copytree(ROOT / "plugins", collection / "plugins")
    shutil.copytree(ROOT / "extensions", collection / "extensions")
    return collection / "extensions/keyferry_verify.py"


def test_the_command_needs_no_ansible_and_its_exit_code_is_the_verdict(
    receipts: Path, trusted: Path, packages: Path, installed: Path
) -> None:
    out = receipts.parent / "out.json"
    for command in (ROOT / "extensions/keyferry_verify.py", installed):
        whole = run(packages, command, receipts, "--trust", trusted, "--json", out)
        assert whole.stderr == ""
        assert (whole.returncode, whole.stdout.splitlines()[0]) == (
            0,
            "whole: 4 keys (0 broken, 0 incomplete, 4 whole)",
        )
        assert Verification.from_dict(json.loads(out.read_text())).verdict == "whole"
    (receipts / "x").touch()
    assert run(packages, installed, receipts, "--trust", trusted).returncode == 1
    (receipts / VAULT / "runs.intoto.jsonl").unlink()
    broken = run(packages, installed, receipts, "--trust", trusted)
    assert broken.returncode == 2
    assert broken.stdout.startswith("broken: ")


def test_what_cannot_be_judged_is_no_verdict(
    receipts: Path, trusted: Path, packages: Path, installed: Path
) -> None:
    for arguments, says in (
        ([receipts], "required: --trust"),
        (["/nowhere", "--trust", trusted], "The receipt folder /nowhere cannot be read"),
        ([receipts, "--trust", trusted, "--head", "x"], "no head of a chain"),
        ([receipts, "--trust", trusted, "--json", "/nowhere/x"], "cannot be written"),
        ([receipts, "--trust", trusted, "--listing", trusted / "heads.json"], "no listing"),
    ):
        told = run(packages, installed, *arguments)
        assert (told.returncode, told.stdout) == (3, "")
        assert says in told.stderr
        assert "Traceback" not in told.stderr


def test_a_host_without_cryptography_is_told_so(
    receipts: Path, trusted: Path, tmp_path: Path, installed: Path
) -> None:
    told = run(tmp_path, installed, receipts, "--trust", trusted)
    assert told.returncode == 3
    assert "cryptography cannot be imported" in told.stderr


def test_openssl_accepts_a_line_of_the_folder_by_the_three_lines_of_the_docs(
    receipts: Path, tmp_path: Path
) -> None:
    """docs/verify.md has them for whoever wants no code of ours."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    text = (ROOT / "docs/verify.md").read_text()
    script = text.partition("```shell\n# one line by openssl\n")[2].partition("```")[0]
    assert "openssl dgst" in script
    (tmp_path / "key.pem").write_text(TOKEN.pem)
    line = (receipts / POOL / "keys/web.intoto.jsonl").read_text().splitlines()[0]

    def openssl(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "line.json").write_text(text)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert openssl(line).stdout == "Verified OK\n"
    changed = line.replace('"payload":"e', '"payload":"f', 1)
    assert openssl(changed).stdout == "Verification failure\n"
