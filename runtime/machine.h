/* SPDX-License-Identifier: MIT */
/* machine.h: a whole PC: vCPU, memory, devices, and the loop that runs it. */
#ifndef RINGDOWN_RUNTIME_MACHINE_H
#define RINGDOWN_RUNTIME_MACHINE_H

#include "ringdown/cpu.h"
#include "devices/device.h"
#include "runtime/activity.h"
#include "runtime/phys.h"
#include "runtime/stats.h"

#include <stddef.h>

enum engine { ENGINE_BT, ENGINE_INTERP, ENGINE_LOCKSTEP };

struct machine_config {
    enum engine engine;
    uint64_t memory;    /* bytes of RAM, a multiple of 1 MiB */
    const char *kernel; /* bzImage or Multiboot; NULL */
    const char *initrd; /* NULL */
    const char *append; /* kernel command line, "" */
    const char *bios;   /* ROM image; NULL */
    const char *const *modules;
    size_t module_count;
    const char *serial; /* "stdio", "file:F", "null" */
    bool debug_exit;
    const char *cpu;     /* cpu_model_create() */
    uint64_t cache_size; /* bytes of translated code */
    bool stats;
    const char *stats_json;     /* file, NULL */
    bool profile, perf_map;     /* runtime/profile.h, perf_map.h */
    const char *profile_json;   /* file, NULL */
    const char *const *symbols; /* guest_symbols_create() */
    size_t symbol_files;
    unsigned dump;                 /* DUMP_* */
    unsigned verify;               /* enum inspect_mode */
    uint64_t timeout_ns;           /* of host time, 0: none */
    uint32_t compare_every;        /* lock step: instructions between two comparisons, at most */
    const char *lockstep_selftest; /* "reg:N" and kin, see lockstep.h; NULL */
    bool stress_precise;           /* lock step: recreate the state inside blocks, bt_precise.h */
    bool stress_evict;             /* translator/stress.h */
    uint64_t stress_seed;          /* of its choices */
    bool no_reboot;                /* a reset ends the run instead, as power-off does */
    uint32_t view_budget; /* host mappings allowed in all views, 0: from the host's limit */
    bool sandbox;         /* machine_run() gives up what the run does not need, for good */
};

enum { DUMP_DECODE = 1, DUMP_BLOCKS = 2, DUMP_HOST = 4, DUMP_EXITS = 8 };

/* How a run ended. */
enum machine_end {
    END_POWER_OFF,
    END_DEBUG_EXIT,
    END_SHUTDOWN,
    END_TIMEOUT,
    END_ERROR,
    END_QUIT,
    END_BAD_IMAGE, /* nothing of the guest has run */
};

struct boot_file;
struct profile;
struct perf_map;
struct guest_symbols;

struct machine {
    struct machine_config config;
    struct vcpu *vcpu;
    struct phys *phys;
    struct bus *bus;
    struct clock *clock;
    struct cpu_model *cpu_model;
    struct platform *platform; /* the devices and their wiring, runtime/platform.c */
    struct lockstep *lockstep; /* NULL unless two engines run side by side, lockstep.h */
    struct exec *exec;         /* host side of the loop: kicks and the deadline timer, exec.c */
    struct stats stats;
    struct profile *profile;   /* --profile, else NULL */
    struct perf_map *perf_map; /* --perf-map, else NULL */
    struct guest_symbols *symbols;
    activity_word activity;       /* of the vCPU's thread */
    volatile uint64_t fault_pc;   /* during ACT_FAULT: where translated code was interrupted */
    _Atomic uint32_t stop;        /* enum machine_end + 1 once something asked for the end */
    struct boot_file *files;      /* images, open for a reset to load them again; boot.c */
    bool suspended, wake_pending; /* to RAM, see boot_wake.c */
    bool loaded;                  /* by machine_load() */
    bool rom_loaded;              /* the --bios image is in place */
    bool reset_pending;           /* a device asked for a reset; the loop does it */
    uint32_t end_value;           /* debug-exit code */
    char end_message[256];        /* of END_ERROR and END_BAD_IMAGE */
};

/* Makes the machine and opens the image files. NULL on error, with one line (no newline) in err
 * that says what and where; *bad_input tells a user's mistake (exit status 2) from the monitor's
 * own failure (1). */
struct machine *machine_create(const struct machine_config *c, char *err, size_t err_size,
                               bool *bad_input);
/* Reads the images, which may be anybody's: machine_run() does so in the sandbox. False, with one
 * line in err. */
bool machine_load(struct machine *m, char *err, size_t err_size);
void machine_destroy(struct machine *m);
/* Runs until the guest ends, from the calling thread, which becomes the vCPU's. */
enum machine_end machine_run(struct machine *m);
/* Asks the running machine to stop; async-signal-safe, from any thread. */
void machine_stop(struct machine *m, enum machine_end end);
/* Makes the vCPU's thread come back to its loop soon; async-signal-safe, from any thread. */
void machine_kick(struct machine *m);
/* Serves INIT and SIPI, as far as they have come. False as machine_reset(). */
bool machine_start_processor(struct machine *m, char *err, size_t err_size);
/* Ends suspend to RAM; without a way to go on, a reset. */
bool machine_wake(struct machine *m, char *err, size_t err_size);
/* The processor and all devices as after RESET, and the images loaded again. False, with one line
 * in err, if an image can't be loaded. */
bool machine_reset(struct machine *m, char *err, size_t err_size);

/* --- seams within the loop (runtime/exec.c), the engine's view of interrupts --- */
/* A deliverable external interrupt: the vector after acknowledging it, or -1. */
int machine_ack_interrupt(struct machine *m);
/* An interrupt line into the processor is up (IF not considered). Cheap. */
bool machine_interrupt_line(const struct machine *m);
/* Runs due timers and polls input. */
void machine_poll(struct machine *m);
/* HLT: sleeps until a kick or the next deadline. */
void machine_idle(struct machine *m);

#endif
