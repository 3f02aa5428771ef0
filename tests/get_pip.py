# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the get-pip.py that ansible-test would download.

ensurepip brings pip, the index the version that ansible-test wants.
"""

from __future__ import annotations

import subprocess
import sys

subprocess.check_call(
    [sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL
)
wanted = [
    argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")
]
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", *wanted])
