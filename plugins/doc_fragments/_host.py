# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of what a module does on its host, whatever token or vault it works with."""

from __future__ import annotations


class ModuleDocFragment:
    """Host options; private to the collection."""

    DOCUMENTATION = r"""
options:
  lock_directory:
    description:
      - Directory for lock files on the host where the module runs. They keep two runs on one host
        from opening one token at the
        same time, from making the same key twice, and from importing a key into the same vault
        twice.
      - All runs on a host must use the same directory. If each job has a C(/tmp) of its own, as in
        AWX, set a directory that the
        jobs share.
      - If not given, C(/var/lib/keyferry) if that directory exists, and C(/tmp) if not. Everybody
        can hold a lock in C(/tmp). To keep others out, make C(/var/lib/keyferry) on the host, so
        that only the users who run Keyferry can write to it.
      - A run fails if its lock file is removed while it works.
    type: path
  lock_timeout:
    description: Seconds to wait for another run that holds a lock.
    type: int
    default: 600
  state_directory:
    description:
      - Directory on the host where the module runs, in which it notes each import before it sends
        it, and removes the note when it knows what became of the import. The module makes the
        directory if it is missing. Modules that import nothing do not write to it.
      - If a run is interrupted while an import is on its way, the next run finds the note. It waits
        until O(ignore:settle_time) is over or the key has arrived, so that it imports no key twice.
        Then it verifies the key and completes its receipt.
      - The notes are readable by their owner only, and hold no secret. All runs that import into a
        vault must run as the same user and use the same directory. If each job has a home of its
        own, as in AWX, set a directory that the jobs share.
    type: path
    default: ~/.local/state/keyferry
"""
