# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_rotate does: observe token and vault, plan, and act, from one host.

It goes the way of the role's single steps, by the same functions: what one run leaves when it dies, another one goes on with.
"""

from __future__ import annotations

import os
import threading
import typing as t
from contextlib import nullcontext

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import items_of
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    BYOK_ROTATE,
    KekRules,
    judge,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import (
    KnownGeneration,
    in_the_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.retirement import plan_retirement
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import UNSCHEDULED
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._steps.import_keys import (
    Importing,
    bring,
    one_writer,
    warn_of_rivals,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.kek import converge_kek
from ansible_collections.keyferry.azure.plugins.module_utils._steps.plan import (
    plan,
    warn_of_unknown,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.target_key import find_or_make
from ansible_collections.keyferry.azure.plugins.module_utils._steps.wrap import read_kek, wrap_for
from ansible_collections.keyferry.azure.plugins.module_utils._token import (
    generations as _generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.challenge import make_challenge
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, open_token
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault, open_vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.each_key import each_key
from ansible_collections.keyferry.azure.plugins.module_utils._vault.proof import NotOurKey, prove
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    list_versions,
    read_version,
    update,
)

Item = t.Mapping[str, t.Any]

#: Seconds that the deletion of a KEK may take
_KEK_DELETION = 300


def rotate_keys(params: Item, check_mode: bool) -> Outcome:
    """Replace what is due, make generations ahead, or disable older versions, as ``stage`` says.

    :raises ByokError: when token or vault cannot be used at all; what fails for one key is in the outcome's failures
    """
    items = items_of(params, "rotations")
    declarations = [parse_declaration(item) for item in items]
    check_unique(declaration.name for declaration in declarations)
    vault = open_vault(params)
    outcome = Outcome({"rotations": []})
    # A run that only disables needs no token: what is in it may come from another host.
    needs_token = params["stage"] != "retire" or params["target_keys"] is None
    with (
        nullcontext() if check_mode else one_writer(vault, params, outcome),
        open_token(params) if needs_token else nullcontext() as token,
    ):
        if params["stage"] == "retire":
            _Retiring(vault, token, params, check_mode, outcome).run(items, declarations)
        elif token:
            _Rotation(vault, token, params, check_mode, outcome).run(items, declarations)
    if params["rotations"] is None and outcome.result["rotations"]:
        outcome.result["rotation"] = outcome.result["rotations"][0]
    return outcome


def _look(
    token: Token, declarations: t.Sequence[Declaration], params: Item, outcome: Outcome
) -> list[dict[str, t.Any]]:
    """Return what byok_target_key tells of the keys; nothing is made or changed."""
    found = find_or_make(token, declarations, params, check_mode=True)
    outcome.absorb(found, with_changes=False)
    keys: list[dict[str, t.Any]] = found.result["target_keys"]
    return keys


class _Rotation:
    """One run that replaces what is due."""

    def __init__(
        self, vault: Vault, token: Token, params: Item, check_mode: bool, outcome: Outcome
    ) -> None:
        self.vault, self.token, self.params, self.check_mode, self.outcome = (
            vault,
            token,
            params,
            check_mode,
            outcome,
        )
        self.results: dict[str, dict[str, t.Any]] = {}

    def run(self, items: t.Sequence[Item], declarations: t.Sequence[Declaration]) -> None:
        params, outcome = self.params, self.outcome
        in_token = _look(self.token, declarations, params, outcome)
        observed = {key["name"] for key in in_token}
        force = frozenset(params["force"])
        planned = plan(
            self.vault,
            [item for item in items if item["name"] in observed],
            in_token,
            force,
            params["on_deleted"],
        )
        outcome.absorb(planned, with_changes=False)  # what becomes of the plan is told by the steps
        warn_of_unknown(force, in_token, outcome)
        for entry in planned.result["plan"]:
            self._begin(entry)
        transfers = {item["name"] for item in planned.result["transfers"]}
        made = self._make(
            [each for each in declarations if each.name in transfers], planned.result["rotations"]
        )
        if params["stage"] == "prepare":
            return
        arrived = self._bring(items, planned.result["imports"], {key["name"] for key in made})
        by_name = {declaration.name: declaration for declaration in declarations}
        for each in arrived:
            self._finish(by_name[each["name"]], each)
        self._lock(
            [each for each in declarations if each.after_transfer == "lock"], arrived, in_token
        )

    def _begin(self, entry: Item) -> None:
        """Report what is planned for a key."""
        facts = (
            "name",
            "action",
            "reason",
            "generation",
            "thumbprint",
            "kid",
            "version",
            "next_due",
        )
        result = {
            **{fact: entry[fact] for fact in facts},
            "replaced": None,
            "request_id": None,
            "locked": False,
        }
        self.results[entry["name"]] = result
        self.outcome.result["rotations"].append(result)
        if entry["action"] == "conflict":
            self.outcome.failures.add(
                entry["name"],
                ByokError(
                    f"The key {entry['name']} in the {self.vault} is not rotated: {entry['reason']}",
                    "Find out what happened, then decide; nothing was imported over it",
                ),
            )

    def _make(
        self, declarations: t.Sequence[Declaration], rotations: t.Sequence[Item]
    ) -> list[dict[str, t.Any]]:
        """See that the generations are there that shall be brought."""
        if not declarations:
            return []
        made = find_or_make(
            self.token, declarations, self.params, self.check_mode, rotations=rotations
        )
        self.outcome.absorb(made)
        for key in made.result["target_keys"]:
            self.results[key["name"]].update(
                generation=key["generation"], thumbprint=key["thumbprint"]
            )
        keys: list[dict[str, t.Any]] = made.result["target_keys"]
        return keys

    def _bring(
        self, items: t.Sequence[Item], imports: t.Sequence[Item], made: set[str]
    ) -> list[dict[str, t.Any]]:
        """Wrap and import what is planned, under a KEK that lives for this run unless one is given.

        :returns: the results of byok_import
        """
        changed = {item["name"]: item for item in imports}
        wanted = [{**item, **changed[item["name"]]} for item in items if item["name"] in changed]
        transfers = [
            item
            for item in wanted
            if self.results[item["name"]]["action"] in ("transfer", "rotate")
        ]
        wrapped: dict[str, t.Any] = {}
        kek_name = None
        importing = Importing(
            self.vault, self.check_mode, self.params["on_deleted"], self.params["delete_timeout"]
        )
        outcome = Outcome({"imports": []})
        try:
            if made and not self.check_mode:
                kek_name = None if self.params["kek_id"] else self._kek_name()
                wrapped = self._wrap([item for item in items if item["name"] in made], kek_name)
            lost = {item["name"] for item in transfers} - (
                made if self.check_mode else set(wrapped)
            )
            each_key(
                self.vault,
                [_import_options(item, self.params) for item in wanted if item["name"] not in lost],
                outcome,
                lambda item, part: bring(importing, item, wrapped.get(item["name"]), part),
            )
        finally:
            if kek_name:
                self._delete_keks(kek_name)
        warn_of_rivals(importing, outcome)
        self.outcome.absorb(outcome)
        results: list[dict[str, t.Any]] = outcome.result["imports"]
        return results

    def _finish(self, declaration: Declaration, arrived: Item) -> None:
        """Report what came of a key."""
        result = self.results[declaration.name]
        facts = (
            "generation",
            "kid",
            "version",
            "thumbprint",
            "replaced",
            "request_id",
            "identity",
            "proof",
            "receipt",
            "imported",
        )
        result.update({fact: arrived[fact] for fact in facts if arrived[fact] is not None})
        if arrived["imported"]:
            expires = arrived["attributes"] and arrived["attributes"]["expires"]
            due = (declaration.rotation or UNSCHEDULED).due_at(
                self.vault.now, parse_moment(expires) if expires else None
            )
            result["next_due"] = due and format_moment(due)

    def _kek_name(self) -> str:
        return f"{self.params['kek_prefix']}{self.vault.now:%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"

    def _wrap(self, items: t.Sequence[Item], kek_name: str | None) -> dict[str, t.Any]:
        """Wrap keys; returns the packages by the keys' names."""
        params = self.params
        rules = KekRules(params["approved_keks"], params["allow_unverified_kek"], BYOK_ROTATE)
        answer = self._kek({"name": kek_name, "kek_id": params["kek_id"]})
        # This very process made the KEK, so there is no other host to mistrust.
        kek = read_kek(judge(answer, rules, azure_host_trusted=True).to_dict(), False, None)
        bare = [{**item, "path": None, "escrow_path": None} for item in items]
        packages = wrap_for(
            self.token, bare, [kek] if kek else [], params["allow_trailing_zeros"], False
        )
        self.outcome.absorb(packages, with_changes=False)  # packages are on their way only
        return {package["name"]: package for package in packages.result["packages"]}

    def _kek(self, options: Item) -> dict[str, t.Any]:
        """Make, take or delete a KEK."""
        params = self.params
        defaults = {
            "state": "present",
            "kek_public_key": None,
            "expired_prefix": None,
            "size": params["kek_size"],
            "lifetime": params["kek_lifetime"],
            "expires": None,
            "tags": None,
            "approved_keks": params["approved_keks"],
            "purge": params["kek_purge"],
            "delete_timeout": _KEK_DELETION,
        }
        return converge_kek(self.vault, {**defaults, **options}, False).result

    def _delete_keks(self, name: str) -> None:
        """Delete this run's KEK, and those that runs left behind which died; the keys are there, so it fails nothing."""
        for options in ({"name": name}, {"expired_prefix": self.params["kek_prefix"]}):
            try:
                self._kek(
                    {
                        "name": None,
                        "kek_id": None,
                        "expired_prefix": None,
                        **options,
                        "state": "absent",
                    }
                )
            except ByokError as error:
                self.outcome.warnings.append(
                    f"A KEK could not be deleted, a later run tries again when it has expired: {error}"
                )

    def _lock(
        self,
        declarations: t.Sequence[Declaration],
        arrived: t.Sequence[Item],
        in_token: t.Iterable[Item],
    ) -> None:
        """Lock what goes to no further vault; a tag alone does not show that it has arrived."""
        shown = {each["name"]: each for each in arrived if self._is_shown(each)}
        # A run that died has brought some and not locked them.
        extractable = {
            each["generation"]
            for key in in_token
            for each in key["generations"]
            if each["CKA_EXTRACTABLE"]
        }
        for name, result in self.results.items():
            if (
                result["action"] in ("none", "lock", "update")
                and result["thumbprint"]
                and result["generation"] in extractable
            ):
                shown.setdefault(name, result)
        locked = [each for each in declarations if each.name in shown]
        if locked:
            known = [each["thumbprint"] or each["generation"] for each in shown.values()]
            found = find_or_make(
                self.token, locked, self.params, self.check_mode, transferred=known
            )
            self.outcome.absorb(found)
            for key in found.result["target_keys"]:
                self.results[key["name"]]["locked"] = key["locked"]

    def _is_shown(self, arrived: Item) -> bool:
        if self.check_mode:  # of what would arrive, only a key that is there can be told
            return bool(arrived["thumbprint"])
        return arrived["identity"] in ("public_key", "proved")


class _Retiring:
    """One run that disables older versions."""

    def __init__(
        self, vault: Vault, token: Token | None, params: Item, check_mode: bool, outcome: Outcome
    ) -> None:
        self.vault, self.token, self.params, self.check_mode, self.outcome = (
            vault,
            token,
            params,
            check_mode,
            outcome,
        )
        self._token_in_use = threading.Lock()  # one session; keys are handled several at a time

    def run(self, items: t.Sequence[Item], declarations: t.Sequence[Declaration]) -> None:
        by_name = {declaration.name: declaration for declaration in declarations}
        in_token = self.params["target_keys"]
        if self.token and in_token is None:
            in_token = _look(self.token, declarations, self.params, self.outcome)
        observed = {key["name"]: key for key in in_token}
        each_key(
            self.vault,
            [item for item in items if item["name"] in observed or not self.token],
            self.outcome,
            lambda item, part: self._retire(
                by_name[item["name"]], observed.get(item["name"]), item["data_reencrypted"], part
            ),
        )

    def _retire(
        self,
        declaration: Declaration,
        observed: Item | None,
        data_reencrypted: bool,
        outcome: Outcome,
    ) -> None:
        vault, name = self.vault, declaration.name
        in_token = in_the_token(declaration, observed)
        result: dict[str, t.Any] = {"name": name, "action": "none", "retired": [], "kept": []}
        outcome.result["rotations"].append(result)
        if declaration.rotation is None or declaration.rotation.retire != "disable":
            result["reason"] = "its rotation does not say retire: disable"
            return
        # Which one is the newest, a list does not tell: two may be of the same second.
        newest = read_version(vault, name)
        others = [
            each for each in list_versions(vault, name) if newest and each.version != newest.version
        ]
        older = [
            read_version(vault, name, each.version) for each in others if each.enabled is not False
        ]
        versions = [version for version in (newest, *older) if version]

        def is_proved(version: Version) -> bool:
            known = in_token.holder_of(version)
            return known is not None and self._is_proved(name, version, known)

        retirement = plan_retirement(
            declaration, in_token, versions, vault.now, data_reencrypted, is_proved
        )
        result["kept"] = [
            {"version": version, "reason": reason} for version, reason in retirement.kept.items()
        ]
        result["reason"] = "no older version is to be disabled"
        for version in retirement.disabled:
            if not self.check_mode:
                update(vault, name, version, {"enabled": False})
            where = f"version {version.version} of the key {name} in the {vault}"
            outcome.changes.append(Change(where, {"enabled": True}, {"enabled": False}))
            result["retired"].append(version.version)
            result.update(
                action="retire",
                reason="a newer version has been there for the overlap",
                request_id=vault.request_id,
            )

    def _is_proved(self, name: str, version: Version, known: KnownGeneration) -> bool:
        """Have the vault answer a challenge of the token, where the token is at hand."""
        if self.token is None:
            return False
        with self._token_in_use:
            found = _generations.list_generations(self.token, [name])[name].generations
            generation = next(each for each in found if each.hex_id == known.generation)
            challenge = make_challenge(self.token, name, generation)
        try:
            return "operation" in prove(self.vault, name, version, challenge)
        except NotOurKey:
            return False


def _import_options(item: Item, params: Item) -> dict[str, t.Any]:
    """Return the options of byok_import for a key."""
    defaults = {
        "path": None,
        "package": None,
        "thumbprint": None,
        "replaces": None,
        "confirm": None,
    }
    return {**defaults, **item, "prove": params["prove"]}
