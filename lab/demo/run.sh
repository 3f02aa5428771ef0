#!/usr/bin/env bash
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The main job, start to end: a token and a local Azure start, five keys are brought over and proved, an auditor verifies the
# signed receipts, the lab stops.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PWD/.venv/bin:$PATH
folder=$PWD/.demo

step() { printf '\n== %s\n\n' "$*"; }

step 'The lab starts: a SoftHSM token and a local Azure. Nothing leaves this machine.'
receipts=$folder/receipts state=$folder/state trust=$folder/trust report=$folder/report
rm -rf "$receipts" "$state" "$trust" "$report"
mkdir -p "$receipts" "$state" "$trust/evidence-keys" "$report"
trap 'python -m lab stop --dir "$folder/lab" >/dev/null' EXIT
python -m lab start --dir "$folder/lab" --port 0 --fresh --tolerate-trailing-zeros
eval "$(python -m lab env --dir "$folder/lab")"

demo() { ansible-playbook -i lab/demo/inventory.yml "$@" -e "byok_receipt_directory=$receipts" -e "byok_state_directory=$state"; }
ferry() { demo playbooks/byok.yml; }

step 'The token makes the key that signs receipts, and the auditor gets its public half.'
demo lab/demo/evidence_key.yml -e "demo_trust=$trust"

step 'ansible-playbook -i lab/demo/inventory.yml playbooks/byok.yml'
ferry

step 'The same again: what is there is not brought twice.'
ferry | tee "$folder/second-run.log"
if grep -q 'changed=[1-9]' "$folder/second-run.log"; then
    echo 'The second run changed something. That is a defect: please report it.' >&2
    exit 1
fi

step 'What arrived where, and what proves it:'
python lab/demo/table.py "$receipts"/*/keys/*.intoto.jsonl

step 'The auditor verifies the receipts offline, with keys, roots and last manifests that did not come with them.'
python lab/demo/trust.py "$folder/lab" "$state" "$trust"
python extensions/keyferry_verify.py "$receipts" --trust "$trust"

step 'ansible-playbook playbooks/evidence.yml'
demo playbooks/evidence.yml -e "byok_trust_directory=$trust" -e "byok_evidence_report_directory=$report"
printf '\nThe receipts are in %s.\nThe evidence report: %s\nTo go on by hand: make lab\n' "${receipts#"$PWD"/}" \
    "$report/evidence.html"
