# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in this process, against one SoftHSM token and vaults of one lab.

The lab's clock moves: years in seconds.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    HOST_OPTIONS,
    TOKEN_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core import clock as _clock
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.evidence_folder import (
    EvidenceFolder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Session
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import open_token
from ansible_collections.keyferry.azure.plugins.module_utils._vault import client as _client
from ansible_collections.keyferry.azure.tests.lifecycle import modules, role
from ansible_collections.keyferry.azure.tests.lifecycle.modules import Result, params_of, run
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Reaper, reaping

__all__ = ["Result", "run"]

ROOT = Path(__file__).parents[2]
DAY = 86400.0
Declare = Callable[..., Result]

#: What performs the steps of a run: a module in one task, or the role, which most users run
DRIVERS = ("byok_rotate", "role")

#: For tests, or files of them, that each driver has to pass
BOTH = pytest.mark.parametrize("driver", DRIVERS, indirect=True)
BY_ROLE = pytest.mark.parametrize("driver", ["role"], indirect=True)

#: What a run in the lab has to be told: SoftHSM leaves zeros behind keys, and a small KEK is quick
LAB_OPTIONS: Result = {"last_vault": True, "allow_trailing_zeros": True, "kek_size": 2048}


def run_lab(*arguments: str) -> str:
    command = [sys.executable, "-m", "lab", *arguments]
    return subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=True
    ).stdout


class Lab:
    """A running lab, and how to move its clock and order its faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / "lab.json").read_text())
        self.offset = 0.0

    def control(self, method: str, path: str, body: Any = None) -> Any:
        control = self.facts["control"]
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {control['key']}"}
            response = session.request(
                method, control["url"] + path, json=body, headers=headers, timeout=30
            )
        assert response.ok, response.text
        return response.json() if response.content else None

    def set_clock(self, offset: float) -> None:
        """Move all clocks: this host's as well, because a run refuses what is more than an hour
        from it.
        """
        self.set_azures_clock(offset)
        self.offset = offset
        shift_host_clock(offset)

    def set_azures_clock(self, offset: float) -> None:
        """Move the clock of the vaults and of Entra alone, so that their Date is wrong."""
        self.control("POST", "/clock", {"offset": offset})

    def forward(self, days: float = 0, hours: float = 0) -> None:
        self.set_clock(self.offset + days * DAY + hours * 3600)

    def as_client(self, name: str) -> dict[str, Any]:
        """The options by which a module works as another client."""
        client = self.facts["clients"][name]
        return {"client_id": client["client_id"], "secret": Path(client["secret_file"]).read_text()}

    def client(self, url: str) -> Any:
        """The SDK's client for a vault, to do what others do."""
        from azure.identity import ClientSecretCredential
        from azure.keyvault.keys import KeyClient

        tenant, client, secret = (
            os.environ[f"AZURE_{name}"] for name in ("TENANT", "CLIENT_ID", "SECRET")
        )
        return KeyClient(url, ClientSecretCredential(tenant, client, secret))

    @property
    def now(self) -> datetime:
        """The vaults' time."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.offset)


def shift_host_clock(offset: float) -> None:
    """Let this host's clock be so many seconds ahead of what it is, for the modules alone."""
    _clock._system_clock = lambda: time.time() + offset


class Vault:
    """A vault of the lab that no other test uses, and the modules with its options.

    :ivar driver: what rotates in it
    """

    def __init__(self, lab: Lab, host: str, driver: str = "byok_rotate") -> None:
        self.lab, self.host, self.url, self.driver = lab, host, f"https://{host}", driver
        self.options: dict[str, Any] = {}

    def run(self, module: str, check: bool = False, **options: Any) -> Result:
        """Run a module.

        A failure of all is raised as ByokError, those of single keys are in ``failures``.
        """
        return run(module, check, vault_url=self.url, **{**self.options, **options})

    def rotate(self, *keys: Result, check: bool = False, **options: Any) -> Result:
        """Rotate these keys, which go to no other vault unless the test says so."""
        return rotate(self.driver, {**self._options(), **options}, keys, check)

    def transfer(self, *keys: Result, check: bool = False, **options: Any) -> Result:
        """Bring these keys by the role; nothing is replaced."""
        return role.perform({**self._options(), "stage": "transfer", **options}, keys, check)

    def _options(self) -> Result:
        return {"vault_url": self.url, **LAB_OPTIONS, **self.options}

    def versions(self, key: Result) -> list[Result]:
        """All versions of a key, newest first, as byok_plan tells them."""
        return self.inventory(key)[key["name"]]

    def inventory(self, *keys: Result) -> dict[str, list[Result]]:
        """The same of many keys, by name."""
        in_token = run("byok_target_key", True, target_keys=list(keys))["target_keys"]
        read = run(
            "byok_plan",
            False,
            vault_url=self.url,
            declarations=list(keys),
            target_keys=in_token,
            all_versions=True,
        )
        return {each["name"]: each["versions"] for each in read["versions"]["target_keys"]}

    def generations(self, key: Result) -> list[Result]:
        """All generations of a key in the token, oldest first."""
        return generations(key)[key["name"]]

    def in_vault(self, key: Result) -> list[tuple[str, bool]]:
        """Of all versions of a key, newest first: the generation, and whether it is enabled."""
        return [(version["generation"], version["enabled"]) for version in self.versions(key)]

    def keks(self) -> list[str]:
        """The names of the KEKs of single runs that are there."""
        listed = self.lab.client(self.url).list_properties_of_keys()
        return [each.name for each in listed if each.name.startswith("keyferry-kek-")]

    def set(self, **properties: Any) -> None:
        self.lab.control("PUT", f"/vaults/{self.host}", properties)

    def native(self, key: Result) -> Result:
        """Make a version as somebody else, with material that Azure makes."""
        body = {"kty": f"{key['type']}-HSM", "key_size": key.get("size"), "crv": key.get("curve")}
        made: Result = self.lab.control("POST", f"/keys/{self.host}/{key['name']}", body)
        return made

    def stated(self, directory: Path, key: Result) -> list[tuple[str, Result]]:
        """The statements of a key in the evidence folder: their kinds, and what they say."""
        lines = EvidenceFolder(str(directory), self.url).receipts(key["name"])
        assert lines.torn == ""
        envelopes = (parse_envelope(line, "A line") for line in lines.whole)
        return [statements.read(envelope, "A line") for envelope in envelopes]

    def fault(self, **members: Any) -> None:
        self.lab.control("POST", "/faults", {"vault": self.host, **members})

    def answers(self, operation: str) -> list[Result]:
        answers = self.lab.control("GET", "/requests")
        return [
            each
            for each in answers
            if each["vault"] == self.host and each["operation"] == operation
        ]


def rotate(driver: str, options: Result, keys: Sequence[Result], check: bool = False) -> Result:
    """Rotate keys by a driver.

    A failure of all is raised as ByokError, those of single keys are in ``failures``.
    """
    if driver == "role":
        return role.perform(options, keys, check)
    return run(driver, check, rotations=list(keys), **options)


@contextmanager
def token_session() -> Iterator[Session]:
    """A session of the token, to do what others do there."""
    with open_token(params_of({**HOST_OPTIONS, **TOKEN_OPTIONS}, {})) as token:
        yield token.session


def generations(*keys: Result) -> dict[str, list[Result]]:
    """All generations of keys in the token, oldest first, by name."""
    return {
        each["name"]: each["generations"]
        for each in run("byok_target_key", True, target_keys=list(keys))["target_keys"]
    }


def only(result: Result) -> Result:
    """The one rotation of a run without failures."""
    assert result["failures"] == []
    (rotation,) = result["rotations"]
    return dict(rotation, changed=result["changed"])


def failure(result: Result) -> str:
    """What the one failure of a run says."""
    (failed,) = result["failures"]
    return str(failed["msg"])


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with a token, entered by this process's own environment as any client enters it."""
    folder = tmp_path_factory.mktemp("lifecycle") / "lab"
    options = (
        "--port",
        "0",
        "--delete-delay",
        "0",
        "--rate-factor",
        "1000",
        "--tolerate-trailing-zeros",
    )
    run_lab("start", "--dir", str(folder), *options)
    with pytest.MonkeyPatch.context() as patch:
        for name in [
            name for name in os.environ if name.startswith(("AZURE_", "BYOK_", "ANSIBLE_"))
        ]:
            patch.delenv(name)
        variables = json.loads(run_lab("env", "--dir", str(folder), "--json"))
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("AZURE_SECRET", Path(variables["AZURE_SECRET_FILE"]).read_text())
        patch.setattr(modules, "lock_directory", str(tmp_path_factory.mktemp("locks")))
        yield Lab(folder)
    run_lab("stop", "--dir", str(folder))


@pytest.fixture(autouse=True)
def _present(lab: Lab) -> Iterator[None]:
    """Every test begins now, and without faults."""
    yield
    lab.control("DELETE", "/faults")
    lab.set_clock(0)


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    """What rotates, unless a test is run for both drivers (``BOTH``)."""
    return str(getattr(request, "param", DRIVERS[0]))


@pytest.fixture
def new_vault(lab: Lab, _numbers: Iterator[int], driver: str) -> Callable[..., Vault]:
    """Name a vault that no other test uses."""

    def name_vault(domain: str = "vault.azure.net") -> Vault:
        return Vault(lab, f"keyferry-lab-l{next(_numbers)}.{domain}", driver)

    return name_vault


@pytest.fixture
def vault(new_vault: Callable[..., Vault]) -> Vault:
    return new_vault()


@pytest.fixture
def hsm(new_vault: Callable[..., Vault]) -> Vault:
    return new_vault("managedhsm.azure.net")


@pytest.fixture
def key(_numbers: Iterator[int]) -> Callable[..., Result]:
    """Declare a key that no other test uses: ``key(every="P90D")``."""

    def declare(type: str = "EC", **rotation: str) -> Result:
        shapes: dict[str, Result] = {
            "EC": {"curve": "P-256"},
            "RSA": {"size": 2048},
            "oct": {"size": 256},
        }
        return {"name": f"key-{next(_numbers)}", "type": type, **shapes[type], "rotation": rotation}

    return declare


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wait for nothing; returns what would have been waited, in seconds."""
    slept: list[float] = []
    monkeypatch.setattr(_client.Vault.__init__, "__defaults__", (slept.append,))
    return slept


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    with reaping() as reaper:
        yield reaper
