// Copyright (c) 2026 Keyferry contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Reads {"keys": {keyid: PEM}, "envelopes": [...]} and writes what Sigstore's verifier says of each
// envelope: "verified", or why not.

"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const input = JSON.parse(fs.readFileSync(0, "utf-8"));
const nobody = { tlogs: [], ctlogs: [], certificateAuthorities: [], timestampAuthorities: [] };
const trusted = toTrustMaterial(nobody, (keyid) => ({
  publicKey: crypto.createPublicKey(input.keys[keyid]),
  validFor: () => true,
}));
const offline = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
const verifier = new Verifier(trusted, offline);

const told = input.envelopes.map((envelope) => {
  const bundle = bundleFromJSON({
    mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
    verificationMaterial: { publicKey: { hint: envelope.signatures[0].keyid }, tlogEntries: [] },
    dsseEnvelope: envelope,
  });
  try {
    verifier.verify(toSignedEntity(bundle));
    return "verified";
  } catch (error) {
    return `${error.code}`;
  }
});
process.stdout.write(JSON.stringify(told));
