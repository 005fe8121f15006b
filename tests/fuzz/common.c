/* SPDX-License-Identifier: MIT */
/* common.c: see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include "runtime/boot.h"
#include "runtime/fpu.h"
#include "runtime/mmu.h"
#include "runtime/platform.h"
#include "runtime/system.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROM_SIZE 4096u
#define FLAT_GDT 0x1000u

_Noreturn void fuzz_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

uint32_t fuzz_take(struct reader *r, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < bytes && r->at < r->end; i++)
        value |= (uint32_t)*r->at++ << (8 * i);
    return value;
}

struct machine *fuzz_machine(enum engine engine)
{
    static struct machine *m;
    static char path[64];
    char err[256], rom[ROM_SIZE];
    bool bad_input;
    if (m)
        return m;
    int fd = memfd_create("rom", 0);
    memset(rom, 0xf4, sizeof rom);
    if (fd < 0 || write(fd, rom, sizeof rom) != (ssize_t)sizeof rom)
        fuzz_fail("no memory file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct machine_config c = {.engine = engine,
                               .memory = FUZZ_RAM,
                               .bios = path,
                               .append = "",
                               .serial = "null",
                               .cpu = "max",
                               .debug_exit = true,
                               .cache_size = 1 << 20,
                               .stress_evict =
                                   getenv("RINGDOWN_FUZZ_EVICT") && engine != ENGINE_INTERP};
    m = machine_create(&c, err, sizeof err, &bad_input);
    if (!m || !machine_load(m, err, sizeof err))
        fuzz_fail("no machine: %s", err);
    clock_set_manual(m->clock, 1000000);
    return m;
}

void fuzz_processor(struct machine *m)
{
    struct boot b = {.m = m};
    struct vcpu *v = m->vcpu;
    vcpu_reset(v);
    fpu_reset(v);
    v->halted = v->shutdown = false;
    v->shadow = SHADOW_NONE;
    v->delivering = -1;
    v->exc.pending = false;
    v->request = 0;
    m->stop = 0;
    m->reset_pending = false;
    if (!boot_enter_protected(&b, FLAT_GDT, 0x08, 0x10, FUZZ_CODE))
        fuzz_fail("no GDT");
}

void fuzz_mode(struct machine *m, uint8_t mode)
{
    struct vcpu *v = m->vcpu;
    if (mode & 1)
        for (unsigned s = SEG_ES; s <= SEG_GS; s++)
            v->seg[s].attr &= ~SEG_ATTR_DB;
    if (mode & 2) {
        v->cpl = 3;
        for (unsigned s = SEG_ES; s <= SEG_GS; s++)
            v->seg[s].sel |= 3;
    }
    if (mode & 4)
        v->seg[SEG_DS].limit = 0x1ffff;
    if (mode & 8)
        v->seg[SEG_FS].base = 0x12345;
    if (mode & 16)
        v->eflags |= EFL_IOPL;
    if (mode & 32) {
        v->cr0 &= ~CR0_PE;
        for (unsigned s = SEG_ES; s <= SEG_GS; s++)
            v->seg[s] = (struct segment){.sel = FUZZ_CODE >> 4,
                                         .base = FUZZ_CODE,
                                         .limit = 0xffff,
                                         .attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE};
        v->cpl = 0;
        v->eip = 0;
    }
    v->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    mmu_flush_all(v);
}

void fuzz_clean(struct machine *m)
{
    static const uint8_t zeros[4096];
    for (uint32_t gpa = 0; gpa < FUZZ_RAM; gpa += sizeof zeros)
        if (gpa < 0xa0000 || gpa >= 0xc0000)
            phys_dma_write(m->phys, gpa, zeros, sizeof zeros);
    platform_reset(m->platform);
}
