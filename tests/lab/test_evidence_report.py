# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/evidence.yml, and its page in a real browser where one is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report import files_of
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    TOKEN,
    TOKENS,
    VAULT,
    by,
    generation,
    named,
    small,
    trust_files,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.verifications import (  # noqa: E501
    VAULTS,
    Transfer,
    key_of,
    vault_of,
    verification_of,
)

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)

#: What Ansible would evaluate, if a text of others were no data
TEMPLATE = "{{ 7 * 191 }}"

#: What a browser would load and run, if a page let it
ACTIVE = (
    '"><img src="http://elsewhere.test/x"><script>console.error("ran")</script>'
    '<style>@import "http://elsewhere.test/y"</style>'
)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Receipts, what is trusted, and a directory for the report: the playbook's variables."""
    made, key = small(), replace(TOKENS, name="zz", generation=generation(9))
    wrapped = made.wrap(VAULT, key, token__label=TEMPLATE)
    statements = (wrapped, made.bring(VAULT, key, wrapped))
    made.keep(VAULT, key.name, *(by(each, TOKEN) for each in statements))
    kinds = zip(("wrapped", "imported"), statements, strict=True)
    made.run(VAULT, [named(key, kind, each) for kind, each in kinds])
    for folder, files in (("receipts", made.files()), ("trust", trust_files())):
        for path, content in files.items():
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_bytes(content)
    (tmp_path / "report").mkdir()
    return {
        "byok_receipt_directory": str(tmp_path / "receipts"),
        "byok_trust_directory": str(tmp_path / "trust"),
        "byok_evidence_report_directory": str(tmp_path / "report"),
    }


def playbook(
    variables: dict[str, str], *options: str, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, ROOT / "playbooks/evidence.yml", "-e", json.dumps(variables), *options],
        cwd=folder,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_playbook_writes_the_report_also_of_broken_evidence(folders: dict[str, str]) -> None:
    report = Path(folders["byok_evidence_report_directory"])
    foreseen = playbook(folders, "--check", "--diff")
    assert foreseen.returncode == 0, foreseen.stdout
    assert "changed=1" in foreseen.stdout
    assert "+vault,key,key_verdict" in foreseen.stdout
    assert "<html" not in foreseen.stdout
    assert not list(report.iterdir())

    written = playbook(folders)
    assert written.returncode == 0, written.stdout
    assert f"{report}/evidence.html" in written.stdout
    assert "Evidence of 5 keys in 2 vaults" in (report / "evidence.html").read_text()
    rows = json.loads((report / "evidence.json").read_text())["rows"]
    assert [row["key"] for row in rows] == ["Payments", "web", "web", "database", "tokens", "zz"]
    assert (report / "evidence.csv").read_bytes().count(b"\r\n") == 7
    assert [TEMPLATE in path.read_text() for path in report.iterdir()] == [True] * 3
    assert {path.stat().st_mode & 0o777 for path in report.iterdir()} == {0o600}

    again = playbook(folders)
    assert "ok: [localhost] => (item=evidence.csv)" in again.stdout

    (Path(folders["byok_receipt_directory"]) / VAULT / "keys/tokens.intoto.jsonl").unlink()
    broken = playbook(folders)
    assert broken.returncode == 0, broken.stdout
    assert "broken: " in broken.stdout
    assert "The evidence is broken" in (report / "evidence.html").read_text()


def test_relative_paths_are_those_of_the_user(folders: dict[str, str], tmp_path: Path) -> None:
    variables = {name: str(Path(path).relative_to(tmp_path)) for name, path in folders.items()}
    written = playbook(variables, folder=tmp_path)
    assert written.returncode == 0, written.stdout
    assert (tmp_path / "report/evidence.html").is_file()
    assert f"{tmp_path}/report/evidence.html" in written.stdout


def test_the_playbook_asks_for_what_is_not_there(folders: dict[str, str]) -> None:
    nowhere = {**folders, "byok_evidence_report_directory": "/nowhere/at/all"}
    told = " ".join(playbook(nowhere).stdout.split())
    assert "/nowhere/at/all is not a directory. Create it" in told
    del nowhere["byok_evidence_report_directory"]
    told = " ".join(playbook(nowhere).stdout.split())
    assert "byok_evidence_report_directory is not set" in told


def test_the_plain_command_writes_the_page(folders: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    command = [
        *(sys.executable, "extensions/keyferry_verify.py", folders["byok_receipt_directory"]),
        *("--trust", folders["byok_trust_directory"], "--html", str(page)),
    ]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert "Evidence of 5 keys in 2 vaults" in page.read_text()


class Browser:
    """Chromium without a window, whose every request goes to a proxy that only counts them."""

    def __init__(self, program: str, profile: Path) -> None:
        self.hosts: list[str] = []
        hosts = self.hosts

        class Proxy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hosts.append(urlsplit(self.path).hostname or self.path.partition(":")[0])
                self.send_error(404)

            do_CONNECT = do_POST = do_GET

            def log_message(self, *_arguments: object) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--enable-logging=stderr", "--timeout=10000", f"--user-data-dir={profile}"),
            f"--proxy-server=http://127.0.0.1:{self.server.server_port}",
            "--proxy-bypass-list=<-loopback>",
        ]

    def open(self, page: Path, *options: str) -> tuple[str, list[str], set[str]]:
        """Return what it prints, its console's lines, and the hosts that the page asked."""
        self.hosts.clear()
        done = subprocess.run(
            [*self.command, *options, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        # The browser itself asks its maker for the time and for updates.
        makers = (".google.com", ".googleapis.com", ".gvt1.com")
        return done.stdout, console, {host for host in self.hosts if not host.endswith(makers)}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    browser = Browser(CHROMIUM, tmp_path / "profile")
    yield browser
    browser.server.shutdown()
    browser.server.server_close()


def test_a_browser_shows_the_page_without_a_request_and_without_an_error(
    browser: Browser, tmp_path: Path
) -> None:
    control = tmp_path / "control.html"
    control.write_text(f'<p class="{ACTIVE}')
    _shown, console, hosts = browser.open(control, "--dump-dom")
    assert hosts == {"elsewhere.test"}
    assert ["ran" in line for line in console] == [True]

    transfer = Transfer(VAULTS[0], ACTIVE, label=ACTIVE, tags={ACTIVE: ACTIVE})
    key = key_of(ACTIVE, transfer.judged(told=ACTIVE, verdict="incomplete"))
    page = tmp_path / "evidence.html"
    files = files_of(verification_of(vault_of(VAULTS[0], key)))
    page.write_text(files["evidence.html"], encoding="utf-8")
    shown, console, hosts = browser.open(page, "--dump-dom")
    assert (console, hosts) == ([], set())
    assert shown.count("<article") == 1
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown

    paper = tmp_path / "evidence.pdf"
    _shown, console, hosts = browser.open(page, f"--print-to-pdf={paper}")
    assert (console, hosts) == ([], set())
    assert paper.read_bytes().startswith(b"%PDF")
