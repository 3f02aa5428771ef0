# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection.
# It can have breaking changes at any time.

"""What is known of tokens, by vendor; data.

A profile only says what to try and in which order: a rehearsal shows what a mechanism really makes before it is used. Never
candidates: 0x2109 and 0x210C (no RFC 5649), 0x80000965 (ProtectToolkit's own format), 0x8000210A (PKCS#5 padding), CBC.
Vendors' numbers mean other things elsewhere, so they stand in their vendor's profile alone.
"""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

CKM_RSA_PKCS_KEY_PAIR_GEN = 0x0
CKM_RSA_PKCS_OAEP = 0x9
CKM_RSA_X9_31_KEY_PAIR_GEN = 0xA
CKM_EC_KEY_PAIR_GEN = 0x1040
CKM_RSA_AES_KEY_WRAP = 0x1054
CKM_AES_KEY_GEN = 0x1080
CKM_AES_KEY_WRAP = 0x2109
CKM_AES_KEY_WRAP_PAD = 0x210A
CKM_AES_KEY_WRAP_KWP = 0x210B


@dataclass(frozen=True)
class Mechanism:
    """A mechanism with the parameter that it wants; None is a NULL parameter."""

    name: str
    number: int
    parameter: bytes | None = None


_RSA_PKCS = Mechanism("CKM_RSA_PKCS_KEY_PAIR_GEN", CKM_RSA_PKCS_KEY_PAIR_GEN)


@dataclass(frozen=True)
class Policy:
    """A partition policy that decides what can be wrapped.

    :ivar wanted: the value that it must have; None where both do
    :ivar why: what depends on it
    :ivar private: it is about private keys alone, not about secret ones
    """

    number: int
    name: str
    wanted: int | None
    why: str
    private: bool = False


@dataclass(frozen=True)
class Profile:
    """One kind of token.

    :ivar title: what it is called
    :ivar source: where this is from, and whether it was tried
    :ivar tokens: beginnings of manufacturerID and model in CK_TOKEN_INFO, in lower case
    :ivar libraries: where the library usually lies, by platform; its file name alone tells the vendor before it is loaded
    :ivar wrap_mechanisms: candidates, best first
    :ivar rsa_generation: candidates, best first
    :ivar public_keys_private: CKA_PRIVATE of public keys that are made or brought in, in the order to try: some tokens take
        no other than private objects
    :ivar role: the role that makes and wraps keys, in the vendor's words; it logs in as CKU_USER
    :ivar pin_form: how the PIN is written, where it is more than a PIN
    :ivar environment: environment variables that the client software reads, set by the option ``library_environment``
    :ivar required_environment: those without which it does not start
    :ivar most_sessions: how many sessions may be used at once, where more than one is known to fail
    :ivar not_ready: what to do when the token is not initialised
    :ivar policies: what byok_hsm_info asks for
    :ivar policy_command: the vendor's command that sets one, with ``{number}``, ``{value}`` and ``{slot}``
    :ivar no_backup_when: policies with which private keys can be wrapped, but no longer cloned or backed up by the vendor's means
    :ivar fips_policy: the policy that is 0 in FIPS mode
    :ivar fips_hides: a mechanism that is not offered in FIPS mode
    :ivar first_firmware: what can be brought only from which firmware on: ``*`` stands for any key
    :ivar return_codes: the vendor's own, by number
    :ivar remedies: what to do about a return code by name, where the vendor's words are better
    """

    title: str
    source: str
    tokens: tuple[tuple[str, str], ...] = ()
    libraries: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wrap_mechanisms: tuple[Mechanism, ...] = ()
    rsa_generation: tuple[Mechanism, ...] = (_RSA_PKCS,)
    public_keys_private: tuple[bool, ...] = (False, True)
    role: str = "user"
    pin_form: str = ""
    environment: tuple[str, ...] = ()
    required_environment: tuple[str, ...] = ()
    most_sessions: int | None = None
    not_ready: str = "Initialise it and set the user's PIN with the token's own tool"
    policies: tuple[Policy, ...] = ()
    policy_command: str = ""
    no_backup_when: t.Mapping[int, int] = field(default_factory=dict)
    fips_policy: int | None = None
    fips_hides: int | None = None
    first_firmware: t.Mapping[str, tuple[int, int]] = field(default_factory=dict)
    return_codes: t.Mapping[int, str] = field(default_factory=dict)
    remedies: t.Mapping[str, str] = field(default_factory=dict)


#: RFC 5649, section 3: the constant half of the alternative initial value
_AIV = bytes.fromhex("a65959a6")

_RSA_AES = Mechanism("CKM_RSA_AES_KEY_WRAP", CKM_RSA_AES_KEY_WRAP)
_KWP = Mechanism("CKM_AES_KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP)
_WRAP_PAD = Mechanism("CKM_AES_KEY_WRAP_PAD", CKM_AES_KEY_WRAP_PAD)
_STANDARD = (_RSA_AES, _KWP, _WRAP_PAD)

_LUNA_KEY_EXPORT = (
    "The partition's policies do not allow this; byok_hsm_info reads them. RSA and EC keys need policy 0 (private key "
    "cloning) at 0 and then 1 (private key wrapping) at 1, and every wrap needs 5 (secret key wrapping) at 1. See "
    "docs/hsm/luna.md for what a change costs"
)
_LUNA_RESET = (
    "Have the partition's Security Officer reset the Crypto Officer's password with lunacm"
)
_LUNA_ATTRIBUTES = "The key was made with modifiable: false, or partition policy 11 (changing key attributes) is off"

PROFILES: t.Mapping[str, Profile] = {
    "generic": Profile(
        title="Any PKCS#11 token",
        source="PKCS#11 v3.1",
        wrap_mechanisms=_STANDARD,
    ),
    "luna": Profile(
        title="Thales Luna 7 and Luna Cloud HSM",
        source=(
            "Public documents only: Thales' BYOK guide 007-013885-002, thalesdocs.com, ThalesGroup/pycryptoki and luna-samples. "
            "Tried with a stand-in, never with a Luna"
        ),
        tokens=(("safenet", "luna"), ("safenet", "cryptovisor"), ("thales", "luna")),
        libraries={
            "linux": (
                "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
                "/usr/local/luna/libs/64/libCryptoki2.so",
            ),
        },
        # With NULL a Luna may append the initial value to its output; where 0x210B is offered, it is the standard's.
        wrap_mechanisms=(
            _RSA_AES,
            _KWP,
            Mechanism("CKM_AES_KWP", 0x80000171, _AIV),
            Mechanism("CKM_AES_KWP", 0x80000171),
        ),
        # In FIPS mode only the FIPS 186 ones; the standard's number comes last, because a client may map it to them.
        rsa_generation=(
            Mechanism("CKM_RSA_FIPS_186_3_PRIME_KEY_PAIR_GEN", 0x80000143),
            Mechanism("CKM_RSA_FIPS_186_3_AUX_PRIME_KEY_PAIR_GEN", 0x80000142),
            _RSA_PKCS,
        ),
        role="Crypto Officer",
        environment=("ChrystokiConfigurationPath",),
        not_ready="Initialise the partition and its Crypto Officer with lunacm",
        policies=(
            Policy(0, "private key cloning", 0, "it excludes policy 1", private=True),
            Policy(
                1, "private key wrapping", 1, "RSA and EC keys leave the token by it", private=True
            ),
            Policy(5, "secret key wrapping", 1, "the temporary AES key is wrapped by it"),
            Policy(
                10,
                "multipurpose keys",
                None,
                "where it is 0, declare operations of one purpose per key",
            ),
            Policy(34, "CBC-PAD (un)wrap of keys of any size", 1, "Thales' BYOK guide asks for it"),
            Policy(
                22,
                "activation",
                None,
                "a partition with PED wants 1, so that it can be used unattended",
            ),
            Policy(
                23,
                "auto-activation",
                None,
                "a partition with PED wants 1, so that it can be used unattended",
            ),
            Policy(43, "algorithms beyond FIPS", None, "0 is FIPS mode: no P-256K"),
        ),
        policy_command="partition changepolicy -policy {number} -value {value}",
        no_backup_when={0: 0, 1: 1},
        fips_policy=43,
        fips_hides=CKM_RSA_PKCS_KEY_PAIR_GEN,
        first_firmware={"*": (7, 3), "RSA-4096": (7, 4)},
        return_codes={
            0x80000000 + number: f"CKR_{name}"
            for number, name in {
                0x04: "RC_ERROR",
                0x05: "CONTAINER_HANDLE_INVALID",
                0x06: "TOO_MANY_CONTAINERS",
                0x07: "USER_LOCKED_OUT",
                0x0C: "ACCEL_DEVICE_ERROR",
                0x0D: "WRAPPING_ERROR",
                0x0E: "UNWRAPPING_ERROR",
                0x1A: "USER_NOT_AUTHORIZED",
                0x1B: "MAX_OBJECT_COUNT_EXCEEDED",
                0x1C: "SO_LOGIN_FAILURE_THRESHOLD",
                0x1F: "UNABLE_TO_CONNECT",
                0x20: "PARTITION_DISABLED",
                0x21: "CALLBACK_ERROR",
                0x22: "SECURITY_PARAMETER_MISSING",
                0x23: "SP_TIMEOUT",
                0x24: "TIMEOUT",
                0x25: "ECC_UNKNOWN_CURVE",
                0x26: "MTK_ZEROIZED",
                0x27: "MTK_STATE_INVALID",
                0x2A: "HSM_STORAGE_FULL",
                0x2B: "DEVICE_TIMEOUT",
                0x2C: "CONTAINER_OBJECT_STORAGE_FULL",
                0x2D: "PED_CLIENT_NOT_RUNNING",
                0x2E: "PED_UNPLUGGED",
                0x2F: "ECC_POINT_INVALID",
                0x30: "OPERATION_NOT_ALLOWED",
                0x31: "LICENSE_CAPACITY_EXCEEDED",
                0x35: "LOG_FULL",
                0x41: "AGAIN",
                0x67: "CHALLENGE_INCORRECT",
                0x6A: "KEY_NOT_KEKABLE",
                0x6B: "MECHANISM_INVALID_FOR_FP",
                0x6F: "OBJECT_ALREADY_EXISTS",
                0x76: "HSM_TAMPERED",
                0x77: "CONFIG_CHANGE_ILLEGAL",
                0x7D: "CONFIG_FAILS_DEPENDENCIES",
                0x8D: "HSM_RESTART_REQUIRED",
                0x8F: "ASSIGNED_KEY_REQUIRES_AUTH_DATA",
                0x97: "KEY_NOT_AUTHORIZED",
                0x9D: "PED_UNSUPPORTED",
                0x9E: "PED_ERROR",
                0x101: "KEY_EXTRACTABLE",
                0x105: "ECC_CURVE_NOT_ALLOWED",
                0x114: "OBJECT_READ_ONLY",
                0x1600: "XTC_ERROR",
                0x1603: "MAX_SESSION_COUNT",
                0x1604: "BUSY",
                0x1606: "SERVICE_UNAVAILABLE",
            }.items()
        },
        remedies={
            "CKR_KEY_NOT_WRAPPABLE": _LUNA_KEY_EXPORT,
            "CKR_KEY_FUNCTION_NOT_PERMITTED": _LUNA_KEY_EXPORT,
            "CKR_OPERATION_NOT_ALLOWED": "The partition's policies do not allow this; byok_hsm_info reads them",
            "CKR_ATTRIBUTE_VALUE_INVALID": "The partition does not take this kind of key; byok_hsm_info reads its policies",
            "CKR_ATTRIBUTE_READ_ONLY": _LUNA_ATTRIBUTES,
            "CKR_ACTION_PROHIBITED": _LUNA_ATTRIBUTES,
            "CKR_CHALLENGE_INCORRECT": "Correct the PIN, which is the challenge secret here; it was tried once",
            "CKR_USER_PIN_NOT_INITIALIZED": "Initialise the partition's Crypto Officer with lunacm: role init -name co",
            "CKR_LICENSE_CAPACITY_EXCEEDED": "A licence of the HSM is used up; ask its administrator",
            "CKR_TEMPLATE_INCONSISTENT": (
                "Where partition policy 10 (multipurpose keys) is off, declare operations of one purpose: sign and verify, "
                "encrypt and decrypt, or wrapKey and unwrapKey"
            ),
            "CKR_PIN_EXPIRED": "A new role's password has to be changed before its first use: role changepw in lunacm",
            "CKR_PIN_LOCKED": _LUNA_RESET,
            "CKR_USER_LOCKED_OUT": _LUNA_RESET,
            "CKR_USER_NOT_AUTHORIZED": "Log in as the Crypto Officer; policy 28 (key management functions) has to be on",
            "CKR_ECC_CURVE_NOT_ALLOWED": "A Luna in FIPS mode does not have this curve; declare P-256, P-384 or P-521",
            "CKR_ECC_UNKNOWN_CURVE": "Declare P-256, P-384 or P-521",
            "CKR_UNABLE_TO_CONNECT": "See that the client reaches the HSM: lunacm has to list the slot",
            "CKR_SERVICE_UNAVAILABLE": "See that the client reaches the HSM: lunacm has to list the slot",
            "CKR_XTC_ERROR": "See that the client reaches the Luna Cloud HSM service, and that its clock is right",
            "CKR_TIMEOUT": "See that the client reaches the HSM, then run again",
            "CKR_DEVICE_TIMEOUT": "See that the client reaches the HSM, then run again",
            "CKR_BUSY": "See what else uses the HSM, or set sessions lower, then run again",
            "CKR_AGAIN": "See what else uses the HSM, or set sessions lower, then run again",
            "CKR_MAX_SESSION_COUNT": "Set sessions lower, or see what else uses the HSM",
            "CKR_PARTITION_DISABLED": "Activate the partition (policies 22 and 23), so that it can be used unattended",
            "CKR_PED_UNPLUGGED": "Activate the partition (policies 22 and 23), so that no PED is asked",
            "CKR_PED_CLIENT_NOT_RUNNING": "Activate the partition (policies 22 and 23), so that no PED is asked",
            "CKR_LOG_FULL": "The HSM's audit log is full and it does nothing more; have the auditor archive it",
            "CKR_HSM_STORAGE_FULL": "Delete what is not needed in the partition, or have it made larger",
            "CKR_CONTAINER_OBJECT_STORAGE_FULL": "Delete what is not needed in the partition, or have it made larger",
            "CKR_MAX_OBJECT_COUNT_EXCEEDED": "Delete what is not needed in the partition",
            "CKR_HSM_TAMPERED": "The HSM saw a tamper event; its Security Officer has to clear it",
        },
    ),
    "futurex": Profile(
        title="Futurex by FxPKCS11: KMES Series 3, CryptoHub, Vectera",
        source=(
            "Public documents only: docs.futurex.com and public configurations. Manufacturer's name and mechanisms are not "
            "published, so every candidate is tried. Tried with a stand-in, never with a Futurex device"
        ),
        tokens=(("futurex", ""),),
        libraries={
            "linux": (
                "/usr/lib/x86_64-linux-gnu/fxpkcs11/libfxpkcs11.so",
                "/usr/local/bin/fxpkcs11/libfxpkcs11.so",
            ),
        },
        wrap_mechanisms=_STANDARD,
        role="identity",
        environment=("FXPKCS11_CFG", "FXPKCS11_MODULE"),
        required_environment=("FXPKCS11_CFG",),
        not_ready=(
            "Load the Futurex Token Key (FTK) into the device, which PKCS#11 needs before anything else; see docs/hsm/futurex.md"
        ),
        remedies=dict.fromkeys(
            (
                "CKR_GENERAL_ERROR",
                "CKR_FUNCTION_FAILED",
                "CKR_DEVICE_ERROR",
                "CKR_TOKEN_NOT_RECOGNIZED",
            ),
            "See that fxpkcs11.cfg names the device, and that the Futurex Token Key (FTK) is loaded; the library's log says more",
        ),
    ),
    "nshield": Profile(
        title="Entrust nShield",
        source="Public documents only: nshielddocs.entrust.com; that 0x210A and 0x210B are RFC 5649: Mastercard/pkcs11-tools",
        tokens=(("ncipher", ""), ("entrust", "")),
        libraries={"linux": ("/opt/nfast/toolkits/pkcs11/libcknfast.so",)},
        wrap_mechanisms=_STANDARD,
        environment=(
            "CKNFAST_LOADSHARING",
            "CKNFAST_FAKE_ACCELERATOR_LOGIN",
            "CKNFAST_OVERRIDE_SECURITY_ASSURANCES",
        ),
        not_ready="Present the card set or softcard; softcards are seen only with CKNFAST_LOADSHARING=1 in library_environment",
        remedies={
            "CKR_ATTRIBUTE_VALUE_INVALID": (
                "The library refuses this kind of key unless CKNFAST_OVERRIDE_SECURITY_ASSURANCES in library_environment "
                "allows it, such as tokenkeys; see docs/hsm/other.md"
            ),
        },
    ),
    "cloudhsm": Profile(
        title="AWS CloudHSM, client SDK 5",
        source="Public documents only: docs.aws.amazon.com/cloudhsm",
        tokens=(("marvell", ""), ("cavium", ""), ("amazon", "")),
        libraries={"linux": ("/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",)},
        # Its 0x8000210A is PKCS#5 padding; ZERO_PAD is RFC 5649 and refuses any parameter.
        wrap_mechanisms=(_RSA_AES, Mechanism("CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", 0x8000216F)),
        rsa_generation=(
            Mechanism("CKM_RSA_X9_31_KEY_PAIR_GEN", CKM_RSA_X9_31_KEY_PAIR_GEN),
            _RSA_PKCS,
        ),
        public_keys_private=(True,),
        role="crypto user",
        pin_form="user:password",
        remedies={
            "CKR_PIN_INCORRECT": "Write the PIN as user:password; it was tried once and is not tried again",
            "CKR_KEY_NOT_WRAPPABLE": "Only the crypto user who made a key may wrap it; log in as that one",
        },
    ),
    "softhsm": Profile(
        title="SoftHSM 2.6 and 2.7",
        source="Measured: 2.6.1 as Debian has it, and 2.7.0. Only 2.7 has CKM_RSA_AES_KEY_WRAP and a right RFC 5649",
        tokens=(("softhsm", ""),),
        libraries={
            "linux": ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"),
            "darwin": (
                "/opt/homebrew/lib/softhsm/libsofthsm2.so",
                "/usr/local/lib/softhsm/libsofthsm2.so",
            ),
        },
        wrap_mechanisms=_STANDARD,
        environment=("SOFTHSM2_CONF",),
    ),
    "nss": Profile(
        title="NSS softokn",
        source="Measured: NSS 3.87. Its 0x210A is RFC 3394 over PKCS#7, and it ignores CKA_EXTRACTABLE",
        tokens=(("mozilla", ""),),
        libraries={
            "linux": ("/usr/lib/x86_64-linux-gnu/libsoftokn3.so", "/usr/lib64/libsoftokn3.so")
        },
        wrap_mechanisms=(_KWP,),
        most_sessions=1,  # several that made token objects hung
        remedies={
            "CKR_ARGUMENTS_BAD": (
                "NSS wants library_parameters, such as configdir='sql:/path' certPrefix='' keyPrefix='' secmod='' flags="
            ),
        },
    ),
}


def choose_profile(name: str, manufacturer: str, model: str, library: str) -> str:
    """Return ``name``, or for ``auto`` the profile that the token's manufacturer and model tell, else its library's file name.

    :param library: path
    """
    if name != "auto":
        return name
    for known, profile in PROFILES.items():
        if any(
            manufacturer.lower().startswith(maker) and model.lower().startswith(kind)
            for maker, kind in profile.tokens
        ):
            return known
    file = os.path.basename(library)
    for known, profile in PROFILES.items():
        if any(
            file == os.path.basename(path) for paths in profile.libraries.values() for path in paths
        ):
            return known
    return "generic"
