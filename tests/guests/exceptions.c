/* SPDX-License-Identifier: MIT */
/* exceptions.c: each exception with its error code, return address and priority, from CPL 0 and CPL
 * 3 (SDM vol. 3, chapter 6). */
#include "lib/guest.h"

#define AT   0 /* a fault: EIP of the instruction */
#define NEXT 1 /* a trap: EIP behind it */
#define K    1 /* from CPL 0 */
#define U    2 /* from CPL 3 */
#define Q    4 /* QEMU's TCG does it otherwise */

/* X(name, preparation, instruction, vector, error code, AT or NEXT, from which CPL) */
#define CASES(X)                                                                                   \
    X(de_div8, "movw $0x1234,%ax; movb $0,%cl", "divb %cl", VEC_DE, 0, AT, K | U)                  \
    X(de_div16, "movl $1,%edx; movl $1,%ecx", "divw %cx", VEC_DE, 0, AT, K | U)                    \
    X(de_div32, "movl $7,%edx; movl $7,%ecx", "divl %ecx", VEC_DE, 0, AT, K | U)                   \
    X(de_idiv32, "movl $0x80000000,%eax; cdq; movl $-1,%ecx", "idivl %ecx", VEC_DE, 0, AT, K | U)  \
    X(de_idiv8, "movw $0x8000,%ax; movb $-1,%cl", "idivb %cl", VEC_DE, 0, AT, K | U)               \
    X(de_aam, "", ".byte 0xd4,0", VEC_DE, 0, AT, K | U)                                            \
    X(de_mem, "xorl %edx,%edx", "divl zero_dword", VEC_DE, 0, AT, K | U)                           \
    X(db_int1, "", ".byte 0xf1", VEC_DB, 0, NEXT, K | U | Q)                                       \
    X(bp_int3, "", "int3", VEC_BP, 0, NEXT, K | U)                                                 \
    X(bp_int_3, "", ".byte 0xcd,3", VEC_BP, 0, NEXT, K | U)                                        \
    X(of_into, "movb $0x7f,%al; incb %al", "into", VEC_OF, 0, NEXT, K | U)                         \
    X(of_clear, "xorl %eax,%eax", "into", VEC_EXIT, 0, NEXT, K | U)                                \
    X(br_low, "movl $-11,%eax", "boundl %eax,bounds_dword", VEC_BR, 0, AT, K | U)                  \
    X(br_high, "movl $21,%eax", "boundl %eax,bounds_dword", VEC_BR, 0, AT, K | U)                  \
    X(br_inside, "movl $20,%eax", "boundl %eax,bounds_dword", VEC_EXIT, 0, NEXT, K | U)            \
    X(br_word, "movl $0x10014,%eax", "boundw %ax,bounds_word", VEC_EXIT, 0, NEXT, K | U)           \
    X(br_word_low, "movl $-12,%eax", "boundw %ax,bounds_word", VEC_BR, 0, AT, K | U)               \
    X(ud_ud2, "", "ud2", VEC_UD, 0, AT, K | U)                                                     \
    X(ud_ud1, "", ".byte 0x0f,0xb9,0xc0", VEC_UD, 0, AT, K | U)                                    \
    X(ud_lock_nop, "", ".byte 0xf0,0x90", VEC_UD, 0, AT, K | U)                                    \
    X(ud_lock_reg, "", ".byte 0xf0,0x01,0xc0", VEC_UD, 0, AT, K | U)                               \
    X(ud_lock_cmp, "", ".byte 0xf0,0x39,0x05; .long zero_dword", VEC_UD, 0, AT, K | U)             \
    X(ud_lock_cli, "", ".byte 0xf0,0xfa", VEC_UD, 0, AT, K | U | Q)                                \
    X(ud_mov_cs, "movl %ds,%eax", ".byte 0x8e,0xc8", VEC_UD, 0, AT, K | U)                         \
    X(ud_mov_seg6, "movl %ds,%eax", ".byte 0x8e,0xf0", VEC_UD, 0, AT, K | U)                       \
    X(ud_mov_from_seg7, "", ".byte 0x8c,0xf8", VEC_UD, 0, AT, K | U)                               \
    X(ud_lea_reg, "", ".byte 0x8d,0xc0", VEC_UD, 0, AT, K | U)                                     \
    X(ud_les_reg, "", ".byte 0xc4,0xc0,0x90,0x90", VEC_UD, 0, AT, K | U)                           \
    X(ud_lss_reg, "", ".byte 0x0f,0xb2,0xc0", VEC_UD, 0, AT, K | U)                                \
    X(ud_fe7, "", ".byte 0xfe,0xf8", VEC_UD, 0, AT, K | U)                                         \
    X(ud_ff7, "", ".byte 0xff,0xf8", VEC_UD, 0, AT, K | U)                                         \
    X(ud_c6_1, "", ".byte 0xc6,0xc8,1", VEC_UD, 0, AT, K | U | Q)                                  \
    X(ud_cmpxchg8b_reg, "", ".byte 0x0f,0xc7,0xc8", VEC_UD, 0, AT, K | U)                          \
    X(ud_bt_0, "", ".byte 0x0f,0xba,0xc0,1", VEC_UD, 0, AT, K | U)                                 \
    X(ud_far_jmp_reg, "", ".byte 0xff,0xe8", VEC_UD, 0, AT, K | U)                                 \
    X(ud_far_call_reg, "", ".byte 0xff,0xd8", VEC_UD, 0, AT, K | U)                                \
    X(ud_invlpg_reg, "", ".byte 0x0f,0x01,0xff", VEC_UD, 0, AT, K | U)                             \
    X(ud_0f0a, "", ".byte 0x0f,0x0a", VEC_UD, 0, AT, K | U)                                        \
    X(ud_0f04, "", ".byte 0x0f,0x04", VEC_UD, 0, AT, K | U)                                        \
    X(ud_mov_cr1, "", ".byte 0x0f,0x20,0xc8", VEC_UD, 0, AT, K)                                    \
    X(ud_mov_to_cr5, "", ".byte 0x0f,0x22,0xe8", VEC_UD, 0, AT, K)                                 \
    X(ud_vmcall, "", ".byte 0x0f,0x01,0xc1", VEC_UD, 0, AT, K | U)                                 \
    X(ud_rsm, "", "rsm", VEC_UD, 0, AT, K | U)                                                     \
    X(gp_length, "", ".fill 15,1,0x66; .byte 0x90", VEC_GP, 0, AT, K | U)                          \
    X(gp_length_ok, "", ".fill 14,1,0x66; .byte 0x90", VEC_EXIT, 0, NEXT, K | U)                   \
    X(gp_cli, "", "cli", VEC_GP, 0, AT, U)                                                         \
    X(gp_sti, "", "sti", VEC_GP, 0, AT, U)                                                         \
    X(gp_hlt, "", "hlt", VEC_GP, 0, AT, U)                                                         \
    X(gp_in, "movl $0x80,%edx", "inb %dx,%al", VEC_GP, 0, AT, U)                                   \
    X(gp_out, "", "outb %al,$0x80", VEC_GP, 0, AT, U)                                              \
    X(gp_insb, "movl $0x80,%edx; movl $user_stack,%edi", "insb", VEC_GP, 0, AT, U)                 \
    X(gp_outsd, "movl $0x80,%edx; movl $user_stack,%esi", "outsl", VEC_GP, 0, AT, U)               \
    X(gp_mov_cr0, "", "movl %cr0,%eax", VEC_GP, 0, AT, U)                                          \
    X(gp_to_cr0, "", "movl %eax,%cr0", VEC_GP, 0, AT, U)                                           \
    X(gp_mov_cr3, "", "movl %cr3,%eax", VEC_GP, 0, AT, U)                                          \
    X(gp_mov_dr7, "", "movl %dr7,%eax", VEC_GP, 0, AT, U)                                          \
    X(gp_to_dr0, "", "movl %eax,%dr0", VEC_GP, 0, AT, U)                                           \
    X(gp_lgdt, "", "lgdt zero_dword", VEC_GP, 0, AT, U)                                            \
    X(gp_lidt, "", "lidt zero_dword", VEC_GP, 0, AT, U)                                            \
    X(gp_lldt, "", "lldt %ax", VEC_GP, 0, AT, U)                                                   \
    X(gp_ltr, "", "ltr %ax", VEC_GP, 0, AT, U)                                                     \
    X(gp_clts, "", "clts", VEC_GP, 0, AT, U)                                                       \
    X(gp_lmsw, "", "lmsw %ax", VEC_GP, 0, AT, U)                                                   \
    X(gp_invlpg, "", "invlpg zero_dword", VEC_GP, 0, AT, U)                                        \
    X(gp_wbinvd, "", "wbinvd", VEC_GP, 0, AT, U)                                                   \
    X(gp_invd, "", "invd", VEC_GP, 0, AT, U)                                                       \
    X(gp_rdmsr, "movl $0x1b,%ecx", "rdmsr", VEC_GP, 0, AT, U)                                      \
    X(gp_wrmsr, "movl $0x10,%ecx", "wrmsr", VEC_GP, 0, AT, U)                                      \
    X(gp_sysexit, "", "sysexit", VEC_GP, 0, AT, U)                                                 \
    X(gp_int_dpl, "", "int $0x40", VEC_GP, 0x40 * 8 + 2, AT, U)                                    \
    X(gp_int_dpl0, "", "int $0", VEC_GP, 0 * 8 + 2, AT, U)                                         \
    X(gp_cr4_reserved, "movl %cr4,%eax; orl $0x80000000,%eax", "movl %eax,%cr4", VEC_GP, 0, AT,    \
      K | Q)                                                                                       \
    X(gp_cr0_pg, "movl $0x80000000,%eax", "movl %eax,%cr0", VEC_GP, 0, AT, K | Q)                  \
    X(gp_cr0_nw, "movl %cr0,%eax; orl $0x20000000,%eax; andl $0xbfffffff,%eax", "movl %eax,%cr0",  \
      VEC_GP, 0, AT, K | Q)                                                                        \
    X(gp_movaps, "movl $user_stack+4,%eax", "movaps (%eax),%xmm0", VEC_GP, 0, AT, K | U)           \
    X(gp_movdqa_store, "movl $user_stack+8,%eax", "movdqa %xmm0,(%eax)", VEC_GP, 0, AT, K | U)     \
    X(gp_addps, "movl $user_stack+1,%eax", "addps (%eax),%xmm0", VEC_GP, 0, AT, K | U)             \
    X(gp_fxsave, "movl $user_stack+8,%eax", "fxsave (%eax)", VEC_GP, 0, AT, K | U)                 \
    X(gp_ldmxcsr, "", "ldmxcsr bad_mxcsr", VEC_GP, 0, AT, K | U | Q)                               \
    X(movups_any, "movl $user_stack+3,%eax", "movups (%eax),%xmm0", VEC_EXIT, 0, NEXT, K | U)      \
    X(gp_ds_limit, "movl $0x10000,%eax; movl $0x43,%ecx; movl %ecx,%es", "movb %es:(%eax),%al",    \
      VEC_GP, 0, AT, K | U | Q)                                                                    \
    X(gp_null_seg, "xorl %ecx,%ecx; movl %ecx,%es", "movb %es:(%eax),%al", VEC_GP, 0, AT,          \
      K | U | Q)                                                                                   \
    X(gp_null_load, "movl $3,%ecx", "movl %ecx,%es", VEC_EXIT, 0, NEXT, K | U)                     \
    X(gp_sel_limit, "movl $0x203,%ecx", "movl %ecx,%es", VEC_GP, 0x200, AT, K | U)                 \
    X(gp_sel_ldt, "movl $0x7,%ecx", "movl %ecx,%es", VEC_GP, 0x4, AT, K | U)                       \
    X(gp_sel_tss, "movl $0x28,%ecx", "movl %ecx,%es", VEC_GP, 0x28, AT, K | U)                     \
    X(gp_sel_dpl, "movl $0x10,%ecx", "movl %ecx,%es", VEC_GP, 0x10, AT, U)                         \
    X(gp_sel_xonly, "movl $0x4b,%ecx", "movl %ecx,%es", VEC_GP, 0x48, AT, K | U)                   \
    X(np_sel, "movl $0x53,%ecx", "movl %ecx,%fs", VEC_NP, 0x50, AT, K | U)                         \
    X(np_pop, "pushl $0x53", "popl %gs", VEC_NP, 0x50, AT, K | U)                                  \
    X(ss_sel, "movl $0x53,%ecx", "movl %ecx,%ss", VEC_SS, 0x50, AT, U)                             \
    X(ss_null, "movl $3,%ecx", "movl %ecx,%ss", VEC_GP, 0, AT, K | U)                              \
    X(ss_rpl, "movl $0x20,%ecx", "movl %ecx,%ss", VEC_GP, 0x20, AT, K | U)                         \
    X(ss_code, "movl $0x1b,%ecx", "movl %ecx,%ss", VEC_GP, 0x18, AT, K | U)                        \
    X(ss_readonly, "movl $0x5b,%ecx", "movl %ecx,%ss", VEC_GP, 0x58, AT, U)                        \
    X(gp_write_ro, "movl $0x5b,%ecx; movl %ecx,%es", "movb %al,%es:user_stack", VEC_GP, 0, AT,     \
      K | U | Q)                                                                                   \
    X(gp_write_cs, "", "movb %al,%cs:user_stack", VEC_GP, 0, AT, K | U | Q)                        \
    X(gp_ret_far, "pushl $0x203; pushl $0", "lret", VEC_GP, 0x200, AT, K | U)                      \
    X(gp_jmp_far_null, "", ".byte 0xea; .long 0; .word 0", VEC_GP, 0, AT, K | U)                   \
    X(gp_jmp_far_data, "", ".byte 0xea; .long 0; .word 0x23", VEC_GP, 0x20, AT, K | U)             \
    X(np_jmp_far, "", ".byte 0xea; .long 0; .word 0x63", VEC_NP, 0x60, AT, U)                      \
    X(gp_iret_null, "pushfl; pushl $0; pushl $0", "iretl", VEC_GP, 0, AT, K | U)                   \
    X(ss_limit_push, "movl $0x43,%ecx; movl %ecx,%ss; movl $0x10003,%esp", "pushl %eax", VEC_SS,   \
      0, AT, U | Q)                                                                                \
    X(ss_limit_ebp, "movl $0x43,%ecx; movl %ecx,%ss; movl $0x10000,%ebp", "movl (%ebp),%eax",      \
      VEC_SS, 0, AT, U | Q)                                                                        \
    X(gp_limit_eax_ss, "movl $0x43,%ecx; movl %ecx,%es; movl $0xfffd,%ebp",                        \
      "movl %es:(%ebp),%eax", VEC_GP, 0, AT, U | Q)

CASES(CODE_OF)

static const struct fault_case {
    const char *name;
    const uint8_t *code, *at, *next;
    uint32_t vector, error, trap, rings;
} cases[] = {
#define ROW(name, pre, fault, vec, err, where, rings)                                              \
    {#name, name, name##_at, name##_next, vec, err, where, rings},
    CASES(ROW)
#undef ROW
};

int zero_dword __attribute__((used));
int bounds_dword[2] __attribute__((used)) = {-10, 20};
short bounds_word[2] __attribute__((used)) = {-10, 20};
uint32_t bad_mxcsr __attribute__((used)) = 0xffff0000;

/* Selectors 0x40 to 0x60, DPL 3. */
static void set_segments(void)
{
    gdt_set(0x40, descriptor(0, 0xffff, ACC_DATA | ACC_DPL(3), FLAG_D));
    gdt_set(0x48, descriptor(0, 0xfffff, 0x99 | ACC_DPL(3), FLAG_G | FLAG_D));
    gdt_set(0x50, descriptor(0, 0xfffff, 0x13 | ACC_DPL(3), FLAG_G | FLAG_D));
    gdt_set(0x58, descriptor(0, 0xfffff, 0x91 | ACC_DPL(3), FLAG_G | FLAG_D));
    gdt_set(0x60, descriptor(0, 0xfffff, 0x1b | ACC_DPL(3), FLAG_G | FLAG_D));
}

static const char *wrong_rf;

static void one_case(const struct fault_case *f, bool user)
{
    struct ctx c = user ? user_ctx(f->code) : kernel_ctx(f->code);
    trap_run(&c);
    const uint8_t *eip = f->vector == VEC_EXIT ? f->next + 2 : f->trap ? f->next : f->at;
    if (c.vector != f->vector || c.error != f->error || c.eip != (uint32_t)eip)
        fail("%s at CPL %d: vector %#x error %#x eip +%d, expected %#x %#x +%d", f->name, user * 3,
             c.vector, c.error, (int)c.eip - (int)f->code, f->vector, f->error, eip - f->code);
    else if (!(c.eflags & EFL_RF) != (f->trap || f->vector == VEC_EXIT))
        wrong_rf = f->name;
}

static void test_from(unsigned ring)
{
    set_segments();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (cases[i].rings & (ring ? U : K) && !(cases[i].rings & Q && on_qemu())) {
            if (cmdline_has("verbose"))
                print("%s\n", cases[i].name);
            one_case(&cases[i], ring);
        }
}
static void test_cpl0(void)
{
    test_from(0);
}
static void test_cpl3(void)
{
    test_from(3);
}
/* Faults push RF set, traps clear (SDM vol. 3, 17.3.1.1). */
static void test_rf(void)
{
    CHECK(!wrong_rf, "pushed RF is wrong for %s", wrong_rf);
}

/* --- a fault leaves registers, flags and memory as they were --- */
CODE(keep_div, "", "divl %ecx");
CODE(keep_pop, "", "popl (%eax)");
CODE(keep_xadd, "", "xaddl %ebx,%es:(%edx)");
CODE(keep_enter, "", "enter $8,$3");
CODE(keep_pusha, "", "pushal");
CODE(keep_popa, "", "popal");
CODE(keep_leave, "", "leave");
CODE(keep_call, "", "call *%es:(%edx)");
CODE(keep_ret, "", "ret");
CODE(keep_lodsl, "", "lodsl %es:(%esi)");
CODE(keep_cmpxchg, "", "cmpxchg %ebx,%es:(%edx)");
CODE(keep_shld, "", "shldl $3,%ebx,%es:(%edx)");
CODE(keep_adc, "", "adcl %ebx,%es:(%edx)");
CODE(keep_lss, "", "lss %es:(%edx),%esi");

enum { UNCHANGED_RMW = 1, UNCHANGED_LOW = 2, UNCHANGED_HIGH = 4, UNCHANGED_WRITE = 8 };
static const struct {
    const char *name;
    const uint8_t *code;
    unsigned how;
} unchanged[] = {
    {"pop mem", keep_pop, UNCHANGED_WRITE},
    {"xadd", keep_xadd, UNCHANGED_RMW},
    {"enter", keep_enter, UNCHANGED_LOW},
    {"pusha", keep_pusha, UNCHANGED_LOW},
    {"popa", keep_popa, UNCHANGED_HIGH},
    {"leave", keep_leave, UNCHANGED_HIGH},
    {"call mem", keep_call, 0},
    {"ret", keep_ret, UNCHANGED_HIGH},
    {"lods", keep_lodsl, 0},
    {"cmpxchg", keep_cmpxchg, UNCHANGED_RMW},
    {"shld", keep_shld, UNCHANGED_RMW},
    {"adc", keep_adc, UNCHANGED_RMW},
    {"lss", keep_lss, 0},
};

/* Faults by segment limits, or by absent pages 0x1600000 and 0x1602000. */
static void check_unchanged(bool paged)
{
    for (unsigned i = 0; i < sizeof unchanged / sizeof *unchanged; i++) {
        const char *name = unchanged[i].name;
        unsigned how = unchanged[i].how;
        struct ctx c = user_ctx(unchanged[i].code);
        uint32_t bad = paged ? 0x1601ffe : 0xffffe;
        c.ecx = 0, c.ebx = 0x12345678, c.edi = 0x3333;
        c.eax = c.edx = c.esi = bad;
        c.ebp = paged ? 0x1602000 : 0x1000;
        c.eflags |= EFL_ARITH;
        if (!paged)
            c.es = c.ds = 0x43;
        if (how & (UNCHANGED_LOW | UNCHANGED_HIGH)) {
            c.ss = paged ? UDS : 0x4b;
            c.esp = paged ? 0x1601000 : 0;
            c.esp += how & UNCHANGED_LOW ? 8 : unchanged[i].code == keep_popa ? 0xff0 : 0xffe;
        }
        struct ctx was = c;
        trap_run(&c);
        if (paged) {
            /* whether a read-modify-write reports its read or its write is not said */
            if (how & UNCHANGED_RMW)
                c.error |= PF_W;
            bool write = how & (UNCHANGED_RMW | UNCHANGED_LOW | UNCHANGED_WRITE);
            expect(&c, VEC_PF, PF_U | (write ? PF_W : 0), unchanged[i].code, name);
        } else {
            bool stack = how & (UNCHANGED_LOW | UNCHANGED_HIGH);
            expect(&c, stack ? VEC_SS : VEC_GP, 0, unchanged[i].code, name);
        }
        if (memcmp(&c.edi, &was.edi, 12) || memcmp(&c.ebx, &was.ebx, 32) || c.esp != was.esp ||
            c.ss != was.ss)
            fail("%s: a register changed (eax %#x ebp %#x esp %#x esi %#x edx %#x)", name, c.eax,
                 c.ebp, c.esp, c.esi, c.edx);
        if ((c.eflags & EFL_ARITH) != EFL_ARITH)
            fail("%s: flags changed to %#x", name, c.eflags);
    }
}

static void test_unchanged(void)
{
    gdt_set(0x40, descriptor(0, 0xfffff, ACC_DATA | ACC_DPL(3), FLAG_D));
    gdt_set(0x48, descriptor((uint32_t)user_stack, 0xfff, ACC_DATA | ACC_DPL(3), FLAG_D));
    if (!on_qemu())
        check_unchanged(false);
    for (int pae = 0; pae < 2; pae++) {
        paging_on(pae);
        pte_set(0x1600000, 0);
        pte_set(0x1602000, 0);
        check_unchanged(true);
        paging_off();
    }
    struct ctx c = user_ctx(keep_div);
    c.eflags |= EFL_ARITH;
    c.eax = 5, c.edx = 6;
    trap_run(&c);
    expect(&c, VEC_DE, 0, keep_div, "div");
    CHECK(c.eax == 5 && c.edx == 6, "div changed EAX or EDX");
}

/* --- device not available, floating-point and SIMD exceptions --- */
CODE(nm_fld, "", "fld1");
CODE(nm_fwait, "", "fwait");
CODE(nm_mmx, "", "emms");
CODE(nm_sse, "", "xorps %xmm0,%xmm0");
CODE(nm_fxsave, "", "fxsave fx_area");
CODE(nm_fnstsw, "", "fnstsw %ax");
CODE(nm_fld_bad, "", "fldl %es:(%edx)");
CODE(nm_ldmxcsr, "", "ldmxcsr mxcsr_default");
uint8_t fx_area[512] __attribute__((aligned(16), used));
uint32_t mxcsr_default __attribute__((used)) = 0x1f80;

static void fpu_case(const char *name, const uint8_t *code, uint32_t cr0_set, unsigned vector)
{
    uint32_t cr0 = READ_CR(0);
    for (int user = 0; user < 2; user++) {
        struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
        WRITE_CR(0, (cr0 & ~(CR0_EM | CR0_TS | CR0_MP)) | cr0_set);
        trap_run(&c);
        WRITE_CR(0, cr0);
        if (vector == VEC_EXIT)
            CHECK_EQ(c.vector, VEC_EXIT, name);
        else
            expect(&c, vector, 0, code, name);
    }
}

static void test_nm(void)
{
    static const struct {
        const char *name;
        const uint8_t *code;
        uint8_t ts, em, mp_ts, em_ts;
    } t[] = {
        {"fld", nm_fld, VEC_NM, VEC_NM, VEC_NM, VEC_NM},
        {"fwait", nm_fwait, VEC_EXIT, VEC_EXIT, VEC_NM, VEC_EXIT},
        {"emms", nm_mmx, VEC_NM, VEC_UD, VEC_NM, VEC_UD},
        {"xorps", nm_sse, VEC_NM, VEC_UD, VEC_NM, VEC_UD},
        {"fxsave", nm_fxsave, VEC_NM, VEC_NM, VEC_NM, VEC_NM},
        {"fnstsw", nm_fnstsw, VEC_NM, VEC_NM, VEC_NM, VEC_NM},
        {"ldmxcsr", nm_ldmxcsr, VEC_NM, VEC_UD, VEC_NM, VEC_UD},
    };
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        fpu_case(t[i].name, t[i].code, CR0_TS, t[i].ts);
        fpu_case(t[i].name, t[i].code, CR0_EM, t[i].em);
        fpu_case(t[i].name, t[i].code, CR0_MP | CR0_TS, t[i].mp_ts);
        fpu_case(t[i].name, t[i].code, CR0_EM | CR0_TS, t[i].em_ts);
        fpu_case(t[i].name, t[i].code, CR0_MP, VEC_EXIT);
    }
    uint32_t cr4 = READ_CR(4);
    WRITE_CR(4, cr4 & ~CR4_OSFXSR);
    fpu_case("xorps without OSFXSR", nm_sse, 0, VEC_UD);
    fpu_case("fxsave without OSFXSR", nm_fxsave, 0, VEC_EXIT);
    WRITE_CR(4, cr4);
    /* #NM comes before the fault on the operand */
    gdt_set(0x40, descriptor(0, 0xfff, ACC_DATA | ACC_DPL(3), FLAG_D));
    for (int ts = 0; ts < 2; ts++) {
        struct ctx c = user_ctx(nm_fld_bad);
        c.es = 0x43, c.edx = 0x1000;
        WRITE_CR(0, READ_CR(0) | (ts ? CR0_TS : 0));
        trap_run(&c);
        asm volatile("clts");
        expect(&c, ts ? VEC_NM : VEC_GP, 0, nm_fld_bad, "fld of a bad operand");
    }
}

CODE(mf_fdiv,
     "fninit; pushl $0x37b; fldcw (%esp); addl $4,%esp; fldz; fld1; fdivp %st,%st(1);"
     "movl $1,%eax; fnstsw %ax; fninit; fldcw cw_unmasked; fld1; fldz; fdivrp %st,%st(1); nop; "
     "fnstsw %ax",
     "fld1");
CODE(mf_fwait, "fninit; fldcw cw_unmasked; fld1; fldz; fdivrp %st,%st(1)", "fwait");
CODE(mf_mmx, "fninit; fldcw cw_unmasked; fld1; fldz; fdivrp %st,%st(1)", "movd %mm0,%eax");
CODE(mf_none, "fninit; fldcw cw_unmasked; fld1; fldz; fdivrp %st,%st(1); fnstsw %ax; fnclex; nop",
     "fwait");
CODE(mf_masked, "fninit; fld1; fldz; fdivrp %st,%st(1)", "fwait");
CODE(mf_restored, "fninit; fld1; fldz; fdivrp %st,%st(1); fldcw cw_unmasked", "fwait");
CODE(mf_store_first,
     "fninit; fldcw cw_unmasked; fld1; fldz; fdivrp %st,%st(1); xorl %eax,%eax; incl %eax",
     "fstl %es:(%edx)");
uint16_t cw_unmasked __attribute__((used)) = 0x37b;

static void test_mf(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *at;
        unsigned vector;
    } t[] = {{"fld1", mf_fdiv, mf_fdiv_at, VEC_MF},
             {"fwait", mf_fwait, mf_fwait_at, VEC_MF},
             {"movd", mf_mmx, mf_mmx_at, VEC_MF},
             {"fnclex", mf_none, mf_none_next + 2, VEC_EXIT},
             {"masked", mf_masked, mf_masked_next + 2, VEC_EXIT},
             {"unmasked later", mf_restored, mf_restored_at, VEC_MF},
             {"before the operand", mf_store_first, mf_store_first_at, VEC_MF}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (int user = 0; user < 2; user++) {
            struct ctx c = user ? user_ctx(t[i].code) : kernel_ctx(t[i].code);
            c.edx = 0x1000, c.es = user ? 0x43 : KDS;
            trap_run(&c);
            expect(&c, t[i].vector, 0, t[i].at, t[i].name);
            asm volatile("fninit");
        }
}

CODE(xm_divps, "ldmxcsr mxcsr_unmasked; xorps %xmm0,%xmm0; movups ones,%xmm1", "divps %xmm0,%xmm1");
CODE(xm_masked, "ldmxcsr mxcsr_default; xorps %xmm0,%xmm0; movups ones,%xmm1", "divps %xmm0,%xmm1");
CODE(xm_sqrtsd, "ldmxcsr mxcsr_unmasked; movups minus,%xmm1", "sqrtsd %xmm1,%xmm2");
uint32_t mxcsr_unmasked __attribute__((used)) = 0x1f80 & ~0x280;
float ones[4] __attribute__((used)) = {1, 1, 1, 1};
double minus[2] __attribute__((used)) = {-1, -1};

static void test_xm(void)
{
    uint32_t cr4 = READ_CR(4);
    for (int user = 0; user < 2; user++) {
        struct ctx c = user ? user_ctx(xm_divps) : kernel_ctx(xm_divps);
        trap_run(&c);
        expect(&c, VEC_XM, 0, xm_divps_at, "divps");
        c = user ? user_ctx(xm_sqrtsd) : kernel_ctx(xm_sqrtsd);
        trap_run(&c);
        expect(&c, VEC_XM, 0, xm_sqrtsd_at, "sqrtsd");
        c = user ? user_ctx(xm_masked) : kernel_ctx(xm_masked);
        trap_run(&c);
        expect(&c, VEC_EXIT, 0, xm_masked_next + 2, "masked divps");
        WRITE_CR(4, cr4 & ~CR4_OSXMMEXCPT);
        c = user ? user_ctx(xm_divps) : kernel_ctx(xm_divps);
        trap_run(&c);
        expect(&c, VEC_UD, 0, xm_divps_at, "divps without OSXMMEXCPT");
        WRITE_CR(4, cr4);
    }
    asm volatile("ldmxcsr mxcsr_default");
}

/* --- alignment check: CR0.AM, EFLAGS.AC, CPL 3 --- */
CODE(ac_word, "", "movw 1(%ebx),%ax");
CODE(ac_dword, "", "movl 2(%ebx),%eax");
CODE(ac_store, "", "movl %eax,1(%ebx)");
CODE(ac_qword, "", "fldl 4(%ebx)");
CODE(ac_push, "leal 2(%ebx),%esp", "pushl %eax");
CODE(ac_string, "leal 1(%ebx),%esi", "lodsl");
CODE(ac_byte, "", "movb 1(%ebx),%al");
CODE(ac_ok, "", "movl 4(%ebx),%eax");

static void test_ac(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *at;
        bool faults;
    } t[] = {{"word", ac_word, ac_word_at, true},    {"dword", ac_dword, ac_dword_at, true},
             {"store", ac_store, ac_store_at, true}, {"qword", ac_qword, ac_qword_at, true},
             {"push", ac_push, ac_push_at, true},    {"string", ac_string, ac_string_at, true},
             {"byte", ac_byte, ac_byte_at, false},   {"aligned", ac_ok, ac_ok_at, false}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (unsigned how = 0; how < 8; how++) {
            bool user = how & 1, am = how & 2, ac = how & 4;
            struct ctx c = user ? user_ctx(t[i].code) : kernel_ctx(t[i].code);
            c.ebx = ((uint32_t)user_stack + 64) & ~15u;
            c.eflags |= ac ? EFL_AC : 0;
            WRITE_CR(0, am ? READ_CR(0) | CR0_AM : READ_CR(0) & ~CR0_AM);
            trap_run(&c);
            asm volatile("fninit");
            if (user && am && ac && t[i].faults)
                expect(&c, VEC_AC, 0, t[i].at, t[i].name);
            else
                CHECK(c.vector == VEC_EXIT, "%s cpl %d am %d ac %d: vector %#x", t[i].name,
                      user * 3, am, ac, c.vector);
        }
    WRITE_CR(0, READ_CR(0) & ~CR0_AM);
}

/* --- fetches: page faults and limits at the end of what may be executed --- */
static void test_fetch(void)
{
    paging_on(false);
    uint32_t page = 0x1700000;
    pte_set(page + 4096, 0);
    for (unsigned have = 1; have < 7; have++)
        for (int user = 0; user < 2; user++) {
            /* movl $0x12345678,0x1700000 is 10 bytes; only `have` of them are there */
            static const uint8_t insn[10] = {0xc7, 5, 0, 0, 0x70, 1, 0x78, 0x56, 0x34, 0x12};
            uint8_t *at = (uint8_t *)page + 4096 - have;
            memcpy(at, insn, have);
            struct ctx c = user ? user_ctx(at) : kernel_ctx(at);
            trap_run(&c);
            expect(&c, VEC_PF, user ? PF_U : 0, at, "fetch over a page end");
            CHECK_EQ(c.cr2, page + 4096, "CR2");
        }
    /* an undefined opcode whose bytes are all there is #UD, not #PF */
    uint8_t *at = (uint8_t *)page + 4096 - 2;
    at[0] = 0x0f, at[1] = 0x0b;
    struct ctx c = user_ctx(at);
    trap_run(&c);
    expect(&c, VEC_UD, 0, at, "ud2 at a page end");
    /* a jump there faults at the target */
    CODE(jump_absent, "", "jmp 0x1701000");
    c = user_ctx(jump_absent);
    trap_run(&c);
    expect(&c, VEC_PF, PF_U, (void *)(page + 4096), "jump to an absent page");
    CODE(call_absent, "movl $0x1701000,%eax", "call *%eax");
    c = user_ctx(call_absent);
    uint32_t esp = c.esp;
    trap_run(&c);
    expect(&c, VEC_PF, PF_U, (void *)(page + 4096), "call of an absent page");
    CHECK_EQ(c.esp, esp - 4, "ESP after the call");
    CHECK_EQ(*(uint32_t *)(esp - 4), (uint32_t)call_absent_next, "return address");
    paging_off();
}

CODE(limit_code, "", "nop; nop; nop; nop");
CODE(limit_jump, "", "jmp 0x100000 + 0x10000");
static void test_code_limit(void)
{
    uint32_t base = (uint32_t)limit_code;
    for (unsigned have = 1; have < 5; have++) {
        gdt_set(0x40, descriptor(base, have - 1, 0xfb, FLAG_D));
        struct ctx c = user_ctx(0);
        c.cs = 0x43;
        trap_run(&c);
        expect(&c, VEC_GP, 0, (void *)have, "running past the code limit");
    }
    /* near transfers check the target and fault at the transfer, nothing pushed */
    static const uint8_t codes[][6] = {
        {0xe9, 0xfb, 0xff, 0, 0},      {0xe8, 0xfb, 0xff, 0, 0}, {0xff, 0xe0}, {0xff, 0xd0}, {0xc3},
        {0x0f, 0x84, 0xfa, 0xff, 0, 0}};
    uint8_t *room = (uint8_t *)0x1700000;
    gdt_set(0x40, descriptor((uint32_t)room, 0xfff, 0xfb, FLAG_D));
    for (unsigned i = 0; i < sizeof codes / 6; i++) {
        memcpy(room, codes[i], 6);
        struct ctx c = user_ctx(0);
        c.cs = 0x43, c.eax = 0x10000;
        c.eflags |= EFL_ZF;
        *(uint32_t *)c.esp = 0x10000;
        uint32_t esp = c.esp;
        trap_run(&c);
        expect(&c, VEC_GP, 0, 0, "transfer beyond the code limit");
        CHECK_EQ(c.esp, esp, "ESP");
    }
}

/* --- general protection by registers of the system --- */
CODE(pae_cr3, "", "movl %eax,%cr3");
CODE(wrmsr_code, "", "wrmsr");
CODE(rdmsr_code, "", "rdmsr");
static void test_system_gp(void)
{
    static uint64_t bad_pdpt[4] __attribute__((aligned(32))) = {0x1e7};
    paging_on(true);
    struct ctx c = kernel_ctx(pae_cr3);
    c.eax = (uint32_t)bad_pdpt;
    trap_run(&c);
    expect(&c, VEC_GP, 0, pae_cr3, "reserved bits in a PDPTE");
    CHECK_EQ(READ_CR(3), page_directory_address, "CR3");
    paging_off();
    c = kernel_ctx(wrmsr_code);
    c.ecx = MSR_EFER, c.edx = 1;
    trap_run(&c);
    expect(&c, VEC_GP, 0, wrmsr_code, "reserved bits of EFER");
}

static void test_msr_unknown(void)
{
    struct ctx c = kernel_ctx(rdmsr_code);
    c.ecx = 0x12345;
    trap_run(&c);
    expect(&c, VEC_GP, 0, rdmsr_code, "rdmsr of an unknown MSR");
    c = kernel_ctx(wrmsr_code);
    c.ecx = 0x12345;
    trap_run(&c);
    expect(&c, VEC_GP, 0, wrmsr_code, "wrmsr of an unknown MSR");
}

static const struct test tests[] = {
    {"cpl0", test_cpl0, NULL},
    {"cpl3", test_cpl3, NULL},
    {"rf", test_rf, "no RF in the flags that a fault pushes"},
    {"unchanged", test_unchanged, "POPA changes registers before it faults"},
    {"device_not_available", test_nm, "EMMS heeds neither CR0.EM nor CR0.TS"},
    {"x87_fault", test_mf, "x87 faults only at FWAIT"},
    {"simd_fault", test_xm, "no SIMD faults"},
    {"alignment", test_ac, "no alignment checks"},
    {"fetch", test_fetch, NULL},
    {"code_limit", test_code_limit, "!no segment limits"},
    {"system_gp", test_system_gp, "!PDPTEs are not checked"},
    {"msr_unknown", test_msr_unknown, "unknown MSRs are ignored"},
};

void guest_main(void)
{
    pic_init();
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR | CR4_OSXMMEXCPT);
    asm volatile("fninit");
    RUN_TESTS(tests);
}
