# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generations are destroyed only by their names.

Every vault must have been looked at, and have none of them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Session
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    failure,
    generations,
    only,
    run,
    token_session,
)


def look(vault: Vault, *keys: Result, **options: Any) -> Result:
    """What byok_plan reads of a vault."""
    in_token = run("byok_target_key", True, target_keys=list(keys))["target_keys"]
    read = vault.run(
        "byok_plan", declarations=list(keys), target_keys=in_token, all_versions=True, **options
    )
    return dict(read["versions"])


def destroy(
    declared: Result, confirm: list[str], *read: Result, check: bool = False, **options: Any
) -> Result:
    vaults = options.pop("vaults", [each["vault_url"] for each in read])
    return run(
        "byok_target_key",
        check,
        target_keys=[declared],
        state="absent",
        confirm=confirm,
        vaults=vaults,
        versions=list(read),
        **options,
    )


def thumbprints(declared: Result) -> list[str]:
    return [each["thumbprint"] for each in generations(declared)[declared["name"]]]


def test_what_is_in_no_vault_is_destroyed_and_other_generations_stay(
    lab: Lab, vault: Vault, key: Declare
) -> None:
    declared = key(every="P30D")
    only(vault.rotate(declared))
    lab.forward(days=31)
    ahead = only(vault.rotate(declared, stage="prepare"))["thumbprint"]
    first = thumbprints(declared)[0]
    would = destroy(declared, [ahead], look(vault, declared), check=True)
    assert (would["changed"], thumbprints(declared)) == (True, [first, ahead])
    done = destroy(declared, [ahead], look(vault, declared))
    assert (done["changed"], done["failures"], thumbprints(declared)) == (True, [], [first])
    assert [each["thumbprint"] for each in done["destroyed"]] == [ahead]
    assert would["changes"] == done["changes"]
    again = destroy(declared, [ahead], look(vault, declared))
    assert (again["changed"], again["destroyed"]) == (False, [])
    (warning,) = again["warnings"]  # or a thumbprint that is misspelt would look as destroyed
    assert warning.startswith(f"Nothing is destroyed for {ahead}: ")
    made = run("byok_target_key", target_keys=[declared])
    assert (made["changed"], made["warnings"]) == (False, [])


@pytest.mark.parametrize("state", ["enabled", "disabled"])
def test_what_a_vault_has_blocks_unless_the_last_copy_is_accepted(
    lab: Lab, vault: Vault, key: Declare, state: str
) -> None:
    declared = key(every="P30D")
    first = only(vault.rotate(declared))
    lab.forward(days=31)
    only(vault.rotate(declared))
    lab.client(vault.url).update_key_properties(
        declared["name"], first["version"], enabled=state == "enabled"
    )
    blocked = destroy(declared, [first["thumbprint"]], look(vault, declared))
    assert f"has it as the {state} version {first['version']}" in failure(blocked)
    assert (blocked["changed"], len(thumbprints(declared))) == (False, 2)
    done = destroy(declared, [first["thumbprint"]], look(vault, declared), accept_last_copy=True)
    assert (done["failures"], len(thumbprints(declared))) == ([], 1)


def test_a_label_or_an_empty_list_destroys_nothing(vault: Vault, key: Declare) -> None:
    declared = key()
    run("byok_target_key", target_keys=[declared])
    (generation,) = generations(declared)[declared["name"]]
    for confirm in (
        [],
        [declared["name"]],
        [""],
        [generation["generation"]],
    ):  # its CKA_ID is the name of oct keys alone
        assert destroy(declared, confirm, look(vault, declared))["changed"] is False
    assert thumbprints(declared) == [generation["thumbprint"]]


def test_a_vault_that_was_not_looked_at_blocks(
    lab: Lab, vault: Vault, hsm: Vault, key: Declare
) -> None:
    declared, other = key(), key()
    run("byok_target_key", target_keys=[declared, other])
    confirm = thumbprints(declared)
    read = look(vault, declared)
    with pytest.raises(ByokError, match=f"these vaults were not checked: {hsm.url}"):
        destroy(declared, confirm, read, vaults=[vault.url, hsm.url])
    with pytest.raises(ByokError, match="these vaults were not checked: none is given"):
        destroy(declared, confirm, vaults=[])
    for minutes in (-61, 61):
        read_at = lab.now + timedelta(minutes=minutes)
        with pytest.raises(ByokError, match="which is not in this run"):
            destroy(declared, confirm, dict(read, read_at=read_at.isoformat()))
    assert "was not looked at for the key" in failure(
        destroy(declared, confirm, look(vault, other))
    )
    # byok_plan leaves out what it could not read.
    vault.fault(operation="versions", kind="firewall", count=1)
    assert "was not looked at for the key" in failure(
        destroy(declared, confirm, look(vault, declared))
    )
    assert thumbprints(declared) == confirm
    url = vault.url.replace("keyferry", "KEYFERRY") + "/"
    assert destroy(declared, confirm, read, vaults=[url])["changed"] is True


def test_a_deleted_key_blocks_and_so_does_one_that_cannot_be_seen(
    lab: Lab, vault: Vault, hsm: Vault, key: Declare
) -> None:
    declared = key()
    first = only(vault.rotate(declared))
    vault.run("byok_import", imports=[dict(declared, confirm=first["version"])], state="absent")
    blocked = destroy(declared, [first["thumbprint"]], look(vault, declared))
    assert "has a deleted key of that name, which can be recovered" in failure(blocked)
    unseen = look(hsm, declared, **lab.as_client("user"))
    assert unseen["target_keys"][0]["deleted"] is None
    assert "does not tell whether it has a deleted key" in failure(
        destroy(declared, [first["thumbprint"]], unseen)
    )
    done = destroy(
        declared, [first["thumbprint"]], unseen, look(vault, declared), accept_last_copy=True
    )
    assert done["changed"] is True


def test_an_oct_key_is_named_by_its_id_and_one_without_a_tag_may_be_any(
    lab: Lab, hsm: Vault, key: Declare
) -> None:
    declared = key("oct", every="P30D")
    first = only(hsm.rotate(declared))
    lab.forward(days=31)
    second = only(hsm.rotate(declared, stage="prepare"))
    # Tagged, the version is the first generation; the second one may go.
    blocked = destroy(declared, [first["generation"]], look(hsm, declared))
    assert "has it as the enabled version" in failure(blocked)
    assert (
        destroy(declared, [second["generation"]], look(hsm, declared), check=True)["changed"]
        is True
    )
    lab.client(hsm.url).update_key_properties(declared["name"], tags={})
    for generation in (first["generation"], second["generation"]):
        assert "has it as the enabled version" in failure(
            destroy(declared, [generation], look(hsm, declared))
        )
    assert (
        destroy(declared, [second["generation"]], look(hsm, declared), accept_last_copy=True)[
            "changed"
        ]
        is True
    )


def test_the_private_key_goes_first(
    vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = key()
    run("byok_target_key", target_keys=[declared])
    destroyed: list[Any] = []
    plain = Session.destroy

    def note(self: Session, handle: int) -> None:
        destroyed.append(self.read(handle, "SENSITIVE")["SENSITIVE"])
        plain(self, handle)

    monkeypatch.setattr(Session, "destroy", note)
    destroy(declared, thumbprints(declared), look(vault, declared))
    assert destroyed == [True, None]


def test_a_private_key_whose_public_key_was_lost_may_be_what_a_vault_has(
    vault: Vault, key: Declare
) -> None:
    declared = key()
    brought = only(vault.rotate(declared))
    with token_session() as session:
        (public,) = session.find("PUBLIC_KEY", LABEL=declared["name"])
        session.destroy(public)
    (half,) = generations(declared)[declared["name"]]
    assert (half["half_made"], half["thumbprint"]) == (True, None)
    blocked = destroy(declared, [brought["generation"]], look(vault, declared))
    assert f"has it as the enabled version {brought['version']}" in failure(blocked)
    assert len(generations(declared)[declared["name"]]) == 1
