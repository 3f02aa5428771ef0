#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# apply.sh [byok|rotate]: bring what the checked out commit declares (with rotate, also new ones for what is due), then store
# what the tokens hold in the branch listings, for runs that only look. Runs where the token is; BYOK_PIN_FILE is the path of
# its PIN.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

play() { ansible-playbook "$@" 2>&1 | sed -uf ci/no_commands.sed; }

status=0
play "keyferry.azure.${1:-byok}" || status=$?

# Even if it failed: keys may have been made. The branch has one commit, of files that nobody edits.
play keyferry.azure.list --extra-vars "{\"byok_listing_directory\": \"$work\"}"
listings=$(for file in "$work"/*.json; do
    printf '100644 blob %s\t%s\n' "$(git hash-object -w --no-filters "$file")" "${file##*/}"
done | git mktree)
commit=$(printf '040000 tree %s\tlistings\n' "$listings" | git mktree | xargs git \
    -c user.name=keyferry -c user.email=keyferry@example.com commit-tree -m 'What the tokens hold')
git push --quiet --force origin "$commit:refs/heads/listings"
exit "$status"
