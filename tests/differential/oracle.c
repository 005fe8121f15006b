/* SPDX-License-Identifier: MIT */
/* oracle.c: case file -> the same with results, by the host's processor: a 32-bit process that lets
 * each case run into an exception, caught as a signal. `oracle CASES OUT`.
 *
 * The handler runs on a stack of its own and first restores GS, which the C library needs. */
#define _GNU_SOURCE
#include "tests/differential/case.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct {
    uint32_t gpr[8], eflags, eip;
} load __attribute__((used));
static uint32_t saved_esp __attribute__((used));
static uint16_t saved_gs __attribute__((used)), data_selector __attribute__((used));
static uint8_t fx_in[512] __attribute__((aligned(16), used));
static uint8_t fx_clean[512] __attribute__((aligned(16), used));
static struct case_result *out;
static uint32_t image[CASE_WINDOW / 4];
void oracle_enter(void);
void oracle_return(void);

/* Loads everything and jumps; the handler comes back to oracle_return. Registers are in the order
 * of the encoding: EAX ECX EDX EBX ESP EBP ESI EDI. */
__asm__(
    ".text\n"
    "oracle_enter: pushl %ebp; pushl %ebx; pushl %esi; pushl %edi; movl %esp,saved_esp\n"
    "movw %gs,saved_gs; movw data_selector,%ax; movw %ax,%fs; movw %ax,%gs\n"
    "fninit; fxrstor fx_in\n" /* AMD's processors do not load the x87 pointers */
    "pushl load+32; popfl\n"
    "movl load,%eax; movl load+4,%ecx; movl load+8,%edx; movl load+12,%ebx\n"
    "movl load+20,%ebp; movl load+24,%esi; movl load+28,%edi; movl load+16,%esp\n"
    "jmp *load+36\n"
    "oracle_return: movl saved_esp,%esp; pushl $0x202; popfl; movw saved_gs,%gs; fxrstor fx_clean\n"
    "popl %edi; popl %esi; popl %ebx; popl %ebp; ret\n"
    /* the handler's entry: AC and GS may be the case's */
    "oracle_signal: pushl $0x202; popfl; movw saved_gs,%gs; jmp on_signal\n");
void oracle_signal(int number, siginfo_t *info, void *context);
void on_signal(int number, siginfo_t *info, void *context);

__attribute__((used, no_stack_protector)) void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ucontext_t *u = context;
    greg_t *g = u->uc_mcontext.gregs;
    static const int order[8] = {REG_EAX, REG_ECX, REG_EDX, REG_EBX,
                                 REG_ESP, REG_EBP, REG_ESI, REG_EDI};
    for (unsigned i = 0; i < 8; i++)
        out->gpr[i] = (uint32_t)g[order[i]];
    out->vector = (uint32_t)g[REG_TRAPNO];
    out->error = (uint32_t)g[REG_ERR];
    out->cr2 = out->vector == 14 ? (uint32_t)u->uc_mcontext.cr2 : 0;
    out->eip = (uint32_t)g[REG_EIP];
    out->eflags = (uint32_t)g[REG_EFL];
    /* the FXSAVE image follows the FNSAVE image of the frame */
    memcpy(out->fx, (uint8_t *)u->uc_mcontext.fpregs + 112, sizeof out->fx);
    g[REG_EIP] = (greg_t)(uint32_t)oracle_return;
    g[REG_ESP] = (greg_t)saved_esp;
    g[REG_EFL] = 0x202;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void set_up(void)
{
    stack_t ss = {.ss_size = 65536};
    ss.ss_sp = mmap((void *)CASE_SIGNALS, ss.ss_size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    /* the kernel goes by ESP to tell whether it is on this stack already */
    if (ss.ss_sp == MAP_FAILED || sigaltstack(&ss, NULL))
        fail("sigaltstack");
    struct sigaction sa = {.sa_sigaction = oracle_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};
    for (unsigned i = 0; i < 5; i++)
        if (sigaction(signals[i], &sa, NULL))
            fail("sigaction");
    if (mmap((void *)CASE_CODE, CASE_CODE_PAGES * 4096, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1,
             0) == MAP_FAILED ||
        mmap((void *)CASE_DATA, CASE_WINDOW, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0) == MAP_FAILED)
        fail("mmap");
    __asm__ volatile("fninit; fxsave %0; movw %%ds,%1" : "=m"(fx_clean), "=m"(data_selector));
}

static void run(const struct test_case *c, struct case_result *r)
{
    uint32_t *window = (uint32_t *)CASE_DATA;
    for (unsigned i = 0; i < c->patches; i++)
        memcpy((uint8_t *)window + c->patch[i].off, &c->patch[i].value, 4);
    memcpy(load.gpr, c->gpr, sizeof load.gpr);
    load.eflags = c->eflags;
    load.eip = CASE_CODE + c->index % CASE_BATCH * CASE_SLOT + c->start;
    if (c->fpu_seed)
        case_fill_fx(c->fpu_seed, fx_in);
    else
        memcpy(fx_in, fx_clean, sizeof fx_in);
    out = r;
    oracle_enter();
    if (c->fpu_seed)
        case_fx_normalize(r->fx);
    else
        memset(r->fx, 0, sizeof r->fx);
    case_scan(r, window, image);
}

static void place(const struct test_case *c, unsigned n)
{
    mprotect((void *)CASE_CODE, CASE_CODE_PAGES * 4096, PROT_READ | PROT_WRITE);
    memset((void *)CASE_CODE, 0xf4, CASE_CODE_PAGES * 4096);
    for (unsigned i = 0; i < n; i++)
        memcpy((uint8_t *)CASE_CODE + c[i].index % CASE_BATCH * CASE_SLOT + c[i].start, c[i].code,
               c[i].length);
    if (mprotect((void *)CASE_CODE, CASE_CODE_PAGES * 4096, PROT_READ | PROT_EXEC))
        fail("mprotect");
}

int main(int argc, char **argv)
{
    FILE *f = argc == 3 ? fopen(argv[1], "rb") : NULL;
    struct case_file h;
    if (!f || fread(&h, sizeof h, 1, f) != 1 || h.magic != CASE_MAGIC)
        fail("usage: oracle CASES OUT");
    struct test_case *c = calloc(h.count, sizeof *c);
    struct case_result *r = calloc(h.count, sizeof *r);
    if (!c || !r || fread(c, sizeof *c, h.count, f) != h.count)
        fail(argv[1]);
    fclose(f);
    set_up();
    for (uint32_t i = 0; i < h.count; i++) {
        if (i % CASE_BATCH == 0) {
            uint32_t n = h.count - i < CASE_BATCH ? h.count - i : CASE_BATCH;
            place(c + i, n);
            case_fill(c[i].mem_seed, image, CASE_WINDOW / 4);
            memcpy((void *)CASE_DATA, image, CASE_WINDOW);
        }
        if (c[i].native)
            run(&c[i], &r[i]);
    }
    h.has_results = 1;
    f = fopen(argv[2], "wb");
    if (!f || fwrite(&h, sizeof h, 1, f) != 1 || fwrite(c, sizeof *c, h.count, f) != h.count ||
        fwrite(r, sizeof *r, h.count, f) != h.count || fclose(f))
        fail(argv[2]);
    return 0;
}
