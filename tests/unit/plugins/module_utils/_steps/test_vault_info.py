# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._steps import vault_info as _vault_info
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import parse_address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Patience, Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    PERMISSIONS,
    WORK,
)
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ODataV4Format,
    ServiceRequestError,
)

VAULT, HSM = "https://contoso.vault.azure.net", "https://contoso.managedhsm.azure.net"
PROTECTED = {"recoveryLevel": "CustomizedRecoverable", "recoverableDays": 7, "hsmPlatform": "2"}
OPEN = {"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "hsmPlatform": "2"}
SOFTWARE = {**OPEN, "hsmPlatform": "0"}
ALL = list(WORK)
NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)

#: A real answer, and the owner's root in it
RECORDED = yaml.safe_load((Path(__file__).parents[1] / "_attestation/recorded.yml").read_text())
ATTESTATION = json.dumps(
    {
        member: "".join(RECORDED["azure"][0][member].split())
        for member in ("version", "certificatePemFile", "privateKeyAttestation")
    }
)
(OWNER_ROOT,) = parse_answer(ATTESTATION).shown_roots


def refusal(
    status: int, code: str, inner: str | None = None, message: str = "no"
) -> HttpResponseError:
    """What the SDK raises for a body of Key Vault."""
    error = HttpResponseError(message=message)
    error.status_code = status
    error.error = ODataV4Format(
        {"code": code, "message": message, **({"innererror": {"code": inner}} if inner else {})}
    )
    return error


NOT_FOUND = refusal(404, "KeyNotFound")
BY_RBAC = refusal(403, "Forbidden", "ForbiddenByRbac")
BY_POLICY = refusal(403, "Forbidden", "ForbiddenByPolicy")


class Service:
    """Lists keys with the given attributes.

    Answers all else that nothing is there, or as ``answers`` says by operation.
    """

    def __init__(
        self,
        *keys: dict[str, t.Any],
        ahead: timedelta = timedelta(),
        answers: dict[str, Exception] | None = None,
    ) -> None:
        self.keys, self.ahead, self.answers = keys, ahead, answers or {}
        self.attestation = ATTESTATION
        self.careless: str | None = None
        self.dated = True
        self.url = VAULT
        self.asked: list[tuple[str, str, t.Any]] = []

    def send_request(
        self, request: t.Any, raw_response_hook: t.Callable[[t.Any], None], **options: t.Any
    ) -> t.Any:
        self.asked.append((request.method, request.url, json.loads(request.content or "null")))
        if request.url.endswith("/attestation"):
            return self._attest(raw_response_hook)
        shape = re.sub("keyferry-probe-[0-9a-f]{16}", "{name}", request.url)
        operation = next(
            name
            for name, probe in _vault_info._PROBES.items()
            if probe[:2] == (request.method, shape)
        )
        error = self.answers.get(operation, self.answers.get("everything"))
        if error and not isinstance(error, HttpResponseError):
            raise error
        headers = {"Date": format_datetime(NOW + self.ahead, usegmt=True)} if self.dated else {}
        assert error is None or isinstance(error, HttpResponseError)
        if error is None and operation not in ("list", self.careless):
            error = NOT_FOUND
        status = (error.status_code or 401) if error else 200
        response = SimpleNamespace(headers=headers, status_code=status)
        raw_response_hook(SimpleNamespace(http_response=response))
        if error:
            raise error
        body: dict[str, t.Any] = {
            "value": [
                {"kid": f"{self.url}/keys/a", "attributes": attributes} for attributes in self.keys
            ]
        }
        return SimpleNamespace(status_code=200, json=lambda: body, raise_for_status=lambda: None)

    def _attest(self, hook: t.Callable[[t.Any], None]) -> t.Any:
        error = self.answers.get("attestation")
        status = error.status_code if isinstance(error, HttpResponseError) else 200
        hook(SimpleNamespace(http_response=SimpleNamespace(headers={}, status_code=status)))
        if error:
            raise error
        return SimpleNamespace(
            status_code=200, text=lambda: self.attestation, raise_for_status=lambda: None
        )


def look(
    monkeypatch: pytest.MonkeyPatch,
    service: Service,
    url: str = VAULT,
    check_mode: bool = False,
    entra: str | None = None,
    **options: t.Any,
) -> Outcome:
    clock = Clock(lambda: NOW, lambda: 0.0)
    clock.hear("entra", entra)
    service.url = url
    vault = Vault(
        parse_address(url, "AzureCloud"),
        service,
        Patience(0, 0),
        Pace(1, None),
        lambda seconds: None,
        clock=clock,
    )
    monkeypatch.setattr(_vault_info, "open_vault", lambda *_: vault)
    defaults = {
        "work": ["transfer"],
        "ephemeral_kek": True,
        "prove": False,
        "declarations": None,
        "list_keys": False,
    }
    outcome = Outcome()
    _vault_info.vault_info({**defaults, **options}, check_mode, outcome)
    return outcome


def test_every_permission_is_tried_by_a_request_that_cannot_do_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(OPEN)
    found = look(monkeypatch, service, work=ALL, prove=True)
    assert _vault_info._PROBES.keys() == PERMISSIONS.keys()
    assert [each["operation"] for each in found.result["vault"]["permissions"]] == list(PERMISSIONS)
    assert all(each["granted"] for each in found.result["vault"]["permissions"])
    assert (found.changes, found.warnings, found.result["vault"]["notes"]) == ([], [], [])
    names = {
        match[1]
        for match in (
            re.search("/(keyferry-probe-[0-9a-f]{16})(/|$)", url)
            for _how, url, _what in service.asked
        )
        if match
    }
    assert len(names) == 1
    for method, url, body in service.asked:
        assert names <= set(url.split("/")) or (method, url) == ("GET", "/keys?maxresults=25")
        if url.endswith("/create"):
            assert body == {"kty": "keyferry-probe"}
        if (method, url) == ("PUT", f"/keys/{min(names)}"):
            assert body == {"key": {"kty": "keyferry-probe"}}
    look(monkeypatch, service)
    assert names.isdisjoint(service.asked[-1][1].split("/"))


@pytest.mark.parametrize("url", [VAULT, HSM])
@pytest.mark.parametrize("operation", list(PERMISSIONS))
def test_a_permission_that_is_missing_is_named_alone(
    operation: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = look(
        monkeypatch, Service(OPEN, answers={operation: BY_RBAC}), url, work=ALL, prove=True
    )
    vault = outcome.result["vault"]
    refused = [each for each in vault["permissions"] if not each["granted"]]
    assert [each["operation"] for each in refused] == [operation]
    assert refused[0]["answer"] == "Azure answered 403 (ForbiddenByRbac): no"
    assert vault["missing"] == ([operation] if refused[0]["required"] else [])
    said = vault["problems"] if refused[0]["required"] else vault["notes"]
    assert any(
        f"the identity may not {PERMISSIONS[operation].does}" in each.replace("The", "the")
        for each in said
    )
    assert outcome.warnings == vault["problems"]


def test_roles_are_named_by_who_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: dict[str, Exception] = {"everything": BY_RBAC}
    vault = look(monkeypatch, Service(answers=refused), work=["transfer", "purge"]).result["vault"]
    assert len(vault["problems"]) == 1
    assert "Key Vault Crypto Officer" in vault["problems"][0]
    hsm = look(monkeypatch, Service(answers=refused), HSM, work=["transfer", "purge"]).result[
        "vault"
    ]
    assert len(hsm["problems"]) == 2
    assert re.search("import keys.*needed to transfer.*Managed HSM Crypto User", hsm["problems"][0])
    assert re.search(
        "may not read deleted keys, purge deleted keys.*needed to purge.*Crypto Officer",
        hsm["problems"][1],
    )
    keks = look(monkeypatch, Service(answers=refused), HSM, work=["purge_keks"]).result["vault"]
    assert re.search(
        "may not purge deleted keys. It is needed to purge KEKs. .*Crypto Officer",
        keks["problems"][0],
    )
    policy = look(
        monkeypatch,
        Service(answers=dict.fromkeys(("get_deleted", "get", "purge"), BY_POLICY)),
        work=["purge", "show"],
    )
    assert policy.result["vault"]["problems"] == [
        "In the vault contoso the identity may not read keys, read deleted keys, "
        "purge deleted keys. It is needed to purge, show. "
        "Add to its access policy the key permissions get, purge."
    ]


def test_a_vault_that_makes_a_key_all_the_same_is_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(OPEN)
    service.careless = "create"
    problems = look(monkeypatch, service).result["vault"]["problems"]
    assert len(problems) == 1
    assert re.search(
        r"accepted a request that must fail \(create\)\. "
        r"Look there for a key keyferry-probe-[0-9a-f]{16}, and delete",
        problems[0],
    )


def test_an_optional_permission_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = look(
        monkeypatch, Service(OPEN, answers={"get_deleted": refusal(403, "Forbidden")}), HSM
    ).result["vault"]
    assert (vault["missing"], vault["problems"]) == ([], [])
    assert vault["notes"] == [
        "The identity may not read deleted keys, and the work continues without: "
        "that a deleted key holds a name is then learnt from Azure's refusal alone."
    ]


def test_what_becomes_of_each_kind_of_work_without_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(
        OPEN,
        answers={"get_deleted": refusal(403, "Forbidden"), "set_policy": refusal(403, "Forbidden")},
    )
    vault = look(monkeypatch, service, HSM, work=["transfer", "rotate", "delete"]).result["vault"]
    assert vault["notes"] == [
        "The identity may not read deleted keys, and the work continues without: "
        "that a deleted key holds a name is then learnt from Azure's refusal alone; "
        "whether a deletion is done is then not seen.",
        "The identity may not set rotation policies, and the work continues without: "
        "a key that Azure would rotate by itself then fails.",
    ]


def test_what_an_answer_does_not_tell_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    protected = refusal(
        403, "Forbidden", None, "Operation is not allowed because purge protection is enabled"
    )
    vault = look(
        monkeypatch,
        Service(OPEN, answers={"purge": protected, "get_deleted": refusal(418, "Teapot")}),
        work=["purge"],
    ).result["vault"]
    assert [each["granted"] for each in vault["permissions"]] == [True, None, None]
    assert vault["missing"] == []
    assert [note.partition(":")[0] for note in vault["notes"]] == [
        "Whether the identity may read deleted keys is not known",
        "Whether the identity may purge deleted keys is not known",
    ]


@pytest.mark.parametrize(
    ("error", "reach", "says"),
    [
        (refusal(403, "Forbidden", "ForbiddenByFirewall"), (True, "refused", True), "firewall"),
        (
            refusal(403, "Forbidden", "ForbiddenByConnection"),
            (True, "refused", True),
            "private endpoint",
        ),
        (refusal(401, "Unauthorized"), (True, "unknown", False), "the vault's tenant"),
        (refusal(503, "ServiceUnavailable"), (True, "unknown", None), "Run again later"),
        (refusal(429, "Throttled"), (True, "unknown", None), "takes no more requests"),
        (
            ClientAuthenticationError(message="AADSTS7000215: wrong"),
            (True, "unknown", False),
            "the secret's value",
        ),
        (
            ServiceRequestError("(host='login.microsoftonline.com') timed out"),
            (True, "unknown", False),
            "HTTPS_PROXY",
        ),
        (
            ServiceRequestError("(Caused by NameResolutionError('contoso'))"),
            (False, "unknown", None),
            "name resolution",
        ),
    ],
)
def test_a_vault_that_does_not_serve_is_asked_no_further(
    error: Exception,
    reach: tuple[bool, str, bool | None],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(answers={"everything": error})
    outcome = look(monkeypatch, service)
    vault = outcome.result["vault"]
    assert (vault["reachable"], vault["firewall"], vault["authenticated"]) == reach
    assert len({asked[1] for asked in service.asked}) == 1
    assert {each["granted"] for each in vault["permissions"]} == {None}
    assert {each["answer"] for each in vault["permissions"]} == {None}
    assert len(vault["problems"]) == 1
    assert says in vault["problems"][0]
    assert (
        vault["missing"],
        vault["notes"],
        vault["recovery_level"],
        vault["purge_protection"],
    ) == ([], [], None, None)
    assert (vault["clock"] is None) == (
        not isinstance(error, HttpResponseError) or isinstance(error, ClientAuthenticationError)
    )
    assert outcome.warnings == vault["problems"]
    assert outcome.failures.as_result() == []


def test_a_vault_that_stops_serving_keeps_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = look(
        monkeypatch, Service(OPEN, answers={"create": refusal(503, "ServiceUnavailable")})
    ).result["vault"]
    assert (vault["firewall"], vault["authenticated"], vault["kind"]) == ("open", True, "premium")
    assert [each["granted"] for each in vault["permissions"]] == [True, True, *[None] * 7]


@pytest.mark.parametrize(
    ("url", "keys", "kind", "facts", "notes"),
    [
        (VAULT, (SOFTWARE, OPEN), "premium", ("Recoverable+Purgeable", False, 90), 0),
        (VAULT, (SOFTWARE,), "unknown", ("Recoverable+Purgeable", False, 90), 1),
        (VAULT, (), "unknown", (None, None, None), 2),
        (
            HSM,
            ({"recoveryLevel": "Recoverable", "recoverableDays": 90},),
            "managed_hsm",
            ("Recoverable", True, 90),
            1,
        ),
        (HSM, (), "managed_hsm", (None, None, None), 2),
    ],
)
def test_what_its_keys_tell_of_a_vault(
    url: str,
    keys: tuple[dict[str, t.Any], ...],
    kind: str,
    facts: tuple[str | None, bool | None, int | None],
    notes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault = look(monkeypatch, Service(*keys), url).result["vault"]
    assert (vault["url"], vault["name"], vault["kind"]) == (url, "contoso", kind)
    assert (vault["recovery_level"], vault["purge_protection"], vault["retention_days"]) == facts
    assert len(vault["notes"]) == notes
    told = ("az keyvault show", "purge protection", "as there is no key to ask of")
    assert all(any(each in note for each in told) for note in vault["notes"])


def test_any_key_of_a_managed_hsm_shows_its_owners_root(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(OPEN)
    vault = look(monkeypatch, service, HSM).result["vault"]
    assert vault["owner_roots"] == [OWNER_ROOT]
    assert [url for _method, url, _body in service.asked if "attestation" in url] == [
        "/keys/a//attestation"
    ]
    assert look(monkeypatch, Service(OPEN)).result["vault"]["owner_roots"] == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (refusal(400, "BadParameter"), "this api-version does not offer attestations"),
        (BY_RBAC, "could not be fetched"),
        ("{}", "cannot be read"),
    ],
)
def test_an_owners_root_that_is_not_shown_is_no_problem(
    answer: HttpResponseError | str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(OPEN)
    if isinstance(answer, str):
        service.attestation = answer
    else:
        service.answers["attestation"] = answer
    vault = look(monkeypatch, service, HSM).result["vault"]
    (note,) = (each for each in vault["notes"] if "owner is not known" in each)
    assert says in note
    assert (vault["owner_roots"], vault["problems"]) == ([], [])


def test_purge_protection_is_a_problem_for_a_purge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = look(monkeypatch, Service(PROTECTED)).result["vault"]
    assert kept["problems"] == []
    assert kept["notes"] == [
        "The KEK of each run stays there as a deleted key for 7 days, "
        "as the vault has purge protection."
    ]
    assert look(monkeypatch, Service(PROTECTED), ephemeral_kek=False).result["vault"]["notes"] == []
    keks = look(monkeypatch, Service(PROTECTED), work=["transfer", "purge_keks"]).result["vault"]
    assert (keks["problems"], keks["notes"]) == ([], kept["notes"])
    purging = look(monkeypatch, Service(PROTECTED), work=["purge"]).result["vault"]
    assert purging["problems"] == [
        "Nobody can purge keys in the vault contoso: it has purge protection. "
        "Do not purge; Azure removes a deleted key after 7 days."
    ]
    assert purging["missing"] == []


@pytest.mark.parametrize(
    ("minutes", "says"),
    [(10, "600 seconds behind"), (-10, "600 seconds ahead of"), (4, None), (61, "one hour")],
)
@pytest.mark.parametrize("check_mode", [False, True])
def test_the_clock(
    minutes: int, says: str | None, check_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = look(
        monkeypatch, Service(OPEN, ahead=timedelta(minutes=minutes)), check_mode=check_mode
    ).result["vault"]
    moment = f"{NOW + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
    assert vault["clock"] == {"source": "vault", "time": moment, "difference": 60 * minutes}
    assert len(vault["problems"]) == (says is not None)
    assert all(says and says in problem for problem in vault["problems"])


def test_who_tells_the_time_where_a_managed_hsm_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(OPEN)
    service.dated = False
    by_entra = look(monkeypatch, service, HSM, entra="Sun, 22 Nov 2026 12:00:02 GMT").result[
        "vault"
    ]
    assert by_entra["clock"] == {"source": "entra", "time": "2026-11-22T12:00:02Z", "difference": 2}
    assert (by_entra["problems"], by_entra["notes"]) == ([], [])
    slow = look(monkeypatch, service, HSM, entra="Sun, 22 Nov 2026 11:50:00 GMT").result["vault"]
    assert "600 seconds ahead of Entra ID's" in slow["problems"][0]
    by_host = look(monkeypatch, service, HSM).result["vault"]
    assert by_host["clock"] == {"source": "host", "time": "2026-11-22T12:00:00Z", "difference": 0}
    assert "this host's clock decides what is due" in by_host["notes"][0]


def test_a_key_that_the_vault_cannot_take_fails_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    items = [
        {**empty, "name": "storage", "type": "oct", "size": 256},
        {**empty, "name": "odd", "type": "EC", "size": 1},
        {**empty, "name": "signing", "type": "EC", "curve": "P-256"},
    ]
    outcome = look(monkeypatch, Service(OPEN), declarations=items, prove=True)
    assert [failure["name"] for failure in outcome.failures.as_result()] == ["storage", "odd"]
    assert "Use a Managed HSM" in outcome.failures.as_result()[0]["msg"]
    needed = {each["operation"] for each in outcome.result["vault"]["permissions"]}
    assert needed & {"sign", "decrypt", "unwrapKey"} == {"sign"}
    hsm = look(monkeypatch, Service(OPEN), HSM, declarations=items[:1])
    assert "decrypt" in {each["operation"] for each in hsm.result["vault"]["permissions"]}
    assert hsm.failures.as_result() == []


def test_a_bad_request_shows_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "The request URI contains an invalid name: contoso."
    everything = refusal(400, "BadParameter", message=words)
    outcome = look(monkeypatch, Service(answers={"everything": everything}))
    described = outcome.result["vault"]
    assert {each["granted"] for each in described["permissions"]} == {None}
    (problem,) = described["problems"]
    assert "does not carry out a request that is in order" in problem
    assert words in problem
    assert described["missing"] == []
    (note,) = [note for note in described["notes"] if note.startswith("Whether the identity may")]
    assert note.count(words) == 1


def test_what_is_refused_for_its_content_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = refusal(400, "BadParameter")
    outcome = look(monkeypatch, Service(OPEN, answers={"create": bad, "import": bad}))
    described = outcome.result["vault"]
    granted = {each["operation"]: each["granted"] for each in described["permissions"]}
    assert [name for name in granted if granted[name] is None] == ["create", "import"]
    assert described["problems"] == []
    (note,) = described["notes"]
    assert note.startswith("Whether the identity may make keys, import keys is not known: Azure")


@pytest.mark.parametrize(
    "attributes",
    [
        {"recoveryLevel": ["Purgeable"], "recoverableDays": "7", "hsmPlatform": {"a": 1}},
        {"recoveryLevel": 5, "recoverableDays": True},
        {},
    ],
)
def test_odd_attributes_of_a_key_reach_no_result(
    monkeypatch: pytest.MonkeyPatch, attributes: dict[str, t.Any]
) -> None:
    described = look(monkeypatch, Service(attributes)).result["vault"]
    assert described["recovery_level"] is None
    assert described["retention_days"] is None
    assert described["kind"] == "unknown"


@pytest.mark.parametrize("attributes", [None, [], "x"])
def test_a_list_that_is_none_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, attributes: t.Any
) -> None:
    described = look(monkeypatch, Service(attributes)).result["vault"]
    (problem,) = described["problems"]
    assert "cannot be read" in problem or "does not carry out" in problem
