# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What really leaves this host, and what may come back: Microsoft's client and credentials as they
are, above a network that is answered here.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault import (
    client,
    credentials,
    transport,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import (
    Uncertain,
    Vault,
    open_vault,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    AzureError,
    NoToken,
    UnreadableAnswer,
    VaultUnavailable,
)
from azure.core.pipeline.transport import RequestsTransport

TENANT = "11111111-1111-1111-1111-111111111111"
OTHER_TENANT = "22222222-2222-2222-2222-222222222222"
DOMAIN = "contoso.onmicrosoft.com"
OPTIONS: dict[str, t.Any] = {
    "cloud_environment": "AzureCloud",
    "cloud": None,
    "api_version": None,
    "auth_source": "env",
    "client_id": "33333333-3333-3333-3333-333333333333",
    "secret": "s",
    "secret_file": None,
    "tenant": TENANT,
    "x509_certificate_path": None,
    "federated_token_file": None,
    "concurrency": 8,
    "max_rate": None,
    "settle_time": 60,
    "throttle_timeout": 100,
}
BUNDLE = {"key": {"kid": "https://x/keys/k/1", "kty": "oct-HSM"}, "attributes": {"enabled": True}}

#: Microsoft's client remembers the challenge of a host for the whole process
_numbers = itertools.count()


@dataclass
class Answer:
    status: int = 200
    body: t.Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def to_urllib3(self, method: str) -> urllib3.HTTPResponse:
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return urllib3.HTTPResponse(
            io.BytesIO(raw),
            {"Content-Type": "application/json", **self.headers},
            self.status,
            preload_content=False,
            decode_content=False,
            request_method=method,
        )


@dataclass(frozen=True)
class Sent:
    host: str
    method: str
    url: str
    headers: t.Mapping[str, str]
    body: str

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query)


class Network:
    """Takes every request of this process, and answers what it was told.

    :ivar answers: of the vault, in turn; the last one for ever
    :ivar entra: of Entra ID's token endpoint, in turn; then a token
    """

    def __init__(self) -> None:
        self.host = f"contoso{next(_numbers)}.vault.azure.net"
        self.tenant = TENANT
        self.resource = "https://vault.azure.net"
        self.sent: list[Sent] = []
        self.waited: list[float] = []
        self.answers: list[Answer] = []
        self.entra: list[Answer] = []

    def urlopen(
        self, pool: t.Any, method: str, url: str, body: t.Any = None, **options: t.Any
    ) -> urllib3.HTTPResponse:
        assert (pool.scheme, pool.port) == ("https", 443)
        text = (body or b"").decode() if isinstance(body, bytes | None) else body
        request = Sent(pool.host, method, url, dict(options["headers"]), text)
        self.sent.append(request)
        if request.host == self.host:
            return self._of_vault(request).to_urllib3(method)
        assert request.host.startswith("login."), f"{request.host} was asked"
        return self._of_entra(request).to_urllib3(method)

    def _of_vault(self, request: Sent) -> Answer:
        if "Authorization" not in request.headers:
            authority = f"https://login.microsoftonline.com/{self.tenant}"
            challenge = f'Bearer authorization="{authority}", resource="{self.resource}"'
            return Answer(401, headers={"WWW-Authenticate": challenge})
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _of_entra(self, request: Sent) -> Answer:
        base = f"https://{request.host}/{request.url.split('/')[1]}"
        if request.method == "GET":
            ends = ("token", "authorize")
            found = {f"{end if end == 'token' else 'authorization'}_endpoint": f"{base}/{end}"
                     for end in ends}  # fmt: skip
            return Answer(200, {**found, "issuer": f"{base}/v2.0"})
        if self.entra:
            return self.entra.pop(0)
        return Answer(200, {"token_type": "Bearer", "expires_in": 3600, "access_token": "t"})

    @property
    def to_vault(self) -> list[Sent]:
        """What the vault got with a token."""
        return [
            request
            for request in self.sent
            if request.host == self.host and "Authorization" in request.headers
        ]

    @property
    def for_tokens(self) -> list[Sent]:
        return [
            request
            for request in self.sent
            if request.host.startswith("login.") and request.method == "POST"
        ]

    def open(self, warn: t.Callable[[str], None] | None = None, **options: t.Any) -> Vault:
        """Open the vault; its waits end at once."""
        url = f"https://{self.host}"
        vault = open_vault({**OPTIONS, "vault_url": url, **options}, warn)
        vault.sleep = self.waited.append
        return vault

    def read(self, **options: t.Any) -> t.Any:
        """Open the vault and read a key."""
        return read(self.open(**options))


def read(vault: Vault) -> t.Any:
    return vault.read("Reading the key k", lambda **options: vault.client.get_key("k", **options))


def listed(vault: Vault) -> list[t.Any]:
    return vault.read(
        "Listing the keys",
        lambda **options: list(vault.client.list_properties_of_keys(**options)),
    )


def bring(vault: Vault, landed: t.Callable[[], t.Any] = lambda: None) -> t.Any:
    """Import a package."""
    return vault.write(
        "Importing the key k",
        lambda **options: vault.import_package("k", KeySpec("oct", 256), (), "{}", **options),
        landed,
    )


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    for name in ("https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    made = Network()

    def urlopen(pool: t.Any, *arguments: t.Any, **options: t.Any) -> urllib3.HTTPResponse:
        return made.urlopen(pool, *arguments, **options)

    monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", urlopen)
    monkeypatch.setattr(
        credentials,
        "login_transport",
        lambda longest: transport.login_transport(longest, made.waited.append),
    )
    return made


def refused_version(asked: str, latest: str | None) -> Answer:
    """The recorded sentence of a cloud that lags behind."""
    message = f"The specified version ({asked}) is not recognized."
    if latest:
        message += f" Consider using the latest supported version ({latest})."
    return Answer(400, {"error": {"code": "BadParameter", "message": message}})


# To the vault alone


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["https://evil.example/x", "https://other.vault.azure.net/x", ""])
def test_a_package_follows_no_redirect(network: Network, status: int, place: str) -> None:
    network.answers = [Answer(status, headers={"Location": place or f"https://{network.host}/x"})]
    with pytest.raises(VaultUnavailable, match=f"answered {status}: it was sent to https://.*/x"):
        bring(network.open())
    assert len(network.to_vault) == 1
    assert all("evil" not in request.host for request in network.sent)


def test_nor_does_what_the_client_has_no_method_for(network: Network) -> None:
    network.answers = [Answer(302, {"value": "AA"}, {"Location": "https://evil.example/x"})]
    vault = network.open()
    with pytest.raises(VaultUnavailable, match=r"answered 302: it was sent to https://evil\.ex"):
        vault.read("Signing", lambda **options: vault.request("POST", "/keys/k/1/sign", **options))


@pytest.mark.parametrize(
    "authority",
    [
        "https://other.vault.azure.net",
        "https://HOST.evil.example",
        "https://HOST:444",
        "https://HOST@evil.example",
        "https://evil.example\\@HOST",
        "http://HOST",
        "https://user@HOST",
    ],
)
def test_a_next_page_of_another_host_is_refused(network: Network, authority: str) -> None:
    link = f"{authority.replace('HOST', network.host)}/keys?$skiptoken=x"
    network.answers = [Answer(200, {"value": [], "nextLink": link})]
    vault = network.open()
    with pytest.raises(AzureError):
        listed(vault)
    assert {request.host for request in network.sent} == {network.host, "login.microsoftonline.com"}
    assert all("$skiptoken" not in request.query for request in network.to_vault)


def test_so_it_is_where_another_vault_of_this_process_is_known(network: Network) -> None:
    """Its challenge is remembered, so that Microsoft's client adds a token at once."""
    network.answers = [Answer(200, BUNDLE)]
    network.read()
    first, network.host = network.host, f"contoso{next(_numbers)}.vault.azure.net"
    network.answers = [Answer(200, {"value": [], "nextLink": f"https://{first}/keys"})]
    network.sent.clear()
    with pytest.raises(UnreadableAnswer, match=f"leads away from the vault, to https://{first}"):
        listed(network.open())
    assert first not in {request.host for request in network.sent}


@pytest.mark.parametrize("port", ["", ":443"])
def test_a_next_page_of_the_vault_is_read(network: Network, port: str) -> None:
    def page(name: str, link: str | None) -> Answer:
        return Answer(200, {"value": [{"kid": f"https://x/keys/{name}"}], "nextLink": link})

    link = f"https://{network.host}{port}/keys?$skiptoken=x"
    network.answers = [page("a", link), page("b", None)]
    assert [key.name for key in listed(network.open())] == ["a", "b"]
    assert [request.query.get("$skiptoken") for request in network.to_vault] == [None, ["x"]]


# Bounded


def test_pages_have_an_end(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MOST_PAGES", 5)
    network.answers = [Answer(200, {"value": [], "nextLink": f"https://{network.host}/keys"})]
    with pytest.raises(UnreadableAnswer, match="it has more than 5 pages"):
        listed(network.open())
    assert len(network.to_vault) == 6


@pytest.mark.parametrize("packed", [True, False])
def test_an_answer_has_a_bounded_size_when_it_is_unpacked(network: Network, packed: bool) -> None:
    blanks = b" " * (64 * 2**20)
    body = gzip.compress(blanks) if packed else blanks
    headers = {"Content-Encoding": "gzip"} if packed else {}
    network.answers = [Answer(200, body, headers)]
    with pytest.raises(UnreadableAnswer, match=r"it has more than \d+ bytes"):
        network.read()


def test_so_have_all_answers_of_a_run(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST_BYTES_OF_A_RUN", 1000)
    network.answers = [Answer(200, BUNDLE)]
    vault = network.open()
    for _again in range(5):
        read(vault)
    network.answers = [Answer(200, {**BUNDLE, "tags": {"a": "x" * 1000}})]
    with pytest.raises(UnreadableAnswer, match="in this run"):
        read(vault)


def test_an_import_whose_answer_is_too_long_is_never_sent_again(network: Network) -> None:
    network.answers = [Answer(200, b" " * (5 * 2**20))]
    with pytest.raises(Uncertain):
        bring(network.open())
    assert len(network.to_vault) == 1


# What cannot be read


CHARSETS = ["; charset=utf-8", "", "; charset=nonsense"]


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("status", [400, 401, 403, 429])
def test_an_error_that_is_no_text_is_the_vaults(
    network: Network, status: int, charset: str
) -> None:
    headers = {"Content-Type": f"application/json{charset}"}
    network.answers = [Answer(status, b'{"error": "\xff"}', headers)]
    with pytest.raises(AzureError, match=f"^Importing the key k failed: Azure answered {status}: "):
        bring(network.open())
    assert len(network.to_vault) == len(network.waited) + 1
    assert bool(network.waited) == (status == 429)


@pytest.mark.parametrize("charset", CHARSETS)
def test_an_answer_that_is_no_text_is_never_sent_again(network: Network, charset: str) -> None:
    headers = {"Content-Type": f"application/json{charset}"}
    network.answers = [Answer(200, b'{"key": "\xff"}', headers)]
    with pytest.raises(Uncertain):
        bring(network.open())
    assert len(network.to_vault) == 1
    network.answers = [Answer(503, b'{"error": "\xff"}', headers)]
    with pytest.raises(Uncertain, match="answered 503"):
        bring(network.open())


def test_text_of_others_does_not_reach_a_terminal_as_it_is(network: Network) -> None:
    error = {"code": "BadParameter", "message": "no\x1b[2J\u202e" + 5000 * "x"}
    network.answers = [Answer(400, {"error": error})]
    with pytest.raises(AzureError) as raised:
        network.read()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1500


# Which version of the API


def test_the_version_that_is_given_is_used_for_everything(network: Network) -> None:
    network.answers = [Answer(200, BUNDLE)]
    vault = network.open(api_version="7.5")
    read(vault)
    bring(vault)
    vault.read("x", lambda **options: vault.request("GET", "/keys/k/rotationpolicy", **options))
    assert {request.query["api-version"][0] for request in network.sent if request.query} == {"7.5"}


@pytest.mark.parametrize("given", [None, "2031-01-01"])
def test_a_run_goes_on_in_the_latest_version_that_the_vault_knows(
    network: Network, given: str | None
) -> None:
    warnings: list[str] = []
    network.answers = [refused_version("2031-01-01", "7.6"), Answer(200, BUNDLE)]
    vault = network.open(warnings.append, api_version=given)
    bring(vault)
    read(vault)
    versions = [request.query["api-version"][0] for request in network.to_vault]
    assert versions[1:] == ["7.6", "7.6"]
    assert versions[0] != "7.6"
    assert [request.method for request in network.to_vault] == ["PUT", "PUT", "GET"]
    (warning,) = warnings
    assert "does not know the api-version 2031-01-01" in warning
    assert "set api_version to 7.6" in warning
    assert network.waited == []


def test_threads_go_on_together_and_one_warns(network: Network) -> None:
    warnings: list[str] = []

    def answer(request: Sent) -> Answer:
        if "Authorization" not in request.headers:
            return Network._of_vault(network, request)
        known = request.query["api-version"] == ["7.6"]
        return Answer(200, BUNDLE) if known else refused_version("x", "7.6")

    network._of_vault = answer  # type: ignore[method-assign]
    network.answers = [Answer()]
    vault = network.open(warnings.append)
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda _number: read(vault), range(40)))) == 40
    assert len(warnings) == 1


@pytest.mark.parametrize("latest", [None, "7.6", "7.6&x=1"])
def test_a_vault_that_knows_no_version_is_one_error(network: Network, latest: str | None) -> None:
    network.answers = [refused_version("2031-01-01", latest)]
    with pytest.raises(VaultUnavailable, match=r"2031-01-01.*Set api_version") as error:
        bring(network.open())
    assert "byok_wrap" not in str(error.value)
    assert len(network.to_vault) == (2 if latest == "7.6" else 1)


@pytest.mark.parametrize(
    "given", ["7.6&x=1", "7 6", "x" * 41, "\N{DIGIT SEVEN}\N{CYRILLIC SMALL LETTER A}"]
)
def test_what_is_no_version_is_refused_before_anything_is_sent(
    network: Network, given: str
) -> None:
    with pytest.raises(ByokError, match="is no version of Key Vault's API"):
        network.open(api_version=given)


# Tokens


def test_a_credential_of_another_tenant_is_named_with_the_vaults(network: Network) -> None:
    network.tenant = OTHER_TENANT
    sentence = f"the vault is of tenant {OTHER_TENANT}, and the credential of tenant {TENANT}"
    with pytest.raises(VaultUnavailable, match=sentence) as error:
        network.read()
    assert error.value.reason == "forbidden"
    assert client.is_about_token(error.value.__cause__)
    assert network.for_tokens == []


@pytest.mark.parametrize("tenant", [TENANT, TENANT.upper(), DOMAIN])
def test_a_tenant_may_be_named_in_every_way(network: Network, tenant: str) -> None:
    network.answers = [Answer(200, BUNDLE)]
    network.read(tenant=tenant)
    (request,) = network.for_tokens
    assert request.url.startswith(f"/{tenant.lower()}/")


def test_the_vault_says_whether_a_domain_is_its_tenant(network: Network) -> None:
    message = (
        f"AKV10032: Invalid issuer. Expected one of https://sts.windows.net/{TENANT}/, "
        "https://sts.windows.net/f8cdef31-a31e-4b4a-93e4-5f571e91255a/, found "
        f"https://sts.windows.net/{OTHER_TENANT}/."
    )
    network.answers = [Answer(401, {"error": {"code": "Unauthorized", "message": message}})]
    sentence = f"the vault is of tenant {TENANT}, and the credential of tenant {OTHER_TENANT}"
    with pytest.raises(VaultUnavailable, match=f"answered 401 .*: {sentence}"):
        network.read(tenant=DOMAIN)


@pytest.mark.parametrize("way", ["secret", "federated_token_file"])
def test_entra_is_not_waited_for_longer_than_throttle_timeout(
    network: Network, way: str, tmp_path: t.Any
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("x")
    ways = {"secret": None, "federated_token_file": None, way: str(token_file)}
    busy = {"error": "temporarily_unavailable"}
    network.answers = [Answer(200, BUNDLE)]
    network.entra = [Answer(429, busy, {"Retry-After": "30"})]
    network.read(**ways)
    assert network.waited == [30]

    network.entra = [Answer(429, busy, {"Retry-After": "86400"})]
    with pytest.raises(VaultUnavailable, match="wait 86400 seconds, but throttle_tim") as error:
        network.read(**ways)
    assert (network.waited, error.value.reason) == ([30], "throttled")


def test_what_was_waited_counts_until_entra_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    answered = SimpleNamespace(status_code=200)
    monkeypatch.setattr(RequestsTransport, "send", lambda *_arguments, **_options: answered)
    patient = transport.login_transport(100, waited.append)
    for _token in range(3):
        patient.sleep(60)
        patient.send(None)
    patient.sleep(60)
    answered.status_code = 429
    patient.send(None)
    with pytest.raises(NoToken, match="wait 60 seconds, but throttle_timeout is 100"):
        patient.sleep(60)
    assert waited == [60] * 4


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_token_file_that_cannot_be_read_is_the_credentials(
    network: Network, content: bytes | None, tmp_path: t.Any
) -> None:
    token_file = tmp_path / "token"
    if content:
        token_file.write_bytes(content)
    with pytest.raises(VaultUnavailable, match=r"file cannot be read .*federated_token_file"):
        network.read(secret=None, federated_token_file=str(token_file))


# Clouds


@pytest.mark.parametrize("way", ["secret", "federated_token_file"])
@pytest.mark.parametrize(("name", "country"), [("AzureBleuCloud", "fr"), ("AzureDelosCloud", "de")])
def test_european_clouds_ask_nobody_else(
    network: Network, name: str, country: str, way: str, tmp_path: t.Any
) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("x")
    network.host = f"contoso{next(_numbers)}.managedhsm.sovcloud-api.{country}"
    network.resource = f"https://managedhsm.sovcloud-api.{country}"
    network.answers = [Answer(200, BUNDLE)]
    ways = {"secret": None, "federated_token_file": None, way: str(token_file)}
    network.read(cloud_environment=name, **ways)
    login = f"login.sovcloud-identity.{country}"
    assert {request.host for request in network.sent} == {network.host, login}


CLOUD = {
    "vault_suffix": "keys.contoso.example",
    "hsm_suffix": None,
    "login_host": "login.contoso.example",
    "resource": None,
}


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (None, "https://keys.contoso.example"),
        ("https://elsewhere.example/id", "https://elsewhere.example/id"),
        ("https://elsewhere.example/", "https://elsewhere.example"),
    ],
)
def test_a_declared_cloud(network: Network, declared: str | None, named: str) -> None:
    network.host = f"contoso{next(_numbers)}.keys.contoso.example"
    network.resource = named
    network.answers = [Answer(200, BUNDLE)]
    network.read(cloud={**CLOUD, "resource": declared})
    assert {request.host for request in network.sent} == {network.host, CLOUD["login_host"]}
    scope = parse_qs(network.for_tokens[0].body)["scope"][0]
    assert scope.split()[0] == f"{named}/.default"


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        (None, "https://elsewhere.example"),
        ("https://elsewhere.example", "https://keys.contoso.example"),
    ],
)
def test_no_token_for_another_resource(network: Network, declared: str | None, named: str) -> None:
    network.host = f"contoso{next(_numbers)}.keys.contoso.example"
    network.resource = named
    with pytest.raises(VaultUnavailable):
        network.read(cloud={**CLOUD, "resource": declared})
    assert network.for_tokens == []
