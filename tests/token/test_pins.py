# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wrong PIN costs one try per token and run, and what editors add to a PIN file is not sent."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token.tokens import Options

Run = Callable[..., dict[str, Any]]
Front = Callable[..., Options]

KEY = {"name": "e-one", "type": "EC", "curve": "P-256"}


@pytest.fixture
def look(run: Run, softhsm: Options, plain: Front, tmp_path: Path) -> Callable[..., str]:
    """Look into a token as each vault of a run does; returns what it said, empty if all is well."""
    traced = plain(softhsm, trace=tmp_path / "trace")

    def looked(_vault: int = 0, **options: Any) -> str:
        told: str = run(
            "byok_target_key", {**traced, **options}, check=True, target_keys=[KEY]
        ).get("msg", "")
        return told

    return looked


@pytest.fixture
def tries(tmp_path: Path) -> Callable[[], int]:
    """How often C_Login was called."""
    trace = tmp_path / "trace"
    return lambda: sum(line.startswith("C_Login ") for line in trace.read_text().splitlines())


def test_a_wrong_pin_is_tried_once_for_three_vaults_of_a_run(
    look: Callable[..., str], tries: Callable[[], int], softhsm: Options
) -> None:
    pin_file = Path(softhsm["pin_file"])
    pin_file.write_text("9876")
    with ThreadPoolExecutor(3) as pool:
        told = sorted(pool.map(look, range(3)))
    # A fourth one begins when the others are done, as with more vaults than forks.
    told.append(look())
    assert tries() == 1
    assert [" returned CKR_PIN_INCORRECT" in each for each in told].count(True) == 1
    assert [" has just refused this PIN" in each for each in told].count(True) == 3
    noted = [path for path in pin_file.parent.iterdir() if "keyferry-byok-pin-" in path.name]
    assert [path.stat().st_mode & 0o777 for path in noted] == [0o600]
    assert "9876" not in noted[0].read_text()
    pin_file.write_text("1234")
    assert look() == ""
    assert tries() == 2
    assert not noted[0].exists()


def test_a_pin_that_was_corrected_is_tried_at_once(
    look: Callable[..., str], tries: Callable[[], int], softhsm: Options, tmp_path: Path
) -> None:
    assert " returned CKR_PIN_INCORRECT" in look(pin="9876")
    assert " has just refused this PIN" in look(pin="9876")
    assert look() == ""  # from pin_file
    other = tmp_path / "other"
    other.write_text("9876")
    assert " returned CKR_PIN_INCORRECT" in look(pin_file=str(other))
    other.write_text("1234")
    os.utime(other, (0, 0))
    assert look(pin_file=str(other)) == ""
    assert tries() == 4


@pytest.mark.parametrize(
    ("octets", "works"),
    [
        (b"\xef\xbb\xbf1234", True),
        (b"\xef\xbb\xbf1234\r\n", True),
        (b"1234\n", True),
        ("1234".encode("utf-16"), False),
    ],
)
def test_what_an_editor_adds_to_the_pin_is_not_sent(
    octets: bytes,
    works: bool,
    look: Callable[..., str],
    tries: Callable[[], int],
    softhsm: Options,
) -> None:
    Path(softhsm["pin_file"]).write_bytes(octets)
    told = look()
    if works:
        assert told == ""
    else:
        assert told.startswith("The PIN file ")
        assert tries() == 0
