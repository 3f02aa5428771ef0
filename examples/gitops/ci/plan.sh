#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# plan.sh [COMMIT]: say what would be done once COMMIT (by default what is checked out) is merged into what is checked out. Of
# COMMIT only keys/ is taken, as data; all else, group_vars and this script too, is what is checked out. Needs read-only credentials, and no
# token or PIN. Writes plan.md, and plan.json if there is a verdict. Returns 0: nothing to do, 2: something to do, 1: no
# verdict.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

plan() {
    commit=$(git rev-parse --quiet --verify --end-of-options "$1^{commit}") || {
        echo 'The commit is not in this clone. Fetch it.'
        exit 1
    }
    tree=$(git merge-tree --write-tree --no-messages HEAD "$commit") || {
        echo 'It cannot be merged as it is. Bring the branch up to date.'
        exit 1
    }
    git diff --quiet HEAD "$tree" -- . ':(exclude)keys' || touch "$work/more"
    git ls-tree -z --name-only HEAD ansible.cfg fleet.byok.yml group_vars host_vars |
        xargs -0 git archive HEAD | tar -x -C "$work"
    ci/take.sh "$tree" keys yml "$work"
    ci/take.sh refs/remotes/origin/listings listings json "$work"
    unset BYOK_PIN BYOK_PIN_FILE
    # What is declared before the merge, so that the plan says what a declaration was that is removed
    mkdir "$work/base"
    git archive HEAD ansible.cfg fleet.byok.yml | tar -x -C "$work/base"
    ci/take.sh HEAD keys yml "$work/base"
    base=$work/base.json
    (cd "$work/base" && ansible-inventory --list >"$base") || base=
    directory=$PWD
    cd "$work"
    ansible-playbook keyferry.azure.plan \
        --extra-vars "{\"byok_plan_directory\": \"$directory\", \"byok_plan_base\": \"$base\"}"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -f plan.json plan.md

set +e
(
    set -e
    plan "${1:-HEAD}"
) 2>&1 | sed -uf ci/no_commands.sed
[[ ${PIPESTATUS[0]} == 0 ]] || rm -f plan.json # plan.md names what could not be checked
set -e

[[ -e plan.md ]] || printf '### Keys: no plan\n\nNo plan could be made. The log of the job says why.\n' >plan.md
# First, because a comment has an end.
{
    printf 'For %s, merged into %s.\n\n' "$(git rev-parse --quiet --verify --end-of-options "${1:-HEAD}")" "$(git rev-parse HEAD)"
    [[ ! -e $work/more ]] || printf '**It changes more than keys/. What that does is not in this plan: read it.**\n\n'
    cat plan.md
} >"$work/plan.md"
mv "$work/plan.md" plan.md
python3 ci/verdict.py plan.json
