# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""verdict.py plan.json: tell by the exit code whether something is to be done.

Exits with 0 if nothing is to be done, with 2 if something is, and with 1 if there is no verdict.
ansible-playbook itself returns 2 for any failure, so plan.json is the verdict: it is written only
when every vault was looked at.
"""

from __future__ import annotations

import json
import sys

CODES = {"clean": 0, "changes": 2}


def main(path: str) -> int:
    """Return the exit code for a plan."""
    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)["status"]
        code = CODES[status]
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"No verdict: {path} could not be read ({type(error).__name__}).", file=sys.stderr)
        return 1
    print(f"Verdict: {status}")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
