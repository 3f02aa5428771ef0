# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a package that is there already is for the KEK of this run."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import build
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import RsaPublicKey
from ansible_collections.keyferry.azure.plugins.module_utils._steps.wrap import Recipient

KID = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("kid", "mine"),
    [
        (KID, True),
        (KID.replace(".net/", ".net:443/") + "/", True),
        (KID.replace("/kek/", "/KEK/"), True),
        (KID.replace(".net/", ".net:444/"), None),
        (KID.replace("contoso", "fabrikam"), False),
        (KID[:-1] + "0", False),
    ],
)
def test_a_package_is_for_the_kek_that_its_kid_names_in_any_spelling(
    kid: str, mine: bool | None
) -> None:
    recipient = Recipient(KID, RsaPublicKey(3, 65537), "00", "created")
    text = build(kid, b"x", "test")
    if mine is None:
        with pytest.raises(ByokError, match="does not name one version of a key"):
            recipient.is_for_me(text)
    else:
        assert recipient.is_for_me(text) is mine
