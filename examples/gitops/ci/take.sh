#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# take.sh COMMIT FOLDER ENDING PLACE: write the files of a folder, as they are in a commit, to PLACE/FOLDER. Nothing is checked
# out: no link, no submodule, no filter, and no name that could be anything else than a file of data.
set -euo pipefail
export LC_ALL=C
commit=$1 folder=$2 ending=$3 place=$4

git rev-parse --quiet --verify --end-of-options "$commit^{tree}" >/dev/null || {
    echo "There is no $commit. The branch listings is made by ci/apply.sh." >&2
    exit 1
}
mkdir -p "$place/$folder"
git ls-tree -r -z --full-tree "$commit" -- "$folder" | while IFS= read -r -d '' entry; do
    read -r mode _ object <<<"${entry%%$'\t'*}"
    file=${entry#*$'\t'}
    if [[ $mode != 100644 || ! $file =~ ^"$folder"/[A-Za-z0-9][A-Za-z0-9._-]*\."$ending"$ ]]; then
        printf '%q (mode %s) is refused: %s/ holds plain files named *.%s alone.\n' "$file" "$mode" "$folder" "$ending" >&2
        exit 1
    fi
    git cat-file blob "$object" >"$place/$file"
done
