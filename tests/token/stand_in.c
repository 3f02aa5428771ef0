/*
 * Copyright (c) 2026 Keyferry contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

/*
 * A stand-in for tokens that are not at hand: a PKCS#11 library in front of a real one (SoftHSM, NSS) that behaves as public
 * documents say the vendor's library does. Where no document says, a comment calls it a guess. It was never compared with an HSM.
 *
 * STAND_IN_MODULE         the library behind
 * STAND_IN_SHAPE          luna, futurex, or plain, which changes nothing by itself
 * STAND_IN_RESERVED       pReserved for the C_Initialize behind; NSS needs it (not plain)
 * STAND_IN_TRACE          a file that gets a line per call: C_Name 0xRETURNCODE, for some with flags= or mechanism=
 * STAND_IN_FAULTS         C_WrapKey:2:0x32,... the 2nd call (0: each) returns 0x32; or kill, kill-after, crash (after the call),
 *                         hang, or run instead of a code
 * STAND_IN_RUN            a command for run: what another host does to the token just before the call
 * STAND_IN_OWN_LISTS=1    every caller of C_GetFunctionList gets functions of its own, as from p11-kit-proxy
 * STAND_IN_PIN            low, final or locked
 * STAND_IN_LABEL          the label of the user's token
 * STAND_IN_PROTECTED=1    the user's token is write-protected
 * STAND_IN_CHANGES        plain: what it does to a stored key: label (cuts it), public-label (of the public key alone), label-is-id,
 *                         id (cuts it), extractable (makes it false)
 * STAND_IN_SIZES          plain: 0:0, the key sizes of every mechanism; -1 is CK_UNAVAILABLE_INFORMATION
 * STAND_IN_FIRMWARE       of the user's token; a luna has 7.8 otherwise
 * STAND_IN_KWP            what the library behind calls RFC 5649: 0x210b (the default), SoftHSM: 0x210a
 * STAND_IN_FIPS=1         luna: RSA keys by FIPS 186-3 only, no secp256k1
 * STAND_IN_NULL_IV        luna: what KWP does without an initial value: append (the default) or refuse
 * STAND_IN_POLICIES       luna: 1=0,10=0,... over the defaults below
 * STAND_IN_OLD_POLICIES=1 luna: no CA_GetTokenPolicies, as in old clients
 * STAND_IN_NO_POLICIES=1  luna: no way to read policies
 * STAND_IN_PRIVATE_ONLY=1 luna: public keys have to be private objects as well
 * STAND_IN_ONE_SHOT=1     futurex: CKM_RSA_AES_KEY_WRAP as well, which wraps in one call; that it has that is a guess
 * STAND_IN_TOKEN_KEY      futurex: a file; while it is missing, the Futurex Token Key is not loaded
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* PKCS#11 v2.40, as far as it is needed; on LP64, where a CK_ULONG and a pointer fill one register each. */
typedef unsigned long word;
_Static_assert(sizeof(word) == 8 && sizeof(void *) == 8, "made for LP64");

typedef struct { unsigned char major, minor; } version;
typedef struct { word type; void *value; word length; } attribute;
typedef struct { word number; void *parameter; word length; } mechanism;
typedef struct { word min, max, flags; } mechanism_info;
typedef struct { void *create, *destroy, *lock, *unlock; word flags; void *reserved; } initialize_arguments;
typedef struct { version cryptoki; char manufacturer[32]; word flags; char description[32]; version library; } library_info;
typedef struct {
    char label[32], manufacturer[32], model[16], serial[16];
    word flags, sessions[4], pin_lengths[2], total_public, free_public, total_private, free_private;
    version hardware, firmware;
    char time[16];
} token_info;

enum {
    OK = 0, GENERAL_ERROR = 0x5, ARGUMENTS_BAD = 0x7, FUNCTION_NOT_SUPPORTED = 0x54, KEY_HANDLE_INVALID = 0x60,
    KEY_NOT_WRAPPABLE = 0x69, KEY_UNEXTRACTABLE = 0x6A, MECHANISM_INVALID = 0x70, MECHANISM_PARAM_INVALID = 0x71,
    PIN_LOCKED = 0xA4, TEMPLATE_INCONSISTENT = 0xD1, TOKEN_NOT_RECOGNIZED = 0xE1, TOKEN_WRITE_PROTECTED = 0xE2, BUFFER_TOO_SMALL = 0x150
};
enum { CLASS = 0, TOKEN = 1, PRIVATE = 2, LABEL = 3, ID = 0x102, SENSITIVE = 0x103, EXTRACTABLE = 0x162, LOCAL = 0x163, EC_PARAMS = 0x180 };
enum { ENCRYPT = 0x104, DECRYPT, WRAP, UNWRAP, SIGN, SIGN_RECOVER, VERIFY, VERIFY_RECOVER, DERIVE };
enum { KEY_TYPE = 0x100, MODULUS_BITS = 0x121, VALUE_LEN = 0x161, PRIVATE_KEY = 3, SECRET_KEY = 4 };
enum { USER = 1, WRITE_PROTECTED = 0x2, USER_PIN_INITIALIZED = 0x8, TOKEN_INITIALIZED = 0x400, RW_SESSION = 0x2 };
enum { RSA_KEY_PAIR_GEN = 0x0, RSA_OAEP = 0x9, RSA_X9_31_KEY_PAIR_GEN = 0xA, SHA_1 = 0x220, RSA_AES_WRAP = 0x1054 };
enum { AES_KEY_GEN = 0x1080, AES_WRAP = 0x2109, AES_WRAP_PAD = 0x210A, AES_KWP = 0x210B, AES_WRAP_PKCS7 = 0x210C };

/* What vendors define for themselves begins at 0x80000000; Luna's numbers are in ThalesGroup/pycryptoki. */
#define VENDOR 0x80000000UL
#define NSS_VENDOR (VENDOR | 0x4E534300)
#define LUNA_RSA_AUX_PRIME (VENDOR | 0x142)
#define LUNA_RSA_PRIME (VENDOR | 0x143)
#define LUNA_KW (VENDOR | 0x170)
#define LUNA_KWP (VENDOR | 0x171)
#define LUNA_UNKNOWN (VENDOR | 0xA01)
#define LUNA_USER_NOT_AUTHORIZED (VENDOR | 0x1A)
#define LUNA_CURVE_NOT_ALLOWED (VENDOR | 0x105)

/* Every function of CK_FUNCTION_LIST in its order; M for those whose second argument is a mechanism. */
#define FUNCTIONS(F, M) \
    F(C_Initialize) F(C_Finalize) F(C_GetInfo) F(C_GetFunctionList) F(C_GetSlotList) F(C_GetSlotInfo) F(C_GetTokenInfo) \
    F(C_GetMechanismList) F(C_GetMechanismInfo) F(C_InitToken) F(C_InitPIN) F(C_SetPIN) F(C_OpenSession) F(C_CloseSession) \
    F(C_CloseAllSessions) F(C_GetSessionInfo) F(C_GetOperationState) F(C_SetOperationState) F(C_Login) F(C_Logout) \
    F(C_CreateObject) F(C_CopyObject) F(C_DestroyObject) F(C_GetObjectSize) F(C_GetAttributeValue) F(C_SetAttributeValue) \
    F(C_FindObjectsInit) F(C_FindObjects) F(C_FindObjectsFinal) M(C_EncryptInit) F(C_Encrypt) F(C_EncryptUpdate) \
    F(C_EncryptFinal) M(C_DecryptInit) F(C_Decrypt) F(C_DecryptUpdate) F(C_DecryptFinal) M(C_DigestInit) F(C_Digest) \
    F(C_DigestUpdate) F(C_DigestKey) F(C_DigestFinal) M(C_SignInit) F(C_Sign) F(C_SignUpdate) F(C_SignFinal) \
    M(C_SignRecoverInit) F(C_SignRecover) M(C_VerifyInit) F(C_Verify) F(C_VerifyUpdate) F(C_VerifyFinal) \
    M(C_VerifyRecoverInit) F(C_VerifyRecover) F(C_DigestEncryptUpdate) F(C_DecryptDigestUpdate) F(C_SignEncryptUpdate) \
    F(C_DecryptVerifyUpdate) M(C_GenerateKey) M(C_GenerateKeyPair) M(C_WrapKey) M(C_UnwrapKey) M(C_DeriveKey) \
    F(C_SeedRandom) F(C_GenerateRandom) F(C_GetFunctionStatus) F(C_CancelFunction) F(C_WaitForSlotEvent)
/* Thales' extensions, which are not in that list. */
#define EXTENSIONS(F) F(CA_GetTokenPolicies) F(CA_GetUserContainerNumber) F(CA_GetContainerPolicySet)

#define INDEX(name) at_##name,
enum { FUNCTIONS(INDEX, INDEX) LISTED, BEFORE_EXTENSIONS = LISTED - 1, EXTENSIONS(INDEX) COUNT };
_Static_assert(LISTED == 68, "CK_FUNCTION_LIST has 68 functions");
#define NAME(name) #name,
static const char *const NAMES[COUNT] = {FUNCTIONS(NAME, NAME) EXTENSIONS(NAME)};
#define NO(name) false,
#define YES(name) true,
static const bool TAKES_MECHANISM[COUNT] = {FUNCTIONS(NO, YES)};

/* Every function is seen as one of eight words: none takes more, and those ABIs do no harm to one that takes fewer. */
typedef word function(word, word, word, word, word, word, word, word);
static word call(int at, word *a);
#define STUB(name) \
    __attribute__((visibility("protected"))) word name(word a, word b, word c, word d, word e, word f, word g, word h) \
    { \
        return call(at_##name, (word[8]){a, b, c, d, e, f, g, h}); \
    }
FUNCTIONS(STUB, STUB)
EXTENSIONS(STUB)
#define ADDRESS(name) name,
typedef struct { version version; function *functions[LISTED]; } function_list;
static function_list offered = {{2, 40}, {FUNCTIONS(ADDRESS, ADDRESS)}};

/* ---- configuration ---- */

static enum { PLAIN, LUNA, FUTUREX } shape;
static function_list *behind; /* NULL when the configuration is wrong; every call then fails */
static atomic_ulong calls[COUNT];
static struct { int at; word nth; enum { RETURN, KILL, KILL_AFTER, CRASH, HANG, RUN } kind; word code; } faults[256];
static int fault_count;
static word policy_ids[64], policy_values[64], policy_count;

/* A partition in Key Export mode. The numbers are in Thales' documents; the values, where no test changes them, are guesses. */
static const char POLICIES[] = "0=0,1=1,2=1,3=0,4=0,5=1,6=1,10=1,11=1,15=1,16=1,17=1,18=1,20=10,21=0,22=0,23=0,28=1,33=1,34=1";

static bool is(const char *variable, const char *value)
{
    const char *set = getenv(variable);
    return set && !strcmp(set, value);
}

static bool parse_fault(const char *text)
{
    char name[48], what[24], *end = "";
    int at = COUNT;
    word nth;
    if (sscanf(text, "%47[^:]:%lu:%23[^,]", name, &nth, what) != 3 || fault_count == 256)
        return false;
    while (--at >= 0 && strcmp(NAMES[at], name)) {
    }
    faults[fault_count].at = at;
    faults[fault_count].nth = nth;
    faults[fault_count].kind = !strcmp(what, "kill")         ? KILL
                               : !strcmp(what, "kill-after") ? KILL_AFTER
                               : !strcmp(what, "crash")      ? CRASH
                               : !strcmp(what, "hang")       ? HANG
                               : !strcmp(what, "run")        ? RUN
                                                             : RETURN;
    if (faults[fault_count].kind == RETURN)
        faults[fault_count].code = strtoul(what, &end, 0);
    fault_count++;
    return at >= 0 && !*end;
}

static word *policy(word id)
{
    word i = 0;
    while (i < policy_count && policy_ids[i] != id)
        i++;
    return &policy_values[i];
}

static bool parse_policy(const char *text)
{
    word id, value, *place;
    if (sscanf(text, "%lu=%lu", &id, &value) != 2 || policy_count == 63)
        return false;
    place = policy(id);
    if (place == policy_values + policy_count)
        policy_ids[policy_count++] = id;
    *place = value;
    return true;
}

static bool parse_each(const char *text, bool parse(const char *))
{
    for (; text && *text; text += strcspn(text, ","), text += *text == ',')
        if (!parse(text)) {
            fprintf(stderr, "stand_in: cannot make sense of %s\n", text);
            return false;
        }
    return true;
}

__attribute__((constructor)) static void configure(void)
{
    const char *path = getenv("STAND_IN_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    word (*get_function_list)(function_list **) = library ? dlsym(library, "C_GetFunctionList") : NULL;
    function_list *list;
    shape = is("STAND_IN_SHAPE", "luna") ? LUNA : is("STAND_IN_SHAPE", "futurex") ? FUTUREX : PLAIN;
    if (!get_function_list || get_function_list(&list))
        fprintf(stderr, "stand_in: STAND_IN_MODULE is not the path of a PKCS#11 library: %s\n", path ? path : "");
    else if (shape == PLAIN && !is("STAND_IN_SHAPE", "plain"))
        fprintf(stderr, "stand_in: STAND_IN_SHAPE is none of luna, futurex and plain\n");
    else if (parse_each(POLICIES, parse_policy) && parse_each(getenv("STAND_IN_POLICIES"), parse_policy) &&
             parse_each(getenv("STAND_IN_FAULTS"), parse_fault))
        behind = list;
}

/* ---- what they all do ---- */

static word forward(int at, const word *a)
{
    return behind->functions[at](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}
#define FORWARD(name, ...) forward(at_##name, (word[8]){__VA_ARGS__})

/* PKCS#11 pads texts with blanks. */
#define SHOW(field, text) show(field, sizeof(field), text)
static void show(char *field, size_t size, const char *text)
{
    while (size--)
        *field++ = *text ? *text++ : ' ';
}

/* Return a list PKCS#11's way: without a place for it, its length. */
static word answer(word *place, word *length, const word *list, word count)
{
    word room = *length;
    *length = count;
    if (place && room < count)
        return BUFFER_TOO_SMALL;
    if (place)
        memcpy(place, list, count * sizeof *list);
    return OK;
}

static word get_function_list(word *a)
{
    function_list *list = is("STAND_IN_OWN_LISTS", "1") ? malloc(sizeof *list) : &offered;
    if (list != &offered)
        *list = offered;
    *(function_list **)a[0] = list;
    return OK;
}

static bool ready(void)
{
    const char *token_key = getenv("STAND_IN_TOKEN_KEY");
    return shape != FUTUREX || !token_key || !access(token_key, F_OK);
}

static word get_token_info(word *a)
{
    token_info *info = (token_info *)a[1];
    word code = forward(at_C_GetTokenInfo, a);
    /* Not NSS' second slot, nor the one without a token that SoftHSM always shows. */
    if (code || !(info->flags & USER_PIN_INITIALIZED))
        return code;
    info->flags |= is("STAND_IN_PIN", "low") ? 0x10000 : is("STAND_IN_PIN", "final") ? 0x20000 : 0;
    info->flags |= is("STAND_IN_PIN", "locked") ? 0x40000 : 0;
    info->flags |= is("STAND_IN_PROTECTED", "1") ? WRITE_PROTECTED : 0;
    if (getenv("STAND_IN_LABEL"))
        SHOW(info->label, getenv("STAND_IN_LABEL"));
    if (shape == LUNA) {
        SHOW(info->manufacturer, "SafeNet");
        SHOW(info->model, "LunaSA 7.8.9");
        info->firmware = (version){7, 8};
        info->total_public = 2094996;
        info->free_public = 1900000;
        info->total_private = info->free_private = ~0UL; /* CK_UNAVAILABLE_INFORMATION */
    } else if (shape == FUTUREX) {
        SHOW(info->manufacturer, "Futurex");
        SHOW(info->model, "Vectera");
    }
    if (getenv("STAND_IN_FIRMWARE"))
        sscanf(getenv("STAND_IN_FIRMWARE"), "%hhu.%hhu", &info->firmware.major, &info->firmware.minor);
    if (!ready())
        info->flags &= ~(word)TOKEN_INITIALIZED;
    return OK;
}

static word login(word *a)
{
    if (!ready())
        return TOKEN_NOT_RECOGNIZED;
    return a[1] == USER && is("STAND_IN_PIN", "locked") ? PIN_LOCKED : forward(at_C_Login, a);
}

static word open_session(word *a)
{
    if (!ready())
        return TOKEN_NOT_RECOGNIZED;
    return is("STAND_IN_PROTECTED", "1") && a[1] & RW_SESSION ? TOKEN_WRITE_PROTECTED : forward(at_C_OpenSession, a);
}

/* ---- what luna and futurex do ---- */

static word initialize(word *a)
{
    const char *configuration = getenv("FXPKCS11_CFG");
    initialize_arguments arguments = {.reserved = NULL};
    if (shape == FUTUREX && (!configuration || access(configuration, R_OK)))
        return GENERAL_ERROR; /* the code is a guess */
    if (a[0])
        arguments = *(initialize_arguments *)a[0];
    if (getenv("STAND_IN_RESERVED"))
        arguments.reserved = getenv("STAND_IN_RESERVED");
    return FORWARD(C_Initialize, a[0] || arguments.reserved ? (word)&arguments : 0);
}

static word get_info(word *a)
{
    library_info *info = (library_info *)a[0];
    word code = forward(at_C_GetInfo, a);
    if (!code) {
        SHOW(info->manufacturer, shape == LUNA ? "SafeNet" : "Futurex");
        SHOW(info->description, shape == LUNA ? "Chrystoki" : "FxPKCS11"); /* Futurex': a guess */
    }
    return code;
}

/* Mechanisms that the token has and the library behind has not, or not by this number. */
static const word SHOWN[][8] = {
    [LUNA] = {LUNA_KW, LUNA_KWP, LUNA_RSA_AUX_PRIME, LUNA_RSA_PRIME, LUNA_UNKNOWN},
    [FUTUREX] = {AES_KWP},
};

static bool one_shot(word number)
{
    return shape == FUTUREX && number == RSA_AES_WRAP && is("STAND_IN_ONE_SHOT", "1");
}

static bool shown(word number)
{
    const word *each = SHOWN[shape];
    if (one_shot(number))
        return true;
    while (*each && *each != number)
        each++;
    return *each;
}

static bool hidden(word number)
{
    if (shape == FUTUREX)
        return (number == RSA_AES_WRAP && !one_shot(number)) || number == AES_WRAP_PAD || number >= VENDOR;
    if (shape == LUNA && is("STAND_IN_FIPS", "1") && (number == RSA_KEY_PAIR_GEN || number == RSA_X9_31_KEY_PAIR_GEN))
        return true;
    return shape == LUNA &&
           (number == RSA_AES_WRAP || (number >= AES_WRAP && number <= AES_WRAP_PKCS7) || (number & ~0xFFUL) == NSS_VENDOR);
}

static word get_mechanism_list(word *a)
{
    word list[1024], count = 1000, kept = 0;
    word code = FORWARD(C_GetMechanismList, a[0], (word)list, (word)&count);
    for (word i = 0; !code && i < count; i++)
        if (!hidden(list[i]) && !shown(list[i]))
            list[kept++] = list[i];
    for (const word *each = SHOWN[shape]; *each; each++)
        list[kept++] = *each;
    if (one_shot(RSA_AES_WRAP))
        list[kept++] = RSA_AES_WRAP;
    return code ? code : answer((word *)a[1], (word *)a[2], list, kept);
}

static word get_mechanism_info(word *a)
{
    /* CKF_HW, with ENCRYPT, DECRYPT, WRAP and UNWRAP, or with GENERATE_KEY_PAIR; the sizes for RSA are a guess. */
    static const mechanism_info wraps = {16, 32, 0x60301}, makes_rsa = {2048, 8192, 0x10001}, unknown = {0, 0, 1};
    word number = a[1];
    if (!shown(number))
        return hidden(number) ? MECHANISM_INVALID : forward(at_C_GetMechanismInfo, a);
    bool rsa = number == LUNA_RSA_PRIME || number == LUNA_RSA_AUX_PRIME;
    *(mechanism_info *)a[2] = rsa ? makes_rsa : number == LUNA_UNKNOWN ? unknown : wraps;
    return OK;
}

/* NSS 3.87 puts a CK_ULONG of a stored key only into a place of exactly that size. */
static word get_attribute_value(word *a)
{
    for (attribute *each = (attribute *)a[2]; each < (attribute *)a[2] + a[3]; each++)
        if (each->type == CLASS || each->type == KEY_TYPE || each->type == MODULUS_BITS || each->type == VALUE_LEN)
            each->length = each->value && each->length > sizeof(word) ? sizeof(word) : each->length;
    return forward(at_C_GetAttributeValue, a);
}

/* Read the class of the key to be wrapped, and refuse one that is not extractable, which NSS would wrap. */
static word look_at_key(const word *a, word *class)
{
    unsigned char extractable = 0;
    attribute wanted[] = {{CLASS, class, sizeof *class}, {EXTRACTABLE, &extractable, 1}};
    if (FORWARD(C_GetAttributeValue, a[0], a[3], (word)wanted, 2))
        return KEY_HANDLE_INVALID;
    return extractable ? OK : KEY_UNEXTRACTABLE;
}

/* Translate KWP to what the library behind calls it; it takes the standard's initial value, or none. */
static word translate_kwp(mechanism *kwp)
{
    const char *number = getenv("STAND_IN_KWP");
    if (kwp->parameter && (kwp->length != 4 || memcmp(kwp->parameter, "\xA6\x59\x59\xA6", 4)))
        return MECHANISM_PARAM_INVALID;
    *kwp = (mechanism){number ? strtoul(number, NULL, 0) : AES_KWP, NULL, 0};
    return OK;
}

static word wrap(const word *a, mechanism by)
{
    word code = FORWARD(C_WrapKey, a[0], (word)&by, a[2], a[3], a[4], a[5]);
    if (!code && !a[4])
        *(word *)a[5] += 64; /* for KWP, NSS 3.87 tells the length of the plain key, and the next call finds it too short */
    return code;
}

typedef struct { attribute list[64]; word count; } template;

static void extend(template *to, attribute each)
{
    to->list[to->count++] = each;
}

static bool copy(template *to, word list, word count)
{
    to->count = 0;
    while (to->count < count && to->count < 60)
        extend(to, ((attribute *)list)[to->count]);
    return to->count == count;
}

static attribute *named(template *in, word type)
{
    for (word i = 0; i < in->count; i++)
        if (in->list[i].type == type)
            return &in->list[i];
    return NULL;
}

static bool on(template *in, word type)
{
    attribute *found = named(in, type);
    return found && found->length == 1 && *(unsigned char *)found->value;
}

static word luna_refuses(template *public, template *private)
{
    attribute *curve = named(public, EC_PARAMS);
    bool secp256k1 = curve && curve->length == 7 && !memcmp(curve->value, "\x06\x05\x2B\x81\x04\x00\x0A", 7);
    unsigned purposes = 0;
    for (word type = ENCRYPT; type <= DERIVE; type++)
        if (on(public, type) || on(private, type))
            purposes |= type <= DECRYPT ? 1 : type <= UNWRAP ? 2 : type <= VERIFY_RECOVER ? 4 : 8;
    if (secp256k1 && is("STAND_IN_FIPS", "1"))
        return LUNA_CURVE_NOT_ALLOWED;
    if (!on(private, PRIVATE) || !on(private, SENSITIVE)) /* Luna Cloud HSM wants both in every template; the code is a guess */
        return TEMPLATE_INCONSISTENT;
    if (!*policy(10) && (purposes & (purposes - 1))) /* the code is a guess, as the next one */
        return TEMPLATE_INCONSISTENT;
    return !*policy(28) && on(private, TOKEN) ? LUNA_USER_NOT_AUTHORIZED : OK;
}

/* Make a key (pair). NSS leaves CKA_LOCAL false, and tries each new pair, so that it cannot make one that may only sign. */
static word generate(int at, const word *a)
{
    unsigned char yes = 1, no = 0;
    bool pair = at == at_C_GenerateKeyPair, nss = getenv("STAND_IN_RESERVED");
    mechanism by = *(mechanism *)a[1];
    template public = {.count = 0}, private, taken_back = {.count = 0};
    if (pair ? !copy(&public, a[2], a[3]) || !copy(&private, a[4], a[5]) : !copy(&private, a[2], a[3]))
        return ARGUMENTS_BAD;
    word code = shape == LUNA ? luna_refuses(&public, &private) : OK;
    if (code)
        return code;
    if (by.number == LUNA_RSA_PRIME || by.number == LUNA_RSA_AUX_PRIME)
        by.number = RSA_KEY_PAIR_GEN;
    if (shape == LUNA && !named(&private, EXTRACTABLE))
        extend(&private, (attribute){EXTRACTABLE, &no, 1});
    if (nss) {
        const word pairs[][2] = {{SIGN, VERIFY}, {DECRYPT, ENCRYPT}};
        for (int i = 0; i < 2; i++)
            if (named(&public, pairs[i][1]) && !on(&public, pairs[i][1]) && on(&private, pairs[i][0])) {
                named(&public, pairs[i][1])->value = &yes;
                extend(&taken_back, (attribute){pairs[i][1], &no, 1});
            }
        extend(&public, (attribute){LOCAL, &yes, 1});
        extend(&private, (attribute){LOCAL, &yes, 1});
    }
    if (!pair)
        return FORWARD(C_GenerateKey, a[0], (word)&by, (word)private.list, private.count, a[4]);
    code = FORWARD(C_GenerateKeyPair, a[0], (word)&by, (word)public.list, public.count, (word)private.list, private.count,
                   a[6], a[7]);
    if (code || !taken_back.count)
        return code;
    return FORWARD(C_SetAttributeValue, a[0], *(word *)a[6], (word)taken_back.list, taken_back.count);
}

static word generate_key(word *a)
{
    return generate(at_C_GenerateKey, a);
}

/* ---- what plain does ---- */

/* Change the template of a stored key, as tokens do that do not keep what they are told. */
static void change(template *of, bool public)
{
    static unsigned char no = 0;
    attribute *label = named(of, LABEL), *id = named(of, ID), *extractable = named(of, EXTRACTABLE);
    if (!on(of, TOKEN) || !label || !id)
        return;
    if ((is("STAND_IN_CHANGES", "label") || (public && is("STAND_IN_CHANGES", "public-label"))) && label->length > 4)
        label->length = 4;
    if (is("STAND_IN_CHANGES", "label-is-id"))
        *label = (attribute){LABEL, id->value, id->length};
    if (is("STAND_IN_CHANGES", "id"))
        id->length = 8;
    if (is("STAND_IN_CHANGES", "extractable") && extractable)
        extractable->value = &no;
}

static word plain_generate_key(word *a)
{
    template key;
    if (!copy(&key, a[2], a[3]))
        return ARGUMENTS_BAD;
    change(&key, false);
    return FORWARD(C_GenerateKey, a[0], a[1], (word)key.list, key.count, a[4]);
}

static word plain_generate_key_pair(word *a)
{
    template public, private;
    if (!copy(&public, a[2], a[3]) || !copy(&private, a[4], a[5]))
        return ARGUMENTS_BAD;
    change(&public, true);
    change(&private, false);
    return FORWARD(C_GenerateKeyPair, a[0], a[1], (word)public.list, public.count, (word)private.list, private.count, a[6], a[7]);
}

static word plain_mechanism_info(word *a)
{
    mechanism_info *info = (mechanism_info *)a[2];
    long min, max;
    word code = forward(at_C_GetMechanismInfo, a);
    if (!code && getenv("STAND_IN_SIZES") && sscanf(getenv("STAND_IN_SIZES"), "%ld:%ld", &min, &max) == 2) {
        info->min = min;
        info->max = max;
    }
    return code;
}

/* ---- what luna and futurex make ---- */

static bool refuses_public(const attribute *template, word length)
{
    for (word i = 0; i < length; i++)
        if (template[i].type == PRIVATE && *(char *)template[i].value)
            return false;
    return is("STAND_IN_PRIVATE_ONLY", "1");
}

static word generate_key_pair(word *a)
{
    return refuses_public((attribute *)a[2], a[3]) ? TEMPLATE_INCONSISTENT : generate(at_C_GenerateKeyPair, a);
}

/* CKM_RSA_AES_KEY_WRAP (PKCS#11 v3.1, 6.1.26) out of its two steps. */
static word wrap_at_once(const word *a, const mechanism *by)
{
    struct { word bits, *oaep; } *parameters = by->parameter;
    unsigned char yes = 1, no = 0, wrapped[16384];
    word size = 32, aes_key, first = 1024, second = sizeof wrapped - 1024, room = *(word *)a[5];
    attribute key[] = {
        {TOKEN, &no, 1}, {SENSITIVE, &yes, 1}, {EXTRACTABLE, &yes, 1}, {WRAP, &yes, 1}, {VALUE_LEN, &size, sizeof size}
    };
    mechanism make = {AES_KEY_GEN, NULL, 0}, kwp = {AES_KWP, NULL, 0};
    if (by->length != sizeof *parameters || parameters->bits != 256 || parameters->oaep[0] != SHA_1 || parameters->oaep[1] != 1)
        return MECHANISM_PARAM_INVALID;
    mechanism oaep = {RSA_OAEP, parameters->oaep, 5 * sizeof(word)};
    word code = FORWARD(C_GenerateKey, a[0], (word)&make, (word)key, 5, (word)&aes_key);
    if (code)
        return code;
    code = FORWARD(C_WrapKey, a[0], (word)&oaep, a[2], aes_key, (word)wrapped, (word)&first);
    if (!code && !(code = translate_kwp(&kwp)))
        code = FORWARD(C_WrapKey, a[0], (word)&kwp, aes_key, a[3], (word)(wrapped + first), (word)&second);
    FORWARD(C_DestroyObject, a[0], aes_key);
    *(word *)a[5] = first + second;
    if (!code && a[4] && room < first + second)
        return BUFFER_TOO_SMALL;
    if (!code && a[4])
        memcpy((void *)a[4], wrapped, first + second);
    return code;
}

static word futurex_wrap_key(word *a)
{
    mechanism by = *(mechanism *)a[1];
    word class, code = look_at_key(a, &class);
    if (!code && by.number == RSA_AES_WRAP)
        return wrap_at_once(a, &by);
    if (!code && by.number == AES_KWP)
        code = translate_kwp(&by); /* that it takes both initial values is a guess */
    return code ? code : wrap(a, by);
}

/* ---- luna ---- */

static word luna_create_object(word *a)
{
    for (const attribute *each = (attribute *)a[1]; each < (attribute *)a[1] + a[2]; each++)
        if (each->type == CLASS && (*(word *)each->value == PRIVATE_KEY || *(word *)each->value == SECRET_KEY))
            return TEMPLATE_INCONSISTENT; /* pycryptoki says that it refuses; the code is a guess */
    return refuses_public((attribute *)a[1], a[2]) ? TEMPLATE_INCONSISTENT : forward(at_C_CreateObject, a);
}

static word luna_wrap_key(word *a)
{
    mechanism by = *(mechanism *)a[1];
    word class, code, *length = (word *)a[5], room = *length;
    bool kwp = by.number == LUNA_KWP, kw = by.number == LUNA_KW, internal = kwp && !by.parameter;
    if (!kwp && !kw && by.number != RSA_OAEP)
        return MECHANISM_INVALID;
    if (internal && is("STAND_IN_NULL_IV", "refuse"))
        return MECHANISM_PARAM_INVALID;
    if (kw && by.parameter && (by.length != 8 || memcmp(by.parameter, "\xA6\xA6\xA6\xA6\xA6\xA6\xA6\xA6", 8)))
        return MECHANISM_PARAM_INVALID;
    if (kwp && (code = translate_kwp(&by)))
        return code;
    if (kw)
        by = (mechanism){AES_WRAP, NULL, 0};
    if ((code = look_at_key(a, &class)))
        return code;
    /* For policy 1 luna-samples gives this code; for 5 and 34, and that OAEP wraps no private key, it is a guess. */
    if (class == SECRET_KEY ? !*policy(5) : !kwp || !*policy(1) || !*policy(34))
        return KEY_NOT_WRAPPABLE;
    code = wrap(a, by);
    if (code || !internal || !a[4])
        return code;
    /* pycryptoki: an internal initial value follows the wrapped key. That it is these eight bytes is a guess. */
    *length += 8;
    if (*length > room)
        return BUFFER_TOO_SMALL;
    memcpy((char *)a[4] + *length - 8, "\xA6\x59\x59\xA6\xA6\x59\x59\xA6", 8);
    return OK;
}

static word answer_policies(word slot, word *a)
{
    token_info info;
    word code = FORWARD(C_GetTokenInfo, slot, (word)&info); /* refuses a wrong slot */
    if (!code)
        code = answer((word *)a[0], (word *)a[1], policy_ids, policy_count);
    return code ? code : answer((word *)a[2], (word *)a[3], policy_values, policy_count);
}

static word luna_policies(word *a)
{
    bool refused = is("STAND_IN_NO_POLICIES", "1") || is("STAND_IN_OLD_POLICIES", "1");
    return refused ? FUNCTION_NOT_SUPPORTED : answer_policies(a[0], a + 1);
}

enum { CONTAINER = 1001 }; /* no slot's number, so that nobody takes one for the other */

static word luna_container(word *a)
{
    if (is("STAND_IN_NO_POLICIES", "1"))
        return FUNCTION_NOT_SUPPORTED;
    *(word *)a[1] = CONTAINER;
    return OK;
}

static word luna_container_policies(word *a)
{
    if (is("STAND_IN_NO_POLICIES", "1"))
        return FUNCTION_NOT_SUPPORTED;
    return a[1] == CONTAINER ? answer_policies(a[0], a + 2) : ARGUMENTS_BAD;
}

/* ---- the way of every call ---- */

typedef word handler(word *a);
#define FOR_ALL [at_C_GetFunctionList] = get_function_list, [at_C_GetTokenInfo] = get_token_info, [at_C_Login] = login, \
    [at_C_OpenSession] = open_session
#define FOR_VENDORS [at_C_Initialize] = initialize, [at_C_GetInfo] = get_info, \
    [at_C_GetMechanismList] = get_mechanism_list, [at_C_GetMechanismInfo] = get_mechanism_info, \
    [at_C_GetAttributeValue] = get_attribute_value, [at_C_GenerateKey] = generate_key, [at_C_GenerateKeyPair] = generate_key_pair
static handler *const HANDLERS[][COUNT] = {
    [PLAIN] = {FOR_ALL, [at_C_GetMechanismInfo] = plain_mechanism_info, [at_C_GenerateKey] = plain_generate_key,
               [at_C_GenerateKeyPair] = plain_generate_key_pair},
    [FUTUREX] = {FOR_ALL, FOR_VENDORS, [at_C_WrapKey] = futurex_wrap_key},
    [LUNA] = {FOR_ALL, FOR_VENDORS, [at_C_WrapKey] = luna_wrap_key, [at_C_CreateObject] = luna_create_object,
              [at_CA_GetTokenPolicies] = luna_policies, [at_CA_GetUserContainerNumber] = luna_container,
              [at_CA_GetContainerPolicySet] = luna_container_policies},
};

static word answer_call(int at, word *a)
{
    if (TAKES_MECHANISM[at] && a[1] && hidden(((mechanism *)a[1])->number))
        return MECHANISM_INVALID;
    if (HANDLERS[shape][at])
        return HANDLERS[shape][at](a);
    return at < LISTED ? forward(at, a) : FUNCTION_NOT_SUPPORTED;
}

static void trace(int at, const word *a, word code)
{
    const char *path = getenv("STAND_IN_TRACE");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0)
        return;
    char line[128], more[64] = "";
    if (at == at_C_Initialize && a[0])
        snprintf(more, sizeof more, " flags=0x%lx", ((initialize_arguments *)a[0])->flags);
    else if (at == at_C_Initialize)
        strcpy(more, " args=NULL");
    else if (TAKES_MECHANISM[at] && a[1])
        snprintf(more, sizeof more, " mechanism=0x%lx", ((mechanism *)a[1])->number);
    int length = snprintf(line, sizeof line, "%s 0x%lx%s\n", NAMES[at], code, more);
    if (write(file, line, length) != length) /* one write, because threads and processes share the file */
        perror("stand_in: STAND_IN_TRACE");
    close(file);
}

static word call(int at, word *a)
{
    if (!behind)
        return GENERAL_ERROR;
    word nth = 1 + atomic_fetch_add(&calls[at], 1);
    int i = 0;
    while (i < fault_count && (faults[i].at != at || (faults[i].nth && faults[i].nth != nth)))
        i++;
    bool faulty = i < fault_count;
    if (faulty && faults[i].kind == KILL)
        raise(SIGKILL);
    while (faulty && faults[i].kind == HANG)
        pause();
    if (faulty && faults[i].kind == RUN && (!getenv("STAND_IN_RUN") || system(getenv("STAND_IN_RUN"))))
        return GENERAL_ERROR;
    word code = faulty && faults[i].kind == RETURN ? faults[i].code : answer_call(at, a);
    trace(at, a, code);
    if (faulty && faults[i].kind == KILL_AFTER)
        raise(SIGKILL);
    if (faulty && faults[i].kind == CRASH)
        raise(SIGSEGV);
    return code;
}
