/* SPDX-License-Identifier: MIT */
/* Kernel-bound workloads: system calls, faults, signals, processes, files. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef AT_SYSINFO
#define AT_SYSINFO 32
#endif

/* ---- system call entry ---- */

static uint32_t run_int80(uint32_t n)
{
    uint32_t r = 0;

    while (n--)
        __asm__ volatile("int $0x80" : "=a"(r) : "0"(SYS_getppid) : "memory");
    return r != 0xffffffffu;
}

static uint32_t vsyscall_entry;

static int setup_vsyscall(uint32_t n)
{
    (void)n;
    vsyscall_entry = (uint32_t)getauxval(AT_SYSINFO);
    return vsyscall_entry == 0;
}

static uint32_t run_vsyscall(uint32_t n)
{
    uint32_t r = 0;

    while (n--)
        __asm__ volatile("call *%1"
                         : "=a"(r)
                         : "m"(vsyscall_entry), "0"(SYS_getppid)
                         : "memory", "cc");
    return r != 0xffffffffu;
}

static uint32_t run_clock(uint32_t n)
{
    struct timespec ts;

    while (n--)
        clock_gettime(CLOCK_MONOTONIC, &ts);
    return 0;
}

static uint32_t run_nanosleep(uint32_t n)
{
    const struct timespec ts = {0, 1000000};

    while (n--)
        nanosleep(&ts, NULL);
    return 0;
}

/* ---- files ---- */

static int fd_a = -1;
static char buf[65536];
static char file[256];

static int setup_zero(uint32_t n)
{
    (void)n;
    fd_a = open("/dev/zero", O_RDONLY);
    return fd_a < 0;
}

static void close_a(void)
{
    close(fd_a);
}

static uint32_t run_zero(uint32_t n)
{
    uint32_t got = 0;

    while (n--)
        got += read(fd_a, buf, 4096);
    return got;
}

static int setup_cached(uint32_t n)
{
    (void)n;
    snprintf(file, sizeof(file), "%s/workloads.cached", opt_tmpdir);
    fd_a = open(file, O_CREAT | O_TRUNC | O_RDWR, 0600);
    if (fd_a < 0)
        return 1;
    for (int i = 0; i < 16; i++)
        if (write(fd_a, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
            die(file);
    return 0;
}

static void close_cached(void)
{
    close(fd_a);
    unlink(file);
}

static uint32_t run_pread(uint32_t n)
{
    uint32_t got = 0;

    for (uint32_t i = 0; i < n; i++)
        got += pread(fd_a, buf, 4096, (off_t)(i & 255) * 4096);
    return got;
}

static uint32_t run_create(uint32_t n)
{
    char name[256];
    int len = snprintf(name, sizeof(name), "%s/workloads.f", opt_tmpdir);

    for (uint32_t i = 0; i < n; i++) {
        int fd;

        name[len] = 'a' + (i & 15);
        name[len + 1] = 0;
        fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd < 0)
            die(name);
        close(fd);
        unlink(name);
    }
    return 0;
}

static uint32_t run_stat(uint32_t n)
{
    uint32_t ok = 0;

    while (n--)
        ok += access("/dev/null", R_OK) == 0;
    return ok;
}

/* ---- memory management ---- */

#define MMAP_PAGES 256

static uint32_t run_mmap(uint32_t n)
{
    while (n--) {
        volatile char *p = mmap(NULL, MMAP_PAGES * 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
            die("mmap");
        for (int i = 0; i < MMAP_PAGES; i++)
            p[i * 4096] = 1;
        munmap((void *)p, MMAP_PAGES * 4096);
    }
    return 0;
}

/* ---- signals ---- */

static volatile uint32_t hits;
static char *guarded;

static void on_usr1(int sig)
{
    (void)sig;
    hits++;
}

static uint32_t run_signal(uint32_t n)
{
    struct sigaction sa = {.sa_handler = on_usr1}, old;
    pid_t self = getpid();

    hits = 0;
    sigaction(SIGUSR1, &sa, &old);
    while (n--)
        kill(self, SIGUSR1);
    sigaction(SIGUSR1, &old, NULL);
    return hits;
}

static void on_segv(int sig)
{
    (void)sig;
    hits++;
    mprotect(guarded, 4096, PROT_READ | PROT_WRITE);
}

static uint32_t run_segv(uint32_t n)
{
    struct sigaction sa = {.sa_handler = on_segv}, old;

    guarded = map_pages(4096);
    hits = 0;
    sigaction(SIGSEGV, &sa, &old);
    while (n--) {
        mprotect(guarded, 4096, PROT_READ);
        *(volatile char *)guarded = 1;
    }
    sigaction(SIGSEGV, &old, NULL);
    munmap(guarded, 4096);
    return hits;
}

/* ---- processes ---- */

static void need(int ok, const char *what)
{
    if (!ok)
        die(what);
}

/* A token goes round a ring of processes joined by pipes; this process is one of them. */
static uint32_t ring(uint32_t rounds, int procs)
{
    int in, first, next[2];
    char c = 't';
    pid_t pid;

    need(pipe(next) == 0, "pipe");
    first = next[1];
    in = next[0];
    for (int i = 1; i < procs; i++) {
        need(pipe(next) == 0, "pipe");
        pid = fork();
        need(pid >= 0, "fork");
        if (!pid) {
            close(first);
            close(next[0]);
            while (read(in, &c, 1) == 1)
                if (write(next[1], &c, 1) != 1)
                    break;
            _exit(0);
        }
        close(in);
        close(next[1]);
        in = next[0];
    }
    while (rounds--) {
        need(write(first, &c, 1) == 1, "write");
        need(read(in, &c, 1) == 1, "read");
    }
    close(first);
    while (read(in, &c, 1) > 0)
        ;
    close(in);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return (uint32_t)procs;
}

static uint32_t run_pipe(uint32_t n)
{
    return ring(n, 2);
}
static uint32_t run_ctx8(uint32_t n)
{
    return ring(n, 8);
}

static uint32_t run_fork(uint32_t n)
{
    uint32_t bad = 0;

    while (n--) {
        int st;
        pid_t pid = fork();

        need(pid >= 0, "fork");
        if (!pid)
            _exit(0);
        need(waitpid(pid, &st, 0) == pid, "waitpid");
        bad += st != 0;
    }
    return bad;
}

static uint32_t run_exec(uint32_t n)
{
    uint32_t bad = 0;

    while (n--) {
        int st;
        pid_t pid = fork();

        need(pid >= 0, "fork");
        if (!pid) {
            execl(opt_busybox, "busybox", "true", (char *)NULL);
            _exit(127);
        }
        need(waitpid(pid, &st, 0) == pid, "waitpid");
        bad += st != 0;
    }
    return bad;
}

/* A shell script that forks and execs for every step, as start-up scripts do. */
static uint32_t run_shell(uint32_t n)
{
    char prog[256];
    int st;
    pid_t pid;

    snprintf(prog, sizeof(prog),
             "i=0; while [ $i -lt %u ]; do x=$(%s basename /a/b/c$i); i=$((i+1)); done", n,
             opt_busybox);
    pid = fork();
    need(pid >= 0, "fork");
    if (!pid) {
        execl(opt_busybox, "busybox", "sh", "-c", prog, (char *)NULL);
        _exit(127);
    }
    need(waitpid(pid, &st, 0) == pid, "waitpid");
    return (uint32_t)st;
}

const struct bench kern_benches[] = {
    {"getppid_int80", "call", 200000, run_int80, NULL, NULL, 0},
    {"getppid_vdso",         "call", 1000000, run_vsyscall, setup_vsyscall, NULL, 0},
    {"clock_gettime",           "call", 1000000, run_clock, NULL, NULL, 0},
    {"read_zero4k",              "call", 300000, run_zero, setup_zero, close_a, 0},
    {"pread4k",  "call", 300000, run_pread, setup_cached, close_cached, 0},
    {"access",        "call", 200000, run_stat, NULL, NULL, 0},
    {"create_unlink", "file", 40000, run_create, NULL, NULL, 0},
    {"mmap_touch",              "256 pages", 600, run_mmap, NULL, NULL, 0},
    {"signal", "kill+handler", 60000, run_signal, NULL, NULL, 0},
    {"segv",        "fault+handler", 40000, run_segv, NULL, NULL, 0},
    {"pipe_pp",           "round trip", 40000, run_pipe, NULL, NULL, 0},
    {"ctx8",              "8 switches", 8000, run_ctx8, NULL, NULL, 0},
    {"fork_exit",   "child", 1500, run_fork, NULL, NULL, 0},
    {"fork_exec",         "child", 600, run_exec, NULL, NULL, 0},
    {"shell",     "$(basename)", 300, run_shell, NULL, NULL, 0},
    {"nanosleep1ms",              "sleep", 200, run_nanosleep, NULL, NULL, 0},
    {0      }
};
