# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reason codes: what programs match, beside the sentences that people read; pure."""

from __future__ import annotations

from collections.abc import Mapping

#: Why something failed -> what that means
FAILURES: Mapping[str, str] = {
    "failed": "It failed for a reason that has no code of its own; the sentence names it.",
    "busy": "Another run holds the lock, or Azure still works on an earlier request.",
    "conflict": "What is there is not what was expected, so nothing was done over it.",
    "forbidden": "The identity has no permission for it, or a firewall refuses this host.",
    "kek_unverified": "Nothing shows that the KEK is the vault's own.",
    "last_copy": "A generation is not destroyed, because a vault has it or may have it.",
    "locked": "The key was locked in the token, so it can go to no further vault.",
    "missing_library": "A Python library is not installed on this host.",
    "needs_prepare": "A generation has to be made first, by the entry point prepare.",
    "not_found": "A key, a package or a file is not there.",
    "not_our_key": "The vault has, or the package holds, another key than the token's.",
    "throttled": "The vault answers 429 for longer than throttle_timeout.",
    "token_refused": "A PKCS#11 function of the token returned an error.",
    "uncertain": "A change may or may not have been made, and reading back did not tell.",
    "unexpected": "An exception that Keyferry does not know; its type and place are told.",
    "unreadable_answer": "Azure answered something that cannot be read.",
    "vault_unavailable": "The vault does not serve this run now, so its other keys wait.",
}
