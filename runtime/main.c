/* SPDX-License-Identifier: MIT */
/* main.c: the command line's first word -> the subcommand. */
#include "runtime/cli_run.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int print_help(int argc, char **argv);
static int print_version(int argc, char **argv);

static const struct subcommand {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} subcommands[] = {
    {"run",       "boot a kernel or a ROM image (ringdown run --help)", cli_run      },
    {"--help",    "this text",                                          print_help   },
    {"--version", "the version",                                        print_version},
};
#define SUBCOMMAND_COUNT (sizeof subcommands / sizeof subcommands[0])

static int print_help(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("usage: ringdown COMMAND [OPTION]...\n\n"
         "Runs unmodified 32-bit x86 kernels in an ordinary process, by binary translation.\n");
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
        printf("  %-12s %s\n", subcommands[i].name, subcommands[i].help);
    return STATUS_POWER_OFF;
}

static int print_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("ringdown " RINGDOWN_VERSION);
    return STATUS_POWER_OFF;
}

/* Whoever started us with a standard descriptor closed must not have it land on guest memory. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    if (argc < 2) {
        fputs("ringdown: no command given (ringdown --help)\n", stderr);
        return STATUS_USAGE;
    }
    for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
        if (!strcmp(argv[1], subcommands[i].name))
            return subcommands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "ringdown: %s: no such command (ringdown --help)\n", argv[1]);
    return STATUS_USAGE;
}
