# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the vaults hold, in one SQLite file that survives a restart of the lab."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.material import Material
from lab.rotation import Action, Policy
from lab.rules import API_VERSIONS

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vaults (host TEXT PRIMARY KEY, properties TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    host TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, change TEXT, changed REAL NOT NULL,
    PRIMARY KEY (host, name)
);
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY, host TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE,
    version TEXT NOT NULL COLLATE NOCASE, private BLOB NOT NULL, facts TEXT NOT NULL,
    UNIQUE (host, name, version),
    FOREIGN KEY (host, name) REFERENCES keys (host, name) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS versions_by_number ON versions (host, name, number);
CREATE TABLE IF NOT EXISTS policies (
    host TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, policy TEXT NOT NULL,
    PRIMARY KEY (host, name),
    FOREIGN KEY (host, name) REFERENCES keys (host, name) ON DELETE CASCADE
);
"""
_VERSIONS = "SELECT version, private, facts FROM versions WHERE host = ? AND name = ?"


@dataclass
class Properties:
    """What can be set of a vault.

    `retention_days` 7-90, `delete_delay` in seconds, `roles` (see lab.roles) by client name.
    With `sparse_pages` a page of a list has one item or none, as recorded of deleted keys.
    `hsm_platform` is "2", or "1" for a vault on Azure's former HSMs; `latest_api_version` is the
    last of lab.rules.API_VERSIONS that the vault knows.
    """

    purge_protection: bool = False
    retention_days: int = 90
    firewall: bool = False
    hsm_platform: str = "2"
    sparse_pages: bool = False
    delete_delay: float = 1.0
    latest_api_version: str = API_VERSIONS[-1]
    roles: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Name:
    """A key's name as it was first written, and its last change with its time.

    The change is "deleted", "recovered" or "purged".
    """

    name: str
    change: str | None
    changed: float


@dataclass
class Version:
    """One version of a key.

    Times in seconds since the epoch; `tags` is None where none were ever sent.
    """

    version: str
    kty: str
    material: Material
    key_ops: list[str]
    enabled: bool
    nbf: int | None
    exp: int | None
    created: int
    updated: int
    tags: dict[str, str] | None
    imported: bool = False


class Store:
    """The SQLite file (mode 0600).

    Hosts are lower case; names and versions compare case-insensitively.
    """

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None)
        # A lab is not worth a disk flush per key.
        self._database.executescript(
            "PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON;" + _SCHEMA
        )

    def close(self) -> None:
        self._database.close()

    def properties(self, host: str) -> Properties | None:
        row = self._database.execute(
            "SELECT properties FROM vaults WHERE host = ?", (host,)
        ).fetchone()
        return Properties(**json.loads(row[0])) if row else None

    def set_properties(self, host: str, properties: Properties) -> None:
        self._database.execute(
            "REPLACE INTO vaults VALUES (?, ?)", (host, json.dumps(asdict(properties)))
        )

    def name(self, host: str, name: str) -> Name | None:
        row = self._database.execute(
            "SELECT name, change, changed FROM keys WHERE host = ? AND name = ?", (host, name)
        ).fetchone()
        return Name(*row) if row else None

    def names(self, host: str, oldest_first: bool = False) -> list[Name]:
        """All names of a vault in any state, in alphabetical order or as they came."""
        order = "rowid" if oldest_first else "name"
        rows = self._database.execute(
            f"SELECT name, change, changed FROM keys WHERE host = ? ORDER BY {order}", (host,)
        )
        return [Name(*row) for row in rows]

    def change(self, host: str, name: str, change: str, changed: float) -> None:
        self._database.execute(
            "UPDATE keys SET change = ?, changed = ? WHERE host = ? AND name = ?",
            (change, changed, host, name),
        )

    def forget(self, host: str, name: str) -> None:
        """Remove a name with all its versions and its rotation policy."""
        self._database.execute("DELETE FROM keys WHERE host = ? AND name = ?", (host, name))

    def add(self, host: str, name: str, version: Version) -> None:
        """Add the newest version of a name, which this may be the first to use."""
        self._database.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, NULL, 0)", (host, name))
        self._database.execute(
            "INSERT INTO versions (host, name, version, private, facts) VALUES (?, ?, ?, ?, ?)",
            (host, name, version.version, version.material.private, _facts(version)),
        )

    def update(self, host: str, name: str, version: Version) -> None:
        self._database.execute(
            "UPDATE versions SET facts = ? WHERE host = ? AND name = ? AND version = ?",
            (_facts(version), host, name, version.version),
        )

    def versions(self, host: str, name: str, version: str = "") -> Iterator[Version]:
        """The versions of a name, newest first; with `version`, that one alone."""
        if version:
            rows = self._database.execute(f"{_VERSIONS} AND version = ?", (host, name, version))
        else:
            rows = self._database.execute(f"{_VERSIONS} ORDER BY number DESC", (host, name))
        return (_version(*row) for row in rows)

    def count(self, host: str, name: str) -> int:
        """How many versions a name has."""
        query = "SELECT COUNT(*) FROM versions WHERE host = ? AND name = ?"
        return int(self._database.execute(query, (host, name)).fetchone()[0])

    def policy(self, host: str, name: str) -> Policy | None:
        """The rotation policy of a name."""
        query = "SELECT policy FROM policies WHERE host = ? AND name = ?"
        row = self._database.execute(query, (host, name)).fetchone()
        return _policy(row[0]) if row else None

    def names_with_policy(self, host: str) -> list[str]:
        """The names of a vault that have a rotation policy."""
        rows = self._database.execute("SELECT name FROM policies WHERE host = ?", (host,))
        return [name for (name,) in rows]

    def set_policy(self, host: str, name: str, policy: Policy | None) -> None:
        """Give a name its rotation policy, or none."""
        self._database.execute("DELETE FROM policies WHERE host = ? AND name = ?", (host, name))
        if policy:
            self._database.execute(
                "INSERT INTO policies VALUES (?, ?, ?)", (host, name, json.dumps(asdict(policy)))
            )


def _facts(version: Version) -> str:
    facts = asdict(version)
    del facts["version"], facts["material"]["private"]
    return json.dumps(facts)


def _version(version: str, private: bytes, facts: str) -> Version:
    members: dict[str, Any] = json.loads(facts)
    material = Material(private, **members.pop("material"))
    return Version(version=version, material=material, **members)


def _policy(text: str) -> Policy:
    members: dict[str, Any] = json.loads(text)
    actions = tuple(Action(**action) for action in members.pop("actions"))
    return Policy(actions=actions, **members)
