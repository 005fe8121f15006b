/* SPDX-License-Identifier: MIT */
/* machine.c: a configuration -> a whole PC, ready to execute its first instruction. */
#include "runtime/machine.h"

#include "devices/lapic.h"
#include "runtime/boot.h"
#include "runtime/bt.h"
#include "runtime/exec.h"
#include "runtime/fpu.h"
#include "runtime/guest_symbols.h"
#include "runtime/interp.h"
#include "runtime/lockstep.h"
#include "runtime/mmu.h"
#include "runtime/perf_map.h"
#include "runtime/platform.h"
#include "runtime/profile.h"
#include "runtime/system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)

struct maker {
    struct machine *m;
    char *err;
    size_t err_size;
    bool *bad_input;
};

static bool fail(struct maker *k, const char *what, int error)
{
    snprintf(k->err, k->err_size, "%s: %s", what, error ? strerror(-error) : "out of memory");
    return false;
}

/* --- the parts, in the order of their needs --- */

static bool check_config(struct maker *k)
{
    const struct machine_config *c = &k->m->config;
    *k->bad_input = true;
    if (!c->kernel && !c->bios)
        snprintf(k->err, k->err_size, "nothing to boot: give --kernel or --bios");
    else if (c->kernel && c->bios)
        snprintf(k->err, k->err_size, "--kernel and --bios exclude each other");
    else if (c->bios && (c->initrd || c->module_count || *c->append))
        snprintf(k->err, k->err_size, "--initrd, --module and --append need --kernel");
    else if (c->memory < PHYS_MIN_RAM || c->memory > PHYS_MAX_RAM)
        snprintf(
            k->err, k->err_size, "--memory: %llu MiB is too %s; the machine maps %llu to %llu MiB",
            (unsigned long long)(c->memory / MIB), c->memory < PHYS_MIN_RAM ? "little" : "much",
            PHYS_MIN_RAM / MIB, PHYS_MAX_RAM / MIB);
    else if (c->memory % MIB)
        snprintf(k->err, k->err_size, "--memory: %llu bytes is no multiple of 1 MiB",
                 (unsigned long long)c->memory);
    else {
        *k->bad_input = false;
        return true;
    }
    return false;
}

static void frame_watched(void *opaque, uint32_t gfn)
{
    mmu_protect_frame(opaque, gfn);
}

static bool create_memory(struct maker *k)
{
    struct machine *m = k->m;
    int error = 0;
    m->bus = bus_create();
    m->clock = m->bus ? clock_create() : NULL;
    if (!m->clock)
        return fail(k, "cannot create the bus", 0);
    m->phys = phys_create(m->config.memory, m->bus, &error);
    return m->phys || fail(k, "cannot create guest memory", error);
}

static bool create_vcpu(struct maker *k)
{
    struct machine *m = k->m;
    char why[200];
    m->cpu_model = cpu_model_create(m->config.cpu, why, sizeof why);
    if (!m->cpu_model) {
        *k->bad_input = true;
        snprintf(k->err, k->err_size, "--cpu: %s", why);
        return false;
    }
    struct vcpu *v = m->vcpu = vcpu_allocate();
    if (!v)
        return fail(k, "cannot create the processor", 0);
    v->machine = m;
    v->delivering = -1;
    phys_set_watch_callback(m->phys, frame_watched, v);
    int error = fpu_create(v);
    if (error)
        return fail(k, "cannot create the FPU's thunks", error);
    v->interp = interp_create(v);
    return v->interp || fail(k, "cannot create the interpreter", 0);
}

/* Before the engine, which looks for them. */
static bool create_observers(struct maker *k)
{
    struct machine *m = k->m;
    int error = 0;
    if (m->config.profile || m->config.profile_json) {
        m->profile = profile_create(m);
        if (!m->profile)
            return fail(k, "cannot create the profiler", 0);
    }
    if (!m->config.perf_map)
        return true;
    m->perf_map = perf_map_create(m, &error);
    return m->perf_map || fail(k, "cannot write perf's map of names", error);
}

static bool create_engine(struct maker *k)
{
    struct machine *m = k->m;
    int error = 0;
    if (m->config.engine == ENGINE_INTERP)
        return true;
    m->vcpu->bt = bt_create(m->vcpu, m->config.cache_size, &error);
    if (!m->vcpu->bt)
        return fail(k, "cannot create the translator", error);
    bt_set_dump(m->vcpu->bt, m->config.dump, stderr);
    if (m->config.engine == ENGINE_LOCKSTEP)
        m->lockstep = lockstep_create(m, &error);
    if (m->config.engine == ENGINE_LOCKSTEP && !m->lockstep)
        return fail(k, "cannot create the second machine of lock step", error);
    return true;
}

/* What is in them is looked at later, in the sandbox. */
static bool open_images(struct maker *k)
{
    struct machine *m = k->m;
    *k->bad_input = true;
    if (m->config.symbol_files) {
        m->symbols =
            guest_symbols_open(m->config.symbols, m->config.symbol_files, k->err, k->err_size);
        if (!m->symbols)
            return false;
    }
    return boot_open_files(m, k->err, k->err_size);
}

static bool create_parts(struct maker *k)
{
    struct machine *m = k->m;
    if (!check_config(k) || !create_memory(k) || !create_vcpu(k))
        return false;
    m->exec = exec_create(m);
    if (!m->exec)
        return fail(k, "cannot create the machine", 0);
    m->platform = platform_create(m, k->err, k->err_size, k->bad_input);
    if (!m->platform)
        return false;
    vcpu_reset(m->vcpu);
    return create_observers(k) && create_engine(k) && open_images(k);
}

/* --- life --- */

struct machine *machine_create(const struct machine_config *c, char *err, size_t err_size,
                               bool *bad_input)
{
    *bad_input = false;
    struct machine *m = calloc(1, sizeof *m);
    struct maker k = {m, err, err_size, bad_input};
    if (!m) {
        fail(&k, "cannot create the machine", 0);
        return NULL;
    }
    m->config = *c;
    if (create_parts(&k))
        return m;
    machine_destroy(m);
    return NULL;
}

bool machine_load(struct machine *m, char *err, size_t err_size)
{
    m->loaded = (!m->symbols || guest_symbols_load(m->symbols, err, err_size)) &&
                machine_reset(m, err, err_size);
    return m->loaded;
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    struct vcpu *v = m->vcpu;
    lockstep_destroy(m->lockstep);
    if (v && v->bt)
        bt_destroy(v->bt);
    platform_destroy(m->platform);
    exec_destroy(m->exec);
    if (v) {
        if (v->interp)
            interp_destroy(v->interp);
        fpu_destroy(v);
        vcpu_release(v);
    }
    if (m->cpu_model)
        cpu_model_destroy(m->cpu_model);
    profile_destroy(m->profile);
    perf_map_destroy(m->perf_map);
    guest_symbols_destroy(m->symbols);
    phys_destroy(m->phys);
    if (m->clock)
        clock_destroy(m->clock);
    bus_destroy(m->bus);
    boot_close_files(m);
    free(m);
}

static bool restart_lockstep(struct machine *m, char *err, size_t err_size)
{
    if (!m->lockstep || lockstep_reset(m->lockstep))
        return true;
    snprintf(err, err_size, "lock step: cannot copy the machine: out of memory");
    return false;
}

bool machine_start_processor(struct machine *m, char *err, size_t err_size)
{
    bool init = platform_take_init(m->platform);
    int page = platform_take_startup(m->platform);
    if (init) {
        vcpu_init(m->vcpu);
        lapic_init(platform_lapic(m->platform));
    }
    bool start = page >= 0 && m->vcpu->waits_for_sipi;
    if (start)
        vcpu_start(m->vcpu, (uint8_t)page);
    return !(init || start) || restart_lockstep(m, err, err_size);
}

static void reset_processor(struct machine *m)
{
    struct vcpu *v = m->vcpu;
    vcpu_reset(v);
    fpu_reset(v);
    fpu_load(v);
    v->halted = v->shutdown = false;
    v->shadow = SHADOW_NONE;
    v->delivering = -1;
    v->exc.pending = false;
    m->suspended = m->wake_pending = false;
}

bool machine_wake(struct machine *m, char *err, size_t err_size)
{
    reset_processor(m);
    platform_wake(m->platform);
    mmu_flush_all(m->vcpu);
    if (boot_wake(m))
        return restart_lockstep(m, err, err_size);
    return machine_reset(m, err, err_size);
}

bool machine_reset(struct machine *m, char *err, size_t err_size)
{
    reset_processor(m);
    platform_reset(m->platform);
    mmu_flush_all(m->vcpu);
    return boot_load(m, err, err_size) && restart_lockstep(m, err, err_size);
}
