/* SPDX-License-Identifier: MIT */
/* cpuid.c: the processor that the guest sees: which features it has, and CPUID (SDM vol. 2, CPUID).
 *
 * A feature is offered if the monitor implements it and, where the host executes it, the host has
 * it. The HYPERVISOR bit stays clear: this is the bare processor's interface, with no paravirtual
 * one behind it; what guests would use that bit for, the frequencies of TSC and APIC timer, leaf
 * 15h tells.
 *
 * The model is the host's own if that is an Intel of family 6, so that guests find the errata list
 * of the processor that executes them; otherwise SIGNATURE_DEFAULT. */
#include "runtime/system.h"

#include "devices/lapic.h"
#include "runtime/cpu_host.h"
#include "runtime/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE_DEFAULT 0x000806f8u /* family 6, model 143, stepping 8 */
#define MAX_LEAF          0x16u
#define MAX_EXT_LEAF      0x80000008u
#define PHYS_BITS         36u
#define LINEAR_BITS       32u
#define CLFLUSH_LINE      64u
static const char vendor[12] = "GenuineIntel";
static const char brand[48] = "ringdown Virtual CPU";

/* --- features --- */

/* The CPUID registers that hold feature bits. */
enum word { W_1_EDX, W_1_ECX, W_6_EAX, W_7_EBX, W_7_ECX, W_7_EDX, W_X1_EDX, W_X7_EDX, WORDS };
static const struct word_source {
    uint32_t leaf;
    uint8_t reg; /* EAX EBX ECX EDX */
} word_source[WORDS] = {
    [W_1_EDX] = {1,          3},
      [W_1_ECX] = {1,          2},
      [W_6_EAX] = {6,          0},
    [W_7_EBX] = {7,          1},
      [W_7_ECX] = {7,          2},
      [W_7_EDX] = {7,          3},
    [W_X1_EDX] = {0x80000001, 3},
      [W_X7_EDX] = {0x80000007, 3},
};

#define HOST  1 /* executed by the host, which must have it */
#define BASE  2 /* in "686", too */
#define FIXED 4 /* cannot be taken away */

/* X(name as in /proc/cpuinfo, word, bit, HOST | BASE | FIXED, feature of the table, needs) */
#define FEATURES(X)                                                                                \
    X("fpu", W_1_EDX, 0, HOST | BASE | FIXED, FEAT_FPU, "")                                        \
    X("de", W_1_EDX, 2, BASE, FEAT_NEVER, "")                                                      \
    X("pse", W_1_EDX, 3, BASE, FEAT_NEVER, "")                                                     \
    X("tsc", W_1_EDX, 4, HOST | BASE, FEAT_TSC, "")                                                \
    X("msr", W_1_EDX, 5, BASE, FEAT_MSR, "")                                                       \
    X("pae", W_1_EDX, 6, BASE, FEAT_NEVER, "")                                                     \
    X("mce", W_1_EDX, 7, BASE, FEAT_NEVER, "msr")                                                  \
    X("cx8", W_1_EDX, 8, HOST | BASE, FEAT_CX8, "")                                                \
    X("apic", W_1_EDX, 9, BASE, FEAT_NEVER, "msr")                                                 \
    X("sep", W_1_EDX, 11, BASE, FEAT_SEP, "msr")                                                   \
    X("mtrr", W_1_EDX, 12, BASE, FEAT_NEVER, "msr")                                                \
    X("pge", W_1_EDX, 13, BASE, FEAT_NEVER, "")                                                    \
    X("mca", W_1_EDX, 14, BASE, FEAT_NEVER, "mce")                                                 \
    X("cmov", W_1_EDX, 15, HOST | BASE, FEAT_CMOV, "")                                             \
    X("pat", W_1_EDX, 16, BASE, FEAT_NEVER, "msr")                                                 \
    X("pse36", W_1_EDX, 17, BASE, FEAT_NEVER, "pse")                                               \
    X("clflush", W_1_EDX, 19, HOST | BASE, FEAT_CLFLUSH, "")                                       \
    X("mmx", W_1_EDX, 23, HOST | BASE, FEAT_MMX, "")                                               \
    X("fxsr", W_1_EDX, 24, HOST | BASE, FEAT_FXSR, "")                                             \
    X("sse", W_1_EDX, 25, HOST | BASE, FEAT_SSE, "fxsr mmx")                                       \
    X("sse2", W_1_EDX, 26, HOST | BASE, FEAT_SSE2, "sse")                                          \
    X("pni", W_1_ECX, 0, HOST, FEAT_SSE3, "sse2")                                                  \
    X("pclmulqdq", W_1_ECX, 1, HOST, FEAT_PCLMUL, "sse2")                                          \
    X("ssse3", W_1_ECX, 9, HOST, FEAT_SSSE3, "pni")                                                \
    X("sse4_1", W_1_ECX, 19, HOST, FEAT_SSE41, "ssse3")                                            \
    X("sse4_2", W_1_ECX, 20, HOST, FEAT_SSE42, "sse4_1")                                           \
    X("movbe", W_1_ECX, 22, HOST, FEAT_MOVBE, "")                                                  \
    X("popcnt", W_1_ECX, 23, HOST, FEAT_POPCNT, "")                                                \
    X("aes", W_1_ECX, 25, HOST, FEAT_AES, "sse2")                                                  \
    X("rdrand", W_1_ECX, 30, HOST, FEAT_RDRAND, "")                                                \
    X("arat", W_6_EAX, 2, BASE, FEAT_NEVER, "apic")                                                \
    X("tsc_adjust", W_7_EBX, 1, BASE, FEAT_NEVER, "tsc msr")                                       \
    X("smep", W_7_EBX, 7, 0, FEAT_NEVER, "")                                                       \
    X("erms", W_7_EBX, 9, HOST, FEAT_NEVER, "")                                                    \
    X("invpcid", W_7_EBX, 10, 0, FEAT_INVPCID, "")                                                 \
    X("rdseed", W_7_EBX, 18, HOST, FEAT_RDSEED, "")                                                \
    X("smap", W_7_EBX, 20, 0, FEAT_SMAP, "")                                                       \
    X("umip", W_7_ECX, 2, 0, FEAT_NEVER, "")                                                       \
    X("rdpid", W_7_ECX, 22, 0, FEAT_RDPID, "msr")                                                  \
    X("fsrm", W_7_EDX, 4, HOST, FEAT_NEVER, "erms")                                                \
    X("arch_capabilities", W_7_EDX, 29, BASE, FEAT_NEVER, "msr")                                   \
    X("nx", W_X1_EDX, 20, BASE, FEAT_NEVER, "pae msr")                                             \
    X("rdtscp", W_X1_EDX, 27, HOST, FEAT_RDTSCP, "tsc msr")                                        \
    X("nonstop_tsc", W_X7_EDX, 8, HOST | BASE, FEAT_NEVER, "tsc")

static const struct feature {
    const char *name;
    uint8_t word, bit, flags, feat;
    const char *needs;
} features[] = {
#define X(name, word, bit, flags, feat, needs) {name, word, bit, flags, feat, needs},
    FEATURES(X)
#undef X
};
#define FEATURE_COUNT (sizeof(features) / sizeof(features[0]))
_Static_assert(FEATURE_COUNT <= 64, "one bit each in cpu_model.has");

struct cpu_model {
    struct cpu_host host;
    uint64_t possible, has; /* bits by index in features[] */
    uint32_t words[WORDS];
    bool feats[FEAT_NEVER + 1];
    uint32_t signature, cr4;
    uint32_t tsc_numerator, tsc_denominator; /* of the TSC to LAPIC_TIMER_HZ */
};

static int feature_find(const char *name, size_t n)
{
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        if (strlen(features[i].name) == n && memcmp(features[i].name, name, n) == 0)
            return (int)i;
    return -1;
}

/* Whether feature i needs the feature called `name` directly. */
static bool feature_needs(unsigned i, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = features[i].needs; (p = strstr(p, name)); p += n)
        if ((p == features[i].needs || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

/* With what needs it. */
static void feature_remove(struct cpu_model *m, unsigned i)
{
    m->has &= ~(1ull << i);
    for (unsigned k = 0; k < FEATURE_COUNT; k++)
        if (m->has >> k & 1 && feature_needs(k, features[i].name))
            feature_remove(m, k);
}

/* With what it needs. False if that is not all possible. */
static bool feature_add(struct cpu_model *m, unsigned i)
{
    if (!(m->possible >> i & 1))
        return false;
    m->has |= 1ull << i;
    for (unsigned k = 0; k < FEATURE_COUNT; k++)
        if (!(m->has >> k & 1) && feature_needs(i, features[k].name) && !feature_add(m, k))
            return false;
    return true;
}

static bool host_has(const struct feature *f)
{
    uint32_t r[4];
    cpu_host_cpuid(word_source[f->word].leaf, 0, r);
    return r[word_source[f->word].reg] >> f->bit & 1;
}

static void find_possible(struct cpu_model *m)
{
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (!(features[i].flags & HOST) || host_has(&features[i]))
            m->possible |= 1ull << i;
    m->has = m->possible;
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (!(m->possible >> i & 1))
            feature_remove(m, i);
    m->possible = m->has;
}

/* --- the model --- */

/* The best n/d for khz to the APIC timer's frequency, with n small enough that a guest may multiply
 * the timer's frequency in kHz by it in 32 bits. By continued fractions. */
static void tsc_ratio(struct cpu_model *m)
{
    const uint32_t timer_khz = LAPIC_TIMER_HZ / 1000, n_max = UINT32_MAX / timer_khz;
    uint64_t a = m->host.tsc_khz, b = timer_khz, n0 = 0, n1 = 1, d0 = 1, d1 = 0;
    while (b) {
        uint64_t q = a / b, n2 = q * n1 + n0, d2 = q * d1 + d0, rest = a % b;
        if (n2 > n_max)
            break;
        a = b, b = rest;
        n0 = n1, n1 = n2;
        d0 = d1, d1 = d2;
    }
    m->tsc_numerator = (uint32_t)n1;
    m->tsc_denominator = (uint32_t)d1;
}

static uint32_t cr4_bits(const struct cpu_model *m)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } by_feature[] = {
        {"tsc",  CR4_TSD       },
        {"de",   CR4_DE        },
        {"pse",  CR4_PSE       },
        {"pae",  CR4_PAE       },
        {"mce",  CR4_MCE       },
        {"pge",  CR4_PGE       },
        {"fxsr", CR4_OSFXSR    },
        {"sse",  CR4_OSXMMEXCPT},
        {"umip", CR4_UMIP      },
        {"smep", CR4_SMEP      },
        {"smap", CR4_SMAP      },
    };
    uint32_t bits = CR4_PCE;
    for (size_t i = 0; i < sizeof(by_feature) / sizeof(by_feature[0]); i++)
        if (cpu_has_name(m, by_feature[i].name))
            bits |= by_feature[i].bits;
    return bits;
}

static void settle(struct cpu_model *m)
{
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (m->has >> i & 1) {
            m->words[features[i].word] |= 1u << features[i].bit;
            m->feats[features[i].feat] = true;
        }
    m->feats[FEAT_BASE] = true;
    m->feats[FEAT_NEVER] = false;
    unsigned family = m->host.signature >> 8 & 0xf;
    m->signature = m->host.intel && family == 6 ? m->host.signature : SIGNATURE_DEFAULT;
    m->cr4 = cr4_bits(m);
    tsc_ratio(m);
}

static bool choose_base(struct cpu_model *m, const char *name, size_t n, char *err, size_t err_size)
{
    if (n == 3 && memcmp(name, "max", n) == 0)
        return true;
    if (n != 3 || memcmp(name, "686", n) != 0) {
        snprintf(err, err_size, "no processor is called '%.*s' (686 or max)", (int)n, name);
        return false;
    }
    for (unsigned i = 0; i < FEATURE_COUNT; i++)
        if (!(features[i].flags & BASE))
            m->has &= ~(1ull << i);
    return true;
}

static bool apply(struct cpu_model *m, const char *item, size_t n, char *err, size_t err_size)
{
    if (n < 2 || (*item != '+' && *item != '-')) {
        snprintf(err, err_size, "'%.*s': +name or -name is expected", (int)n, item);
        return false;
    }
    int i = feature_find(item + 1, n - 1);
    if (i < 0) {
        snprintf(err, err_size, "no processor feature is called '%.*s'", (int)n - 1, item + 1);
        return false;
    }
    if (*item == '-' && (features[i].flags & FIXED)) {
        snprintf(err, err_size, "the feature '%s' cannot be taken away", features[i].name);
        return false;
    }
    if (*item == '-') {
        feature_remove(m, (unsigned)i);
    } else if (!feature_add(m, (unsigned)i)) {
        snprintf(err, err_size, "the host's processor does not have the feature '%s'",
                 features[i].name);
        return false;
    }
    return true;
}

struct cpu_model *cpu_model_create(const char *spec, char *err, size_t err_size)
{
    struct cpu_model *m = calloc(1, sizeof(*m));
    if (!m) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    cpu_host_query(&m->host);
    find_possible(m);
    if (!spec || !*spec)
        spec = "max";
    size_t n = strcspn(spec, ",");
    bool ok = choose_base(m, spec, n, err, err_size);
    for (spec += n; ok && *spec; spec += n) {
        n = strcspn(++spec, ",");
        ok = apply(m, spec, n, err, err_size);
    }
    if (!ok) {
        free(m);
        return NULL;
    }
    settle(m);
    return m;
}

void cpu_model_destroy(struct cpu_model *m)
{
    free(m);
}

bool cpu_has(const struct cpu_model *m, enum cpu_feature f)
{
    return m ? m->feats[f] : f != FEAT_NEVER;
}

bool cpu_has_name(const struct cpu_model *m, const char *name)
{
    int i = feature_find(name, strlen(name));
    return i >= 0 && (!m || (m->has >> i & 1));
}

const struct cpu_model *machine_cpu_model(const struct machine *m)
{
    return m->cpu_model;
}

uint32_t cpu_model_cr4(const struct cpu_model *m)
{
    return m->cr4;
}

bool cpu_model_nx(const struct cpu_model *m)
{
    return cpu_has_name(m, "nx");
}

bool cpu_model_arch_capabilities(const struct cpu_model *m, uint64_t *value)
{
    if (!m || !cpu_has_name(m, "arch_capabilities"))
        return false;
    *value = m->host.arch_capabilities;
    return true;
}

uint32_t cpu_model_signature(const struct cpu_model *m)
{
    return m ? m->signature : SIGNATURE_DEFAULT;
}

uint32_t cpu_model_tsc_khz(const struct cpu_model *m)
{
    return m->host.tsc_khz;
}

/* --- CPUID --- */

/* Text as registers have it, four bytes each. */
static uint32_t text(const char *s)
{
    uint32_t word;
    memcpy(&word, s, sizeof(word));
    return word;
}

static void leaf_0(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)m, (void)sub;
    out[0] = v->misc_enable & MISC_LIMIT_CPUID ? 3 : MAX_LEAF;
    out[1] = text(vendor);
    out[3] = text(vendor + 4);
    out[2] = text(vendor + 8);
}

/* The APIC bit goes while IA32_APIC_BASE disables it. */
static void leaf_1(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)sub;
    out[0] = m->signature;
    out[1] = CLFLUSH_LINE / 8 << 8 | 1u << 16;
    out[2] = m->words[W_1_ECX];
    out[3] = m->words[W_1_EDX];
    if (!(v->apic_base & LAPIC_BASE_ENABLE))
        out[3] &= ~(1u << 9);
}

/* Descriptor FFh: leaf 4 tells. */
static void leaf_2(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)m, (void)v, (void)sub;
    out[0] = 0x0000ff01;
}

/* One core, so nothing is shared. A host without leaf 4 gets three plain caches. */
static void leaf_4(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    static const uint32_t plain[3][4] = {
        {0x121, 7u << 22 | 63, 63,   0}, /* data, 32 KiB */
        {0x122, 7u << 22 | 63, 63,   0}, /* instructions, 32 KiB */
        {0x143, 7u << 22 | 63, 1023, 0}, /* unified, 512 KiB */
    };
    (void)v;
    if (m->host.caches[0][0] & 0x1f) {
        if (sub < 4)
            memcpy(out, m->host.caches[sub], 4 * sizeof(out[0]));
        out[0] &= 0x3fff;
    } else if (sub < 3) {
        memcpy(out, plain[sub], 4 * sizeof(out[0]));
    }
}

static void leaf_6(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v, (void)sub;
    out[0] = m->words[W_6_EAX];
}

static void leaf_7(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v;
    if (sub != 0)
        return;
    out[1] = m->words[W_7_EBX];
    out[2] = m->words[W_7_ECX];
    out[3] = m->words[W_7_EDX];
}

/* TSC = crystal * EBX / EAX; the crystal also clocks the APIC timer. */
static void leaf_15(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v, (void)sub;
    out[0] = m->tsc_denominator;
    out[1] = m->tsc_numerator;
    out[2] = LAPIC_TIMER_HZ;
}

static void leaf_16(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v, (void)sub;
    out[0] = out[1] = (m->host.tsc_khz + 500) / 1000;
    out[2] = 100;
}

static void leaf_x0(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)m, (void)v, (void)sub;
    out[0] = MAX_EXT_LEAF;
}

static void leaf_x1(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)sub;
    out[3] = m->words[W_X1_EDX];
    if (v->misc_enable & MISC_XD_DISABLE)
        out[3] &= ~(1u << 20);
}

static void leaf_x6(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v, (void)sub;
    out[2] = m->host.l2;
}

static void leaf_x7(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)v, (void)sub;
    out[3] = m->words[W_X7_EDX];
}

static void leaf_x8(const struct cpu_model *m, const struct vcpu *v, uint32_t sub, uint32_t out[4])
{
    (void)m, (void)v, (void)sub;
    out[0] = PHYS_BITS | LINEAR_BITS << 8;
}

typedef void leaf_fn(const struct cpu_model *m, const struct vcpu *v, uint32_t sub,
                     uint32_t out[4]);
static leaf_fn *const basic[MAX_LEAF + 1] = {
    [0] = leaf_0, [1] = leaf_1, [2] = leaf_2,     [4] = leaf_4,
    [6] = leaf_6, [7] = leaf_7, [0x15] = leaf_15, [0x16] = leaf_16,
};
static leaf_fn *const extended[MAX_EXT_LEAF - 0x80000000 + 1] = {
    [0] = leaf_x0, [1] = leaf_x1, [6] = leaf_x6, [7] = leaf_x7, [8] = leaf_x8,
};

void cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const struct cpu_model *m = machine_cpu_model(v->machine);
    memset(out, 0, 4 * sizeof(out[0]));
    if (leaf >= 0x80000002 && leaf <= 0x80000004) {
        memcpy(out, brand + (leaf - 0x80000002) * 16, 16);
        return;
    }
    leaf_fn *fn;
    if (leaf >= 0x80000000 && leaf <= MAX_EXT_LEAF)
        fn = extended[leaf - 0x80000000];
    else
        fn = basic[leaf <= MAX_LEAF ? leaf : MAX_LEAF]; /* beyond the highest: the highest's */
    if (fn)
        fn(m, v, subleaf, out);
}
