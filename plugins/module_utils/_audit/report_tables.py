# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The evidence report as rows for spreadsheets and programs; pure."""

from __future__ import annotations

import csv
import io
import json
import re
import typing as t
from collections.abc import Iterator

from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_facts import (
    Key,
    Report,
    Version,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable

#: What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection)
_FORMULA = "=+\\-@\t\r\n"

#: Where that counts: where a cell begins, and behind a semicolon, which ends one in many countries
_BEGINS_ONE = re.compile(rf"(^|;)( *)(?=[{_FORMULA}])")


def rows_of(report: Report) -> list[dict[str, t.Any]]:
    """Return a row per version, and one for each key without any.

    What is not known, or of a broken version, is None.
    """
    return [row for key in report.keys for row in _rows(key)]


def csv_of(report: Report) -> str:
    """Return the rows as RFC 4180 has them.

    An apostrophe stands before what a spreadsheet would take for a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    rows = rows_of(report)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return text.getvalue()


def json_of(verification: Verification, report: Report) -> str:
    """Return the verification itself, and the rows."""
    content = {"verification": verification.to_dict(), "rows": rows_of(report)}
    return json.dumps(content, indent=1) + "\n"


def _rows(key: Key) -> Iterator[dict[str, t.Any]]:
    known = {
        "vault": key.vault,
        "key": key.name,
        "key_verdict": key.verdict,
        "key_code": key.judged.code,
        "key_told": key.judged.told,
    }
    for version in key.versions:
        yield {**_EMPTY, **known, **_row(version)}
    if not key.versions:
        yield {**_EMPTY, **known}


def _row(version: Version) -> dict[str, t.Any]:
    judged, wrapped, imported = version.judged, version.wrapped, version.imported
    row: dict[str, t.Any] = {
        "version": judged.version,
        "kid": judged.kid,
        "newest": version.newest,
        "verdict": judged.verdict,
        "code": judged.code,
        "told": judged.told,
        "wrapped": wrapped.standing,
        "imported": imported.standing,
        "found": version.found.standing,
    }
    if not version.read:
        return row
    return {
        **row,
        "kind": version.kind or None,
        "thumbprint": judged.thumbprint,
        "generation": judged.generation,
        **{f"hsm_{name}": wrapped.get("token", name) for name in _TOKEN},
        "origin": wrapped.get("evidence", "origin"),
        "kek_kid": wrapped.get("kek", "kid"),
        "kek_fingerprint": wrapped.get("kek", "fingerprint"),
        "kek_size": wrapped.get("kek", "size"),
        "kek_trust": wrapped.get("kek", "trust"),
        "kek_attestation": judged.kek_attestation.verdict,
        "oaep": wrapped.get("wrap", "oaep"),
        "wrap_time": wrapped.get("wrap", "time"),
        "wrap_clock": wrapped.get("wrap", "clock"),
        "arrived": version.arrived or None,
        "arrived_clock": imported.get("clock") or version.found.get("clock"),
        "identity": version.identity or None,
        "expires": version.expires or None,
        "operations": imported.get("attributes", "operations"),
        "attestation": judged.attestation.verdict,
        "copies": list(version.copies),
        "escrow_packages": len(version.escrow),
        "approved_by": sorted({who for each in version.approvals for who in each.principals}),
        "wrapped_sha256": wrapped.sha256,
        "wrapped_signed_by": list(wrapped.signers),
        "imported_sha256": imported.sha256,
        "imported_signed_by": list(imported.signers),
        "deviations": list(dict.fromkeys(each.code for each in version.deviations)),
    }


_TOKEN: t.Final = ("manufacturer", "model", "firmware", "serial", "label")

#: In their order; docs/evidence.md tells what each is
COLUMNS: t.Final = (
    *("vault", "key", "key_verdict", "key_code", "key_told"),
    *("version", "kid", "newest", "verdict", "code", "told", "wrapped", "imported", "found"),
    *("kind", "thumbprint", "generation", *(f"hsm_{name}" for name in _TOKEN), "origin"),
    *("kek_kid", "kek_fingerprint", "kek_size", "kek_trust", "kek_attestation", "oaep"),
    *("wrap_time", "wrap_clock", "arrived", "arrived_clock", "identity", "expires"),
    *("operations", "attestation", "copies", "escrow_packages", "approved_by"),
    *("wrapped_sha256", "wrapped_signed_by", "imported_sha256", "imported_signed_by"),
    "deviations",
)
_EMPTY: t.Final[dict[str, t.Any]] = dict.fromkeys(COLUMNS)


def _cell(value: t.Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    # Spaces before a formula do not stop all programs.
    return printable(_BEGINS_ONE.sub(r"\1'\2", text))
