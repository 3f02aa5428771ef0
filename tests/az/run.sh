#!/bin/sh
# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The unmodified az CLI, in its default cloud, against the lab: what a person would type against Azure.
#   AZ      the az command (default: the one on PATH); where there is none, this says "not run: azure-cli"
#   PYTHON  a Python that has lab/requirements.txt (default: python3)
set -eu

AZ=${AZ:-az}
PYTHON=${PYTHON:-python3}
cd "$(dirname "$0")/../.."

if ! command -v "$AZ" >/dev/null; then
    echo "not run: azure-cli"
    exit 0
fi

work=$(mktemp -d)
export AZURE_CONFIG_DIR="$work/az" AZURE_CORE_COLLECT_TELEMETRY=false AZURE_CORE_ONLY_SHOW_ERRORS=true
trap '"$PYTHON" -m lab stop --dir "$work/lab" >/dev/null; rm -rf "$work"' EXIT
"$PYTHON" -m lab start --dir "$work/lab" --port 0 --no-token --delete-delay 0 >/dev/null
eval "$("$PYTHON" -m lab env --dir "$work/lab")"

# expect WHAT WANTED COMMAND...: run a command, and compare what it prints.
expect() {
    what=$1 wanted=$2
    shift 2
    got=$("$@") || { echo "failed: $what"; exit 1; }
    [ "$got" = "$wanted" ] || { echo "failed: $what: got '$got', wanted '$wanted'"; exit 1; }
    echo "ok: $what"
}

# transfer OPTION VAULT DOMAIN MORE: bring keys, and of MORE types, into a vault; delete, recover and purge one.
transfer() {
    option=$1 vault=$2 url=https://$2.$3 more=$4
    key() { verb=$1; shift; "$AZ" keyvault key "$verb" "$option" "$vault" --output tsv "$@"; }

    expect "$vault: create a KEK" import \
        key create --name kek --kty RSA-HSM --size 3072 --ops import --query key.keyOps
    kid=$(key show --name kek --query key.kid)
    key download --name kek --file "$work/$vault.pem"
    for type in RSA EC $more; do
        public=$("$PYTHON" tests/az/package.py "$type" "$kid" "$work/$vault.pem" "$work/$vault-$type.byok")
        set -- --name "$type" --kty "$type" --byok-file "$work/$vault-$type.byok"
        if [ "$type" = EC ]; then set -- "$@" --curve P-256; fi
        expect "$vault: import $type" "$type-HSM" key import "$@" --query key.kty
        if [ "$type" = oct ]; then continue; fi
        key download --name "$type" --file "$work/$vault-$type.pem"
        expect "$vault: the public key of $type arrived" "$public" cat "$work/$vault-$type.pem"
    done
    expect "$vault: list" "$(printf '%s\n' EC RSA kek ${more:+"$more"} | LC_ALL=C sort)" list_names
    expect "$vault: delete" "$url/deletedkeys/EC" key delete --name EC --query recoveryId
    expect "$vault: list-deleted" EC key list-deleted --query '[].name'
    expect "$vault: recover" EC-HSM key recover --name EC --query key.kty
    expect "$vault: delete again" "$url/deletedkeys/EC" key delete --name EC --query recoveryId
    expect "$vault: purge" "" key purge --name EC
    expect "$vault: nothing is left of it" "" key list-deleted --query '[].name'
}

list_names() { key list --query '[].name' | LC_ALL=C sort; }

expect "login" "$AZURE_CLIENT_ID" "$AZ" login --service-principal --username "$AZURE_CLIENT_ID" \
    --password "@$work/lab/clients/operator.secret" --tenant "$AZURE_TENANT" --allow-no-subscriptions \
    --skip-subscription-discovery --output tsv --query '[0].user.name'
transfer --vault-name keyferry-lab-az vault.azure.net ""
transfer --hsm-name keyferry-lab-az-hsm managedhsm.azure.net oct
