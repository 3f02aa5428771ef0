#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The main job, start to end: a token and a local Azure start, five keys are brought over and proved, the lab stops.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
folder=$PWD/.demo

step() { printf '\n== %s\n\n' "$*"; }

step 'The lab starts: a SoftHSM token and a local Azure. Nothing leaves this machine.'
rm -rf "$folder/receipts"
mkdir -p "$folder/receipts"
trap 'python -m lab stop --dir "$folder/lab" >/dev/null' EXIT
python -m lab start --dir "$folder/lab" --port 0 --fresh --tolerate-trailing-zeros
eval "$(python -m lab env --dir "$folder/lab")"

ferry() { ansible-playbook -i lab/demo/inventory.yml playbooks/byok.yml -e "byok_receipt_directory=$folder/receipts"; }

step 'ansible-playbook -i lab/demo/inventory.yml playbooks/byok.yml'
ferry

step 'The same again: what is there is not brought twice.'
ferry | tee "$folder/second-run.log"
if grep -q 'changed=[1-9]' "$folder/second-run.log"; then
    echo 'The second run changed something. That is a defect: please report it.' >&2
    exit 1
fi

step 'What arrived where, and what proves it:'
python lab/demo/table.py "$folder"/receipts/*/keys/*.intoto.jsonl
printf '\nThe receipts are in %s.\nTo go on by hand: make lab\n' "${folder#"$PWD"/}/receipts"
