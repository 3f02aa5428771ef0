#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# plan.sh [COMMIT]: say what would be done once COMMIT (by default what is checked out) is merged into what is checked out. Of
# COMMIT only keys/ is taken, as data; all else, this script too, is what is checked out. Needs read-only credentials, and no
# token or PIN. Writes plan.md, and plan.json if there is a verdict. Returns 0: nothing to do, 2: something to do, 1: no
# verdict.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

plan() {
    tree=$(git merge-tree --write-tree --no-messages HEAD "$(git rev-parse --verify --end-of-options "$1^{commit}")") || {
        echo 'It cannot be merged as it is. Bring the branch up to date.'
        exit 1
    }
    git archive HEAD ansible.cfg fleet.byok.yml | tar -x -C "$work"
    ci/take.sh "$tree" keys "$work"
    ci/take.sh refs/remotes/origin/listings listings "$work"
    unset BYOK_PIN BYOK_PIN_FILE
    directory=$PWD
    cd "$work"
    ansible-playbook keyferry.azure.plan --extra-vars "{\"byok_plan_directory\": \"$directory\"}"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f plan.json plan.md

# CI services take "##vso[...]" and "::...::" in a log for commands, and what is planned for was written by others.
set +e
(
    set -e
    plan "${1:-HEAD}"
) 2>&1 | sed -u 's/##/# #/g; s/::/: :/g'
[[ ${PIPESTATUS[0]} == 0 ]] || rm -f plan.json plan.md
set -e

[[ -e plan.md ]] || printf '### Keys: no plan\n\nNo plan could be made. The log of the job says why.\n' >plan.md
printf '\nFor %s, merged into %s.\n' "$(git rev-parse --quiet --verify --end-of-options "${1:-HEAD}")" "$(git rev-parse HEAD)" >>plan.md
python3 ci/verdict.py plan.json
