# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.filter.hsm_config import FilterModule

TEXT = r"""[ byok ]
libraryName = "C:\cryptoki.dll"
tokenLabel = "{{ 1 + 1 }}"
wrappingCiphers = CKG_MGF1_SHA1, CKM_AES_KWP
targetKeyName = "key"
targetKeySpec = CKK_EC, 256, "P-256"
targetKeyFlags = CKF_SIGN, CKF_TOKEN, CKF_EXTRACTABLE
kid = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
SchemaVersion = "1.0.0.0"
"""
hsm_config = FilterModule().filters()["hsm_config"]


def test_a_text_is_read() -> None:
    told = hsm_config(TEXT, pkcs11_library="/usr/lib/lib.so")
    assert (told["pkcs11_library"], told["token_label"]) == ("/usr/lib/lib.so", "{{ 1 + 1 }}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT, "byok_pkcs11_library"),
        ("x = 1", "line 1: x = 1 is outside of a section"),
        ({"a": 1}, "not dict"),
        (None, "not NoneType"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_ansible(text: t.Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        hsm_config(text)


def test_the_library_of_the_text_is_used_if_nobody_else_can_write_the_file() -> None:
    text = TEXT.replace(r"C:\cryptoki.dll", "/usr/lib/lib.so")
    place = {"exists": True, "islnk": False, "uid": 0, "wgrp": False, "woth": False}
    told = hsm_config(text, places=[place, place], user_id=1000)
    assert told["pkcs11_library"] == "/usr/lib/lib.so"
    for given in (
        {},
        {"places": [], "user_id": 1000},
        {"places": [place]},
        {"places": [place, {**place, "woth": True}], "user_id": 1000},
    ):
        with pytest.raises(AnsibleFilterError, match="libraryName is /usr/lib/lib"):
            hsm_config(text, **given)
