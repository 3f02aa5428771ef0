# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import TOKEN_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._token import profiles
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.profiles import (
    PROFILES,
    choose_profile,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import (
    NUMBERS,
    REMEDIES,
    name_of,
)

NEVER = {0x2109, 0x210C, 0x80000965, 0x8000210A, 0xCE534352, 0x1085}  # no RFC 5649, or CBC
LUNA_LIBRARY = "/usr/safenet/lunaclient/lib/libCryptoki2_64.so"

every_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@pytest.mark.parametrize(
    ("manufacturer", "model", "library", "chosen"),
    [
        ("SoftHSM project", "SoftHSM v2", "/usr/lib/softhsm/libsofthsm2.so", "softhsm"),
        ("Mozilla Foundation", "NSS 3", "/x.so", "nss"),
        ("SafeNet", "LunaSA 7.8.4", LUNA_LIBRARY, "luna"),
        ("SafeNet", "Cryptovisor7", "/usr/local/luna/libs/64/libCryptoki2.so", "luna"),
        ("SafeNet", "K7", LUNA_LIBRARY, "luna"),
        ("SafeNet, Inc.", "eToken", "/usr/lib/libeToken.so", "generic"),
        ("SafeNet Inc.", "SW:SWEMUL", "/opt/safenet/libctsw.so", "generic"),
        ("nCipher Corp. Ltd", "", "/opt/nfast/toolkits/pkcs11/libcknfast.so", "nshield"),
        ("Marvell Semiconductors, Inc.", "NITROX-III CNN35XX-NFBE", "/x.so", "cloudhsm"),
        ("", "", "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so", "cloudhsm"),
        ("Futurex", "Vectera", "/x.so", "futurex"),
        ("", "", "/usr/lib/x86_64-linux-gnu/fxpkcs11/libfxpkcs11.so", "futurex"),
        ("Utimaco IS GmbH", "CryptoServer", "/usr/lib/libcs_pkcs11_R3.so", "generic"),
        ("", "", "", "generic"),
    ],
)
def test_a_token_is_recognised_by_what_it_says_or_by_its_library(
    manufacturer: str, model: str, library: str, chosen: str
) -> None:
    assert choose_profile("auto", manufacturer, model, library) == chosen
    assert choose_profile("generic", manufacturer, model, library) == "generic"


@every_profile
def test_no_profile_has_a_mechanism_that_is_never_right(profile: Profile) -> None:
    assert profile.wrap_mechanisms
    assert not {mechanism.number for mechanism in profile.wrap_mechanisms} & NEVER


@every_profile
def test_a_profile_says_where_it_is_from(profile: Profile) -> None:
    assert profile.title
    assert profile.source


@every_profile
def test_return_codes_are_the_vendor_s_own_and_each_remedy_is_for_a_known_code(
    profile: Profile,
) -> None:
    assert all(
        number >= 0x80000000 and name.startswith("CKR_")
        for number, name in profile.return_codes.items()
    )
    assert set(profile.remedies) <= set(NUMBERS) | set(profile.return_codes.values())


@every_profile
def test_an_initial_value_is_never_anything_but_the_standard_s(profile: Profile) -> None:
    assert {mechanism.parameter for mechanism in profile.wrap_mechanisms} <= {
        None,
        bytes.fromhex("a65959a6"),
    }


def test_a_luna_is_given_the_standard_initial_value_before_none() -> None:
    tried = [
        each.parameter for each in PROFILES["luna"].wrap_mechanisms if each.number == 0x80000171
    ]
    assert tried == [bytes.fromhex("a65959a6"), None]


def test_vendors_numbers_are_tried_on_their_own_tokens_alone() -> None:
    standard = {mechanism.number for mechanism in PROFILES["generic"].wrap_mechanisms}
    own = {
        name: {mechanism.number for mechanism in profile.wrap_mechanisms} - standard
        for name, profile in PROFILES.items()
    }
    assert {name: numbers for name, numbers in own.items() if numbers} == {
        "luna": {0x80000171},
        "cloudhsm": {0x8000216F},
    }


def test_each_vendor_is_one_file_that_only_the_table_imports() -> None:
    rooms = Path(profiles.__file__).parents[1]
    vendors = {path.stem for path in (rooms / "_token" / "vendors").glob("*.py")}
    assert {name: getattr(profiles, name).PROFILE for name in vendors} == PROFILES
    importing = [path for path in rooms.rglob("*.py") if "_token.vendors" in path.read_text()]
    assert importing == [Path(profiles.__file__)]


def test_the_option_offers_every_profile() -> None:
    assert set(TOKEN_OPTIONS["hsm_profile"]["choices"]) == {"auto", *PROFILES}


def test_return_codes_have_names_and_numbers() -> None:
    assert name_of(0x69, {}) == "CKR_KEY_NOT_WRAPPABLE (0x69)"
    assert (
        name_of(0x80000105, PROFILES["luna"].return_codes)
        == "CKR_ECC_CURVE_NOT_ALLOWED (0x80000105)"
    )
    assert name_of(0x80000105, PROFILES["generic"].return_codes) == "0x80000105"
    assert set(REMEDIES) <= set(NUMBERS)
