/* SPDX-License-Identifier: MIT */
/* cli_options.c: argv -> machine_config, by one table of options that the help text is made of too.
 */
#include "runtime/cli_options.h"

#include "runtime/lockstep.h"
#include "translator/host_facts.h"
#include "translator/inspect.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MEMORY (256ull << 20)
#define DEFAULT_CACHE  (64ull << 20)
#define MIN_CACHE      (64ull << 10)
#define MAX_CACHE      (1ull << 30)
#define MAX_TIMEOUT    1000000000u /* seconds */
#define MAX_COMPARE    1000000u
#define DEFAULT_EVERY  1000u
#define NS_DIGITS      9

/* A sanitizer's report needs files and processes of its own. */
#ifdef RINGDOWN_SANITIZED
#define DEFAULT_SANDBOX false
#else
#define DEFAULT_SANDBOX true
#endif

struct parse {
    struct machine_config *config;
    const char **modules, **symbols;
    char *err;
    size_t err_size;
};

struct option_row {
    const char *name, *argument, *help; /* help NULL: not told */
    bool (*set)(struct parse *p, const char *value);
};

static bool bad(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool bad(struct parse *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->err, p->err_size, format, args);
    va_end(args);
    return false;
}

/* --- values --- */

/* Digits with K, M or G behind them; MiB without. */
static bool parse_size(struct parse *p, const char *option, const char *text, uint64_t *out)
{
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = 20;
    if (*end) {
        const char *unit = strchr(units, *end & ~0x20);
        shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
        end++;
    }
    if (*text < '0' || *text > '9' || *end || !shift)
        return bad(p, "--%s: %s is not a size such as 256M", option, text);
    if (errno || n > UINT64_MAX >> shift)
        return bad(p, "--%s: %s is too large", option, text);
    *out = (uint64_t)n << shift;
    return true;
}

/* Seconds with an optional fraction, in nanoseconds. */
static bool parse_seconds(struct parse *p, const char *text, uint64_t *out)
{
    uint64_t seconds = 0, fraction = 0;
    unsigned digits = 0, places = 0;
    const char *s = text;
    for (; *s >= '0' && *s <= '9' && seconds <= MAX_TIMEOUT; s++, digits++)
        seconds = seconds * 10 + (uint64_t)(*s - '0');
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++, digits++)
            if (places < NS_DIGITS) {
                fraction = fraction * 10 + (uint64_t)(*s - '0');
                places++;
            }
    for (; places < NS_DIGITS; places++)
        fraction *= 10;
    if (!digits || (*s && seconds <= MAX_TIMEOUT))
        return bad(p, "--timeout: %s is not a number of seconds", text);
    if (seconds > MAX_TIMEOUT)
        return bad(p, "--timeout: %s is too large", text);
    *out = seconds * 1000000000u + fraction;
    return *out || bad(p, "--timeout: must be more than 0");
}

/* --- one setter an option --- */

static bool set_engine(struct parse *p, const char *value)
{
    if (!strcmp(value, "bt"))
        p->config->engine = ENGINE_BT;
    else if (!strcmp(value, "interp"))
        p->config->engine = ENGINE_INTERP;
    else if (!strcmp(value, "lockstep"))
        p->config->engine = ENGINE_LOCKSTEP;
    else
        return bad(p, "--engine: %s is not bt, interp or lockstep", value);
    return true;
}

#define STRING_SETTER(field)                                                                       \
    static bool set_##field(struct parse *p, const char *value)                                    \
    {                                                                                              \
        p->config->field = value;                                                                  \
        return true;                                                                               \
    }
STRING_SETTER(kernel)
STRING_SETTER(initrd)
STRING_SETTER(append)
STRING_SETTER(bios)
STRING_SETTER(serial)
STRING_SETTER(cpu)
STRING_SETTER(stats_json)
STRING_SETTER(profile_json)

#define FLAG_SETTER(field)                                                                         \
    static bool set_##field(struct parse *p, const char *value)                                    \
    {                                                                                              \
        (void)value;                                                                               \
        p->config->field = true;                                                                   \
        return true;                                                                               \
    }
FLAG_SETTER(debug_exit)
FLAG_SETTER(stats)
FLAG_SETTER(no_reboot)
FLAG_SETTER(profile)
FLAG_SETTER(perf_map)

static bool set_view_budget(struct parse *p, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    p->config->view_budget = (uint32_t)n;
    return (n && n <= UINT32_MAX && !*end && *value >= '0' && *value <= '9') ||
           bad(p, "--view-budget: %s is not a number of mappings", value);
}

static bool set_sandbox(struct parse *p, const char *value)
{
    p->config->sandbox = !strcmp(value, "on");
    return p->config->sandbox || !strcmp(value, "off") ||
           bad(p, "--sandbox: %s is not on or off", value);
}

static bool set_module(struct parse *p, const char *value)
{
    p->modules[p->config->module_count++] = value;
    return true;
}

static bool set_symbols(struct parse *p, const char *value)
{
    p->symbols[p->config->symbol_files++] = value;
    return true;
}

static bool set_memory(struct parse *p, const char *value)
{
    return parse_size(p, "memory", value, &p->config->memory);
}

static bool set_cache_size(struct parse *p, const char *value)
{
    uint64_t *size = &p->config->cache_size;
    if (!parse_size(p, "cache-size", value, size))
        return false;
    if (*size < MIN_CACHE || *size > MAX_CACHE)
        return bad(p, "--cache-size: %s is not within 64K to 1G", value);
    return true;
}

static bool set_verify(struct parse *p, const char *value)
{
    static const char *const names[] = {
        [INSPECT_ALWAYS] = "always", [INSPECT_SAMPLED] = "sampled", [INSPECT_OFF] = "off"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(value, names[i])) {
            p->config->verify = i;
            return true;
        }
    return bad(p, "--verify: %s is not always, sampled or off", value);
}

static bool set_compare(struct parse *p, const char *value)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end || errno || !n || n > MAX_COMPARE)
        return bad(p, "--compare: %s is not a number from 1 to %u", value, MAX_COMPARE);
    p->config->compare_every = (uint32_t)n;
    return true;
}

static bool set_host_facts(struct parse *p, const char *value)
{
    return host_assume_other(value) ||
           bad(p, "--host-facts: %s is neither amd nor names of facts", value);
}

static bool set_selftest(struct parse *p, const char *value)
{
    enum lockstep_spoil what;
    uint64_t after;
    p->config->lockstep_selftest = value;
    return lockstep_parse_selftest(value, &what, &after) ||
           bad(p, "--selftest: %s is not reg:N, flag:N, mem:N, state:N or mark:N", value);
}

static bool set_stress(struct parse *p, const char *value)
{
    const char *seed = value + strlen("evict:");
    p->config->stress_precise = !strcmp(value, "precise");
    p->config->stress_evict = !strncmp(value, "evict", strlen("evict"));
    if (p->config->stress_precise || !strcmp(value, "evict"))
        return true;
    char *end = NULL;
    errno = 0;
    if (!strncmp(value, "evict:", strlen("evict:")) && *seed >= '0' && *seed <= '9')
        p->config->stress_seed = strtoull(seed, &end, 10);
    return (end && !*end && !errno) ||
           bad(p, "--stress: %s is not precise, evict or evict:SEED", value);
}

static bool set_timeout(struct parse *p, const char *value)
{
    return parse_seconds(p, value, &p->config->timeout_ns);
}

static bool set_dump(struct parse *p, const char *value)
{
    static const char *const names[] = {"decode", "blocks", "host", "exits"};
    const unsigned count = sizeof names / sizeof names[0];
    for (const char *at = value;;) {
        size_t length = strcspn(at, ",");
        unsigned i = 0;
        while (i < count && (strlen(names[i]) != length || strncmp(names[i], at, length) != 0))
            i++;
        if (i == count)
            return bad(p, "--dump: %.*s is not decode, blocks, host or exits", (int)length, at);
        p->config->dump |= 1u << i;
        if (!at[length])
            return true;
        at += length + 1;
    }
}

_Static_assert(DUMP_DECODE == 1 && DUMP_BLOCKS == 2 && DUMP_HOST == 4 && DUMP_EXITS == 8,
               "the names stand in the order of their bits");

static const struct option_row options[] = {
    {"engine",       "WHICH",       "bt: translation (default), interp, or lockstep: compare both", set_engine                     },
    {"kernel",       "FILE",        "Linux bzImage or Multiboot kernel, may be gzip's",             set_kernel                     },
    {"initrd",       "FILE",        "initial RAM disk; to a Multiboot kernel, its first module",    set_initrd                     },
    {"append",       "STRING",      "kernel command line",                                          set_append                     },
    {"module",       "FILE [ARGS]", "Multiboot module with its string; may be repeated",            set_module                     },
    {"bios",         "FILE",        "ROM image, started at the reset vector",                       set_bios                       },
    {"memory",       "SIZE",        "guest RAM, 1M to 3G (default 256M); K, M, G; MiB without",     set_memory                     },
    {"serial",       "WHERE",       "first serial port: stdio (default), file:FILE or null",        set_serial                     },
    {"cpu",          "SPEC",        "686 or max (default), then ,-FEATURE or ,+FEATURE ...",        set_cpu                        },
    {"cache-size",   "SIZE",        "translated code kept, 64K to 1G (default 64M)",                set_cache_size                 },
    {"verify",       "WHEN",        "check code before it runs: always (default), sampled, off",    set_verify                     },
    {"debug-exit",   NULL,          "a write of V to port 0xf4 ends with status V << 1 | 1",        set_debug_exit                 },
    {"no-reboot",    NULL,          "a guest's reset ends the run, as power-off does",              set_no_reboot                  },
    {"timeout",      "SECONDS",     "end after that time, with status 4",                           set_timeout                    },
    {"sandbox",      "on|off",      "give up system calls and files before the guest runs",         set_sandbox                    },
    {"stats",        NULL,          "at the end, print what the monitor did, on standard error",    set_stats                      },
    {"stats-json",   "FILE",        "the same as JSON",                                             set_stats_json                 },
    {"profile",      NULL,          "at the end, print where the time went, by guest address",      set_profile                    },
    {"profile-json", "FILE",        "the same as JSON",                                             set_profile_json               },
    {"symbols",      "FILE",        "System.map or ELF file to name guest addresses; repeatable",   set_symbols                    },
    {"perf-map",     NULL,          "name translated code for perf, in /tmp/perf-PID.map",          set_perf_map                   },
    {"compare",      "N",           "with --engine lockstep: at least every N instructions",        set_compare                    },
    {"stress",       "WHAT",        "precise: states in blocks, too; evict[:SEED]: drop code",      set_stress                     },
    {"dump",         "WHAT,...",    "trace to standard error: decode, blocks, host, exits",         set_dump                       },
    {"view-budget",  "N",           NULL,                                                           /* for tests */ set_view_budget},
    {"host-facts",   "WHAT",        NULL,                                                           /* for tests */ set_host_facts },
    {"selftest",     "WHAT:N",      NULL,                                                           /* for tests */ set_selftest   },
    {"help",         NULL,          "this text",                                                    NULL                           },
};
#define OPTION_COUNT ((int)(sizeof options / sizeof options[0]))

void cli_print_run_help(FILE *out)
{
    fputs("usage: ringdown run --kernel FILE [OPTION]...\n"
          "       ringdown run --bios FILE [OPTION]...\n\n"
          "Boots a PC from a kernel or a ROM image.\n\n",
          out);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const char *argument = options[i].argument ? options[i].argument : "";
        if (!options[i].help)
            continue;
        fprintf(out, "  --%s %-*s %s\n", options[i].name, 22 - (int)strlen(options[i].name),
                argument, options[i].help);
    }
    fputs("\nOn the terminal: Ctrl-a x leaves, Ctrl-a p presses the power button, Ctrl-a Ctrl-a "
          "sends Ctrl-a.\n"
          "Exit status: 0 power-off or Ctrl-a x; V << 1 | 1 debug exit; 1 the monitor failed;\n"
          "2 bad usage or image; 3 the guest died of a triple fault; 4 timeout.\n",
          out);
}

/* getopt's view of the table. */
static void fill_long_options(struct option long_options[OPTION_COUNT + 1])
{
    memset(long_options, 0, sizeof(struct option) * (OPTION_COUNT + 1));
    for (int i = 0; i < OPTION_COUNT; i++) {
        long_options[i].name = options[i].name;
        long_options[i].has_arg = options[i].argument ? required_argument : no_argument;
    }
}

static enum cli_parse parse_all(struct parse *p, int argc, char **argv)
{
    struct option long_options[sizeof options / sizeof options[0] + 1];
    int index, c;
    fill_long_options(long_options);
    opterr = 0;
    optind = 0; /* glibc: start afresh */
    while ((c = getopt_long(argc, argv, "+:h", long_options, &index)) != -1) {
        if (c == 'h' || (c == 0 && !options[index].set))
            return CLI_HELP;
        if (c == ':') {
            bad(p, "%s needs an argument", argv[optind - 1]);
            return CLI_ERROR;
        }
        if (c) {
            if (optopt && optopt != '-' && argv[optind - 1][1] != '-')
                bad(p, "unknown option -%c", optopt);
            else
                bad(p, "bad option %s", argv[optind - 1]);
            return CLI_ERROR;
        }
        if (!options[index].set(p, optarg))
            return CLI_ERROR;
    }
    if (p->config->stress_precise && p->config->engine != ENGINE_LOCKSTEP) {
        bad(p, "--stress precise needs --engine lockstep");
        return CLI_ERROR;
    }
    if (p->config->stress_evict && p->config->engine == ENGINE_INTERP) {
        bad(p, "--stress evict needs --engine bt or lockstep");
        return CLI_ERROR;
    }
    if (optind < argc) {
        bad(p, "%s: not an option (a kernel is given by --kernel)", argv[optind]);
        return CLI_ERROR;
    }
    return CLI_OK;
}

enum cli_parse cli_parse_run(int argc, char **argv, struct machine_config *config, char *err,
                             size_t err_size)
{
    *config = (struct machine_config){.engine = ENGINE_BT,
                                      .memory = DEFAULT_MEMORY,
                                      .append = "",
                                      .serial = "stdio",
                                      .cpu = "max",
                                      .cache_size = DEFAULT_CACHE,
                                      .compare_every = DEFAULT_EVERY,
                                      .sandbox = DEFAULT_SANDBOX};
    struct parse p = {.config = config, .err = err, .err_size = err_size};
    p.modules = calloc((size_t)argc + 1, sizeof *p.modules);
    p.symbols = calloc((size_t)argc + 1, sizeof *p.symbols);
    config->modules = p.modules;
    config->symbols = p.symbols;
    if (!p.modules || !p.symbols) {
        bad(&p, "out of memory");
        return CLI_ERROR;
    }
    return parse_all(&p, argc, argv);
}
