# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The time of the lab's vaults, and of the Date that its Entra sends."""

from __future__ import annotations

import time


class Clock:
    """Real time plus an offset in seconds: tests reach an expiry or a purge without waiting."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        """Seconds since the epoch, as the vaults see them."""
        return time.time() + self.offset
