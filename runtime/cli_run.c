/* SPDX-License-Identifier: MIT */
/* cli_run.c: `ringdown run`: options -> machine -> exit status.
 *
 * Everything a user can get wrong is found before the guest starts, and told in one line. The
 * terminal is given back on every way out: the normal one, a signal, an exit(). */
#include "runtime/cli_run.h"

#include "runtime/cli_options.h"
#include "runtime/console.h"
#include "runtime/crash.h"
#include "runtime/inherited.h"
#include "runtime/machine.h"
#include "runtime/profile.h"
#include "runtime/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_SIZE 512

/* What the handler of termination signals needs: the machine to stop, and the signal that did. */
static _Atomic(struct machine *) the_machine;
static volatile sig_atomic_t ended_by;

static int complain(int status, const char *message)
{
    fprintf(stderr, "ringdown: %s\n", message);
    return status;
}

/* Where the guest was tells a hang from a slow guest. */
static int complain_timeout(const struct vcpu *v)
{
    fprintf(stderr, "ringdown: timeout: the guest %s %04x:%08x, EFLAGS %08x\n",
            v->halted ? "is halted at" : "was at", v->seg[SEG_CS].sel, v->eip, v->eflags);
    return STATUS_TIMEOUT;
}

/* The first signal asks the machine to end; a second one, or one too early, ends the process. */
static void termination_handler(int signo)
{
    struct machine *m = atomic_load(&the_machine);
    if (m && !ended_by) {
        ended_by = signo;
        machine_stop(m, END_QUIT);
        return;
    }
    console_restore_terminal();
    _exit(128 + signo);
}

static void install_termination_handlers(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction sa = {.sa_handler = termination_handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction before;
        /* What was ignored on entry (nohup) stays so. */
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    }
    sigaction(SIGPIPE, &ignore, NULL);
}

/* As if the signal had had its default effect, now that everything is cleaned up. */
static void die_by_signal(int signo)
{
    signal(signo, SIG_DFL);
    raise(signo);
}

/* A run of hours must not end in a report that can't be written; and in the sandbox nothing can be
 * opened. What the file holds stays until there is a report to take its place. */
static FILE *open_report(const char *option, const char *path, char *buffer, char *err,
                         size_t err_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f)
        setvbuf(f, buffer, _IOFBF, BUFSIZ);
    else
        snprintf(err, err_size, "--%s: cannot write %s: %s", option, path, strerror(errno));
    return f;
}

/* The files of --stats-json and --profile-json; NULL where there is none. */
struct reports {
    FILE *stats, *profile;
};

static bool open_reports(const struct machine_config *c, struct reports *r, char *err,
                         size_t err_size)
{
    static char buffers[2][BUFSIZ];
    *r = (struct reports){0};
    if (c->stats_json &&
        !(r->stats = open_report("stats-json", c->stats_json, buffers[0], err, err_size)))
        return false;
    return !c->profile_json ||
           (r->profile = open_report("profile-json", c->profile_json, buffers[1], err, err_size));
}

/* A pipe or a device is not truncated. */
static int empty_file(FILE *f)
{
    return ftruncate(fileno(f), 0) < 0 && errno != EINVAL ? -errno : 0;
}

/* The first of status and failure that says something. */
static int told(int status, const char *path, int error)
{
    if (!error)
        return status;
    fprintf(stderr, "ringdown: %s: %s\n", path, strerror(-error));
    return status ? status : STATUS_FAILURE;
}

static int write_reports(const struct machine *m, const struct reports *r, int status)
{
    const struct machine_config *c = &m->config;
    if (c->stats)
        stats_print(&m->stats, stderr);
    if (c->profile)
        profile_print(m, m->symbols, stderr);
    if (r->stats) {
        int error = empty_file(r->stats);
        status = told(status, c->stats_json, error ? error : stats_write_json(&m->stats, r->stats));
    }
    if (r->profile) {
        int error = empty_file(r->profile);
        status = told(status, c->profile_json,
                      error ? error : profile_write_json(m, m->symbols, r->profile));
    }
    return status;
}

static int report(struct machine *m, enum machine_end end, const struct reports *reports)
{
    int status = STATUS_POWER_OFF;
    switch (end) {
    case END_POWER_OFF:
    case END_QUIT:
        break;
    case END_DEBUG_EXIT:
        status = (int)((m->end_value << 1 | 1) & 0xff);
        break;
    case END_SHUTDOWN:
        status = STATUS_GUEST_DIED;
        break;
    case END_TIMEOUT:
        status = complain_timeout(m->vcpu);
        break;
    case END_ERROR:
        status = complain(STATUS_FAILURE, m->end_message);
        break;
    case END_BAD_IMAGE:
        return complain(STATUS_USAGE, m->end_message);
    }
    return write_reports(m, reports, status);
}

static int run(const struct machine_config *config)
{
    char err[MESSAGE_SIZE];
    bool bad_input = false;
    struct reports reports;
    int error = config->sandbox ? inherited_note() : 0;
    if (error) {
        snprintf(err, sizeof err, "cannot list what is open: %s (--sandbox off runs without)",
                 strerror(-error));
        return complain(STATUS_FAILURE, err);
    }
    if (!open_reports(config, &reports, err, sizeof err))
        return complain(STATUS_USAGE, err);
    crash_prepare();
    atexit(console_restore_terminal);
    install_termination_handlers();
    error = config->sandbox ? sandbox_prepare() : 0;
    if (error) {
        snprintf(err, sizeof err, "cannot prepare the sandbox: %s (--sandbox off runs without)",
                 strerror(-error));
        return complain(STATUS_FAILURE, err);
    }
    struct machine *m = machine_create(config, err, sizeof err, &bad_input);
    if (!m)
        return complain(bad_input ? STATUS_USAGE : STATUS_FAILURE, err);
    atomic_store(&the_machine, m);
    enum machine_end end = machine_run(m);
    atomic_store(&the_machine, NULL);
    console_restore_terminal();
    int status = report(m, end, &reports);
    machine_destroy(m);
    if (ended_by)
        die_by_signal(ended_by);
    return status;
}

int cli_run(int argc, char **argv)
{
    struct machine_config config;
    char err[MESSAGE_SIZE];
    int status = STATUS_POWER_OFF;
    switch (cli_parse_run(argc, argv, &config, err, sizeof err)) {
    case CLI_OK:
        status = run(&config);
        break;
    case CLI_HELP:
        cli_print_run_help(stdout);
        break;
    case CLI_ERROR:
        status = complain(STATUS_USAGE, err);
        break;
    }
    free((void *)config.modules);
    free((void *)config.symbols);
    return status;
}
