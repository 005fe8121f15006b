/* SPDX-License-Identifier: MIT */
/*
 * What a context switch, a page fault and a fork cost while 1, 10, ... 500 processes are alive.
 *
 *   scale 1 10 50 ...     prints SCALE what processes nanoseconds, then DONE
 *
 * The processes stand in a ring joined by pipes; each keeps some pages of its own busy, so that
 * each switch finds a different address space that was used a while ago. Faults and forks are
 * measured in the first process while the others wait. Each is measured some times, and the best is
 * said, since whoever shares the machine only ever adds. One process has nobody to switch to: what
 * it shows as a switch is a pipe's own cost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    OWN_PAGES = 16,
    PAGE = 4096,
    FAULT_PAGES = 2048,
    FORKS = 60,
    SWITCHES = 4000,
    REPETITIONS = 3
};

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "scale: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Runs it some times; what the best one took, divided by count. */
static void say(const char *what, unsigned processes, unsigned count,
                void (*run)(unsigned processes, int in, int out), int in, int out)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < REPETITIONS; i++) {
        uint64_t start = now_ns();
        run(processes, in, out);
        uint64_t ns = now_ns() - start;
        best = ns < best ? ns : best;
    }
    printf("SCALE %s %u %llu\n", what, processes, (unsigned long long)(best / count));
    fflush(stdout);
}

static volatile char *own_pages(void)
{
    void *p =
        mmap(NULL, OWN_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED, "mmap");
    return p;
}

static void touch(volatile char *pages)
{
    for (int i = 0; i < OWN_PAGES; i++)
        pages[i * PAGE]++;
}

static void member(int in, int out)
{
    volatile char *pages = own_pages();
    char token;
    while (read(in, &token, 1) == 1) {
        touch(pages);
        if (write(out, &token, 1) != 1)
            break;
    }
    _exit(0);
}

/* Starts the ring but for its first member, this process; its ends are in[0] and out[0]. */
static void start_ring(unsigned processes, int *in, int *out)
{
    int next[2], previous;
    need(pipe(next) == 0, "pipe");
    *out = next[1];
    previous = next[0];
    for (unsigned i = 1; i < processes; i++) {
        need(pipe(next) == 0, "pipe");
        pid_t pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0) {
            close(*out);
            close(next[0]);
            member(previous, next[1]);
        }
        close(previous);
        close(next[1]);
        previous = next[0];
    }
    *in = previous;
}

static volatile char *mine;

static void pass_token(unsigned rounds, int in, int out)
{
    char token = 't';
    for (unsigned i = 0; i < rounds; i++) {
        touch(mine);
        need(write(out, &token, 1) == 1 && read(in, &token, 1) == 1, "ring");
    }
}

static unsigned ring_rounds(unsigned processes)
{
    return SWITCHES / processes + 2;
}

static void run_switches(unsigned processes, int in, int out)
{
    pass_token(ring_rounds(processes), in, out);
}

static void run_faults(unsigned processes, int in, int out)
{
    (void)processes, (void)in, (void)out;
    volatile char *p =
        mmap(NULL, FAULT_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED, "mmap");
    for (int i = 0; i < FAULT_PAGES; i++)
        p[i * PAGE] = 1;
    munmap((void *)p, FAULT_PAGES * PAGE);
}

static void run_forks(unsigned processes, int in, int out)
{
    (void)processes, (void)in, (void)out;
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0)
            _exit(0);
        need(waitpid(pid, NULL, 0) == pid, "waitpid");
    }
}

static void measure(unsigned processes)
{
    int in, out;
    char c;
    start_ring(processes, &in, &out);
    mine = own_pages();
    pass_token(1, in, out); /* touches everybody's pages for the first time */
    say("switch", processes, ring_rounds(processes) * processes, run_switches, in, out);
    run_faults(processes, in, out);
    say("fault", processes, FAULT_PAGES, run_faults, in, out);
    say("fork", processes, FORKS, run_forks, in, out);
    munmap((void *)mine, OWN_PAGES * PAGE);
    close(out);
    while (read(in, &c, 1) > 0)
        continue;
    close(in);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        unsigned processes = (unsigned)strtoul(argv[i], NULL, 10);
        if (processes)
            measure(processes);
    }
    puts("DONE");
    return 0;
}
