# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What verifying a receipt folder does, from a playbook and from the plain command: read the files
and judge them. It needs no Ansible.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ansible_collections.keyferry.azure.plugins.module_utils._audit import receipt_folder, trust
from ansible_collections.keyferry.azure.plugins.module_utils._audit.judge_folder import (
    judge_folder,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.observed import observed
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host.file_tree import (
    MOST_OF_A_FILE,
    read_tree,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text


def verify(
    receipts: str,
    trusted: str,
    listings: Iterable[str] = (),
    vaults: Iterable[str] = (),
    heads: Iterable[str] = (),
) -> Verification:
    """Verify a receipt folder.

    :param receipts: the folder
    :param trusted: the trust folder
    :param listings: files of tokens, as playbooks/list.yml writes them
    :param vaults: files of vaults, see docs/verify.md
    :param heads: further heads that are known, as ``VAULT=N:SHA256``
    :raises ByokError: where an input cannot be read, so that nothing is judged
    """
    tree = read_tree(receipts, "receipt folder", receipt_folder.DIRECTORIES, receipt_folder.FILES)
    trust_tree = read_tree(trusted, "trust folder", trust.DIRECTORIES, trust.FILES)
    hidden = {path: why for path, why in trust_tree.strange.items() if not path.startswith(".")}
    return judge_folder(
        receipt_folder.parse_folder(tree.files, tree.strange),
        trust.parse_trust(trust_tree.files, hidden).with_heads(map(trust.parse_head, heads)),
        observed(
            {path: _text(path, "listing") for path in listings},
            {path: _text(path, "export of vaults") for path in vaults},
        ),
        host_clock(),
    )


def _text(path: str, what: str) -> str:
    """:raises ByokError: for a file that is not there, or too large"""
    if os.path.isfile(path) and os.path.getsize(path) > MOST_OF_A_FILE:
        raise ByokError(f"The {what} {path} is too large", "Give the right file")
    text = read_text(path, what)
    if text is None:
        raise ByokError(f"The {what} {path} is not there", "Give the right path", code="not_found")
    return text
