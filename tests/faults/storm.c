/* SPDX-License-Identifier: MIT */
/* storm.c: runs a command and sends it SIGALRM and SIGUSR1 in turn, at irregular moments, until it
 * ends; ends as it did.
 *
 *   storm MICROSECONDS FILE COMMAND...     pauses of up to twice MICROSECONDS, at least 20; the
 * number of signals sent goes to FILE */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 300 /* until the command has its handlers */

static void pause_ns(long ns)
{
    nanosleep(&(struct timespec){ns / 1000000000, ns % 1000000000}, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 125;
    long mean = strtol(argv[1], NULL, 10);
    unsigned long sent = 0;
    int status = 0;
    srand(1);
    pid_t pid = fork();
    if (pid < 0)
        return 125;
    if (!pid) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    pause_ns(GRACE_MS * 1000000l);
    while (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, sent++ & 1 ? SIGUSR1 : SIGALRM);
        pause_ns(20000 + rand() % (2 * mean + 1) * 1000);
    }
    FILE *f = fopen(argv[2], "w");
    if (f) {
        fprintf(f, "%lu\n", sent);
        fclose(f);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
