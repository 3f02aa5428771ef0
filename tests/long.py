# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Of tests with many like cases, ``make test`` runs some and ``make test-long`` all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_long(cases: Iterable[Any], short: int = 4) -> list[Any]:
    """Return parameters of which only the first few run for every commit.

    :param short: how many
    """
    every = list(cases)
    return [*every[:short], *(pytest.param(each, marks=pytest.mark.long) for each in every[short:])]
