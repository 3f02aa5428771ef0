# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.


"""What people can approve, by the words of options and of what they sign; pure."""

from __future__ import annotations

import typing as t

#: The namespace of approvals, so that a signature of a git commit or a file is never one
NAMESPACE = "keyferry-approval@keyferry.azure"

Kind: t.TypeAlias = t.Literal["kek", "owner-root", "destroy", "plan"]

#: What can be approved, and what its digest is
KINDS: t.Mapping[str, str] = {
    "kek": "the KEK's fingerprint",
    "owner-root": "the SHA-256 of the root certificate of a Managed HSM's owner",
    "destroy": "the SHA-256 of the thumbprint or CKA_ID, or of the cloud key's identifier, as text",
    "plan": "the digest of the plan",
}
