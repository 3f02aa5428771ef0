# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The evidence report as one HTML page that needs nothing else; pure.

It loads nothing, runs no script, and forbids both to whoever reads it. Whatever a name, a tag or a
label holds, it is a text there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from ansible_collections.keyferry.azure.plugins.module_utils._audit.html_elements import (
    Child,
    Markup,
    element,
    joined,
    trusted,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_controls import (
    Finding,
    Judged,
    controls_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_facts import (
    Approval,
    Key,
    Moment,
    Report,
    Told,
    Version,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_style import STYLE
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    VERDICTS,
    Verdict,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import one_line

_VERDICTS: t.Final[Mapping[Verdict, tuple[str, str]]] = {
    "whole": ("The evidence is whole", "Nothing is missing, and nothing contradicts anything."),
    "incomplete": (
        "The evidence is incomplete",
        "Nothing was found to be false, but something is missing. What is missing is named below.",
    ),
    "broken": (
        "The evidence is broken",
        "Something contradicts a signature or another statement. Do not rely on what is called "
        "broken until somebody has found out why.",
    ),
}

#: Headings of deviations by their code; another one is shown as its code
_TITLES: t.Final[Mapping[str, str]] = {
    "ca_override": "Certification authorities set by the user",
    "clock_of_host": "Unverified clock",
    "escrow_untested": "Escrow never tested",
    "expired": "Key expired",
    "found_in_place": "Found in place, without a receipt",
    "identity_unproved": "Identity not proved",
    "kek_trust_unverified": "KEK not verified",
    "kek_unattested": "KEK not attested",
    "kek_weaker": "KEK weaker than the key",
    "maker_not_marvell": "Adapter of another maker",
    "oaep_hash": "OAEP with SHA-1, as prescribed",
    "origin_external": "Key made outside of the HSM",
    "origin_unknown": "Origin of the key unknown",
    "package_unverified": "Package not verified",
    "proxy": "Proxy in use",
    "imported_missing": "Receipt of the import missing",
    "wrapped_missing": "Receipt of the wrap missing",
    "strength_unknown": "Strength unknown",
    "target_differs": "Attestation of the key differs",
    "target_not_fetched": "Attestation of the key missing",
    "target_root_not_pinned": "Attestation of the key without a pinned root",
    "target_unreadable": "Attestation of the key unreadable",
    "told_by_carrier": "Told by whoever carried the package",
    "trailing_zeros": "Zero bytes behind the key",
    "unsigned": "Receipt unsigned",
    "vault_without_attestation": "Vault without attestation",
}

_ORIGINS: t.Final[Mapping[str, str]] = {
    "token": "made in the HSM, as the HSM states",
    "external": "made elsewhere",
    "unknown": "not told by the HSM",
}
_IDENTITIES: t.Final[Mapping[str, str]] = {
    "public_key": "equal public key",
    "proved": "operation",
    "tag_only": "only a tag",
    "unverified": "not verified",
}
_TRUSTS: t.Final[Mapping[str, str]] = {
    "created": "created",
    "pinned": "approved",
    "attested": "attested",
    "unverified": "not verified",
}
_TRUST_SENTENCES: t.Final[Mapping[str, str]] = {
    "created": "created by the run that used it",
    "pinned": "approved by its fingerprint",
    "attested": "attested by the hardware of the Managed HSM",
    "unverified": "not verified: nothing showed whose it was",
}
_STANDINGS: t.Final[Mapping[str, str]] = {
    "signed": "signed",
    "named": "in a signed run",
    "unsigned": "unsigned",
    "missing": "incomplete",
}
_SUBJECTS: t.Final[Mapping[str, str]] = {
    "kek": "the KEK",
    "owner-root": "the owner's root",
    "plan": "the plan",
}

_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9:]{8})Z")
_CLAIM = element("span", "unsigned claim", cls="claim")
_NOTHING = "\N{EN DASH}"

#: More keys than these are counted and not named where a fact is not shown
_MOST_NAMED = 12


def page_of(report: Report) -> str:
    """Return the page, a whole HTML document in UTF-8."""
    anchors = {id(key): f"k{number}" for number, key in enumerate(report.keys, start=1)}
    # The page says itself that only its own style may be used, and nothing be loaded or run.
    style_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'"
    )
    http_equiv = {"http-equiv": "Content-Security-Policy"}
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **http_equiv, content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Evidence of {_keys(report)}, {_time(report.generated)}"),
        element("style", trusted(STYLE)),
    )
    body = element(
        "body",
        element("header", *_front(report)),
        element("main", *_parts(report, anchors)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _front(report: Report) -> Iterator[Markup]:
    title, sentence = _VERDICTS[report.verdict]
    yield element("p", "Keyferry: evidence report", cls="over")
    yield element("h1", f"Evidence of {_keys(report)} in {_counted(len(report.chains), 'vault')}")
    yield element(
        "p",
        f"Verified on {_time(report.generated)}, by the clock of the verifying host.",
        cls="soft",
    )
    yield element(
        "section", element("strong", title), element("p", sentence), cls=f"verdict {report.verdict}"
    )
    totals: tuple[tuple[str, int], ...] = (
        *((f"{verdict} keys", report.count(verdict)) for verdict in VERDICTS),
        ("versions", len(report.versions)),
        ("recorded runs", sum(len(chain.runs) for chain in report.chains.values())),
        ("kinds of deviation", len(report.deviations)),
    )
    yield element(
        "dl",
        *(
            element("div", element("dt", what.capitalize()), element("dd", f"{n:,}"))
            for what, n in totals
        ),
        cls="totals",
    )
    yield element(
        "nav",
        element(
            "ul",
            *(
                element("li", element("a", heading, href=f"#{anchor}"))
                for anchor, heading in _PARTS.items()
            ),
        ),
        **{"aria-label": "Contents"},
    )


_PARTS: t.Final[Mapping[str, str]] = {
    "scope": "Scope",
    "deviations": "Deviations",
    "problems": "Problems",
    "runs": "Records of the runs",
    "keys": "All keys",
    "controls": "Controls",
    "sections": "Each key",
    "check": "How to check this report",
}


def _parts(report: Report, anchors: Mapping[int, str]) -> Iterator[Markup]:
    """Yield the parts of the page; those that begin a new sheet of paper are told so."""
    contents: Mapping[str, tuple[Iterable[Markup], bool]] = {
        "scope": (_scope(report), False),
        "deviations": (_deviations(report), False),
        "problems": (_problems(report), False),
        "runs": (_runs(report), False),
        "keys": (_table(report, anchors), True),
        "controls": (_controls(report, anchors), True),
        "sections": (_sections(report, anchors), True),
        "check": (_check(report), True),
    }
    for anchor, (content, new_sheet) in contents.items():
        yield element(
            "section",
            element("h2", _PARTS[anchor]),
            *content,
            id=anchor,
            cls="part" if new_sheet else None,
        )


def _scope(report: Report) -> Iterator[Markup]:
    trust, period = report.trust, report.period
    rows: list[tuple[str, Child]] = [
        ("Vaults", joined(element("div", vault) for vault in report.chains) or "none"),
        ("Period", f"{_time(period[0])} to {_time(period[1])}" if period else "no statement"),
        (
            "Trusted",
            ", ".join(
                _counted(int(trust.get(name, 0)), what)
                for name, what in (
                    ("evidence_keys", "evidence key"),
                    ("owner_roots", "owner's root"),
                    ("maker_roots", "further maker's root"),
                    ("heads", "known head"),
                )
            ),
        ),
        ("Listing of the HSM", "compared" if trust.get("listing") else "not given"),
        ("Export of the vaults", ", ".join(trust.get("vaults") or ["not given"])),
    ]
    yield _facts(rows)
    yield element(
        "p",
        "A fact in this report comes from statements that were verified. What nobody trusted "
        "signed is marked ",
        _CLAIM,
        ". Of a broken key, no statement is shown.",
    )


def _deviations(report: Report) -> Iterator[Markup]:
    if not report.deviations:
        yield element("p", "None.")
        return
    yield element("p", "What an auditor should know although the transfer went well.", cls="soft")
    rows = [
        element(
            "tr",
            element("th", _title(code), scope="row"),
            element("td", *_sentences(each.msg for _key, each in found)),
            element("td", len({id(key) for key, _each in found}), cls="n"),
        )
        for code, found in report.deviations.items()
    ]
    yield _table_of(("Deviation", "What it is", "Keys"), rows, numbers={2})


def _sentences(texts: Iterable[str]) -> Iterator[Markup]:
    """Yield each different sentence once, with how often it holds if there are several."""
    counts = Counter(texts)
    for text, count in counts.most_common():
        often = element("small", f" ({_counted(count, 'time')})") if len(counts) > 1 else None
        yield element("div", f"{text}.", often)


def _problems(report: Report) -> Iterator[Markup]:
    if not report.problems:
        yield element("p", "None.")
        return
    rows = [
        element(
            "tr",
            element("td", _chip(problem.verdict)),
            element("td", f"{problem.msg}.", " ", element("small", problem.code)),
            element("td", element("code", problem.where)),
        )
        for problem in report.problems
    ]
    yield _table_of(("Verdict", "What is wrong", "Where"), rows)


def _runs(report: Report) -> Iterator[Markup]:
    yield element(
        "p",
        "Each run leaves a record that names the one before by its SHA-256. This finds a record "
        "that was removed, changed or moved. A last record that was cut off is found only by "
        "somebody who knows the head from elsewhere. Of records whose chain is broken, neither "
        "events nor approvals are shown.",
        cls="soft",
    )
    rows = [
        element(
            "tr",
            element("th", vault, scope="row"),
            element(
                "td",
                element("div", chain.verdict),
                f"{chain.told}.",
                joined(element("div", f"{line}.") for line in chain.stamps_told),
            ),
            element("td", chain.head["number"] if chain.head else _NOTHING, cls="n"),
            element("td", element("code", chain.head["sha256"]) if chain.head else _NOTHING),
        )
        for vault, chain in report.chains.items()
    ]
    yield _table_of(("Vault", "Verdict", "Head", "SHA-256 of the head"), rows, numbers={2})


_COLUMNS: t.Final = (
    *("Key and vault", "Kind", "Versions", "Newest since", "Expires", "KEK"),
    *("Identity", "Evidence"),
)


def _table(report: Report, anchors: Mapping[int, str]) -> Iterator[Markup]:
    rows = [_row(key, anchors[id(key)]) for key in report.keys]
    yield element(
        "p", "Broken keys first, then incomplete ones. The newest version is shown.", cls="soft"
    )
    yield _table_of(_COLUMNS, rows, numbers={2})


def _row(key: Key, anchor: str) -> Markup:
    name = element("a", key.name, href=f"#{anchor}")
    heading = element("th", name, element("div", element("small", key.vault)), scope="row")
    newest = next(iter(key.versions), None)
    if newest is None or not newest.read:
        why = element("td", f"{key.judged.told}.", colspan=str(len(_COLUMNS) - 2))
        return element("tr", heading, why, element("td", _chip(key.verdict)))
    kek = newest.wrapped.text("kek", "trust")
    cells: tuple[Child, ...] = (
        newest.kind or _NOTHING,
        len(key.versions),
        _day(newest.arrived),
        _day(newest.expires),
        _TRUSTS.get(kek, kek) or _NOTHING,
        _IDENTITIES.get(newest.identity, newest.identity) or _NOTHING,
    )
    return element(
        "tr",
        heading,
        *(element("td", cell, cls=cls) for cell, cls in zip(cells, _CELLS, strict=True)),
        element(
            "td", _chip(key.verdict), element("div", element("small", _STANDINGS[newest.standing]))
        ),
    )


#: Classes of the cells in the middle: kinds and days are not broken into lines
_CELLS: t.Final = ("w", "n", "w", "w", None, None)


def _controls(report: Report, anchors: Mapping[int, str]) -> Iterator[Markup]:
    yield element(
        "p",
        "What the evidence tells about controls that auditors ask for. Each control is told in our "
        "own words, shortened, and partly from memory: check the text of the standard itself "
        "before you rely on it. A fact is counted only if a trusted key vouches for it. This "
        "report states no compliance.",
    )
    for standard, controls in groupby(controls_of(report), key=lambda judged: judged.standard):
        yield element("h3", standard)
        yield from (_control(control, anchors) for control in controls)


def _control(control: Judged, anchors: Mapping[int, str]) -> Markup:
    return element(
        "div",
        element("h4", control.number),
        element("p", f"{control.asks}."),
        element("ul", *(_finding(finding, anchors) for finding in control.findings)),
        cls="control",
    )


def _finding(finding: Finding, anchors: Mapping[int, str]) -> Markup:
    if not finding.lacking:
        return element("li", finding.text, cls=None if finding.ours else "theirs")
    links: list[Child] = []
    for key in finding.lacking[:_MOST_NAMED]:
        links += [", " if links else " ", element("a", key.name, href=f"#{anchors[id(key)]}")]
    more = len(finding.lacking) - _MOST_NAMED
    rest = f", and {more} more" if more > 0 else ""
    return element("li", finding.text, element("small", " Not shown for:", *links, f"{rest}."))


def _sections(report: Report, anchors: Mapping[int, str]) -> Iterator[Markup]:
    names = report.trust.get("keyids") or {}
    for key in report.keys:
        told = {version.judged.told for version in key.versions if not version.read}
        told |= {key.judged.told} if key.verdict == "whole" else set()
        yield element(
            "article",
            element("h3", key.name, _chip(key.verdict)),
            element("p", key.vault, cls="soft"),
            None if key.judged.told in told else element("p", f"{key.judged.told}."),
            *(part for version in key.versions for part in _version(version, names)),
            *((element("h4", "What other runs tell"), _life(key.life)) if key.life else ()),
            *((element("h4", "Without a version"), _packages(key)) if key.escrow else ()),
            id=anchors[id(key)],
            cls="key",
        )


def _version(version: Version, names: Mapping[str, str]) -> Iterator[Markup]:
    judged = version.judged
    newest = ", the newest" if version.newest else ""
    heading = f"Version {judged.version}{newest}" if judged.version else "Not imported"
    yield element("h4", heading, " ", None if judged.verdict == "whole" else _chip(judged.verdict))
    if version.read:
        if version.life:
            yield _life(version.life)
        yield _facts(_details(version, names))
    else:
        yield element("p", f"{judged.told}. Nothing that its statements say is shown here.")


def _packages(key: Key) -> Markup:
    return _facts([("Escrow", joined(map(_package, key.escrow)))])


def _package(told: Told) -> Markup:
    if told.standing == "not read":
        return element("div", "A package for an escrow key, of a broken key")
    fingerprint = element("code", told.text("kek", "fingerprint"))
    return element("div", _claim(told, "Package for the escrow key ", fingerprint))


def _life(moments: Iterable[Moment]) -> Markup:
    return element(
        "ol",
        *(
            element(
                "li",
                element("span", _time(moment.time) or "time not told"),
                element("span", moment.what, *((" ", _CLAIM) if moment.claimed else ())),
                element("small", moment.clock),
            )
            for moment in moments
        ),
        cls="life",
    )


def _details(version: Version, names: Mapping[str, str]) -> Iterator[tuple[str, Child]]:
    """Yield what is known of a version, by headings."""
    judged = version.judged
    if judged.thumbprint:
        yield "Thumbprint", element("code", judged.thumbprint)
    yield from _of_wrap(version)
    yield from _of_import(version)
    if judged.attestation.verdict != "none":
        yield "Attestation", f"{judged.attestation.told}."
    copies = [element("div", element("code", kid)) for kid in version.copies]
    copies += map(_package, version.escrow)
    yield "Other copies", joined(copies) if copies else "none in this evidence"
    if version.approvals:
        yield "Approvals", joined(map(_approval, version.approvals))
    for name, told in version.statements:
        yield f"Statement {name}", _proof(told, names)
    if version.deviations:
        yield (
            "Deviations",
            "; ".join(dict.fromkeys(_title(each.code) for each in version.deviations)),
        )


def _of_wrap(version: Version) -> Iterator[tuple[str, Child]]:
    told, judged = version.wrapped, version.judged
    if not told.predicate:
        return
    token = told.predicate["token"]
    yield (
        "Key in the HSM",
        _claim(
            told,
            f"{version.kind}, CKA_LABEL {told.text('key', 'name')}, CKA_ID {judged.generation}",
        ),
    )
    yield (
        "HSM",
        _claim(
            told,
            f"{token['manufacturer']} {token['model']}, firmware {token['firmware']}, "
            f"serial number {token['serial']}, label {token['label']}",
        ),
    )
    attributes = {
        name: f"0x{value:x}" if name == "CKA_KEY_GEN_MECHANISM" else one_line(value)
        for name, value in told.predicate["evidence"].items()
        if name.startswith("CKA_") and value is not None
    }
    origin = told.text("evidence", "origin")
    stated = f" ({one_line(attributes)})" if attributes else ""
    yield "Origin", _claim(told, f"{_ORIGINS.get(origin, origin)}{stated}")
    kek = told.predicate["kek"]
    trust = _TRUST_SENTENCES.get(kek["trust"], kek["trust"])
    codes = (element("div", element("code", kek[name])) for name in ("kid", "fingerprint"))
    yield "KEK", _claim(told, f"RSA-{kek['size']}, {trust}", *codes)
    if judged.kek_attestation.verdict != "none":
        yield "KEK's attestation", f"{judged.kek_attestation.told}."
    wrap = told.predicate["wrap"]
    yield "Wrap", _claim(told, f"{wrap['rehearsal']['mechanism']}, OAEP with {wrap['oaep']}")


def _of_import(version: Version) -> Iterator[tuple[str, Child]]:
    told = version.imported if version.imported.predicate else version.found
    if not told.predicate:
        return
    yield "Key in the vault", _claim(told, element("code", told.text("kid")))
    identity = _IDENTITIES.get(version.identity, version.identity)
    operation = told.text("proof", "operation")
    done = f", and the vault did {operation} with it" if operation else ""
    yield "Identity", _claim(told, f"{identity}{done}")
    attributes = told.get("attributes")
    if attributes:
        yield "Operations", _claim(told, one_line(attributes["operations"]))
        if attributes["tags"]:
            yield "Tags", _claim(told, one_line(attributes["tags"]))


def _claim(told: Told, *children: Child) -> Markup:
    return joined(children if told.holds else (*children, " ", _CLAIM))


def _approval(approval: Approval) -> Markup:
    subject = _SUBJECTS.get(approval.subject, approval.subject)
    text = f"{subject}: {', '.join(approval.principals)}, recorded by run {approval.run} "
    return element("div", text, _CLAIM if approval.claimed else None)


def _proof(told: Told, names: Mapping[str, str]) -> Markup:
    signers = ", ".join(names.get(keyid) or keyid[:16] for keyid in told.signers)
    runs = ", ".join(map(str, told.runs))
    return joined(
        (
            f"Signed by {signers}. " if signers else None,
            f"Named by the signed record of run {runs}. " if runs else None,
            None if told.holds else _CLAIM,
            element("div", element("code", told.sha256)) if told.sha256 else None,
        )
    )


def _check(report: Report) -> Iterator[Markup]:
    yield element(
        "p",
        "This page is only a view, and is not signed. The proof is the folder of receipts: verify "
        "it on a machine of your own with the playbook verify, or without Ansible with "
        "extensions/keyferry_verify.py. Take the evidence keys and the owners' roots from the "
        "people who keep them, and not from whoever gave you this page.",
    )
    yield element(
        "p",
        "A signature of an evidence key says that somebody with its PIN signed in that HSM. It "
        "does not say that the content is true. A time is that of the named clock; no clock here "
        "is one of a time stamp authority. Receipts do not tell whether a rotation is overdue: the "
        "playbook plan reports it.",
    )
    names = report.trust.get("keyids") or {}
    rows = [
        element("tr", element("th", name, scope="row"), element("td", element("code", keyid)))
        for keyid, name in sorted(names.items(), key=lambda pair: pair[1])
    ]
    if rows:
        yield _table_of(("Trusted evidence key", "SHA-256 of its SubjectPublicKeyInfo"), rows)


def _facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    cells = (cell for name, value in rows for cell in (element("dt", name), element("dd", value)))
    return element("dl", *cells, cls="facts")


def _table_of(
    columns: Iterable[str], rows: Iterable[Markup], numbers: t.Container[int] = ()
) -> Markup:
    """Return a table that scrolls by itself on a narrow screen.

    :param numbers: the columns whose cells are numbers
    """
    headings = (
        element("th", heading, scope="col", cls="n" if place in numbers else None)
        for place, heading in enumerate(columns)
    )
    table = element("table", element("thead", element("tr", *headings)), element("tbody", *rows))
    return element("div", table, cls="scroll")


def _chip(verdict: Verdict) -> Markup:
    return element("span", verdict, cls=f"chip {verdict}")


def _title(code: str) -> str:
    return _TITLES.get(code, code)


def _keys(report: Report) -> str:
    return _counted(len(report.keys), "key")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(moment: str) -> str:
    """Return a moment as people read it; any other text as it is."""
    found = _MOMENT.fullmatch(moment)
    return f"{found[1]} {found[2]} UTC" if found else moment


def _day(moment: str) -> str:
    found = _MOMENT.fullmatch(moment)
    return found[1] if found else moment or _NOTHING
