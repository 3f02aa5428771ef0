# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a virtual environment with a few distributions of this one and what they need.

They are links, so nothing is downloaded.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path


def needed(names: list[str]) -> dict[str, metadata.Distribution]:
    """Return the named distributions and those that they need here, without extras."""
    found: dict[str, metadata.Distribution] = {}
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name not in found:
            try:
                found[name] = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue  # for another Python or platform
            wanted = [line for line in found[name].requires or [] if "extra ==" not in line]
            names += [re.split(r"[^\w.-]", line)[0] for line in wanted]
    return found


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    for distribution in needed(names).values():
        for top in {
            file.parts[0]
            for file in distribution.files or []
            if file.parts[0] not in ("..", "__pycache__")
        }:
            target = packages / top
            if not target.is_symlink():
                target.symlink_to(str(distribution.locate_file(top)))


if __name__ == "__main__":
    main()
