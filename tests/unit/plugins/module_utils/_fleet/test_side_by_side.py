# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet.side_by_side import side_by_side

OLD, NEW = "01a2032eafaa71a4a5d1e84832f381a3", "01a3032eafaa71a4a5d1e84832f381a3"
SECRET = "01a4032eafaa71a4a5d1e84832f381a3"


def version(number: int, **facts: t.Any) -> dict[str, t.Any]:
    plain = {
        "version": str(number),
        "generation": None,
        "thumbprint": "x",
        "ours": False,
        "active": False,
        "enabled": True,
    }
    return {**plain, "created": "2026-11-22T10:00:00Z", "expires": None, **facts}


def test_generations_and_versions_stand_side_by_side() -> None:
    made = {
        "kind": "P-256",
        "made": "2026-11-22T10:00:00Z",
        "thumbprint": "x",
        "withdrawn": False,
        "half_made": False,
    }
    secret = {"generation": SECRET, **made, "thumbprint": None}
    in_token = {
        "name": "a",
        "generations": [
            {"generation": OLD, **made, "thumbprint": "o"},
            {"generation": NEW, **made, "thumbprint": "n", "withdrawn": True},
            secret,
        ],
    }

    def shown(
        url: str, versions: list[dict[str, t.Any]], deleted: bool | None = False
    ) -> dict[str, t.Any]:
        key = {
            "name": "a",
            "deleted": deleted,
            "last_rotated": None,
            "next_due": "2027-01-01T00:00:00Z",
            "versions": versions,
        }
        plan = [{"name": "a", "action": "none", "reason": "as declared"}]
        token = {"label": "byok", "serial": "7"}
        return {
            "token": token,
            "target_keys": [in_token],
            "plan": plan,
            "versions": {"vault_url": url, "target_keys": [key]},
        }

    (by_tag,) = [
        line
        for line in side_by_side(
            [shown("https://one", [version(1, generation=SECRET, thumbprint=None)])]
        )
        if "version 1" in line and "foreign" not in line
    ]
    assert by_tag.endswith("expires never, by its tag, not proved")
    lines = side_by_side(
        [
            shown("https://one", [version(2), version(1, thumbprint="o", ours=True, active=True)]),
            shown("https://two", [], deleted=True),
        ]
    )
    assert lines[0] == "a, token byok (7)"
    assert lines[1].startswith(f"  generation {OLD}, P-256, made 2026")
    assert lines[2:4] == [
        "    https://one: version 1, active, enabled, created 2026-11-22T10:00:00Z, expires never",
        "    https://two: -",
    ]
    assert lines[4].endswith("withdrawn")
    assert (
        "  foreign, https://one: version 2, enabled, created 2026-11-22T10:00:00Z, expires never"
        in lines
    )
    assert (
        lines[-2]
        == "  https://one: never rotated; next due 2027-01-01T00:00:00Z; none: as declared"
    )
    assert "a deleted key holds the name" in lines[-1]


def test_keys_of_one_cka_id_are_told_apart_by_their_thumbprints() -> None:
    facts = {"kind": "RSA-2048", "made": None, "withdrawn": False, "half_made": False}
    twice = [{"generation": "13", "thumbprint": name, **facts} for name in ("x", "y")]
    key = {"name": "a", "deleted": False, "last_rotated": None, "next_due": None}
    versions = [version(1, generation="13", thumbprint="y", ours=True)]
    lines = side_by_side(
        [
            {
                "token": {"label": "byok", "serial": ""},
                "target_keys": [{"name": "a", "generations": twice}],
                "plan": [],
                "versions": {
                    "vault_url": "https://v",
                    "target_keys": [{**key, "versions": versions}],
                },
            }
        ]
    )
    assert lines[0] == "a, token byok"
    assert [line for line in lines if "thumbprint" in line or "https://v: version" in line] == [
        "  generation 13, RSA-2048, made elsewhere, thumbprint x",
        "  generation 13, RSA-2048, made elsewhere, thumbprint y",
        "    https://v: version 1, enabled, created 2026-11-22T10:00:00Z, expires never",
    ]
    assert "    https://v: -" in lines


def test_texts_of_tokens_and_vaults_are_shown_on_one_line_each() -> None:
    key = {"name": "a", "deleted": False, "last_rotated": None, "next_due": None, "versions": []}
    vault = {
        "token": {"label": "luna\x1b[2J\nforged", "serial": "7"},
        "target_keys": [{"name": "a", "generations": []}],
        "plan": [],
        "versions": {"vault_url": "https://v\u202e", "target_keys": [key]},
    }
    lines = side_by_side([vault])
    assert any(r"luna\x1b[2J\nforged" in line for line in lines)
    assert all(line.isprintable() for line in lines)
