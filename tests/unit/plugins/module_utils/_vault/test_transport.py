# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What requests to a vault take from the environment."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import requests
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import open_vault

HOST = "contoso.vault.azure.net"
URL = f"https://{HOST}"
OPTIONS = {
    "vault_url": URL,
    "cloud_environment": "AzureCloud",
    "cloud": None,
    "api_version": None,
    "auth_source": "env",
    "client_id": "22222222-2222-2222-2222-222222222222",
    "secret": "s",
    "secret_file": None,
    "tenant": "11111111-1111-1111-1111-111111111111",
    "x509_certificate_path": None,
    "federated_token_file": None,
    "concurrency": 8,
    "max_rate": None,
    "settle_time": 60,
    "throttle_timeout": 100,
}


@pytest.fixture
def send(
    monkeypatch: pytest.MonkeyPatch,
) -> t.Callable[..., tuple[requests.PreparedRequest, dict[str, t.Any]]]:
    """Open a vault in an environment; return what the network gets when a key is read."""
    for name in ("https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def send_in(**environment: str) -> tuple[requests.PreparedRequest, dict[str, t.Any]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        seen: list[tuple[requests.PreparedRequest, dict[str, t.Any]]] = []

        def answer(
            adapter: requests.adapters.HTTPAdapter,
            request: requests.PreparedRequest,
            **options: t.Any,
        ) -> t.Any:
            seen.append((request, options))
            response = requests.Response()
            response.status_code = 200
            response.headers["Content-Type"] = "application/json"
            response._content = (
                b'{"key": {"kid": "https://contoso.vault.azure.net/keys/x/1", "kty": "oct-HSM"}}'
            )
            response.raw = type("Raw", (), {"enforce_content_length": True})()
            return response

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
        vault = open_vault(OPTIONS)
        vault.read("Reading", lambda **options: vault.client.get_key("x", **options))
        return seen[-1]

    return send_in


def test_without_a_word_of_the_environment_there_is_no_proxy_and_the_usual_authorities_count(
    send: t.Any,
) -> None:
    _request, options = send()
    assert (dict(options["proxies"]), options["verify"]) == ({}, True)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(send: t.Any, variable: str) -> None:
    _request, options = send(**{variable: "http://proxy.example:3128"})
    assert requests.utils.select_proxy(URL, options["proxies"]) == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("exception", "used"),
    [(HOST, False), (".azure.net", False), ("*", False), ("example.com", True)],
)
def test_a_vault_that_no_proxy_names_is_asked_directly(
    send: t.Any, exception: str, used: bool
) -> None:
    _request, options = send(HTTPS_PROXY="http://proxy.example:3128", NO_PROXY=exception)
    assert bool(requests.utils.select_proxy(URL, options["proxies"])) is used


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_of_the_environment_are_used(send: t.Any, variable: str) -> None:
    _request, options = send(**{variable: "/etc/ssl/company.pem"})
    assert options["verify"] == "/etc/ssl/company.pem"


def test_a_netrc_does_not_take_the_place_of_the_token(send: t.Any, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login somebody password secret\n")
    request, _options = send(NETRC=str(netrc))
    assert "Authorization" not in request.headers  # the first request asks for the challenge
