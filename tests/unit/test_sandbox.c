/* SPDX-License-Identifier: MIT */
/* What a thread in the sandbox may do, what ends it, and how that is told. Each case is a process
 * of its own. */
#include "runtime/sandbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OK     7
#define BROKEN 8

struct outcome {
    int status; /* of waitpid() */
    char said[512];
};

/* Runs `act` in the sandbox of a process of its own, which ends with what `act` returns. */
static struct outcome run(int (*act)(void), void (*enter)(void))
{
    struct outcome o = {0};
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (!pid) {
        dup2(fds[1], STDERR_FILENO);
        enter();
        _exit(act());
    }
    close(fds[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(fds[0], o.said + n, sizeof o.said - 1 - n)) > 0;)
        n += (size_t)got;
    close(fds[0]);
    cr_assert_eq(waitpid(pid, &o.status, 0), pid);
    return o;
}

static void enter_vcpu(void)
{
    struct sandbox_report report;
    if (sandbox_prepare() || sandbox_enter_vcpu(&report) || !report.calls)
        _exit(BROKEN);
}

static void enter_serial(void)
{
    if (sandbox_prepare())
        _exit(BROKEN);
    sandbox_enter_serial();
}

static void assert_works(int (*act)(void), void (*enter)(void))
{
    struct outcome o = run(act, enter);
    cr_assert(WIFEXITED(o.status) && WEXITSTATUS(o.status) == OK, "status %x: %s", o.status,
              o.said);
    cr_assert_str_empty(o.said);
}

static void assert_refused(const char *name, int (*act)(void), void (*enter)(void))
{
    struct outcome o = run(act, enter);
    char *newline = strchr(o.said, '\n');
    cr_assert(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1, "%s: status %x: %s", name,
              o.status, o.said);
    cr_assert(newline && !newline[1], "%s: one line, not: %s", name, o.said);
    cr_assert(!strncmp(o.said, "ringdown: sandbox: ", 19), "%s", o.said);
    cr_assert(strstr(o.said, name), "%s is not named: %s", name, o.said);
}

/* --- what a run needs --- */

static int uses_memory(void)
{
    for (size_t size = 16; size < 64u << 20; size *= 3) {
        char *p = malloc(size);
        if (!p)
            return BROKEN;
        memset(p, 1, size);
        p = realloc(p, 2 * size);
        if (!p || p[size - 1] != 1)
            return BROKEN;
        free(p);
    }
    void *p = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_WRITE) || munmap(p, 8192))
        return BROKEN;
    return OK;
}

static int uses_signals_and_time(void)
{
    struct timespec now;
    struct sigaction sa = {.sa_handler = SIG_IGN};
    if (clock_gettime(CLOCK_MONOTONIC, &now) || sigaction(SIGUSR1, &sa, NULL) || raise(SIGUSR1))
        return BROKEN;
    return OK;
}

static int uses_descriptors(void)
{
    return write(STDERR_FILENO, "", 0) == 0 ? OK : BROKEN;
}

static int uses_the_terminal(void)
{
    struct termios mode;
    (void)tcgetattr(STDIN_FILENO, &mode); /* which may be none */
    return OK;
}

#ifdef RINGDOWN_SANITIZED
/* The sanitizers' runtime makes system calls of its own when a process ends. */
TestSuite(sandbox, .disabled = true);
#endif

Test(sandbox, what_a_run_needs)
{
    assert_works(uses_memory, enter_vcpu);
    assert_works(uses_signals_and_time, enter_vcpu);
    assert_works(uses_descriptors, enter_vcpu);
    assert_works(uses_the_terminal, enter_vcpu);
    assert_works(uses_descriptors, enter_serial);
}

/* --- what it does not --- */

#define ACT(name, expression)                                                                      \
    static int do_##name(void)                                                                     \
    {                                                                                              \
        return (expression) == 0 ? BROKEN : OK;                                                    \
    }
ACT(open, syscall(SYS_open, "/etc/passwd", O_RDONLY))
ACT(openat, open("/etc/passwd", O_RDONLY))
ACT(creat, syscall(SYS_creat, "/dev/null", 0600))
ACT(unlink, syscall(SYS_unlink, "/nonexistent"))
ACT(socket, socket(AF_INET, SOCK_STREAM, 0))
ACT(execve, execl("/bin/true", "true", (char *)NULL))
ACT(fork, syscall(SYS_fork))
ACT(clone, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
ACT(kill, syscall(SYS_kill, 1, 0))
ACT(tgkill, syscall(SYS_tgkill, 1, 1, 0))
ACT(ptrace, syscall(SYS_ptrace, 0, 0, 0, 0))
ACT(memfd_create, memfd_create("x", 0))
ACT(mmap, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
ACT(mprotect, mprotect((void *)((uintptr_t)&do_mmap & ~4095ul), 4096, PROT_READ | PROT_EXEC))
ACT(pkey_mprotect, syscall(SYS_pkey_mprotect, 0, 0, PROT_EXEC, 0))
ACT(ioctl, ioctl(STDIN_FILENO, TIOCSTI, "x"))
ACT(prctl, prctl(PR_SET_DUMPABLE, 1))
ACT(dup, dup(0))
ACT(bpf, syscall(SYS_bpf, 0, 0, 0))
ACT(io_uring_setup, syscall(SYS_io_uring_setup, 1, 0))
ACT(setrlimit, syscall(SYS_setrlimit, RLIMIT_FSIZE, 0))
#undef ACT

static const struct {
    const char *name;
    int (*act)(void);
} forbidden[] = {
#define ROW(name)                                                                                  \
    {                                                                                              \
#name, do_##name                                                                           \
    }
    ROW(open),      ROW(openat), ROW(creat),         ROW(unlink), ROW(socket),
    ROW(execve),    ROW(fork),   ROW(clone),         ROW(kill),   ROW(tgkill),
    ROW(ptrace),    ROW(mmap),   ROW(mprotect),      ROW(ioctl),  ROW(memfd_create),
    ROW(prctl),     ROW(dup),    ROW(pkey_mprotect), ROW(bpf),    ROW(io_uring_setup),
    ROW(setrlimit),
#undef ROW
};

Test(sandbox, ends_the_vcpu_at_anything_else)
{
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        assert_refused(forbidden[i].name, forbidden[i].act, enter_vcpu);
}

Test(sandbox, ends_the_serial_thread_at_anything_else)
{
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        assert_refused(forbidden[i].name, forbidden[i].act, enter_serial);
}

static int replaces_handler(void)
{
    return signal(SIGSYS, SIG_IGN) == SIG_ERR ? OK : BROKEN;
}

Test(sandbox, keeps_its_handler)
{
    struct outcome o = run(replaces_handler, enter_vcpu);
    cr_assert(WIFEXITED(o.status) && WEXITSTATUS(o.status) == 1);
    cr_assert(strstr(o.said, "refused system call 13 "), "%s", o.said);
}

/* System calls of the 32-bit ABI have other numbers: none may pass. */
static int calls_by_int80(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid */) : "memory");
    return BROKEN;
}

Test(sandbox, kills_at_another_abi)
{
    struct outcome o = run(calls_by_int80, enter_vcpu);
    cr_assert(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGSYS, "status %x", o.status);
}

static int opens_tolerated(void)
{
    sandbox_tolerate(true);
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EPERM)
        return BROKEN;
    sandbox_tolerate(false);
    return OK;
}

Test(sandbox, a_crash_report_goes_on)
{
    assert_works(opens_tolerated, enter_vcpu);
}

static int output_fd;
static int writes_too_much(void)
{
    char byte = 0;
    if (pwrite(output_fd, &byte, 1, 0) != 1)
        return BROKEN;
    if (pwrite(output_fd, &byte, 1, SANDBOX_OUTPUT_LIMIT) >= 0 || errno != EFBIG)
        return BROKEN;
    return OK;
}

static void enter_with_file(void)
{
    FILE *f = tmpfile();
    if (!f || sandbox_prepare())
        _exit(BROKEN);
    output_fd = fileno(f);
    /* pwrite() is not among the monitor's calls: the limit is looked at without the filter. */
    if (sandbox_limit_output())
        _exit(BROKEN);
}

Test(sandbox, bounds_output)
{
    assert_works(writes_too_much, enter_with_file);
}
