/* SPDX-License-Identifier: MIT */
/* crash.c: a dead guest or a failed monitor -> a report on standard error.
 *
 * Runs at any moment, also from a signal handler when the monitor itself has failed: it allocates
 * nothing, raises nothing, reads guest memory by walks that change nothing, and writes with
 * dprintf(). Guest pointers are only ever handed to those walks. */
#define UNW_LOCAL_ONLY
#include "runtime/crash.h"

#include "runtime/bt.h"
#include "runtime/console.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"

#include <libunwind.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CODE_BEFORE   16
#define CODE_AFTER    16
#define MAX_FRAMES    32
#define RECENT_BLOCKS 16

static const char *const gpr_names[8] = {"EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"};
static const char *const seg_names[SEG_COUNT] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};

/* --- guest memory, without effects --- */

static bool peek8(struct vcpu *v, uint32_t la, uint8_t *out)
{
    struct walk w = mmu_walk(v, la, ACC_READ, false, false);
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
    dprintf(STDERR_FILENO, "  %s, CPL %u, paging %s%s%s\n", mode_name(v), v->cpl,
            v->cr0 & CR0_PG ? "on" : "off", v->cr0 & CR0_PG && v->cr4 & CR4_PAE ? ", PAE" : "",
            v->halted ? ", halted" : "");
    for (unsigned r = 0; r < 8; r++)
        dprintf(STDERR_FILENO, "%s%s=%08x%s", r & 3 ? " " : "  ", gpr_names[r], v->gpr[r],
                (r & 3) == 3 ? "\n" : "");
    dprintf(STDERR_FILENO, "  EIP=%08x EFLAGS=%08x IOPL=%u", v->eip, v->eflags, vcpu_iopl(v));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (v->eflags & flags[i].bit)
            dprintf(STDERR_FILENO, " %s", flags[i].name);
    dprintf(STDERR_FILENO, "\n  CR0=%08x CR2=%08x CR3=%08x CR4=%08x EFER=%03llx\n", v->cr0, v->cr2,
            v->cr3, v->cr4, (unsigned long long)v->efer);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        dprintf(STDERR_FILENO, "  %-4s %04x base %08x limit %08x attr %05x%s\n", seg_names[s],
                v->seg[s].sel, v->seg[s].base, v->seg[s].limit, v->seg[s].attr,
                v->seg[s].attr & SEG_ATTR_NULL ? " null" : "");
    dprintf(STDERR_FILENO, "  GDTR base %08x limit %04x   IDTR base %08x limit %04x\n",
            v->gdtr.base, v->gdtr.limit, v->idtr.base, v->idtr.limit);
    dprintf(STDERR_FILENO, "  last exception: vector %u, error code %x%s\n", v->exc.vector,
            v->exc.error, v->exc.has_error ? "" : " (none pushed)");
}

static void report_code(struct vcpu *v)
{
    uint32_t la = v->seg[SEG_CS].base + v->eip;
    dprintf(STDERR_FILENO, "  code:");
    for (int i = -CODE_BEFORE; i < CODE_AFTER; i++) {
        uint8_t byte;
        if (peek8(v, la + (uint32_t)i, &byte))
            dprintf(STDERR_FILENO, i ? " %02x" : " <%02x>", byte);
        else
            dprintf(STDERR_FILENO, i ? " \?\?" : " <\?\?>");
    }
    dprintf(STDERR_FILENO, "\n");
}

/* By EBP, as code that keeps frame pointers has it: [ebp] the caller's EBP, [ebp+4] its address. */
static void report_guest_stack(struct vcpu *v)
{
    uint32_t base = v->seg[SEG_SS].base, ebp = v->gpr[R_EBP], word;
    dprintf(STDERR_FILENO, "  stack at ESP:");
    for (unsigned i = 0; i < 8; i++)
        if (peek32(v, base + v->gpr[R_ESP] + 4 * i, &word))
            dprintf(STDERR_FILENO, " %08x", word);
    dprintf(STDERR_FILENO, "\n  guest backtrace by EBP: %08x", v->eip);
    for (unsigned depth = 0; depth < MAX_FRAMES; depth++) {
        uint32_t next, ret;
        if (!peek32(v, base + ebp, &next) || !peek32(v, base + ebp + 4, &ret) || !ret)
            break;
        dprintf(STDERR_FILENO, " %08x", ret);
        if (next <= ebp)
            break; /* frames lie one above the other */
        ebp = next;
    }
    dprintf(STDERR_FILENO, "\n");
}

static void report_blocks(const struct vcpu *v)
{
    uint32_t eips[RECENT_BLOCKS];
    unsigned n = v->bt ? bt_recent(v->bt, eips, RECENT_BLOCKS) : 0;
    if (!n)
        return;
    dprintf(STDERR_FILENO, "  last blocks dispatched, newest first:");
    for (unsigned i = 0; i < n; i++)
        dprintf(STDERR_FILENO, " %08x", eips[i]);
    dprintf(STDERR_FILENO, "\n");
}

static void report_monitor_stack(void)
{
    unw_context_t context;
    unw_cursor_t cursor;
    dprintf(STDERR_FILENO, "  monitor backtrace:\n");
    if (unw_getcontext(&context) || unw_init_local(&cursor, &context))
        return;
    for (unsigned depth = 0; depth < MAX_FRAMES; depth++) {
        unw_word_t ip, offset;
        char name[128];
        if (unw_get_reg(&cursor, UNW_REG_IP, &ip))
            break;
        if (unw_get_proc_name(&cursor, name, sizeof name, &offset))
            dprintf(STDERR_FILENO, "    %016llx\n", (unsigned long long)ip);
        else
            dprintf(STDERR_FILENO, "    %016llx %s+0x%llx\n", (unsigned long long)ip, name,
                    (unsigned long long)offset);
        if (unw_step(&cursor) <= 0)
            break;
    }
}

void crash_report(struct vcpu *v, const char *why)
{
    console_restore_terminal();
    dprintf(STDERR_FILENO, "ringdown: %s at %04x:%08x\n", why, v->seg[SEG_CS].sel, v->eip);
    report_registers(v);
    report_code(v);
    report_guest_stack(v);
    report_blocks(v);
    report_monitor_stack();
}
