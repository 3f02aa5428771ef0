# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a key transfer package of any tool says, and what is wrong with it; pure."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import RSA_SIZES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import (
    ciphertext_problem,
    decode_ciphertext,
    digest,
    fitting_keys,
    inner_package,
    member_problems,
    parse_kid,
    read_document,
    spoken,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import (
    decode_text,
    plain_text,
)

_WHAT = "The key transfer package"


def explain_package(text: str) -> dict[str, t.Any]:
    """Return what a package says, and each problem that keeps it from being imported.

    It reads on behind a problem as far as the meaning is plain, such as in standard base64.

    :returns: as the filter ``explain_package`` documents it
    """
    told: dict[str, t.Any] = dict.fromkeys(
        ("kek_id", "vault_url", "escrow_fingerprint", "generator", "sha256", "sha256_spoken")
    )
    told.update(ciphertext_bytes=None, fits=[], problems=[])
    try:
        text = plain_text(text, _WHAT)
        told["sha256"] = digest(text)
        told["sha256_spoken"] = spoken(told["sha256"])
        document = _package_in(text, told["problems"])
    except ByokError as error:
        told["problems"].append(str(error))
        return told
    told["problems"] += [f"{problem}." for problem in member_problems(document)]
    document, header = _renamed(document)
    told["generator"] = str(document["generator"]) if "generator" in document else None
    _explain_recipient(header, told)
    _explain_ciphertext(document.get("ciphertext"), told)
    return told


def _package_in(text: str, problems: list[str]) -> dict[str, t.Any]:
    """Return the JSON object of a package, also of one inside of a request's body.

    :raises ByokError: when it is none
    """
    try:
        return read_document(text)
    except ByokError as error:
        try:
            inner = inner_package(parse_json(text))
            content = base64.b64decode(_standard(inner or ""), validate=True)
        except (ValueError, AttributeError, binascii.Error):
            content = b""
        if not content:
            raise
        problems.append(str(error))
    return read_document(decode_text(content, f"{_WHAT} in key_hsm"))


def _renamed(document: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return a document and its header, their members in lower case and without underscores."""

    def plain(members: t.Any) -> dict[str, t.Any]:
        named = members if isinstance(members, dict) else {}
        return {name.replace("_", "").lower(): value for name, value in named.items()}

    return plain(document), plain(plain(document).get("header"))


def _explain_recipient(header: dict[str, t.Any], told: dict[str, t.Any]) -> None:
    """Tell for which key the package was encrypted."""
    if "escrow" in header:
        told["escrow_fingerprint"] = str(header["escrow"]).removeprefix("sha256:")
        return
    kid = str(header.get("kid"))
    try:
        key_id = parse_kid(kid)
    except ByokError as error:
        told["problems"].append(f"header.kid: {error}")
    else:
        told["kek_id"] = str(key_id)
        told["vault_url"] = key_id.vault


def _explain_ciphertext(ciphertext: t.Any, told: dict[str, t.Any]) -> None:
    """Tell which keys the ciphertext can be, by its length alone."""
    problem = ciphertext_problem(ciphertext)
    if problem:
        told["problems"].append(f"{problem}.")
        ciphertext = re.sub(r"\s", "", str(ciphertext)).translate(str.maketrans("+/", "-_"))
        if ciphertext_problem(ciphertext):
            return
    size = len(decode_ciphertext(ciphertext))
    told["ciphertext_bytes"] = size
    fits = [{"kek_size": kek, "keys": fitting_keys(size, kek)} for kek in RSA_SIZES]
    told["fits"] = [fit for fit in fits if fit["keys"]]
    if not told["fits"]:
        sizes = ", ".join(map(str, RSA_SIZES))
        told["problems"].append(
            f"The ciphertext has {size} bytes, which no key has under a KEK of {sizes} bits: it is "
            "truncated, or was not made by CKM_RSA_AES_KEY_WRAP."
        )


def _standard(text: str) -> str:
    """Return base64url as standard base64 with its padding."""
    text = text.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    return text + "=" * (-len(text) % 4)
