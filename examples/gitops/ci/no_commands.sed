# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# CI services take "##vso[...]", "##[...]" and "::...::" in a log for commands, and what is logged was in part written by others.
s/##*/#/g
s/:::*/:/g
