# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an auditor trusts: evidence keys, roots, and heads of chains that he noted himself; pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    Roots,
    normalised,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_bundle,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.time_stamp import check_root
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import Head
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import keyid_of

#: What a trust folder has; anything else may be a misspelt name, so it is refused
DIRECTORIES = re.compile(r"evidence-keys|azure-keys|maker-roots|stamp-roots")
FILES = re.compile(
    r"(evidence-keys|azure-keys|maker-roots|stamp-roots)/[^/\s]{1,200}\.pem|owner-roots\.json|"
    r"heads\.json|allowed_signers"
)

_HEAD = re.compile(r"(?P<vault>[^=\s]+)=(?P<number>[0-9]{1,9}):(?P<sha256>[0-9A-Fa-f]{64})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Trust:
    """What counts.

    :ivar keys: PEM texts of evidence keys of tokens by their keyids
    :ivar azure_keys: the same of evidence keys in vaults, which vouch for Azure's side alone
    :ivar files: the name of each key's file by its keyid
    :ivar roots: of pools' owners, and of makers beside Marvell
    :ivar heads: by the vault's host: manifests that are known from elsewhere
    :ivar stampers: PEM texts of the roots of time-stamping authorities
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    roots: Roots = field(default_factory=lambda: Roots({}))
    heads: Mapping[str, tuple[Head, ...]] = field(default_factory=dict)
    stampers: tuple[str, ...] = ()
    azure_keys: Mapping[str, str] = field(default_factory=dict)

    def signers_of(self, kind: str) -> Mapping[str, str]:
        """Return the keys that may sign a kind of statement, by their keyids.

        Whoever can use a key in the vault could otherwise state what the token's side did.
        """
        return {**self.azure_keys, **self.keys} if kind == "imported" else self.keys

    def with_heads(self, heads: Iterable[tuple[str, Head]]) -> Trust:
        """Return it with more known heads, by the vaults' hosts."""
        all_heads = dict(self.heads)
        for host, head in heads:
            all_heads[host] = (*all_heads.get(host, ()), head)
        return replace(self, heads=all_heads)

    def facts(self) -> dict[str, t.Any]:
        """Return what a verification says of it."""
        return {
            "evidence_keys": len(self.keys),
            "azure_keys": len(self.azure_keys),
            "owner_roots": len(self.roots.owners),
            "maker_roots": len(self.roots.makers),
            "heads": sum(map(len, self.heads.values())),
            "keyids": dict(self.files),
        }


def parse_trust(files: Mapping[str, bytes], strange: Mapping[str, str]) -> Trust:
    """Read a trust folder.

    :param files: by their paths in the folder
    :param strange: what else is there, by its path
    :raises ByokError: for what is not as docs/verify.md describes it
    """
    for path, why in sorted(strange.items()):
        raise ByokError(
            f"{path} in the trust folder does not count: {why}",
            "Let the user who runs this read it, remove it, or correct its name: a trust folder "
            "has evidence-keys/*.pem, "
            "azure-keys/*.pem, maker-roots/*.pem, stamp-roots/*.pem, owner-roots.json, heads.json "
            "and allowed_signers",
        )
    texts = {
        path: decode_text(content, f"The file {path} of the trust folder")
        for path, content in files.items()
    }
    keyids = {
        path: keyid_of(text)
        for path, text in texts.items()
        if path.startswith(("evidence-keys/", "azure-keys/"))
    }
    ours, azure = (
        {keyid: texts[path] for path, keyid in keyids.items() if path.startswith(folder)}
        for folder in ("evidence-keys/", "azure-keys/")
    )
    makers = [texts[path] for path in sorted(texts) if path.startswith("maker-roots/")]
    stampers = {path: texts[path] for path in sorted(texts) if path.startswith("stamp-roots/")}
    for path, text in stampers.items():
        check_root(text, f"{path} of the trust folder")
    owners = _object(texts, "owner-roots.json")
    for pool, root in owners.items():
        normalised(root if isinstance(root, str) else "", pool)
    return Trust(
        ours,
        {keyid: path.partition("/")[2] for path, keyid in keyids.items()},
        Roots(owners, tuple(each for text in makers for each in read_bundle(text))),
        stampers=tuple(stampers.values()),
        azure_keys=azure,
    ).with_heads(_heads(_object(texts, "heads.json")))


def parse_head(text: str) -> tuple[str, Head]:
    """Read a head as a command line has it, ``VAULT=N:SHA256``.

    :returns: the vault's host, and the head
    :raises ByokError: for anything else
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise ByokError(
            f"{text!r} is no head of a chain",
            "Write it as VAULT=N:SHA256, such as contoso.vault.azure.net=12:3f0c...",
        )
    return _host(match["vault"]), Head(int(match["number"]), match["sha256"].lower())


def _heads(heads: Mapping[str, t.Any]) -> Iterable[tuple[str, Head]]:
    for vault, head in heads.items():
        match head:
            case {"number": int(number), "sha256": str(sha256)} if _SHA256.fullmatch(sha256):
                yield _host(vault), Head(number, sha256)
            case _:
                raise ByokError(
                    f"heads.json of the trust folder has no head for {vault}",
                    'Write {"VAULT": {"number": N, "sha256": "64 hexadecimal digits"}}',
                )


def _host(vault: str) -> str:
    return comparable_url(vault).removeprefix("https://")


def _object(texts: Mapping[str, str], path: str) -> Mapping[str, t.Any]:
    """Return a JSON object of the trust folder; an empty one where the file is missing.

    :raises ByokError: for anything else
    """
    try:
        found = parse_json(texts.get(path, "{}"))
    except ValueError as error:
        found, why = None, f" ({error})"
    else:
        why = ""
    if not isinstance(found, dict):
        raise ByokError(
            f"{path} of the trust folder is no JSON object{why}", "See docs/verify.md for its form"
        )
    return found
