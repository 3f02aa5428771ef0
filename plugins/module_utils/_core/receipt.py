# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The receipt: the record of one transfer with what proves it; pure but for version look-ups.

It is an in-toto Statement v1, and holds no secret and no key, wrapped or not.
docs/receipt.schema.json describes the predicate.

A receipt that lies beside a package is the word of whoever carried both, because it is not signed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import typing as t
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import HOST
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_shape import (
    FLAG_OR_NULL,
    NULL,
    NUMBER,
    SHA256,
    SHA256_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Either,
    Maybe,
    difference,
    one_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_TYPES = "https://github.com/keyferry/keyferry.azure/"

#: What the token's side tells of a package, and the same with what an import added
WRAPPED, TRANSFER = f"{_TYPES}wrapped/v1", f"{_TYPES}transfer/v1"
VERSION = "0.1.0"

#: What the user can do with a proxy or a CA file changes what a run talked to, so a receipt tells
#: that they were set
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

#: What a receipt tells of a KEK that is trusted for another reason than its attestation
_NOT_ATTESTED: t.Mapping[str, None] = dict.fromkeys(("attestation", "owner_root", "maker"))

_TRANSFER_AGAIN = "Transfer package and receipt again, unchanged"

_HEX: t.Final = re.compile("([0-9a-f]{2})+")

#: What the subjects of a statement are
SUBJECT: t.Final = [{"name": TEXT, "digest": {"sha256": SHA256}}]

#: How every statement names a key
KEY_NAME: t.Final = re.compile("[0-9a-zA-Z-]{1,127}")
GENERATION: t.Final = re.compile("([0-9a-f]{2})*")

#: What the token's side tells, as docs/receipt.schema.json says
_PREDICATE: t.Mapping[str, t.Any] = {
    "key": {
        "name": KEY_NAME,
        "kind": TEXT,
        "generation": GENERATION,
        "thumbprint": TEXT_OR_NULL,
    },
    "token": dict.fromkeys(
        ("label", "serial", "manufacturer", "model", "firmware", "library"), TEXT
    ),
    "evidence": {
        "origin": TEXT,
        **dict.fromkeys(
            (
                "CKA_LOCAL",
                "CKA_ALWAYS_SENSITIVE",
                "CKA_SENSITIVE",
                "CKA_EXTRACTABLE",
                "CKA_NEVER_EXTRACTABLE",
            ),
            FLAG_OR_NULL,
        ),
        "CKA_KEY_GEN_MECHANISM": (int, type(None)),
    },
    "kek": {
        "kid": TEXT_OR_NULL,
        "fingerprint": TEXT,
        "trust": TEXT,
        "size": NUMBER,
        "attestation": SHA256_OR_NULL,
        "owner_root": SHA256_OR_NULL,
        "maker": Either((one_of("Marvell", "not Marvell"), NULL)),
    },
    "wrap": {
        "oaep": TEXT,
        "aes_bits": NUMBER,
        "rehearsal": dict.fromkeys(("profile", "mechanism", "parameter", "finding"), TEXT),
        "time": TEXT,
        "clock": one_of("host"),
        "tools": (dict,),
    },
    "challenge": Maybe((dict,)),
}

#: What a receipt has, by its type: what an import added is written anew, so any object will do
_SHAPES: t.Mapping[str, t.Mapping[str, t.Any]] = {
    predicate_type: {
        "_type": one_of(STATEMENT_TYPE),
        "subject": SUBJECT,
        "predicateType": one_of(predicate_type),
        "predicate": predicate,
    }
    for predicate_type, predicate in (
        (WRAPPED, _PREDICATE),
        (TRANSFER, {**_PREDICATE, "import": Maybe((dict,))}),
    )
}

#: What a challenge has; byok_wrap makes one for oct keys alone, and iv is of CBC
_CHALLENGE: t.Mapping[str, t.Any] = {
    "algorithm": re.compile("A(128|192|256)(CBCPAD|KW)"),
    "ciphertext": _HEX,
    "sha256": SHA256,
}
_IV: t.Mapping[str, t.Any] = {"iv": re.compile("[0-9a-f]{32}")}


def generator(token: t.Mapping[str, str]) -> str:
    """Return the package's ``generator``, as Microsoft's specification describes it.

    That is: tool and version; source HSM and firmware.
    """
    return f"keyferry.azure {VERSION}; {token['manufacturer']} {token['model']} {token['firmware']}"


def begin(
    *,
    key: t.Mapping[str, t.Any],
    package_sha256: str,
    token: t.Mapping[str, str],
    evidence: t.Mapping[str, t.Any],
    kek: t.Mapping[str, t.Any],
    wrap: t.Mapping[str, t.Any],
) -> dict[str, t.Any]:
    """Return the receipt of a package that was wrapped.

    :param key: ``name``, ``kind``, ``generation``, and for keys with a public part ``thumbprint``
        and ``sha256`` of the SubjectPublicKeyInfo
    :param token: ``label``, ``serial``, ``manufacturer``, ``model``, ``firmware`` and ``library``
    :param evidence: CKA_* and ``origin``
    :param kek: ``kid`` (None for an escrow key), ``fingerprint``, ``trust`` and ``size``; of one
        that was judged attested also ``attestation`` (SHA-256 of the raw answer), ``owner_root``
        and ``maker``
    :param wrap: ``oaep``, ``aes_bits``, ``rehearsal``, and ``time`` (UTC, ISO 8601) by this host's
        clock
    """
    ending = "byok" if kek["kid"] else "escrow"
    subject = [{"name": f"{key['name']}.{ending}", "digest": {"sha256": package_sha256}}]
    if key.get("sha256"):
        subject.append({"name": f"{key['name']} (public key)", "digest": {"sha256": key["sha256"]}})
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": WRAPPED,
        "predicate": {
            "key": {name: value for name, value in key.items() if name != "sha256"},
            "token": dict(token),
            "evidence": dict(evidence),
            "kek": {**_NOT_ATTESTED, **kek},
            "wrap": {**wrap, "clock": HOST, "tools": tools("python-pkcs11", "cryptography")},
        },
    }


def with_challenge(
    receipt: dict[str, t.Any], challenge: t.Mapping[str, str] | None
) -> dict[str, t.Any]:
    """Return the receipt with the token's challenge, so that the importing side can prove what
    arrived.

    :param challenge: of an oct key; None where there is none
    """
    if challenge is None:
        return receipt
    return {**receipt, "predicate": {**receipt["predicate"], "challenge": dict(challenge)}}


def complete(receipt: t.Mapping[str, t.Any], imported: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the receipt with what the import added, which makes it a transfer/v1.

    :param imported: kid, attributes, request id, what was compared, origin and identity, and
        ``source``: whether this run or whoever carried the package told the rest
    """
    tool_versions = tools("azure-keyvault-keys", "azure-identity", "cryptography")
    return {
        **receipt,
        "predicateType": TRANSFER,
        "predicate": {
            **receipt["predicate"],
            "import": {**imported, "environment": environment(os.environ), "tools": tool_versions},
        },
    }


def wrapped_of(receipt: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what the token's side told, without what an import added: wrapped/v1."""
    predicate = {name: told for name, told in receipt["predicate"].items() if name != "import"}
    return {**receipt, "predicateType": WRAPPED, "predicate": predicate}


def parse(text: str, where: str) -> dict[str, t.Any]:
    """Read a receipt that came in a file.

    :param where: such as "The file /media/a.byok.receipt.json", for the message
    :raises ByokError: for what is no receipt of Keyferry
    """
    try:
        receipt = parse_json(text)
    except ValueError as error:
        raise ByokError(f"{where} is not JSON ({error})", _TRANSFER_AGAIN) from None
    check(receipt, where)
    return t.cast("dict[str, t.Any]", receipt)


def check(receipt: t.Any, where: str) -> None:
    """Refuse what has not the shape of a receipt; what it says may be wrong all the same.

    :param where: as :func:`parse` takes it
    :raises ByokError: naming the first member that is not as it must be
    """
    predicate_type = receipt.get("predicateType") if isinstance(receipt, Mapping) else None
    shape = _SHAPES.get(predicate_type) if isinstance(predicate_type, str) else None
    if shape is None:
        raise ByokError(f"{where} is not a receipt of Keyferry", _TRANSFER_AGAIN)
    wrong = difference(receipt, shape) or (None if receipt["subject"] else "subject")
    if wrong is not None:
        raise ByokError(
            f"{where} is not a receipt of Keyferry: {wrong} is not as docs/receipt.schema.json "
            "describes it",
            _TRANSFER_AGAIN,
        )
    if "challenge" in receipt["predicate"]:
        check_challenge(receipt["predicate"]["challenge"], where)


def check_challenge(challenge: t.Any, where: str) -> None:
    """Refuse what has not the shape of a challenge, see ``make_challenge()`` of ``_token``.

    :param where: what it stands in, for the message
    :raises ByokError: for what is none
    """
    wants_iv = str(challenge.get("algorithm")).endswith("CBCPAD") if challenge else False
    shape = {**_CHALLENGE, **_IV} if wants_iv else _CHALLENGE
    if difference(challenge, shape) is not None:
        raise ByokError(f"The challenge in {where} is not one of byok_wrap", _TRANSFER_AGAIN)


def package_sha256(receipt: t.Mapping[str, t.Any]) -> str:
    """Return the digest of the package that a receipt is about, of one that :func:`check` took."""
    return str(receipt["subject"][0]["digest"]["sha256"])


def path_beside(package_path: str) -> str:
    """Return where the receipt of a package is."""
    return f"{package_path}.receipt.json"


def envelope_beside(package_path: str) -> str:
    """Return where the receipt of a package is in its envelope."""
    return f"{package_path}.intoto.jsonl"


def public_key_beside(escrow_path: str) -> str:
    """Return where the public key of an escrow package is, as PEM."""
    return f"{escrow_path}.pub.pem"


def to_text(receipt: t.Mapping[str, t.Any]) -> str:
    """Return a receipt as it is written to a file."""
    return json.dumps(receipt, indent=2) + "\n"


def environment(variables: t.Mapping[str, str]) -> dict[str, bool]:
    """Tell whether a proxy or a CA override was in force."""
    return {
        "proxy": any(variables.get(name) for name in _PROXY_VARIABLES),
        "ca_override": any(variables.get(name) for name in _CA_VARIABLES),
    }


def tools(*libraries: str) -> dict[str, str]:
    """Return the versions of Keyferry, Python and the libraries in use."""
    return {
        "keyferry.azure": VERSION,
        "python": platform.python_version(),
        **{name: _version(name) for name in libraries},
    }


@cache
def _version(library: str) -> str:
    # Looked up once and not for each of a thousand receipts, because it reads files.
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "unknown"
