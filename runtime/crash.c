/* SPDX-License-Identifier: MIT */
/* crash.c: a dead guest or a failed monitor -> a report on standard error.
 *
 * Runs at any moment, also from a signal handler when the monitor itself has failed: it allocates
 * nothing, raises nothing, reads guest memory by walks that change nothing, and writes with
 * write(). Guest pointers are only ever handed to those walks. */
#define UNW_LOCAL_ONLY
#include "runtime/crash.h"

#include "runtime/bt.h"
#include "runtime/console.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "runtime/sandbox.h"
#include "runtime/symbols.h"

#include <errno.h>
#include <libunwind.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CODE_BEFORE   16
#define CODE_AFTER    16
#define MAX_FRAMES    32
#define RECENT_BLOCKS 16

static const char *const gpr_names[8] = {"EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"};
static const char *const seg_names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

/* Long enough for every piece of the report; standard I/O would ask for more than write(). */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t left = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    for (const char *at = text; left;) {
        ssize_t done = write(STDERR_FILENO, at, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return;
        at += done;
        left -= (size_t)done;
    }
}

/* --- guest memory, without effects --- */

static bool peek8(struct vcpu *v, uint32_t la, uint8_t *out)
{
    struct walk w = mmu_walk(v, la, ACC_READ, AS_OPEN, false);
    const uint8_t *page = w.ok && w.gpa >> 32 == 0 ? phys_hva(v->machine->phys, w.gpa >> 12) : NULL;
    if (!page)
        return false;
    *out = page[w.gpa & 0xfff];
    return true;
}

static bool peek32(struct vcpu *v, uint32_t la, uint32_t *out)
{
    *out = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint8_t byte;
        if (!peek8(v, la + i, &byte))
            return false;
        *out |= (uint32_t)byte << (8 * i);
    }
    return true;
}

/* --- the parts of the report --- */

static const char *mode_name(const struct vcpu *v)
{
    if (!vcpu_protected(v))
        return "real mode";
    if (vcpu_v86(v))
        return "virtual-8086 mode";
    return vcpu_code32(v) ? "32-bit protected mode" : "16-bit protected mode";
}

static void report_registers(const struct vcpu *v)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } flags[] = {
        {EFL_CF, "CF"},
        {EFL_PF, "PF"},
        {EFL_AF, "AF"},
        {EFL_ZF, "ZF"},
        {EFL_SF, "SF"},
        {EFL_TF, "TF"},
        {EFL_IF, "IF"},
        {EFL_DF, "DF"},
        {EFL_OF, "OF"},
        {EFL_NT, "NT"},
        {EFL_RF, "RF"},
        {EFL_VM, "VM"},
        {EFL_AC, "AC"}
    };
    say("  %s, CPL %u, paging %s%s%s\n", mode_name(v), v->cpl, v->cr0 & CR0_PG ? "on" : "off",
        v->cr0 & CR0_PG && v->cr4 & CR4_PAE ? ", PAE" : "", v->halted ? ", halted" : "");
    for (unsigned r = 0; r < 8; r++)
        say("%s%s=%08x%s", r & 3 ? " " : "  ", gpr_names[r], v->gpr[r], (r & 3) == 3 ? "\n" : "");
    say("  EIP=%08x EFLAGS=%08x IOPL=%u", v->eip, v->eflags, vcpu_iopl(v));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (v->eflags & flags[i].bit)
            say(" %s", flags[i].name);
    say("\n  CR0=%08x CR2=%08x CR3=%08x CR4=%08x EFER=%03llx\n", v->cr0, v->cr2, v->cr3, v->cr4,
        (unsigned long long)v->efer);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        say("  %-4s %04x base %08x limit %08x attr %05x%s\n", seg_names[s], v->seg[s].sel,
            v->seg[s].base, v->seg[s].limit, v->seg[s].attr,
            v->seg[s].attr & SEG_ATTR_NULL ? " null" : "");
    say("  GDTR base %08x limit %04x   IDTR base %08x limit %04x\n", v->gdtr.base, v->gdtr.limit,
        v->idtr.base, v->idtr.limit);
    say("  last exception: vector %u, error code %x%s\n", v->exc.vector, v->exc.error,
        v->exc.has_error ? "" : " (none pushed)");
}

static void report_code(struct vcpu *v)
{
    uint32_t la = v->seg[SEG_CS].base + v->eip;
    say("  code:");
    for (int i = -CODE_BEFORE; i < CODE_AFTER; i++) {
        uint8_t byte;
        if (peek8(v, la + (uint32_t)i, &byte))
            say(i ? " %02x" : " <%02x>", byte);
        else
            say(i ? " \?\?" : " <\?\?>");
    }
    say("\n");
}

/* By EBP, as code that keeps frame pointers has it: [ebp] the caller's EBP, [ebp+4] its address. */
static void report_guest_stack(struct vcpu *v)
{
    uint32_t base = v->seg[SEG_SS].base, ebp = v->gpr[R_EBP], word;
    say("  stack at ESP:");
    for (unsigned i = 0; i < 8; i++)
        if (peek32(v, base + v->gpr[R_ESP] + 4 * i, &word))
            say(" %08x", word);
    say("\n  guest backtrace by EBP: %08x", v->eip);
    for (unsigned depth = 0; depth < MAX_FRAMES; depth++) {
        uint32_t next, ret;
        if (!peek32(v, base + ebp, &next) || !peek32(v, base + ebp + 4, &ret) || !ret)
            break;
        say(" %08x", ret);
        if (next <= ebp)
            break; /* frames lie one above the other */
        ebp = next;
    }
    say("\n");
}

static void report_blocks(const struct vcpu *v)
{
    uint32_t eips[RECENT_BLOCKS];
    unsigned n = v->bt ? bt_recent(v->bt, eips, RECENT_BLOCKS) : 0;
    if (!n)
        return;
    say("  last blocks dispatched, newest first:");
    for (unsigned i = 0; i < n; i++)
        say(" %08x", eips[i]);
    say("\n");
}

static void report_monitor_stack(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    say("  monitor backtrace:\n");
    if (unw_getcontext(&context) || unw_init_local(&cursor, &context))
        return;
    for (unsigned depth = 0; depth < MAX_FRAMES; depth++) {
        unw_word_t ip;
        uint64_t offset;
        if (unw_get_reg(&cursor, UNW_REG_IP, &ip))
            break;
        const char *name = symbols_find(ip, &offset);
        if (!name)
            say("    %016llx\n", (unsigned long long)ip);
        else
            say("    %016llx %s+0x%llx\n", (unsigned long long)ip, name,
                (unsigned long long)offset);
        if (unw_step(&cursor) <= 0)
            break;
    }
}

_Noreturn void crash_host_refused(const char *what, int error)
{
    console_restore_terminal();
    say("ringdown: %s: the host says: %s\n", what, strerror(-error));
    _exit(1);
}

void crash_prepare(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    symbols_load();
    if (unw_getcontext(&context) == 0 && unw_init_local(&cursor, &context) == 0)
        (void)unw_step(&cursor);
}

void crash_report(struct vcpu *v, const char *why)
{
    sandbox_tolerate(true); /* the unwinder may ask for what there no longer is */
    console_restore_terminal();
    say("ringdown: %s at %04x:%08x\n", why, v->seg[SEG_CS].sel, v->eip);
    report_registers(v);
    report_code(v);
    report_guest_stack(v);
    report_blocks(v);
    report_monitor_stack();
    sandbox_tolerate(false);
}
