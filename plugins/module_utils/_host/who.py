# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Who runs this process, as the host says."""

from __future__ import annotations

import getpass
import socket


def who_runs() -> dict[str, str | None]:
    """Return ``user``, the login name, and ``controller``, the name of this host."""
    return {"user": _login_name(), "controller": socket.gethostname() or None}


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return None
