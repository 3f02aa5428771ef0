# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._arguments import TOKEN_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._token._profiles import PROFILES, choose_profile

NEVER = {0x2109, 0x210C, 0x80000965, 0xCE534352, 0x1085}  # no RFC 5649, or CBC


@pytest.mark.parametrize(
    ("name", "manufacturer", "chosen"),
    [
        ("auto", "SoftHSM project", "softhsm"),
        ("auto", "SafeNet", "luna"),
        ("auto", "Thales TCT", "luna"),
        ("auto", "Gemalto", "luna"),
        ("auto", "Somebody", "generic"),
        ("auto", "", "generic"),
        ("generic", "SafeNet", "generic"),
    ],
)
def test_choice(name: str, manufacturer: str, chosen: str) -> None:
    assert choose_profile(name, manufacturer) == chosen


def test_no_profile_has_a_mechanism_that_is_never_right() -> None:
    for profile in PROFILES.values():
        assert not {mechanism.number for mechanism in profile.wrap_mechanisms} & NEVER


def test_luna_s_number_is_tried_on_a_luna_alone_and_with_the_standard_initial_value() -> None:
    parameters = {
        name: mechanism.parameter
        for name, profile in PROFILES.items()
        for mechanism in profile.wrap_mechanisms
        if mechanism.number == 0x80000171
    }
    assert parameters == {"luna": bytes.fromhex("a65959a6")}


def test_the_option_offers_every_profile() -> None:
    assert set(TOKEN_OPTIONS["profile"]["choices"]) == {"auto", *PROFILES}
