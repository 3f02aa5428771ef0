# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer

Listing = dict[str, t.Any]


def listing(**facts: str) -> Listing:
    token = {"label": "byok", "serial": "7", "manufacturer": "IBM", "model": "Soft"}
    return {"format": "keyferry-listing", "token": {**token, "library": "/lib/a.so", **facts}}


def path_of(
    listed: Listing, directory: Path, host: str = "hsm", others: t.Sequence[t.Any] = ()
) -> Path:
    return Path(answer("listing_path", listed, (str(directory), host, others), {}))


def store(listed: Listing, directory: Path, host: str) -> None:
    path_of(listed, directory, host).write_text(json.dumps({**listed, "token_host": host}))


@pytest.mark.parametrize(
    ("label", "serial", "name"),
    [
        ("byok", "1312109861410", "byok-1312109861410.json"),
        ("byok", "", "byok.json"),
        ("my token", "12/3:é", "my-token-12-3-é.json"),
        ("../x", "0" * 16, "..-x-0000000000000000.json"),
    ],
)
def test_a_listing_is_named_by_label_and_serial(
    label: str, serial: str, name: str, tmp_path: Path
) -> None:
    assert path_of(listing(label=label, serial=serial), tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    ("before", "now", "host"),
    [
        ({}, {"firmware": "7.8"}, "hsm"),
        ({}, {"library": "/lib/new.so"}, "moved"),  # its serial number tells that it is the same
        ({"serial": ""}, {"serial": ""}, "hsm"),
    ],
)
def test_a_token_s_own_listing_is_written_anew(
    before: dict[str, str], now: dict[str, str], host: str, tmp_path: Path
) -> None:
    store(listing(**before), tmp_path, "hsm")
    assert path_of(listing(**now), tmp_path, host).exists()


@pytest.mark.parametrize(
    ("before", "now", "host"),
    [
        ({"serial": ""}, {"serial": "", "library": "/lib/b.so"}, "hsm"),
        ({"serial": "0" * 16}, {"serial": "0" * 16}, "other"),
        ({"model": "Hard"}, {}, "hsm"),
        ({"label": "a b"}, {"label": "a-b"}, "hsm"),
    ],
)
def test_another_token_s_listing_is_not_overwritten(
    before: dict[str, str], now: dict[str, str], host: str, tmp_path: Path
) -> None:
    store(listing(**before), tmp_path, "hsm")
    with pytest.raises(ByokError, match="Give one of them another label"):
        path_of(listing(**now), tmp_path, host)


def test_nor_is_that_of_another_host_of_the_same_run(tmp_path: Path) -> None:
    none = listing(serial="")
    here = {"byok__listed": {"listing": none}, "byok_token_host": "hsm"}
    elsewhere = {**here, "byok_token_host": "other"}
    case = {"byok__listed": {"listing": listing(label="BYOK")}}  # on a disk that knows no case
    unlisted = [{}, {"byok__listed": {"failed": True}}, None]
    assert path_of(none, tmp_path, "hsm", [here, *unlisted]) == tmp_path / "byok.json"
    for listed, other in ((none, elsewhere), (listing(), case)):
        with pytest.raises(ByokError, match="two tokens would have the same file"):
            path_of(listed, tmp_path, "hsm", [other])


def test_a_file_that_is_no_listing_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "byok-7.json").write_text("[]")
    with pytest.raises(ByokError, match="is not a listing, so it is not overwritten"):
        path_of(listing(), tmp_path)
