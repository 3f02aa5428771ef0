# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence report: what it tells, what it never tells, and what no text can do to it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit import report_page
from ansible_collections.keyferry.azure.plugins.module_utils._audit.html_elements import (
    element,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report import files_of
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_controls import (
    controls_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_facts import (
    Report,
    Version,
    report_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_page import page_of
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_style import STYLE
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_tables import (
    COLUMNS,
    csv_of,
    rows_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import DEVIATIONS
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    deviations_of,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit import evidence_made
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.verifications import (  # noqa: E501
    EVIDENCE_KEY,
    NONE,
    NOW,
    VAULTS,
    Transfer,
    bank,
    chain_of,
    digest,
    key_of,
    run_of,
    vault_of,
    verification_of,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

HSM, PREMIUM = VAULTS
EVIL = "\"'><script>alert(1)</script><img src=x onerror=y>&amp;<!--\x1b[2J\u202e\x00</style>"


@dataclass
class Reader(HTMLParser):
    """What a browser makes of a page: its elements with their attributes' names, and its texts."""

    elements: list[tuple[str, ...]] = field(default_factory=list)
    values: list[tuple[str, str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _value in attrs)))
        self.values += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def one(transfer: Transfer, **changes: Any) -> Verification:
    """A verification of one transfer."""
    key = key_of(transfer.name, transfer.judged(**changes))
    return verification_of(vault_of(transfer.vault, key))


def only(verification: Verification) -> Version:
    (version,) = report_of(verification).keys[0].versions
    return version


def told_by(text: str) -> Verification:
    """A verification in which others wrote a text wherever others can write."""
    transfer = Transfer(HSM, text, label=text, tags={text: text, "owner": text})
    version = transfer.judged(told=text, verdict="incomplete", code="unsigned")
    runs = (run_of(HSM, 1, 0, approvals=[approval(text)]), run_of(HSM, 2, 9))
    chain = replace(chain_of(HSM, *runs), told=text)
    verification = verification_of(vault_of(HSM, key_of(text, version), chain=chain))
    trust = {**verification.trust, "keyids": {EVIDENCE_KEY: text}, "vaults": [text]}
    return replace(verification, trust=trust)


def approval(*principals: str, subject: str = "kek", of: str | None = None) -> dict[str, Any]:
    return {"subject": subject, "digest": of or digest(HSM, "kek"), "principals": [*principals]}


PLAIN = read(page_of(report_of(told_by("name"))))


@given(st.text(min_size=1))
@example(EVIL)
@example("--><!DOCTYPE x><?pi ?>")
@settings(max_examples=60)
def test_no_text_of_others_becomes_an_element_or_an_attribute(text: str) -> None:
    page = page_of(report_of(told_by(text)))
    seen = read(page)
    assert seen.elements == PLAIN.elements
    assert seen.others == PLAIN.others == []
    fixed = {(name, value) for name, value in seen.values if name != "content"}
    assert fixed == {(name, value) for name, value in PLAIN.values if name != "content"}
    assert printable(text) in "".join(seen.text)
    assert page.replace("\n", "").isprintable()


@given(st.text(), st.text())
def test_an_attribute_ends_where_its_value_does(value: str, text: str) -> None:
    seen = read(element("a", text, href=value))
    assert seen.elements == [("a", "href")]
    assert seen.values == [("href", printable(value))]
    assert "".join(seen.text) == printable(text)


def test_the_page_loads_nothing_runs_nothing_and_forbids_both() -> None:
    seen = read(page_of(report_of(bank(40))))
    tags = {tag for tag, *_names in seen.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form", "svg"}
    names = {name for name, _value in seen.values}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style")}
    assert all(value.startswith("#") for name, value in seen.values if name == "href")
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    (policy,) = [value for _name, value in seen.values if value.startswith("default-src")]
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{allowed}';")


def test_every_link_leads_to_a_place_of_the_page() -> None:
    seen = read(page_of(report_of(bank(40))))
    places = [value for name, value in seen.values if name == "id"]
    assert len(places) == len(set(places))
    assert {value[1:] for name, value in seen.values if name == "href"} <= set(places)


def test_the_first_page_has_the_totals_and_the_verdict() -> None:
    verification = bank(40)
    report = report_of(verification)
    page = page_of(report)
    assert [report.count(verdict) for verdict in ("broken", "incomplete", "whole")] == [2, 6, 32]
    for what, count in (("Broken keys", 2), ("Incomplete keys", 6), ("Whole keys", 32)):
        assert f"<dt>{what}</dt><dd>{count}</dd>" in page
    assert "<dt>Versions</dt><dd>42</dd>" in page
    assert "<h1>Evidence of 40 keys in 2 vaults</h1>" in page
    assert "The evidence is broken" in page
    assert [key.verdict for key in report.keys[:9]] == ["broken"] * 2 + ["incomplete"] * 6 + [
        "whole"
    ]


def test_deviations_are_grouped_and_counted_by_key() -> None:
    report = report_of(bank(40))
    counts = {
        code: len({id(key) for key, _each in found}) for code, found in report.deviations.items()
    }
    assert counts["oaep_hash"] == 36
    assert {code: counts[code] for code in ("unsigned", "escrow_untested", "found_in_place")} == {
        "unsigned": 2,
        "escrow_untested": 2,
        "found_in_place": 2,
    }
    assert counts["imported_missing"] == 2
    page = page_of(report)
    for code in counts:
        assert f'<th scope="row">{report_page._TITLES[code]}</th>' in page


def test_every_deviation_has_a_heading() -> None:
    assert set(DEVIATIONS) <= set(report_page._TITLES)


def test_of_a_broken_version_nothing_is_a_fact_anywhere() -> None:
    transfer = Transfer(HSM, "stolen", label="secret-label", tags={"owner": "secret-owner"})
    broken = one(transfer, verdict="broken", code="bad_signature", told="It was changed")
    report = report_of(broken)
    files = files_of(broken)
    page = files["evidence.html"]
    assert not only(broken).life
    assert not only(broken).deviations
    for fact in ("secret-label", "secret-owner", digest(HSM, "kek"), "Luna", transfer.generation):
        assert fact not in page
        assert fact not in files["evidence.csv"]
        assert fact not in json.dumps(json.loads(files["evidence.json"])["rows"])
    # the table, and the section of the key with that of its version
    assert page.count('<span class="chip broken">broken</span>') == 3
    assert page.count("It was changed.") == 2
    (row,) = rows_of(report)
    assert (row["key_verdict"], row["verdict"], row["code"]) == (
        *("broken", "broken"),
        "bad_signature",
    )
    assert (row["wrapped"], row["imported"], row["kind"]) == ("not read", "not read", None)
    for judged in controls_of(report):
        for finding in judged.findings:
            assert "shown for 1" not in finding.text
            if "shown for" in finding.text:
                assert [key.name for key in finding.lacking] == ["stolen"]


def test_a_key_that_is_broken_as_a_whole_has_no_facts_and_one_with_a_broken_version_has() -> None:
    first, second = (Transfer(HSM, "web", number, number * 30) for number in (0, 1))
    whole = key_of("web", first.judged(), second.judged(), verdict="broken", told="A file is lost")
    (key,) = report_of(verification_of(vault_of(HSM, whole))).keys
    assert [version.read for version in key.versions] == [False, False]
    partly = key_of("web", first.judged(verdict="broken", told="x"), second.judged())
    (key,) = report_of(verification_of(vault_of(HSM, partly))).keys
    assert [version.read for version in key.versions] == [True, False]


def test_a_key_of_which_everything_is_lost_stands_in_each_part_with_its_sentence() -> None:
    lost = key_of("web", verdict="broken", code="lost_receipt", told="Its file is lost")
    report = report_of(verification_of(vault_of(HSM, lost)))
    page = page_of(report)
    assert page.count("Its file is lost.") == 2
    (row,) = rows_of(report)
    assert (row["key"], row["key_verdict"], row["kid"]) == ("web", "broken", None)
    assert len(list(cells(csv_of(report)))) == 2


def test_what_nobody_trusted_signed_is_called_a_claim_and_counts_nowhere() -> None:
    transfer = Transfer(HSM, "web", signers=())
    unsigned: dict[str, Any] = {"signed_by": [], "named_by": []}
    version = transfer.judged(
        verdict="incomplete",
        code="unsigned",
        wrapped={**transfer.wrapped(), **unsigned},
        imported={**transfer.imported(), **unsigned},
    )
    report = report_of(verification_of(vault_of(HSM, key_of("web", version))))
    (told,) = report.keys[0].versions
    assert told.standing == "unsigned"
    assert [moment.claimed for moment in told.life] == [True] * 3
    assert [each.code for each in told.deviations if each.code == "unsigned"] == ["unsigned"]
    assert page_of(report).count("unsigned claim") > 10
    shown = [f.text for judged in controls_of(report) for f in judged.findings if "shown" in f.text]
    assert not [text for text in shown if "shown for 1" in text]


def test_a_statement_that_a_signed_run_names_holds_without_a_signature_of_its_own() -> None:
    transfer = Transfer(HSM, "web")
    version = only(one(transfer, wrapped={**transfer.wrapped(), "signed_by": []}))
    assert (version.wrapped.standing, version.wrapped.holds) == ("named", True)
    assert version.standing == "named"
    assert "unsigned" not in {each.code for each in version.deviations}


def life_of(version: Version) -> list[tuple[str, str, str]]:
    return [(moment.time, moment.what, moment.clock) for moment in version.life]


def test_a_life_is_told_in_order_and_each_time_with_its_clock() -> None:
    first = Transfer(HSM, "web", 0, 0, expires=NOW)
    second = Transfer(HSM, "web", 1, 180, run=2)
    retired = {
        "key": "web",
        "what": "retired",
        "generation": first.generation,
        "kid": first.kid,
        "time": "2026-07-05T09:00:00Z",
        "run": 2,
        "signed_by": [EVIDENCE_KEY],
    }
    key = key_of("web", first.judged(events=(retired,)), second.judged())
    newer, older = report_of(verification_of(vault_of(HSM, key))).keys[0].versions
    assert life_of(older) == [
        ("2026-01-05T08:00:00Z", "Made in the HSM", "clock of the token's host"),
        ("2026-01-05T08:03:00Z", "Wrapped under the KEK byok-kek", "clock of the token's host"),
        ("2026-01-05T08:03:09Z", "Imported", "Entra ID's clock"),
        (
            *("2026-07-04T08:03:09Z", f"Rotated: superseded by the version {second.version}"),
            "Entra ID's clock",
        ),
        ("2026-07-05T09:00:00Z", "Retired: the version is disabled (run 2)", "a host's clock"),
        ("2026-11-30T18:00:00Z", "Expires", "set at the import"),
    ]
    assert (newer.newest, older.newest) == (True, False)
    assert not [moment for moment in older.life if moment.claimed]


def test_what_a_run_did_without_a_time_was_done_by_its_end() -> None:
    transfer = Transfer(HSM, "web")
    event: dict[str, Any] = {"key": "web", "generation": transfer.generation, "kid": None}
    event |= {"time": None, "run": 1, "signed_by": [EVIDENCE_KEY]}
    events = tuple({**event, "what": what} for what in ("made", "locked"))
    runs = chain_of(HSM, run_of(HSM, 1, 0, ended="2026-01-05T09:00:00Z"))
    key = key_of("web", transfer.judged(events=events))
    ((version,),) = (
        each.versions for each in report_of(verification_of(vault_of(HSM, key, chain=runs))).keys
    )
    assert life_of(version) == [
        ("2026-01-05T08:00:00Z", "Made in the HSM", "clock of the token's host"),
        ("2026-01-05T08:03:00Z", "Wrapped under the KEK byok-kek", "clock of the token's host"),
        ("2026-01-05T08:03:09Z", "Imported", "Entra ID's clock"),
        (
            *("2026-01-05T09:00:00Z", "Locked in the HSM: it can't leave it any more (run 1)"),
            "at the end of the run, a host's clock",
        ),
    ]


def test_only_the_newest_version_can_have_expired() -> None:
    first = Transfer(HSM, "web", 0, 0, expires=NOW - timedelta(days=1))
    second = replace(first, number=1, day=30, expires=NOW + timedelta(seconds=1))
    codes = [
        [each.code for each in version.deviations if each.code == "expired"]
        for key in (key_of("web", first.judged()), key_of("web", first.judged(), second.judged()))
        for version in report_of(verification_of(vault_of(HSM, key))).keys[0].versions
    ]
    assert codes == [["expired"], [], []]


def test_a_root_that_the_auditor_pinned_ends_what_deviated_at_the_transfer() -> None:
    transfer = Transfer(HSM, "web")
    imported = {**transfer.imported(), "attestation": {"verdict": "root_not_pinned"}}
    deviations = deviations_of(transfer.wrapped(), imported)
    code = "target_root_not_pinned"
    attested = only(one(transfer, imported=imported, deviations=deviations))
    assert code not in {each.code for each in attested.deviations}
    none = only(one(transfer, imported=imported, deviations=deviations, attestation=NONE))
    assert code in {each.code for each in none.deviations}


def test_copies_in_other_vaults_and_in_escrow_are_listed() -> None:
    here, there = Transfer(HSM, "web"), Transfer(PREMIUM, "web")
    escrow = (here.wrapped(escrow=True), Transfer(HSM, "web", 7).wrapped(escrow=True))
    report = report_of(
        verification_of(
            vault_of(HSM, key_of("web", here.judged(), copies=escrow)),
            vault_of(PREMIUM, key_of("web", there.judged())),
        )
    )
    mine, other = (key.versions[0] for key in report.keys)
    assert (mine.copies, other.copies) == ((there.kid,), (here.kid,))
    assert [told.text("kek", "fingerprint") for told in mine.escrow] == [digest(HSM, "escrow")]
    assert "escrow_untested" in {each.code for each in mine.deviations}
    assert len(report.keys[0].escrow) == 1
    page = page_of(report)
    assert f"<dt>Other copies</dt><dd><div><code>{there.kid}</code></div><div>Package for" in page
    assert "Without a version" in page


def approvals_of(*approvals: dict[str, Any], **run: Any) -> list[tuple[str, tuple[str, ...], bool]]:
    transfer = Transfer(HSM, "web")
    chain = chain_of(HSM, run_of(HSM, 1, 0, approvals=[*approvals], **run))
    vault = vault_of(HSM, key_of("web", transfer.judged()), chain=chain)
    (key,) = report_of(verification_of(vault)).keys
    return [(each.subject, each.principals, each.claimed) for each in key.versions[0].approvals]


def test_approvals_are_those_of_this_transfer() -> None:
    plan, root = digest(HSM, "plan", 1), digest("root")
    assert approvals_of(
        approval("ana", "bo"),
        approval("cleo", subject="plan", of=plan),
        approval("dan", subject="owner-root", of=root),
        approval("eve", of=digest("another KEK")),
        approval("fay", subject="destroy", of=digest("x")),
    ) == [
        ("kek", ("ana", "bo"), False),
        ("plan", ("cleo",), False),
        ("owner-root", ("dan",), False),
    ]
    assert approvals_of(approval("ana"), signed_by=[]) == [("kek", ("ana",), True)]


def test_of_a_broken_chain_neither_events_nor_approvals_are_told() -> None:
    transfer = Transfer(HSM, "web")
    event = {"what": "destroyed", "time": None, "run": 1, "signed_by": [EVIDENCE_KEY], "kid": None}
    key = key_of("web", transfer.judged(events=(event,)), events=(event,))
    good = chain_of(HSM, run_of(HSM, 1, 0, approvals=[approval("ana")]))
    for chain, count in ((good, 1), (replace(good, verdict="broken at 1"), 0)):
        (told,) = report_of(verification_of(vault_of(HSM, key, chain=chain))).keys
        assert len(told.life) == count
        assert len(told.versions[0].approvals) == count
        destroyed = [each for each in told.versions[0].life if "Destroyed" in each.what]
        assert len(destroyed) == count


# What the issue of this report demands of each standard
CONTROLS = {
    "PCI DSS 4.0.1": (
        *("3.6.1", "3.6.1.1", "3.6.1.2 to 3.6.1.4"),
        *(f"3.7.{number}" for number in range(1, 10)),
    ),
    "NIST SP 800-57 part 1 rev. 5": ("5.3, 7, 8 and inventory", "5.6 (strength)"),
    "NIST SP 800-57 part 2 rev. 1": ("Policy and practice statement",),
    "NIST SP 800-130 and 800-152": ("Metadata and audit",),
    "ISO/IEC 27001:2022": ("A.8.24",),
    "DORA, RTS (EU) 2024/1774": ("Art. 6", "Art. 7(1) to 7(3)", "Art. 7(4) and 7(5)"),
    "FIPS 140-3": ("Validation",),
}


@pytest.mark.parametrize("standard", CONTROLS)
def test_each_control_has_a_fact_or_names_whose_it_is(standard: str) -> None:
    report = report_of(bank(40))
    judged = [each for each in controls_of(report) if each.standard == standard]
    assert tuple(each.number for each in judged) == CONTROLS[standard]
    page = page_of(report)
    assert f"<h3>{standard}</h3>" in page
    for control in judged:
        assert control.findings
        assert f"<h4>{control.number}</h4>" in page
        for finding in control.findings:
            assert finding.ours != finding.text.startswith("Not Keyferry's: ")


def shown(report: Report) -> dict[str, tuple[str, ...]]:
    """What is shown of how many versions, and for which keys it is not."""
    return {
        finding.text: tuple(key.name for key in finding.lacking)
        for judged in controls_of(report)
        for finding in judged.findings
        if finding.ours
    }


def test_controls_tell_what_this_evidence_shows() -> None:
    strong, weak = Transfer(HSM, "strong"), Transfer(PREMIUM, "weak", kind="P-384")
    found = Transfer(PREMIUM, "found")
    report = report_of(
        verification_of(
            vault_of(HSM, key_of("strong", strong.judged())),
            vault_of(PREMIUM, key_of("weak", weak.judged()), key_of("found", found.found())),
        )
    )
    facts = {
        text.partition(": shown for ")[0]: (text.partition(": shown for ")[2], lacking)
        for text, lacking in shown(report).items()
    }
    kek = "The KEK is at least as strong as the key (NIST SP 800-57 part 1, table 2)"
    assert facts[kek] == ("1 of 3 versions.", ("found", "weak"))
    attested = "The hardware of the Managed HSM attests the imported version"
    assert facts[attested] == ("1 of 3 versions.", ("found", "weak"))
    both = "A trusted key vouches for the statements of both sides of the transfer"
    assert facts[both] == ("2 of 3 versions.", ("found",))
    texts = list(shown(report))
    assert "Keys whose whole evidence holds: 2 of 3." in texts
    assert any("Thales Luna K7 7.8.4 1383249500921." in text for text in texts)
    assert any("approvals for 2 of 3 versions, by 2 different people." in text for text in texts)


def test_the_page_names_some_keys_and_counts_the_rest_where_a_fact_is_not_shown() -> None:
    keys = [
        key_of(f"k{number:02}", Transfer(PREMIUM, f"k{number:02}").judged()) for number in range(15)
    ]
    page = page_of(report_of(verification_of(vault_of(PREMIUM, *keys))))
    assert ">k11</a>, and 3 more.</small>" in page


def test_the_page_claims_no_mode_and_no_compliance_and_sends_to_the_standards() -> None:
    page = page_of(report_of(bank(40)))
    assert "FIPS mode" not in page
    assert "check the text of the standard itself" in page
    assert "This report states no compliance." in page


def cells(text: str) -> Iterator[list[str]]:
    yield from csv.reader(io.StringIO(text, newline=""), strict=True)


FORMULAS = st.tuples(st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", " ="]), st.text())


@given(st.one_of(st.text(min_size=1), FORMULAS.map("".join)))
@example("=cmd|' /C calc'!A0")
@example(" \t=1")
@example("a; =cmd|' /C calc'!A0;@b")
@settings(max_examples=60)
def test_no_cell_is_a_formula_and_every_row_can_be_read(text: str) -> None:
    rows = list(cells(csv_of(report_of(told_by(text)))))
    assert rows[0] == list(COLUMNS)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    for row in rows:
        for cell in row:
            for part in cell.split(";"):  # which ends a cell in many countries
                assert not part.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    shown = rows[1][COLUMNS.index("key")]
    assert printable(text).replace("'", "") in shown.replace("'", "")


def test_the_page_of_documentation_has_the_columns_in_their_order() -> None:
    documented = (Path(report_page.__file__).parents[3] / "docs/evidence.md").read_text()
    part = documented.split("## The columns of the rows\n")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    assert re.findall("`([a-z0-9_]+)`", " ".join(first_cells)) == list(COLUMNS)


def test_rows_end_as_rfc_4180_says() -> None:
    text = csv_of(report_of(bank(7)))
    assert text.count("\r\n") == text.count("\n") == 9


def test_the_json_has_the_verification_itself_and_a_row_per_version() -> None:
    verification = bank(7)
    content = json.loads(files_of(verification)["evidence.json"])
    assert Verification.from_dict(content["verification"]) == Verification.from_dict(
        verification.to_dict()
    )
    assert len(content["rows"]) == 8
    assert all(set(row) == set(COLUMNS) for row in content["rows"])


def test_a_thousand_keys_are_a_page_of_less_than_5_mb() -> None:
    page = page_of(report_of(bank(1000)))
    assert len(page.encode()) < 5_000_000
    assert page.count("<article") == 1000


def test_a_real_folder_is_reported() -> None:
    made = evidence_made.small()
    verification = evidence_made.verified(made.files(), evidence_made.trust(made))
    report = report_of(verification)
    assert (report.verdict, [key.verdict for key in report.keys]) == ("whole", ["whole"] * 4)
    assert {version.standing for _key, version in report.versions} == {"signed"}
    payments = next(key for key in report.keys if key.name == "Payments")
    assert len(payments.versions[0].escrow) == 1
    page = page_of(report)
    assert "Signed by azure.pem, token.pem." in page
    assert format_moment(verification.generated)[:10] in page


def test_a_folder_without_anything_is_reported_as_such() -> None:
    verification = evidence_made.verified({}, evidence_made.trust())
    page = page_of(report_of(verification))
    assert "Evidence of 0 keys in 0 vaults" in page
    assert "The evidence is incomplete" in page
    assert re.search("shown for 0 of 0 versions", page)
