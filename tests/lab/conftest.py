# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab for all tests of the lab, each test in vaults of its own."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.identity import ClientSecretCredential

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the package `lab` lies in the repository's root
API_VERSION = "7.6"
API = {"api-version": API_VERSION}


def run_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


class Lab:
    """A running lab, by its lab.json."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / "lab.json").read_text())

    @functools.lru_cache(maxsize=64)  # noqa: B019 (there is one lab)
    def credential(self, client: str = "operator", **changes: str) -> ClientSecretCredential:
        facts = self.facts["clients"][client]
        values = {
            "tenant_id": self.facts["tenant"],
            "client_id": facts["client_id"],
            "client_secret": Path(facts["secret_file"]).read_text(),
        }
        return ClientSecretCredential(**(values | changes))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the control endpoint, which is no host of the lab: not through the proxy."""
        control = self.facts["control"]
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {control['key']}"}
            response = session.request(
                method, control["url"] + path, json=body, headers=headers, timeout=30
            )
        assert response.ok, response.text
        return response.json() if response.content else None


class Vault:
    """A vault asked by plain requests, with the token of one of the lab's clients."""

    def __init__(
        self, lab: Lab, host: str, session: requests.Session, token: Callable[[str, str], str]
    ) -> None:
        self.lab, self.host, self.url = lab, host, f"https://{host}"
        self._session, self._token = session, token

    @property
    def resource(self) -> str:
        return "https://" + self.host.partition(".")[2]

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        client: str = "operator",
        api_version: str | None = API_VERSION,
        **query: Any,
    ) -> requests.Response:
        """Ask as a client, or without a token where `client` is empty."""
        headers = {"x-ms-client-request-id": "own-id"}
        if client:
            headers["Authorization"] = f"Bearer {self._token(client, self.resource)}"
        url = path if path.startswith("https:") else self.url + path
        if "api-version=" not in url:  # as SDKs do: a link to a next page gets what it lacks
            query["api-version"] = api_version
        return self._session.request(
            method, url, params=query, json=body, headers=headers, timeout=30
        )

    def do(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        response = self.ask(method, path, body, **query)
        assert response.ok, response.text
        return response.json() if response.content else None

    def set(self, **properties: Any) -> None:
        self.lab.control("PUT", f"/vaults/{self.host}", properties)

    def kek(self, size: int = 2048, **attributes: int) -> dict[str, Any]:
        body = {"kty": "RSA-HSM", "key_size": size, "key_ops": ["import"], "attributes": attributes}
        key: dict[str, Any] = self.do("POST", "/keys/kek/create", body)["key"]
        return key

    def native(self, name: str, **body: Any) -> dict[str, Any]:
        """Make a key as somebody else, without a rate limit."""
        bundle: dict[str, Any] = self.lab.control(
            "POST", f"/keys/{self.host}/{name}", {"kty": "EC-HSM"} | body
        )
        return bundle

    def answers(self, operation: str) -> list[dict[str, Any]]:
        """What this vault answered to an operation."""
        answers = self.lab.control("GET", "/requests")
        return [
            each
            for each in answers
            if each["vault"] == self.host and each["operation"] == operation
        ]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A strict lab, entered by this process's own environment as any client enters it."""
    folder = tmp_path_factory.mktemp("strict") / "lab"
    started = run_lab("start", "--dir", str(folder), "--port", "0", "--delete-delay", "0")
    assert started.returncode == 0, started.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name, value in json.loads(
            run_lab("env", "--dir", str(folder), "--json").stdout
        ).items():
            patch.setenv(name, value)
        yield Lab(folder)
    run_lab("stop", "--dir", str(folder))


@pytest.fixture(scope="session")
def ask_token(lab: Lab) -> Callable[[str, str], str]:
    """Get a client's token for a resource, once."""
    tokens: dict[tuple[str, str], str] = {}

    def token(client: str, resource: str) -> str:
        if (client, resource) not in tokens:
            tokens[client, resource] = (
                lab.credential(client).get_token(f"{resource}/.default").token
            )
        return tokens[client, resource]

    return token


@pytest.fixture(scope="session")
def new_vault(lab: Lab, ask_token: Callable[[str, str], str]) -> Iterator[Callable[[str], Vault]]:
    numbers = itertools.count(1)
    with requests.Session() as session:
        yield lambda domain: Vault(
            lab, f"keyferry-lab-t{next(numbers)}.{domain}", session, ask_token
        )


@pytest.fixture
def vault(new_vault: Callable[[str], Vault]) -> Vault:
    """A Premium vault that no other test uses."""
    return new_vault("vault.azure.net")


@pytest.fixture
def hsm(new_vault: Callable[[str], Vault]) -> Vault:
    """A Managed HSM that no other test uses."""
    return new_vault("managedhsm.azure.net")


@pytest.fixture
def clock(lab: Lab) -> Iterator[Callable[[float], None]]:
    """Shift the time of the vaults by seconds from now."""
    yield lambda seconds: lab.control("POST", "/clock", {"offset": seconds})
    lab.control("POST", "/clock", {"offset": 0})


@pytest.fixture
def fault(lab: Lab) -> Iterator[Callable[..., None]]:
    """Order a fault."""
    yield lambda **members: lab.control("POST", "/faults", members)
    lab.control("DELETE", "/faults")


@pytest.fixture(scope="session", autouse=True)
def outside_of_any_lab() -> Iterator[None]:
    """Do not inherit a lab that the caller's shell is in."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        yield
