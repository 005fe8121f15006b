/* SPDX-License-Identifier: MIT */
/* lockstep_compare.c: are both processors alike, and if not, in what?
 *
 * Everything that a guest can see is compared, undefined flags included: both engines have them
 * from the host's own instructions. Exempt are
 *
 *   - the accessed bit of a paging-structure entry that a walk has set in this stretch: a TLB may
 *     spare the walk (SDM vol. 3, 4.10.2.3 and 4.10.4.3), and the engines' TLBs hold different
 *     entries. Where it is all that differs, the bit is set in both memories. The dirty bit may be
 *     missing on the translator's side for the same reason; the interpreter has no write in its
 * TLB, so where it has not set the bit nobody may. Both are counted in the statistics.
 *   - RF after a stretch of no instruction at all: entering translated code drops it, since the
 * next instruction would.
 *   - the x87 instruction and operand pointers (FIP, FDP, FOP): counted code does not tell them.
 */
#include "runtime/lockstep_state.h"

#include "runtime/fpu.h"
#include "runtime/phys.h"

#include <string.h>

#define MEMORY_LINES 16u

struct field {
    const char *name;
    uint16_t offset, size;
};

#define FIELD(name, member)                                                                        \
    {                                                                                              \
        name, offsetof(struct vcpu, member), sizeof(((struct vcpu *)0)->member)                    \
    }
#define SEGMENT(name, n)                                                                           \
    FIELD(name, seg[n].sel), FIELD(name " base", seg[n].base), FIELD(name " limit", seg[n].limit), \
        FIELD(name " attributes", seg[n].attr)
#define ST(n)                                                                                      \
    {                                                                                              \
        "ST" #n, offsetof(struct vcpu, fx.st[n]), 10                                               \
    }
static const struct field fields[] = {
    FIELD("EAX", gpr[R_EAX]),
    FIELD("ECX", gpr[R_ECX]),
    FIELD("EDX", gpr[R_EDX]),
    FIELD("EBX", gpr[R_EBX]),
    FIELD("ESP", gpr[R_ESP]),
    FIELD("EBP", gpr[R_EBP]),
    FIELD("ESI", gpr[R_ESI]),
    FIELD("EDI", gpr[R_EDI]),
    FIELD("EIP", eip),
    FIELD("EFLAGS", eflags),
    SEGMENT("ES", SEG_ES),
    SEGMENT("CS", SEG_CS),
    SEGMENT("SS", SEG_SS),
    SEGMENT("DS", SEG_DS),
    SEGMENT("FS", SEG_FS),
    SEGMENT("GS", SEG_GS),
    SEGMENT("LDTR", SEG_LDTR),
    SEGMENT("TR", SEG_TR),
    FIELD("GDTR base", gdtr.base),
    FIELD("GDTR limit", gdtr.limit),
    FIELD("IDTR base", idtr.base),
    FIELD("IDTR limit", idtr.limit),
    FIELD("CR0", cr0),
    FIELD("CR2", cr2),
    FIELD("CR3", cr3),
    FIELD("CR4", cr4),
    FIELD("EFER", efer),
    FIELD("PDPTE0", pdpte[0]),
    FIELD("PDPTE1", pdpte[1]),
    FIELD("PDPTE2", pdpte[2]),
    FIELD("PDPTE3", pdpte[3]),
    FIELD("DR0", dr[0]),
    FIELD("DR1", dr[1]),
    FIELD("DR2", dr[2]),
    FIELD("DR3", dr[3]),
    FIELD("DR6", dr[6]),
    FIELD("DR7", dr[7]),
    FIELD("CPL", cpl),
    FIELD("halted", halted),
    FIELD("waiting for SIPI", waits_for_sipi),
    FIELD("shutdown", shutdown),
    FIELD("NMI blocking", nmi_blocked),
    FIELD("interrupt shadow", shadow),
    FIELD("pending exception", exc.pending),
    FIELD("event under delivery", delivering),
    FIELD("pending debug trap", dr6_pending),
    FIELD("SYSENTER_CS", sysenter_cs),
    FIELD("SYSENTER_ESP", sysenter_esp),
    FIELD("SYSENTER_EIP", sysenter_eip),
    FIELD("APIC_BASE", apic_base),
    FIELD("PAT", pat),
    FIELD("TSC offset", tsc_offset),
    FIELD("TSC_ADJUST", tsc_adjust),
    FIELD("TSC_AUX", tsc_aux),
    FIELD("MTRR_DEF_TYPE", mtrr_def),
    FIELD("fixed MTRRs", mtrr_fixed),
    FIELD("variable MTRRs", mtrr_var),
    FIELD("MISC_ENABLE", misc_enable),
    FIELD("MCG_STATUS", mcg_status),
    FIELD("XMM0", fx.xmm[0]),
    FIELD("XMM1", fx.xmm[1]),
    FIELD("XMM2", fx.xmm[2]),
    FIELD("XMM3", fx.xmm[3]),
    FIELD("XMM4", fx.xmm[4]),
    FIELD("XMM5", fx.xmm[5]),
    FIELD("XMM6", fx.xmm[6]),
    FIELD("XMM7", fx.xmm[7]),
    FIELD("MXCSR", fx.mxcsr),
    FIELD("x87 control word", fx.fcw),
    FIELD("x87 status word", fx.fsw),
    FIELD("x87 tags in use", fx.ftw),
    ST(0),
    ST(1),
    ST(2),
    ST(3),
    ST(4),
    ST(5),
    ST(6),
    ST(7),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

/* --- states as a whole --- */

_Static_assert(offsetof(struct vcpu, eflags) == sizeof(uint32_t[9]), "the head is in one piece");
_Static_assert(offsetof(struct cpu_state, eflags) == sizeof(uint32_t[9]), "and so is its copy");
#define HEAD_SIZE sizeof(uint32_t[10])

void state_save(const struct vcpu *v, struct cpu_state *s)
{
    memcpy(s, v, HEAD_SIZE);
    s->fx = v->fx;
    memcpy(s->tail, (const uint8_t *)v + offsetof(struct vcpu, seg), STATE_TAIL);
}

void state_load(struct vcpu *v, const struct cpu_state *s)
{
    memcpy(v, s, HEAD_SIZE);
    v->fx = s->fx;
    memcpy((uint8_t *)v + offsetof(struct vcpu, seg), s->tail, STATE_TAIL);
    fpu_load(v);
}

static bool field_same(const struct field *f, const struct vcpu *a, const struct vcpu *b)
{
    return !memcmp((const uint8_t *)a + f->offset, (const uint8_t *)b + f->offset, f->size);
}

/* All bytes that make up the state, padding and pointers of the FPU included. */
static bool identical(const struct vcpu *a, const struct vcpu *b)
{
    return !memcmp(a, b, HEAD_SIZE) && !memcmp(&a->fx, &b->fx, sizeof(a->fx)) &&
           !memcmp(a->seg, b->seg, STATE_TAIL);
}

static bool processors_alike(struct vcpu *a, struct vcpu *b)
{
    struct cpu_state s;
    if (identical(a, b))
        return true;
    for (unsigned n = 0; n < FIELD_COUNT; n++)
        if (!field_same(&fields[n], a, b))
            return false;
    state_save(a, &s);
    state_load(b, &s);
    return true;
}

/* --- memory --- */

static uint8_t *page_of(const struct vcpu *v, uint64_t gfn)
{
    return gfn >> 20 ? NULL : phys_hva(v->machine->phys, (uint32_t)gfn);
}

static void merge_accessed(struct lockstep *ls, const struct walked *w)
{
    uint8_t *at_a = page_of(ls->a, w->gpa >> 12), *at_b = page_of(ls->b, w->gpa >> 12);
    uint64_t was_a = 0, was_b = 0;
    if (!at_a || !at_b)
        return;
    memcpy(&was_a, at_a + (w->gpa & 0xfff), w->size);
    memcpy(&was_b, at_b + (w->gpa & 0xfff), w->size);
    uint64_t differ = was_a ^ was_b, both = was_a | was_b;
    if (!differ || differ & ~(uint64_t)(PTE_A | PTE_D) || (differ & was_a & PTE_D))
        return;
    ls->machine->stats.lockstep_accessed += (differ & PTE_A) != 0;
    ls->machine->stats.lockstep_dirty += (differ & PTE_D) != 0;
    if (was_a != both)
        phys_write(ls->machine->phys, w->gpa, both, w->size);
    if (was_b != both)
        phys_write(ls->shadow.phys, w->gpa, both, w->size);
}

static bool stores_alike(struct lockstep *ls)
{
    struct log *g = &ls->log;
    for (unsigned n = 0; n < g->walked_count; n++)
        merge_accessed(ls, &g->walked[n]);
    for (unsigned n = 0; n < g->walked_count; n++) { /* what only a's walks have set */
        const struct walked *w = &g->walked[n];
        const uint8_t *at_a = page_of(ls->a, w->gpa >> 12), *at_b = page_of(ls->b, w->gpa >> 12);
        if (at_a && at_b && memcmp(at_a + (w->gpa & 0xfff), at_b + (w->gpa & 0xfff), w->size))
            return false;
    }
    for (size_t n = 0; n < g->store_count; n++) {
        const struct store *s = &g->stores[n];
        const uint8_t *at_a = page_of(ls->a, s->gfn), *at_b = page_of(ls->b, s->gfn);
        if (!at_a || memcmp(at_a + s->offset, at_b + s->offset, s->size))
            return false;
    }
    return true;
}

bool lockstep_alike(struct lockstep *ls)
{
    struct log *g = &ls->log;
    fpu_sync(ls->a);
    fpu_sync(ls->b);
    ls->machine->stats.lockstep_comparisons++;
    if (!ls->failed && ls->a_raised != ls->b_raised)
        snprintf(ls->why, sizeof(ls->why), "only the %s raised an exception (vector %u)",
                 ls->a_raised ? "translator" : "interpreter",
                 ls->a_raised ? ls->a_vector : ls->b_vector);
    else if (!ls->failed && g->b_at != g->event_count)
        log_tell_untaken(g, ls->why, sizeof(ls->why));
    if (g->out_of_memory)
        snprintf(ls->why, sizeof(ls->why), "out of memory for the record");
    if (*ls->why)
        ls->failed = true;
    return !ls->failed && processors_alike(ls->a, ls->b) && stores_alike(ls);
}

/* --- the report --- */

static void print_value(FILE *out, const struct vcpu *v, const struct field *f)
{
    const uint8_t *bytes = (const uint8_t *)v + f->offset;
    for (unsigned n = f->size; n-- > 0;)
        fprintf(out, "%02x", bytes[n]);
}

static void print_flags(FILE *out, uint32_t a, uint32_t b)
{
    static const struct {
        uint32_t bits;
        const char *name;
    } names[] = {
        {EFL_CF,   "CF"  },
        {EFL_PF,   "PF"  },
        {EFL_AF,   "AF"  },
        {EFL_ZF,   "ZF"  },
        {EFL_SF,   "SF"  },
        {EFL_TF,   "TF"  },
        {EFL_IF,   "IF"  },
        {EFL_DF,   "DF"  },
        {EFL_OF,   "OF"  },
        {EFL_IOPL, "IOPL"},
        {EFL_NT,   "NT"  },
        {EFL_RF,   "RF"  },
        {EFL_VM,   "VM"  },
        {EFL_AC,   "AC"  },
        {EFL_VIF,  "VIF" },
        {EFL_VIP,  "VIP" },
        {EFL_ID,   "ID"  },
    };
    for (unsigned n = 0; n < sizeof(names) / sizeof(names[0]); n++)
        if ((a ^ b) & names[n].bits)
            fprintf(out, "    flag %-14s %-20x %x\n", names[n].name,
                    (a & names[n].bits) >> __builtin_ctz(names[n].bits),
                    (b & names[n].bits) >> __builtin_ctz(names[n].bits));
}

void lockstep_report_fields(const struct lockstep *ls, FILE *out)
{
    for (unsigned n = 0; n < FIELD_COUNT; n++) {
        const struct field *f = &fields[n];
        if (field_same(f, ls->a, ls->b))
            continue;
        fprintf(out, "  %-20s ", f->name);
        print_value(out, ls->a, f);
        fprintf(out, "%*s ", f->size < 10 ? 20 - 2 * f->size : 1, "");
        print_value(out, ls->b, f);
        fputc('\n', out);
        if (f->offset == offsetof(struct vcpu, eflags))
            print_flags(out, ls->a->eflags, ls->b->eflags);
    }
}

/* One line for each eight bytes in which both memories differ in [gpa, gpa + n) of one page. */
static void report_bytes(const struct lockstep *ls, uint64_t gpa, uint32_t n, unsigned *lines,
                         FILE *out)
{
    const uint8_t *a = page_of(ls->a, gpa >> 12), *b = page_of(ls->b, gpa >> 12);
    for (uint32_t at = gpa & 0xfff, end = at + n; a && b && at < end; at += 8) {
        uint32_t count = end - at < 8 ? end - at : 8;
        if (!memcmp(a + at, b + at, count) || (*lines)++ >= MEMORY_LINES)
            continue;
        fprintf(out, "  memory %08llx     ", (unsigned long long)((gpa & ~0xfffull) + at));
        for (uint32_t k = 0; k < count; k++)
            fprintf(out, " %02x", a[at + k]);
        fprintf(out, "  |");
        for (uint32_t k = 0; k < count; k++)
            fprintf(out, " %02x", b[at + k]);
        fputc('\n', out);
    }
}

static void report_memory(const struct lockstep *ls, FILE *out)
{
    unsigned lines = 0;
    for (size_t n = 0; n < ls->log.store_count; n++) {
        const struct store *s = &ls->log.stores[n];
        report_bytes(ls, ((uint64_t)s->gfn << 12) + s->offset, s->size, &lines, out);
    }
    for (unsigned n = 0; n < ls->log.walked_count; n++)
        report_bytes(ls, ls->log.walked[n].gpa, ls->log.walked[n].size, &lines, out);
    int64_t other = lines ? -1 : phys_difference(ls->a->machine->phys, ls->b->machine->phys);
    if (other >= 0)
        report_bytes(ls, (uint64_t)other, 4096, &lines, out);
    if (lines > MEMORY_LINES)
        fprintf(out, "  and %u more lines of memory\n", lines - MEMORY_LINES);
}

void lockstep_report(struct lockstep *ls, const char *when, FILE *out)
{
    fprintf(out, "ringdown: lock step: the engines differ %s\n  after %llu instructions\n", when,
            (unsigned long long)ls->total);
    if (*ls->why)
        fprintf(out, "  %s\n", ls->why);
    fprintf(out, "  %-20s %-20s %s\n", "", "translator", "interpreter");
    lockstep_report_fields(ls, out);
    report_memory(ls, out);
}
