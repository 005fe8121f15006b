/* SPDX-License-Identifier: MIT */
/* Workloads that run a second program: busybox's sha256sum and gzip on generated files. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[256];

static void name_file(const char *leaf)
{
    snprintf(path, sizeof(path), "%s/%s", opt_tmpdir, leaf);
}

static int open_out(void)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    if (fd < 0)
        die(path);
    return fd;
}

static void put(int fd, const void *buf, size_t len)
{
    if (write(fd, buf, len) != (ssize_t)len)
        die(path);
}

static int setup_noise(uint32_t mib)
{
    static uint32_t block[16384];
    uint32_t seed = 88172645;
    int fd;

    name_file("workloads.noise");
    fd = open_out();
    for (uint32_t m = 0; m < mib * 16; m++) {
        for (size_t i = 0; i < 16384; i++)
            block[i] = xs32(&seed);
        put(fd, block, sizeof(block));
    }
    close(fd);
    return 0;
}

/*
 * English-looking text: words from a fixed syllable table, short ones far more
 * common than long ones, with sentences and line breaks.
 */
static int setup_text(uint32_t mib)
{
    static const char *const syl[32] = {
        "an", "the", "ra",  "to",  "in",   "er", "o",   "ment", "pro", "con", "li",
        "de", "re",  "ing", "al",  "is",   "a",  "ter", "ver",  "ta",  "men", "si",
        "ed", "ly",  "be",  "com", "tion", "un", "es",  "pre",  "el",  "ma",
    };
    static char block[65536 + 64];
    uint32_t seed = 521288629;
    size_t n = 0, total = 0, col = 0;
    unsigned words = 0;
    int fd;

    name_file("workloads.text");
    fd = open_out();
    while (total < (size_t)mib << 20) {
        uint32_t r = xs32(&seed), id;
        int parts;

        /* a skewed choice among 4096 words; the word's number spells it */
        id = (r & 0xfff) >> ((r >> 12 & 7) + (r >> 15 & 1));
        parts = id < 32 ? 1 : id < 512 ? 2 : 3;
        for (int k = 0; k < parts; k++) {
            const char *s = syl[(id * 7 + k * 11 + (id >> (5 * k))) & 31];
            size_t len = strlen(s);

            memcpy(block + n, s, len);
            n += len;
            col += len;
        }
        if (++words % 11 == 0 && (r >> 20 & 1))
            block[n++] = '.';
        if (col > 68) {
            block[n++] = '\n';
            col = 0;
        } else {
            block[n++] = ' ';
        }
        if (n >= 65536) {
            put(fd, block, n);
            total += n;
            n = 0;
        }
    }
    close(fd);
    return 0;
}

static void remove_file(void)
{
    unlink(path);
}

static uint32_t spawn(const char *const argv[])
{
    int st;
    pid_t pid = fork();

    if (pid < 0)
        die("fork");
    if (!pid) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, 0);
        dup2(null, 1);
        execv(opt_busybox, (char *const *)argv);
        _exit(127);
    }
    if (waitpid(pid, &st, 0) != pid)
        die("waitpid");
    return (uint32_t)st;
}

static uint32_t run_sha(uint32_t n)
{
    const char *argv[] = {"busybox", "sha256sum", path, NULL};

    (void)n;
    return spawn(argv);
}

static uint32_t run_gzip(uint32_t n)
{
    const char *argv[] = {"busybox", "gzip", "-9", "-c", path, NULL};

    (void)n;
    return spawn(argv);
}

static uint32_t run_awk(uint32_t n)
{
    char prog[128];
    const char *argv[] = {"busybox", "awk", prog, NULL};

    snprintf(prog, sizeof(prog),
             "BEGIN{for(i=0;i<%u;i++){a[i%%97]=a[i%%97] i;if(length(a[i%%97])>40)a[i%%97]=\"\"}}",
             n);
    return spawn(argv);
}

const struct bench ext_benches[] = {
    {"bb_sha256",  "MiB", 32, run_sha, setup_noise, remove_file, 0},
    {"bb_gzip9",          "MiB", 16, run_gzip, setup_text, remove_file, 0},
    {"bb_awk", "loop", 150000, run_awk, NULL, NULL, 0},
    {0          }
};
