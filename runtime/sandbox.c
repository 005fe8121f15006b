/* SPDX-License-Identifier: MIT */
/* sandbox.c: tables of admitted system calls -> a seccomp filter of the calling thread.
 *
 * A row admits a call, or a call whose arguments fulfil the row's conditions; several rows of one
 * call stand together and are alternatives. Conditions compare an argument's low 32 bits, which is
 * all that the kernel looks at in descriptors, protections, signals and ioctl requests; where one
 * forbids bits, those are low too. The program is the table in order, so the frequent calls stand
 * first. Whatever no row admits raises SIGSYS, whose handler says so and ends the process; calls in
 * another ABI (32-bit, x32) kill it.
 *
 * The order of the layers: no_new_privs (the other two need it), the limit on output, Landlock,
 * seccomp. Nothing here depends on the guest. */
#include "runtime/sandbox.h"

#include "runtime/console.h"

#include <asm/unistd.h>
#include <errno.h>
#include <dlfcn.h>
#include <gnu/lib-names.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define STATUS_REFUSED 1
#define FILTER_MAX     256u
#define X32_BIT        0x40000000u

enum test { TEST_NONE, TEST_EQUAL, TEST_NOT_EQUAL, TEST_CLEAR, TEST_OWN_PID };

struct rule {
    const char *name;
    int nr;
    struct condition {
        enum test test;
        unsigned arg;
        uint32_t value;
    } when[2];
};

#define ALLOW(call)                                                                                \
    {                                                                                              \
#call, __NR_##call,                                                                        \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define WHEN(call, arg, test, value)                                                               \
    {                                                                                              \
#call, __NR_##call,                                                                        \
        {                                                                                          \
            {                                                                                      \
                TEST_##test, arg, value                                                            \
            }                                                                                      \
        }                                                                                          \
    }
#define WHEN2(call, a, ta, va, b, tb, vb)                                                          \
    {                                                                                              \
#call, __NR_##call,                                                                        \
        {                                                                                          \
            {TEST_##ta, a, va},                                                                    \
            {                                                                                      \
                TEST_##tb, b, vb                                                                   \
            }                                                                                      \
        }                                                                                          \
    }

/* The vCPU's thread: shadow page tables, timers and sleep; memory of malloc(); then the end: the
 * report, the terminal, and the way out. */
static const struct rule vcpu_rules[] = {
    WHEN(mmap, 2, CLEAR, PROT_EXEC),
    WHEN(mprotect, 2, CLEAR, PROT_EXEC),
    ALLOW(rt_sigreturn),
    ALLOW(futex),
    ALLOW(timer_settime),
    ALLOW(write),
    WHEN(tgkill, 0, OWN_PID, 0),
    ALLOW(getpid),
    ALLOW(clock_gettime),
    ALLOW(munmap),
    ALLOW(madvise),
    ALLOW(mremap),
    ALLOW(brk),
    ALLOW(rt_sigprocmask),
    ALLOW(getrandom),
    ALLOW(restart_syscall),
    ALLOW(sysinfo), /* of qsort() in the library that gives code as text */
    ALLOW(read),
    ALLOW(pread64),
    ALLOW(lseek),
    ALLOW(ftruncate),
    ALLOW(close),
    ALLOW(sigaltstack),
    WHEN(rt_sigaction, 0, NOT_EQUAL, SIGSYS),
    ALLOW(timer_delete),
    ALLOW(gettid),
    WHEN2(ioctl, 0, EQUAL, STDIN_FILENO, 1, EQUAL, TCGETS),
    WHEN2(ioctl, 0, EQUAL, STDIN_FILENO, 1, EQUAL, TCSETS),
    WHEN2(ioctl, 0, EQUAL, STDIN_FILENO, 1, EQUAL, TIOCGPGRP),
    ALLOW(getpgrp),
    ALLOW(getrusage),
    ALLOW(mincore), /* the unwinder, of stack pages */
    ALLOW(exit_group),
    ALLOW(exit),
};

/* The serial port's thread (devices/chardev.c): its descriptors, the vCPU's kick, and its end. */
static const struct rule serial_rules[] = {
    ALLOW(poll),
    ALLOW(read),
    ALLOW(write),
    WHEN(tgkill, 0, OWN_PID, 0),
    ALLOW(getpid),
    ALLOW(futex),
    ALLOW(restart_syscall),
    ALLOW(clock_gettime),
    ALLOW(rt_sigreturn),
    ALLOW(rt_sigprocmask),
    ALLOW(madvise),
    WHEN2(ioctl, 0, EQUAL, STDIN_FILENO, 1, EQUAL, TCSETS),
    ALLOW(gettid),
    ALLOW(exit_group),
    ALLOW(exit),
};

/* --- table -> program --- */

struct program {
    struct sock_filter code[FILTER_MAX];
    unsigned length;
};

static void emit(struct program *p, uint16_t op, uint8_t if_true, uint8_t if_false, uint32_t k)
{
    if (p->length < FILTER_MAX)
        p->code[p->length] = (struct sock_filter){op, if_true, if_false, k};
    p->length++;
}

static void emit_load(struct program *p, size_t offset)
{
    emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void emit_return(struct program *p, uint32_t action)
{
    emit(p, BPF_RET | BPF_K, 0, 0, action);
}

/* Skips `skip` instructions if the condition does not hold. Two instructions. */
static void emit_condition(struct program *p, const struct condition *c, uint8_t skip)
{
    uint32_t value = c->test == TEST_OWN_PID ? (uint32_t)getpid() : c->value;
    emit_load(p, offsetof(struct seccomp_data, args) + 8 * c->arg);
    if (c->test == TEST_CLEAR)
        emit(p, BPF_JMP | BPF_JSET | BPF_K, skip, 0, value);
    else if (c->test == TEST_NOT_EQUAL)
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, skip, 0, value);
    else
        emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, skip, value);
}

/* With the call's number in A: returns if the row admits the call, else falls through with the
 * number in A again. */
static void emit_rule(struct program *p, const struct rule *r)
{
    unsigned count = 0;
    while (count < 2 && r->when[count].test)
        count++;
    uint8_t body = (uint8_t)(2 * count + 1 + (count ? 1 : 0));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, body, (uint32_t)r->nr);
    for (unsigned i = 0; i < count; i++)
        emit_condition(p, &r->when[i], (uint8_t)(2 * (count - 1 - i) + 1));
    emit_return(p, SECCOMP_RET_ALLOW);
    if (count)
        emit_load(p, offsetof(struct seccomp_data, nr));
}

static void make_program(struct program *p, const struct rule *rules, unsigned count)
{
    p->length = 0;
    emit_load(p, offsetof(struct seccomp_data, arch));
    emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
    emit_load(p, offsetof(struct seccomp_data, nr));
    emit(p, BPF_JMP | BPF_JSET | BPF_K, 0, 1, X32_BIT);
    emit_return(p, SECCOMP_RET_KILL_PROCESS);
    for (unsigned i = 0; i < count; i++)
        emit_rule(p, &rules[i]);
    emit_return(p, SECCOMP_RET_TRAP);
}

/* The filter may leave the processor's speculation as it is: side channels are not what it is
 * against, and older hosts would slow every load down. */
static int install_filter(const struct rule *rules, unsigned count)
{
    struct program p;
    make_program(&p, rules, count);
    if (p.length > FILTER_MAX)
        return -E2BIG;
    struct sock_fprog program = {(unsigned short)p.length, p.code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0)
        return -errno;
    return 0;
}

static unsigned count_calls(const struct rule *rules, unsigned count)
{
    unsigned calls = 0;
    for (unsigned i = 0; i < count; i++)
        calls += i == 0 || rules[i].nr != rules[i - 1].nr;
    return calls;
}

/* --- Landlock --- */

/* As in the kernel's headers, of which a build host may have an old version or none: every right
 * that each version of the interface knows is handled, and none is granted. */
static const struct {
    unsigned fs_rights, net_rights;
} landlock_versions[] = {
    {0,  0},
    {13, 0},
    {14, 0}, /* refer */
    {15, 0}, /* truncate */
    {15, 2}, /* bind, connect */
    {16, 2}, /* ioctl of devices */
};
#define LANDLOCK_NEWEST ((int)(sizeof landlock_versions / sizeof landlock_versions[0]) - 1)

struct landlock_attr {
    uint64_t handled_fs, handled_net;
};

#define NR_LANDLOCK_CREATE   444
#define NR_LANDLOCK_RESTRICT 446
#define LANDLOCK_VERSION     1u

/* The version now in force; 0 where the kernel has none, or has it switched off. */
static int restrict_files(uint32_t *version)
{
    long abi = syscall(NR_LANDLOCK_CREATE, NULL, 0, LANDLOCK_VERSION);
    *version = 0;
    if (abi <= 0)
        return 0;
    int known = abi < LANDLOCK_NEWEST ? (int)abi : LANDLOCK_NEWEST;
    struct landlock_attr attr = {(1ull << landlock_versions[known].fs_rights) - 1,
                                 (1ull << landlock_versions[known].net_rights) - 1};
    size_t size = attr.handled_net ? sizeof attr : sizeof attr.handled_fs;
    int fd = (int)syscall(NR_LANDLOCK_CREATE, &attr, size, 0);
    if (fd < 0)
        return -errno;
    int error = syscall(NR_LANDLOCK_RESTRICT, fd, 0) < 0 ? -errno : 0;
    close(fd);
    *version = error ? 0 : (uint32_t)abi;
    return error;
}

/* --- output --- */

static uint64_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

/* Writes beyond fail with EFBIG. What stood in a file before the run does not count. */
int sandbox_limit_output(void)
{
    uint64_t out = size_of(STDOUT_FILENO), err = size_of(STDERR_FILENO);
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
        return -errno;
    rlim_t wanted = (out > err ? out : err) + SANDBOX_OUTPUT_LIMIT;
    if (limit.rlim_cur <= wanted)
        return 0;
    limit.rlim_cur = wanted;
    return setrlimit(RLIMIT_FSIZE, &limit) < 0 ? -errno : 0;
}

/* --- violations --- */

static atomic_bool tolerant;

/* For the line only. */
static const struct {
    int nr;
    const char *name;
} notable[] = {
#define NOTABLE(call)                                                                              \
    {                                                                                              \
        __NR_##call, #call                                                                         \
    }
    NOTABLE(open),
    NOTABLE(openat),
    NOTABLE(openat2),
    NOTABLE(creat),
    NOTABLE(stat),
    NOTABLE(newfstatat),
    NOTABLE(unlink),
    NOTABLE(unlinkat),
    NOTABLE(rename),
    NOTABLE(socket),
    NOTABLE(connect),
    NOTABLE(sendto),
    NOTABLE(execve),
    NOTABLE(execveat),
    NOTABLE(fork),
    NOTABLE(vfork),
    NOTABLE(clone),
    NOTABLE(clone3),
    NOTABLE(kill),
    NOTABLE(ptrace),
    NOTABLE(mmap),
    NOTABLE(mprotect),
    NOTABLE(pkey_mprotect),
    NOTABLE(memfd_create),
    NOTABLE(ioctl),
    NOTABLE(prctl),
    NOTABLE(arch_prctl),
    NOTABLE(tgkill),
    NOTABLE(dup),
    NOTABLE(dup2),
    NOTABLE(pipe2),
    NOTABLE(fcntl),
    NOTABLE(shmat),
    NOTABLE(bpf),
    NOTABLE(userfaultfd),
    NOTABLE(process_vm_writev),
    NOTABLE(setrlimit),
    NOTABLE(prlimit64),
    NOTABLE(perf_event_open),
    NOTABLE(io_uring_setup),
#undef NOTABLE
};

static const char *call_name(int nr)
{
    for (size_t i = 0; i < sizeof notable / sizeof notable[0]; i++)
        if (notable[i].nr == nr)
            return notable[i].name;
    return "unnamed";
}

static void refused(int signo, siginfo_t *info, void *ucontext)
{
    greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
    (void)signo;
    if (atomic_load(&tolerant)) {
        regs[REG_RAX] = -EPERM;
        return;
    }
    char line[160];
    int n =
        snprintf(line, sizeof line,
                 "ringdown: sandbox: refused system call %d (%s) at %#llx; the run is over\n",
                 info->si_syscall, call_name(info->si_syscall), (unsigned long long)regs[REG_RIP]);
    console_restore_terminal();
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(STATUS_REFUSED);
    _exit(STATUS_REFUSED);
}

void sandbox_tolerate(bool on)
{
    atomic_store(&tolerant, on);
}

/* --- entering --- */

int sandbox_prepare(void)
{
    struct sigaction sa = {.sa_sigaction = refused, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&sa.sa_mask);
    sigemptyset(&ignore.sa_mask);
    /* The C library loads its unwinder at the first need; ending a thread is one. */
    (void)dlopen(LIBGCC_S_SO, RTLD_NOW | RTLD_GLOBAL);
    if (sigaction(SIGSYS, &sa, NULL) < 0 || sigaction(SIGXFSZ, &ignore, NULL) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

int sandbox_enter_vcpu(struct sandbox_report *report)
{
    const unsigned count = sizeof vcpu_rules / sizeof vcpu_rules[0];
    int error = sandbox_limit_output(); /* guest memory is a file too, and has its size by now */
    if (!error)
        error = restrict_files(&report->landlock);
    if (error)
        return error;
    report->calls = count_calls(vcpu_rules, count);
    return install_filter(vcpu_rules, count);
}

void sandbox_enter_serial(void)
{
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, SIGSYS); /* a blocked one would end the process without a word */
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    int error = install_filter(serial_rules, sizeof serial_rules / sizeof serial_rules[0]);
    if (!error)
        return;
    console_restore_terminal();
    dprintf(STDERR_FILENO, "ringdown: cannot enter the sandbox: %s\n", strerror(-error));
    _exit(STATUS_REFUSED);
}
