# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The floor: EC keys into a vault by python-pkcs11 and Microsoft's SDK alone.

It runs in the environment of a lab::

    floor.py COUNT URL PREFIX

Looks into the token, reads every key that the vault lists, and where one is missing makes and
wraps it, looks again, imports it and looks whether somebody else made a version. So it sends the
requests of a run of playbooks/byok.yml, also those of its KEK, by as many threads, and looks into
the token as often; it checks nothing else, writes no receipts, repeats nothing that fails, and
knows EC keys on P-256 only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pkcs11
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import JsonWebKey, KeyClient
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

THREADS = 8  # as byok_concurrency
PAGE = 25  # keys in a part of a list
BATCH = 1000  # as byok_batch_size: the KEK is looked at for each
P256 = encode_named_curve_parameters("secp256r1")
EVIDENCE = [
    Attribute.LOCAL,
    Attribute.SENSITIVE,
    Attribute.ALWAYS_SENSITIVE,
    Attribute.EXTRACTABLE,
    Attribute.NEVER_EXTRACTABLE,
]


def main(count: int, url: str, prefix: str) -> None:
    """Bring COUNT keys, whose names begin with PREFIX, into the vault."""
    names = [f"{prefix}{number}" for number in range(count)]
    library = pkcs11.lib(os.environ["BYOK_PKCS11_LIBRARY"])
    token = library.get_token(token_label=os.environ["BYOK_TOKEN_LABEL"])
    credential = ClientSecretCredential(
        *(os.environ[f"AZURE_{each}"] for each in ("TENANT", "CLIENT_ID", "SECRET"))
    )
    client: Any = KeyClient(url, credential)
    with (
        token.open(rw=True, user_pin=Path(os.environ["BYOK_PIN_FILE"]).read_text()) as session,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        listed = look(session, set(names))
        found = {names[0]: newest(client, names[0])}
        there = pool.submit(lambda: listed_names(client, names)).result()
        seen = pool.map(lambda name: newest(client, name) if name in there else None, names[1:])
        found.update(zip(names[1:], seen, strict=True))
        missing = [name for name in names if found[name] is None or found[name] != listed.get(name)]
        if missing:
            transfer(session, client, pool, missing)


def look(session: Any, names: set[str]) -> dict[str, bytes]:
    """Return the points of the keys, after reading what says whether they are fit."""
    points = {}
    for key in session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}):
        read = key.get_attributes([Attribute.LABEL, Attribute.ID, Attribute.EC_POINT])
        if read[Attribute.LABEL] in names:
            points[read[Attribute.ID]] = read[Attribute.EC_POINT]
    found = {}
    for key in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
        read = key.get_attributes([Attribute.LABEL, Attribute.ID])
        if read[Attribute.LABEL] in names:
            key.get_attributes(EVIDENCE)
            found[read[Attribute.LABEL]] = points[read[Attribute.ID]]
    return found


def newest(client: Any, name: str) -> bytes | None:
    """Return the point of a key's newest version as a token shows it; None where no such key is."""
    key = there(lambda: client.get_key(name))
    if key is None:
        there(lambda: client.get_deleted_key(name))
        return None
    return point(key)


def listed_names(client: Any, names: list[str]) -> set[str]:
    """Return which keys a vault has, after a look whether deleted ones hold the other names."""
    there = {key.name for key in client.list_properties_of_keys()}
    if len(set(names) - there) > PAGE:
        list(client.list_deleted_keys())
    return there


def point(key: Any) -> bytes:
    """Return a P-256 key's point as a token shows it."""
    return b"\x04\x41\x04" + bytes(key.key.x) + bytes(key.key.y)


def there(read: Callable[[], Any]) -> Any:
    """Return what is read, None for a 404."""
    try:
        return read()
    except ResourceNotFoundError:
        return None


def versions(client: Any, name: str) -> int:
    """Return how many versions a key has."""
    return len(list(client.list_properties_of_key_versions(name)))


def transfer(session: Any, client: Any, pool: ThreadPoolExecutor, names: list[str]) -> None:
    """Make, wrap and import keys under a KEK of their own."""
    look(session, set(names))
    pairs = make(session, names)
    look(session, set(names))  # whether another host made the same ones
    kek_name = f"floor-kek-{os.urandom(4).hex()}"
    # SoftHSM leaves errors in its thread's queue of OpenSSL, which TLS then trips over: requests go
    # by other threads.
    kek = pool.submit(make_kek, client, kek_name, -(-len(names) // BATCH)).result()
    look(session, set(names))
    packages = dict(wrap(session, kek.id, kek.key.n, kek.key.e, pairs))
    points = {
        name: public[Attribute.EC_POINT] for name, (public, _private) in pairs.items()
    }  # the token by this thread alone
    list(pool.map(lambda name: import_once(client, name, packages[name], points[name]), names))
    list(pool.map(lambda name: versions(client, name), names))
    pool.submit(delete_kek, client, kek_name).result()


def make_kek(client: Any, name: str, looks: int) -> Any:
    """Make a KEK under a name that is free, and look at it."""
    versions(client, name)
    there(lambda: client.get_deleted_key(name))
    expires = datetime.now(timezone.utc) + timedelta(hours=4)
    kek = client.create_rsa_key(
        name, size=4096, hardware_protected=True, key_operations=["import"], expires_on=expires
    )
    versions(client, name)
    for _look in range(1 + looks):
        client.get_key(name)
    return kek


def delete_kek(client: Any, name: str) -> None:
    """Delete the KEK, and look for those that interrupted runs left."""
    versions(client, name)
    client.get_key(name)
    client.begin_delete_key(name).wait()
    list(client.list_properties_of_keys())


def make(session: Any, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Make an EC pair for every name."""
    curve = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: P256}, local=True)
    private = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}
    return {
        name: curve.generate_keypair(
            store=True, label=name, id=os.urandom(16), private_template=private
        )
        for name in names
    }


def wrap(
    session: Any, kid: str, modulus: bytes, exponent: bytes, pairs: dict[str, tuple[Any, Any]]
) -> Iterable[tuple[str, bytes]]:
    """Wrap the private keys for the KEK: RSA-OAEP(KEK, AES key) || AES-KWP(AES key, target key)."""
    kek = session.create_object(
        {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.RSA,
            Attribute.MODULUS: modulus,
            Attribute.PUBLIC_EXPONENT: exponent,
            Attribute.WRAP: True,
        }
    )
    oaep = (Mechanism.SHA_1, pkcs11.MGF.SHA1, None)
    header = {"kid": kid, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    for name, (_public, private) in pairs.items():
        template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True, Attribute.WRAP: True}
        temporary = session.generate_key(KeyType.AES, 256, store=False, template=template)
        ciphertext = kek.wrap_key(
            temporary, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=oaep
        )
        ciphertext += temporary.wrap_key(private, mechanism=Mechanism.AES_KEY_WRAP_PAD)
        temporary.destroy()
        text = base64.urlsafe_b64encode(ciphertext).rstrip(b"=").decode()
        package = {
            "schema_version": "1.0.0",
            "header": header,
            "ciphertext": text,
            "generator": "floor",
        }
        yield name, json.dumps(package).encode()


def import_once(client: Any, name: str, package: bytes, expected: bytes) -> None:
    """Import a key that is not there yet, and see that it is the one that was meant.

    That a deleted key holds the name, the answer to the import would say.
    """
    if there(lambda: client.get_key(name)) is not None:
        raise RuntimeError(f"{name} is there")
    tags = {"thumbprint": hashlib.sha256(expected).hexdigest()}
    arrived = client.import_key(
        name,
        JsonWebKey(kty="EC-HSM", crv="P-256", key_ops=["sign", "verify"], t=package),
        tags=tags,
    )
    if point(arrived) != expected:
        raise RuntimeError(f"another key arrived as {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
