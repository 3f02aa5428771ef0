# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy opens tunnels to the lab's own hosts alone, and the control endpoint wants its key."""

from __future__ import annotations

import re
import socket
import ssl

import pytest
import requests
from conftest import Lab

HOSTS = [
    "example.org",
    "vault.azure.net",
    "contoso.vault.azure.net",
    "keyferry-lab-x.vault.example.org",
    "management.azure.com",
]


def connect(lab: Lab, target: str) -> tuple[bytes, socket.socket]:
    connection = socket.create_connection(("127.0.0.1", lab.facts["port"]), timeout=10)
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return connection.recv(4096), connection


@pytest.mark.parametrize(
    "target", [*(f"{host}:443" for host in HOSTS), "keyferry-lab-x.vault.azure.net:80"]
)
def test_other_hosts_are_refused(lab: Lab, target: str) -> None:
    answer, connection = connect(lab, target)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 403 This is the lab\r\n")
    assert b"keyferry-lab-" in answer
    assert b"python -m lab env --unset" in answer


def test_clients_show_why(lab: Lab) -> None:
    with pytest.raises(requests.exceptions.ProxyError, match="403 This is the lab"):
        requests.get("https://contoso.vault.azure.net/keys", timeout=10)


def test_plain_http_is_no_way_out(lab: Lab) -> None:
    response = requests.get("http://example.org/", proxies={"http": lab.facts["proxy"]}, timeout=10)
    assert (response.status_code, response.reason) == (403, "This is the lab")


def test_host_header_is_the_tunnels_host(lab: Lab) -> None:
    _status, connection = connect(lab, "keyferry-lab-x.vault.azure.net:443")
    context = ssl.create_default_context(cafile=lab.facts["ca"])
    with context.wrap_socket(
        connection, server_hostname="keyferry-lab-x.vault.azure.net"
    ) as tunnel:
        tunnel.sendall(
            b"GET /keys HTTP/1.1\r\nHost: keyferry-lab-y.vault.azure.net\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert tunnel.recv(4096).startswith(b"HTTP/1.1 421")


def test_nothing_but_the_labs_certificate(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError, match="certificate verify failed"):
        requests.get("https://keyferry-lab-x.vault.azure.net/keys", timeout=10)


@pytest.mark.parametrize("key", ["", "Bearer wrong"])
def test_control_wants_its_key(lab: Lab, key: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        url = lab.facts["control"]["url"] + "/requests"
        assert session.get(url, headers={"Authorization": key}, timeout=10).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/faults", {"operation": "get", "kind": "earthquake"}, "throttle, unavailable"),
        ("POST", "/faults", {"operation": "get", "kind": "stall", "minutes": 1}, "minutes"),
        ("PUT", "/vaults/keyferry-lab-x.vault.azure.net", {"retention": 7}, "retention"),
        ("PUT", "/vaults/keyferry-lab-x.vault.azure.net", {"retention_days": 6}, "7 to 90"),
        (
            "PUT",
            "/vaults/keyferry-lab-x.vault.azure.net",
            {"roles": {"nobody": ["got"]}},
            "names got, which is unknown",
        ),
        (
            "PUT",
            "/vaults/keyferry-lab-x.vault.azure.net",
            {"roles": {"nobody": ["got"]}},
            "Key Vault Reader, create, import",
        ),
        (
            "PUT",
            "/vaults/keyferry-lab-x.managedhsm.azure.net",
            {"roles": {"user": ["Key Vault Reader"]}},
            "Managed HSM Crypto",
        ),
        (
            "PUT",
            "/vaults/keyferry-lab-x.vault.azure.net",
            {"roles": {"root": []}},
            "Known are operator, user",
        ),
        ("PUT", "/vaults/keyferry-lab-x.vault.azure.net", {"roles": ["get"]}, "for each client"),
        (
            "PUT",
            "/vaults/keyferry-lab-x.vault.azure.net",
            {"roles": {"user": "get"}},
            "for each client",
        ),
        ("PUT", "/vaults/keyferry-lab-x.vault.azure.net", {"hsm_platform": 2}, "one of 1, 2"),
        (
            "PUT",
            "/vaults/keyferry-lab-x.vault.azure.net",
            {"latest_api_version": "8.0"},
            "one of 2016-10-01, 7.0",
        ),
        ("GET", "/vaults/contoso.vault.azure.net", None, "no vault of the lab"),
    ],
)
def test_control_explains_itself(
    lab: Lab, method: str, path: str, body: object, expected: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(expected)):
        lab.control(method, path, body)


def test_properties_of_a_vault(lab: Lab) -> None:
    path = "/vaults/keyferry-lab-properties.vault.azure.net"
    assert lab.control("GET", path)["hsm_platform"] == "2"
    lab.control("PUT", path, {"retention_days": 7})
    changed = lab.control("PUT", path, {"purge_protection": True})
    assert (changed["retention_days"], changed["purge_protection"]) == (7, True)


def test_requests_since(lab: Lab) -> None:
    count = len(lab.control("GET", "/requests"))
    requests.post(
        f"https://login.microsoftonline.com/{lab.facts['tenant']}/oauth2/v2.0/token", timeout=10
    )
    new = lab.control("GET", f"/requests?since={count}")
    assert [(each["n"], each["operation"], each["status"]) for each in new] == [
        (count + 1, "token", 403)
    ]
