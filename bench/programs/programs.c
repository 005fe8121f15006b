/* SPDX-License-Identifier: MIT */
/*
 * Times programs of Debian's i386 packages: the same files, scripts and inputs in the guest and, in
 * a chroot of the same tree, directly on the host.
 *
 *   programs [-s DIV] [-l] [NAME...]
 *
 * Prints what bench/suite's driver prints: BEGIN name; RES name 0 iterations nanoseconds checksum;
 * DONE. A workload is a shell command with the number of iterations in $N, run in an empty
 * directory after its preparation, which is not timed; the checksum is of its output, with its exit
 * status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORK "/tmp/programs"
#define PY   "python3 -S -B /bench/work.py "

static const struct workload {
    const char *name, *unit, *prepare, *command;
    unsigned iterations;
} workloads[] = {
  /* clang-format off */
    {"py_start",   "interpreters started", NULL, "for i in $(seq $N); do python3 -S -B -c 'print(1)'; done", 10},
    {"py_objects", "rounds of method calls and attributes", NULL, PY "objects $N", 500},
    {"py_dicts",   "rounds of dictionaries, lists and sorting", NULL, PY "dicts $N", 500},
    {"py_text",    "rounds of strings, regular expressions, JSON", NULL, PY "text $N", 250},
    {"py_floats",  "rounds of a simulation in floats", NULL, PY "floats $N", 400},
    {"py_bignum",  "rounds of arithmetic on long integers", NULL, PY "bignum $N", 500},
    {"sql_insert", "thousands of rows", NULL, "sed \"s/@N@/$N/\" /bench/insert.sql | sqlite3 -batch new.db", 200},
    {"sql_query",  "rounds of joins and groups", "sed s/@N@/20/ /bench/insert.sql | sqlite3 -batch old.db",
     "for i in $(seq $N); do cat /bench/query.sql; done | sqlite3 -batch old.db", 8},
    {"ssl_sha256", "MiB", "seq 1 2000000 | head -c 8388608 >data", "for i in $(seq $((N / 8 + 1))); do openssl dgst -sha256 data; done", 256},
    {"ssl_aes",    "MiB", "seq 1 2000000 | head -c 8388608 >data",
     "for i in $(seq $((N / 8 + 1))); do openssl enc -aes-128-cbc -K 00 -iv 00 -in data 2>/dev/null | tail -c 16; done", 256},
    {"ssl_sha3",   "MiB", "seq 1 2000000 | head -c 2097152 >data", "for i in $(seq $((N / 2 + 1))); do openssl dgst -sha3-256 data; done", 32},
    {"ssl_prime",  "primality tests", NULL, "for i in $(seq $N); do openssl prime -checks 20 -hex $(cat /bench/prime); done", 4},
    {"gcc_O0",     "compilations, linked", "cp /bench/compiled.c .", "for i in $(seq $N); do gcc -O0 -o out compiled.c -lm; done; sha256sum out", 8},
    {"gcc_O2",     "compilations", "cp /bench/compiled.c .", "for i in $(seq $N); do gcc -O2 -c -o out.o compiled.c; done; sha256sum out.o", 6},
    {"objdump",    "runs over a program", NULL, "for i in $(seq $N); do objdump -d /usr/bin/bc; done | sha256sum", 12},
    {"bc",         "digits", NULL, "echo \"scale=$N; 4*a(1)\" | /usr/bin/bc -lq", 1600},
    {"bzip2",      "hundreds of KB", "seq 1 1000000 | head -c 6000000 >data", "head -c $((N * 100000)) data | bzip2 -9 | sha256sum", 15},
    {"bunzip2",    "hundreds of KB", "seq 1 1000000 | head -c $((N * 100000)) | bzip2 -9 >data", "bzip2 -dc data | sha256sum", 20},
    {"sort",       "thousands of lines", "seq 1 300000 | awk '{ print ($1 * 7919) % 1000003, $1 }' >data", "head -n $((N * 1000)) data | sort | sha256sum", 200},
  /* clang-format on */
};
#define COUNT (sizeof workloads / sizeof workloads[0])

static void need(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "programs: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* FNV-1a of what the command prints, and of its status. */
static uint32_t run(const char *command, int *status)
{
    unsigned char bytes[65536];
    uint32_t sum = 0x811c9dc5;
    int ends[2];
    ssize_t n;
    need(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl("/bin/busybox", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((n = read(ends[0], bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++)
            sum = (sum ^ bytes[i]) * 0x01000193;
    close(ends[0]);
    need(waitpid(pid, status, 0) == pid, "waitpid");
    return (sum ^ (uint32_t)*status) * 0x01000193;
}

static void measure(const struct workload *w, unsigned division)
{
    char number[16];
    unsigned n = w->iterations / division ? w->iterations / division : 1;
    int status;
    snprintf(number, sizeof number, "%u", n);
    setenv("N", number, 1);
    run("rm -rf " WORK, &status);
    need(mkdir(WORK, 0777) == 0 && chdir(WORK) == 0, WORK);
    printf("BEGIN %s\n", w->name);
    fflush(stdout);
    if (w->prepare) {
        run(w->prepare, &status);
        need(status == 0, w->prepare);
    }
    uint64_t start = now_ns();
    uint32_t sum = run(w->command, &status);
    uint64_t spent = now_ns() - start;
    if (status == 0)
        printf("RES %s 0 %u %llu %08x\n", w->name, n, (unsigned long long)spent, sum);
    else
        printf("FAILED %s with status %#x\n", w->name, status);
    fflush(stdout);
}

static int wanted(const char *name, char *const *patterns, int count)
{
    for (int i = 0; i < count; i++) {
        size_t length = strlen(patterns[i]);
        if (length && patterns[i][length - 1] == '=') {
            if (strlen(name) == length - 1 && !memcmp(name, patterns[i], length - 1))
                return 1;
        } else if (!strncmp(name, patterns[i], length)) {
            return 1;
        }
    }
    return count == 0;
}

/* The same everywhere: no colours, no chance; no instructions in OpenSSL that a 686 guest lacks. */
static void set_environment(void)
{
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    setenv("LC_ALL", "C", 1);
    setenv("HOME", "/tmp", 1);
    setenv("PYTHONHASHSEED", "0", 1);
    setenv("OPENSSL_CONF", "/bench/openssl.cnf", 1);
    setenv("OPENSSL_ia32cap", "~0x1000000000000000:0", 1);
    setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM", 1);
}

int main(int argc, char **argv)
{
    unsigned division = 1;
    int list = 0, c;
    while ((c = getopt(argc, argv, "s:l")) != -1) {
        if (c == 's')
            division = (unsigned)strtoul(optarg, NULL, 0);
        else if (c == 'l')
            list = 1;
        else
            return 2;
    }
    set_environment();
    for (size_t i = 0; i < COUNT; i++) {
        if (!wanted(workloads[i].name, argv + optind, argc - optind))
            continue;
        if (list)
            printf("%-18s %10u  %s\n", workloads[i].name, workloads[i].iterations,
                   workloads[i].unit);
        else
            measure(&workloads[i], division ? division : 1);
    }
    if (!list)
        puts("DONE");
    return 0;
}
