# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Add to an auditor's trust folder what does not come with the receipts: the roots of the lab's
Managed HSMs and of their maker, and the last manifest of each vault that the token's host knows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import sys
from pathlib import Path


def main(lab: Path, state: Path, trust: Path) -> None:
    """Read the lab's folder and the state directory of the token's host."""
    (trust / "maker-roots").mkdir(exist_ok=True)
    shutil.copy(lab / "maker-root.pem", trust / "maker-roots/lab.pem")
    roots = {
        path.name.partition(".")[0]: hashlib.sha256(
            ssl.PEM_cert_to_DER_cert(path.read_text("ascii"))
        ).hexdigest()
        for path in (lab / "pools").glob("*.pem")
    }
    heads = {
        path.stem: {name: head[name] for name in ("number", "sha256")}
        for path in (state / "heads").glob("*.json")
        for head in [json.loads(path.read_text("utf-8"))]
    }
    (trust / "owner-roots.json").write_text(json.dumps(roots), "utf-8")
    (trust / "heads.json").write_text(json.dumps(heads), "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
