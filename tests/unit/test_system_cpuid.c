/* SPDX-License-Identifier: MIT */
/* The processor model: its specification, and CPUID. */
#include "system_guest.h"

#include "devices/lapic.h"

TestSuite(system_cpuid, .init = guest_init, .fini = guest_fini);

static void ask(uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    cpuid(guest, leaf, sub, out);
}

Test(system_cpuid, identity)
{
    uint32_t r[4];
    char name[49] = "";
    ask(0, 0, r);
    cr_expect(r[0] >= 0x16);
    cr_expect(memcmp(&r[1], "Genu", 4) == 0 && memcmp(&r[3], "ineI", 4) == 0 &&
              memcmp(&r[2], "ntel", 4) == 0);
    for (uint32_t i = 0; i < 3; i++)
        ask(0x80000002 + i, 0, (uint32_t *)(name + 16 * i));
    cr_expect_str_eq(name, "ringdown Virtual CPU");
    ask(1, 0, r);
    cr_expect_eq(r[0] >> 8 & 0xf, 6);
    cr_expect_eq(r[0], cpu_model_signature(guest_machine.cpu_model));
    cr_expect_eq(r[2] >> 31, 0, "no hypervisor interface");
    cr_expect_eq(r[1] >> 8 & 0xff, 8, "64-byte lines");
}

/* Nothing that the monitor does not do. */
Test(system_cpuid, nothing_unimplemented)
{
    uint32_t r[4];
    ask(1, 0, r);
    static const uint8_t no_edx[] = {1, 10, 18, 20, 21, 22, 27, 28, 29, 30, 31};
    static const uint8_t no_ecx[] = {2,  3,  4,  5,  6,  7,  8,  12, 13,
                                     15, 17, 18, 21, 24, 26, 27, 28, 29};
    for (size_t i = 0; i < sizeof(no_edx); i++)
        cr_expect_eq(r[3] >> no_edx[i] & 1, 0, "edx bit %u", no_edx[i]);
    for (size_t i = 0; i < sizeof(no_ecx); i++)
        cr_expect_eq(r[2] >> no_ecx[i] & 1, 0, "ecx bit %u", no_ecx[i]);
    ask(0x80000001, 0, r);
    cr_expect_eq(r[3] & ~(1u << 20 | 1u << 27), 0, "NX and RDTSCP only, no long mode");
    cr_expect_eq(r[2], 0);
}

Test(system_cpuid, beyond_the_highest_leaf)
{
    uint32_t highest[4], beyond[4];
    ask(0x16, 0, highest);
    static const uint32_t leaves[] = {0x17, 0x40000000, 0x7fffffff, 0x80000009, 0xffffffff};
    for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
        ask(leaves[i], 0, beyond);
        cr_expect(memcmp(highest, beyond, sizeof(highest)) == 0, "%#x", leaves[i]);
    }
}

/* The TSC's frequency by leaf 15h, computed in 32 bits as guests may. */
Test(system_cpuid, frequencies)
{
    uint32_t r[4], khz = cpu_model_tsc_khz(guest_machine.cpu_model);
    ask(0x15, 0, r);
    cr_expect_eq(r[2], LAPIC_TIMER_HZ);
    uint32_t told = r[2] / 1000 * r[1] / r[0];
    cr_expect(told <= khz + khz / 100000 + 2 && told + khz / 100000 + 2 >= khz, "%u, not %u", told,
              khz);
    ask(0x16, 0, r);
    cr_expect(r[0] * 1000 <= khz + 1000 && r[0] * 1000 + 1000 >= khz);
}

Test(system_cpuid, apic_bit_follows_the_apic)
{
    uint32_t r[4];
    ask(1, 0, r);
    cr_expect(r[3] >> 9 & 1);
    guest->apic_base &= ~(uint64_t)LAPIC_BASE_ENABLE;
    ask(1, 0, r);
    cr_expect(!(r[3] >> 9 & 1));
}

Test(system_cpuid, limit)
{
    uint32_t r[4];
    msr_write(guest, 0x1a0, msr_read(guest, 0x1a0) | MISC_LIMIT_CPUID);
    ask(0, 0, r);
    cr_expect_eq(r[0], 3);
}

Test(system_cpuid, caches)
{
    uint32_t r[4];
    unsigned n = 0;
    for (; n < 8; n++) {
        ask(4, n, r);
        if (!(r[0] & 0x1f))
            break;
        cr_expect_eq(r[0] >> 14, 0, "shared with nobody");
        cr_expect_eq(r[1] & 0xfff, 63, "64-byte lines");
    }
    cr_expect(n >= 3 && n < 8);
}

/* --- specifications --- */

Test(system_cpuid, specifications)
{
    static const struct {
        const char *spec, *has, *has_not;
    } cases[] = {
        {"max",            "fpu sse2 nx apic",         ""                                          },
        {"",               "fpu sse2",                 ""                                          },
        {"686",            "fpu sse2 cmov pae sep nx", "pni ssse3 aes rdrand erms"                 },
        {"max,-sse2",      "sse",                      "sse2 pni ssse3 sse4_1 sse4_2 aes pclmulqdq"},
        {"max,-pae",       "pse",                      "pae nx"                                    },
        {"max,-pae,+nx",   "pae nx",                   ""                                          },
        {"686,+pni",       "pni",                      "ssse3"                                     },
        {"686,+ssse3",     "pni ssse3",                "sse4_1"                                    },
        {"686,-fxsr,+sse", "fxsr sse",                 "sse2"                                      },
        {"max,-apic",      "msr",                      "apic arat"                                 },
        {"max,-msr",       "",                         "msr apic sep mtrr pat nx arch_capabilities"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char err[128] = "", name[32];
        struct cpu_model *m = cpu_model_create(cases[i].spec, err, sizeof(err));
        cr_assert(m, "%s: %s", cases[i].spec, err);
        for (int want = 0; want < 2; want++) {
            const char *p = want ? cases[i].has : cases[i].has_not;
            for (int n; sscanf(p, "%31s%n", name, &n) == 1; p += n)
                cr_expect_eq(cpu_has_name(m, name), want, "%s: %s", cases[i].spec, name);
        }
        cpu_model_destroy(m);
    }
}

Test(system_cpuid, bad_specifications)
{
    static const struct {
        const char *spec, *err;
    } cases[] = {
        {"486",      "no processor is called '486' (686 or max)" },
        {"-sse",     "no processor is called '-sse' (686 or max)"},
        {"max,sse",  "'sse': +name or -name is expected"         },
        {"max,",     "'': +name or -name is expected"            },
        {"max,-",    "'-': +name or -name is expected"           },
        {"max,+avx", "no processor feature is called 'avx'"      },
        {"max,-ss",  "no processor feature is called 'ss'"       },
        {"max,-fpu", "the feature 'fpu' cannot be taken away"    },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char err[128] = "";
        struct cpu_model *m = cpu_model_create(cases[i].spec, err, sizeof(err));
        cr_expect(!m, "%s", cases[i].spec);
        cr_expect_str_eq(err, cases[i].err);
        cpu_model_destroy(m);
    }
}

/* A feature that the model lacks takes its registers with it. */
Test(system_cpuid, features_gate_registers)
{
    char err[128];
    struct cpu_model *m = cpu_model_create("max,-pae,-pge", err, sizeof(err));
    cr_expect_eq(cpu_model_cr4(m) & (CR4_PAE | CR4_PGE), 0);
    cr_expect(!cpu_model_nx(m));
    cr_expect(!cpu_has(m, FEAT_NEVER));
    cr_expect(cpu_has(m, FEAT_BASE));
    cpu_model_destroy(m);
}
