# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority: for the lab's hosts, and for the certificates of its clients."""

from __future__ import annotations

from pathlib import Path

import trustme

from lab.folder import Folder, write_private
from lab.hosts import certificate_names


class Authority:
    """A CA, kept in the lab's folder, so that what trusts it goes on to trust a restarted lab."""

    def __init__(self, folder: Folder) -> None:
        key = folder / "ca.key"
        if not key.exists():
            made = trustme.CA()
            write_private(folder.ca, made.cert_pem.bytes())
            write_private(key, made.private_key_pem.bytes())
        self._ca = trustme.CA.from_pem(folder.ca.read_bytes(), key.read_bytes())

    def server_certificate(self, path: Path) -> Path:
        """Write key and certificate for all of the lab's hosts into one file."""
        return write_private(
            path, self._ca.issue_cert(*certificate_names()).private_key_and_cert_chain_pem.bytes()
        )

    def client_certificate(self, name: str, path: Path) -> Path:
        """Write key and certificate of a client.

        RSA, because Entra's assertions are signed with RS256 or PS256.
        """
        certificate = self._ca.issue_cert(f"{name}.lab", key_type=trustme.KeyType.RSA)
        return write_private(path, certificate.private_key_and_cert_chain_pem.bytes())
