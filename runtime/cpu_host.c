/* SPDX-License-Identifier: MIT */
/* cpu_host.c: the host's CPUID, its TSC's frequency, and which of the known side channels it has.
 *
 * IA32_ARCH_CAPABILITIES is computed for the *guest's* processor. Its user and supervisor code run
 * in different views, both at the host's privilege level 3, so a view has no supervisor page that a
 * rogue load could read; and it has neither TSX nor vector gathers. For what depends on the host's
 * silicon, the host kernel's verdict is taken; no verdict counts as affected. */
#include "runtime/cpu_host.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>
#include <time.h>
#include <x86intrin.h>

void cpu_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof(out[0]));
    __get_cpuid_count(leaf, subleaf, &out[0], &out[1], &out[2], &out[3]);
}

/* --- time-stamp counter --- */

#define MEASURE_NS 10000000

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct tsc_sample {
    uint64_t tsc, ns;
};

/* Both clocks at one moment, as near as the best of a few tries gets. */
static struct tsc_sample tsc_sample(void)
{
    struct tsc_sample best = {0};
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < 16; i++) {
        uint64_t before = __rdtsc(), ns = now_ns(), width = __rdtsc() - before;
        if (width < best_width) {
            best_width = width;
            best = (struct tsc_sample){before + width / 2, ns};
        }
    }
    return best;
}

static uint64_t tsc_measure_khz(void)
{
    struct tsc_sample a = tsc_sample();
    nanosleep(&(struct timespec){.tv_nsec = MEASURE_NS}, NULL);
    struct tsc_sample b = tsc_sample();
    return (b.tsc - a.tsc) * 1000000u / (b.ns - a.ns);
}

/* By leaf 15h, or the timing leaf of a hypervisor above the host; 0 if neither tells. */
static uint64_t tsc_told_khz(void)
{
    uint32_t r[4];
    cpu_host_cpuid(0x15, 0, r);
    if (r[0] && r[1] && r[2])
        return (uint64_t)r[2] * r[1] / r[0] / 1000;
    cpu_host_cpuid(1, 0, r);
    if (!(r[2] >> 31))
        return 0;
    __cpuid(0x40000000, r[0], r[1], r[2], r[3]);
    if (r[0] < 0x40000010 || r[0] > 0x400000ff)
        return 0;
    __cpuid(0x40000010, r[0], r[1], r[2], r[3]);
    return r[0];
}

/* What is told is exact, unless it is about another machine. */
static uint64_t tsc_khz(void)
{
    uint64_t measured = tsc_measure_khz(), told = tsc_told_khz();
    uint64_t difference = told > measured ? told - measured : measured - told;
    return difference < measured / 200 ? told : measured;
}

/* --- side channels --- */

#define CAP_RDCL_NO        (1ull << 0)
#define CAP_SSB_NO         (1ull << 4)
#define CAP_MDS_NO         (1ull << 5)
#define CAP_PSCHANGE_MC_NO (1ull << 6)
#define CAP_TAA_NO         (1ull << 8)
#define CAP_SBDR_SSDP_NO   (1ull << 13)
#define CAP_FBSDP_NO       (1ull << 14)
#define CAP_PSDP_NO        (1ull << 15)
#define CAP_BHI_NO         (1ull << 20)
#define CAP_GDS_NO         (1ull << 26)
#define CAP_RFDS_NO        (1ull << 27)
#define CAP_ITS_NO         (1ull << 62)

/* The host kernel's file, what it says if the host is not affected, and what follows. */
static const struct verdict {
    const char *file, *text;
    uint64_t caps;
} verdicts[] = {
    {"mds",                       "Not affected",      CAP_MDS_NO                                   },
    {"spec_store_bypass",         "Not affected",      CAP_SSB_NO                                   },
    {"itlb_multihit",             "Not affected",      CAP_PSCHANGE_MC_NO                           },
    {"mmio_stale_data",           "Not affected",      CAP_SBDR_SSDP_NO | CAP_FBSDP_NO | CAP_PSDP_NO},
    {"reg_file_data_sampling",    "Not affected",      CAP_RFDS_NO                                  },
    {"indirect_target_selection", "Not affected",      CAP_ITS_NO                                   },
    {"spectre_v2",                "BHI: Not affected", CAP_BHI_NO                                   },
};

static bool host_says(const struct verdict *verdict)
{
    char path[128], line[512] = "";
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%s", verdict->file);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool found = fgets(line, sizeof(line), f) && strstr(line, verdict->text);
    fclose(f);
    return found;
}

static uint64_t arch_capabilities(void)
{
    uint64_t caps = CAP_RDCL_NO | CAP_TAA_NO | CAP_GDS_NO;
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
        if (host_says(&verdicts[i]))
            caps |= verdicts[i].caps;
    return caps;
}

/* --- all of it, once a process --- */

static struct cpu_host host;

static void query(void)
{
    uint32_t r[4];
    cpu_host_cpuid(0, 0, r);
    host.intel = r[1] == signature_INTEL_ebx && r[2] == signature_INTEL_ecx;
    cpu_host_cpuid(1, 0, r);
    host.signature = r[0] & 0x0fff3fff;
    cpu_host_cpuid(0x80000006, 0, r);
    host.l2 = r[2];
    for (unsigned i = 0; host.intel && i < 4; i++)
        cpu_host_cpuid(4, i, host.caches[i]);
    host.tsc_khz = (uint32_t)tsc_khz();
    host.arch_capabilities = arch_capabilities();
}

void cpu_host_query(struct cpu_host *h)
{
    static once_flag once = ONCE_FLAG_INIT;
    call_once(&once, query);
    *h = host;
}
