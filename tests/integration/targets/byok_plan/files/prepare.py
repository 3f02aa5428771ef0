# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make keys in a vault as somebody else would.

Prints as JSON what byok_target_key would have said of the keys. Each word is a version, the newest
last: "1" and "2" are generations in the token, "x" is a key that is in no token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient

CURVE = {"kty": "EC-HSM", "crv": "P-256"}
# name: (versions in the vault, generations in the token)
KEYS = {
    "made": ("", "1"),
    "same": ("1", "1"),
    "drift": ("1", "1"),
    "foreign": ("x", "1"),
    "lag": ("1", "12"),
    "older": ("21", "12"),
    "younger": ("12", "12"),
    "deleted": ("1", "1"),
    "unmade": ("x", ""),
}


def make(lab: dict[str, Any], host: str, name: str, body: dict[str, Any]) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {lab['control']['key']}",
        "Content-Type": "application/json",
    }
    url = f"{lab['control']['url']}/keys/{host}/{name}"
    with urlopen(Request(url, json.dumps(body).encode(), headers)) as answer:
        jwk: dict[str, str] = json.load(answer)["key"]
        return jwk


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638."""
    text = json.dumps(
        {member: jwk[member] for member in ("crv", "x", "y")} | {"kty": "EC"}, sort_keys=True
    )
    return (
        base64.urlsafe_b64encode(hashlib.sha256(text.replace(" ", "").encode()).digest())
        .decode()
        .rstrip("=")
    )


def in_token(
    name: str, generations: Mapping[str, str | None], newest: bool = True
) -> dict[str, Any]:
    listed = [{"generation": name, "thumbprint": known} for name, known in generations.items()]
    wanted = listed[-1 if newest else 0] if listed else {"generation": None, "thumbprint": None}
    return {"name": name, "created": False, **wanted, "generations": listed}


def main() -> None:
    lab, vault, hsm = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[3]
    observed = [in_token("new", {})]
    for name, (versions, generations) in KEYS.items():
        thumbprints = {word: thumbprint(make(lab, vault, name, CURVE)) for word in versions}
        known = {f"0{word}": thumbprints.get(word, f"of-{name}-{word}") for word in generations}
        observed.append(in_token(name, known, newest=name != "younger"))
    secret = Path(os.environ["AZURE_SECRET_FILE"]).read_text().strip()
    credential = ClientSecretCredential(
        os.environ["AZURE_TENANT"], os.environ["AZURE_CLIENT_ID"], secret
    )
    KeyClient(f"https://{vault}", credential).begin_delete_key("deleted").wait()
    for name, tags in {"marked": {"keyferry-generation": "01"}, "not-marked": {}}.items():
        make(lab, hsm, name, {"kty": "oct-HSM", "key_size": 256, "tags": tags})
        observed.append(in_token(name, {"01": None}))
    print(json.dumps(observed))


if __name__ == "__main__":
    main()
