# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The receipt: the record of one transfer with what proves it; pure but for version look-ups.

It is an in-toto Statement v1, and holds no secret and no ciphertext. docs/receipt.schema.json
describes the predicate.
"""

from __future__ import annotations

import json
import os
import platform
import typing as t
from functools import cache
from importlib import metadata

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://github.com/keyferry/keyferry.azure/transfer/v1"
VERSION = "0.1.0"

#: What the user can do with a proxy or a CA file changes what a run talked to, so a receipt tells
#: that they were set
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


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
    :param kek: ``kid`` (None for an escrow key), ``fingerprint``, ``trust`` and ``size``
    :param wrap: ``oaep``, ``aes_bits``, ``rehearsal``, and ``time`` (UTC, ISO 8601)
    """
    ending = "byok" if kek["kid"] else "escrow"
    subject = [{"name": f"{key['name']}.{ending}", "digest": {"sha256": package_sha256}}]
    if key.get("sha256"):
        subject.append({"name": f"{key['name']} (public key)", "digest": {"sha256": key["sha256"]}})
    return {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "key": {name: value for name, value in key.items() if name != "sha256"},
            "token": dict(token),
            "evidence": dict(evidence),
            "kek": dict(kek),
            "wrap": {**wrap, "tools": tools("python-pkcs11", "cryptography")},
        },
    }


def complete(receipt: t.Mapping[str, t.Any], imported: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the receipt with what the import added.

    :param imported: kid, attributes, request id, what was compared, origin and identity
    """
    tool_versions = tools("azure-keyvault-keys", "azure-identity", "cryptography")
    return {
        **receipt,
        "predicate": {
            **receipt["predicate"],
            "import": {**imported, "environment": environment(os.environ), "tools": tool_versions},
        },
    }


def package_sha256(receipt: t.Mapping[str, t.Any]) -> str | None:
    """Return the digest of the package that a receipt is about.

    None where it is not a receipt of ours.
    """
    try:
        return str(receipt["subject"][0]["digest"]["sha256"])
    except (KeyError, IndexError, TypeError):
        return None


def path_beside(package_path: str) -> str:
    """Return where the receipt of a package is."""
    return f"{package_path}.receipt.json"


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
