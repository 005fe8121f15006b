/* SPDX-License-Identifier: MIT */
/* Every form of memory operand on a device's registers, in both engines: which accesses the device
 * sees, in which order and width, each once; and that the instruction does what it does in memory.
 *
 * The device is 512 bytes that hold what is written, and logs. "r4 0" is a read of four bytes at
 * its start. Each piece of code runs with EBX at the device, ESI at memory, EDI at the device +
 * 40h. */
#include "boot_image.h"

#include "devices/device.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"

#include <stdio.h>

#define DEVICE   0xfd000000u
#define MEMORY   0x300000u
#define CODE_GPA 0x100080u
#define LOG_MAX  2000

static struct {
    uint8_t bytes[512];
    char log[LOG_MAX];
} device;

static void note(char kind, uint32_t off, unsigned size)
{
    size_t n = strlen(device.log);
    snprintf(device.log + n, sizeof device.log - n, "%s%c%u %x", n ? ", " : "", kind, size, off);
}

static uint32_t device_read(void *dev, uint32_t off, unsigned size)
{
    uint32_t value = 0;
    (void)dev;
    note('r', off, size);
    memcpy(&value, device.bytes + off, size);
    return value;
}

static void device_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    (void)dev;
    note('w', off, size);
    memcpy(device.bytes + off, &value, size);
}

static const struct io_ops ops = {device_read, device_write, 4};

/* X(name, code, what the device sees; NULL: the same in both engines) */
#define FORMS(X)                                                                                   \
    X(mov_load_1, "movb (%ebx),%al", "r1 0")                                                       \
    X(mov_load_2, "movw 2(%ebx),%ax", "r2 2")                                                      \
    X(mov_load_4, "movl 4(%ebx),%eax", "r4 4")                                                     \
    X(mov_store_1, "movb %ah,3(%ebx)", "w1 3")                                                     \
    X(mov_store_2, "movw %ax,6(%ebx)", "w2 6")                                                     \
    X(mov_store_4, "movl %eax,8(%ebx)", "w4 8")                                                    \
    X(mov_imm, "movl $0x12345678,(%ebx)", "w4 0")                                                  \
    X(mov_moffs, "movl 0xfd000010,%eax; movb %al,0xfd000015", "r4 10, w1 15")                      \
    X(movzx, "movzbl 1(%ebx),%eax; movswl 2(%ebx),%ecx", "r1 1, r2 2")                             \
    X(add_to, "addl %eax,(%ebx)", "r4 0, w4 0")                                                    \
    X(add_from, "addl (%ebx),%eax", "r4 0")                                                        \
    X(cmp, "cmpb $3,5(%ebx)", "r1 5")                                                              \
    X(test, "testw %ax,4(%ebx)", "r2 4")                                                           \
    X(inc, "incb (%ebx)", "r1 0, w1 0")                                                            \
    X(not, "notl 4(%ebx)", "r4 4, w4 4")                                                           \
    X(shl, "shll $3,4(%ebx)", "r4 4, w4 4")                                                        \
    X(shld, "shldl $3,%eax,4(%ebx)", "r4 4, w4 4")                                                 \
    X(mul, "mull 4(%ebx)", "r4 4")                                                                 \
    X(setcc, "setc 9(%ebx)", "w1 9")                                                               \
    X(cmov, "cmovcl 4(%ebx),%eax; cmovncl 8(%ebx),%eax", "r4 4, r4 8")                             \
    X(bt_bit, "btl $37,(%ebx)", "r4 0")                                                            \
    X(bts_far, "movl $37,%ecx; btsl %ecx,(%ebx)", "r4 4, w4 4")                                    \
    X(lock_add, "lock addl $1,(%ebx)", "r4 0, w4 0")                                               \
    X(lock_bts, "lock btsl $3,(%ebx)", "r4 0, w4 0")                                               \
    X(xchg, "xchgl %eax,(%ebx)", "r4 0, w4 0")                                                     \
    X(xchg_1, "xchgb %al,7(%ebx)", "r1 7, w1 7")                                                   \
    X(xadd, "lock xaddl %eax,(%ebx)", "r4 0, w4 0")                                                \
    X(cmpxchg_equal, "movl (%esi),%eax; lock cmpxchgl %ecx,(%ebx)", "r4 0, w4 0")                  \
    X(cmpxchg_other, "movl $1,%eax; lock cmpxchgl %ecx,(%ebx)", "r4 0, w4 0")                      \
    X(cmpxchg8b, "lock cmpxchg8b (%ebx)", "r4 0, r4 4, w4 0, w4 4")                                \
    X(movs_from, "movl %ebx,%esi; movl $0x300100,%edi; movl $3,%ecx; rep movsl",                   \
      "r4 0, r4 4, r4 8")                                                                          \
    X(movs_to, "movl $3,%ecx; rep movsw", "w2 40, w2 42, w2 44")                                   \
    X(movs_down, "std; movl $3,%ecx; rep movsb; cld", "w1 40, w1 3f, w1 3e")                       \
    X(movs_within, "movl %ebx,%esi; movl $2,%ecx; rep movsl", "r4 0, w4 40, r4 4, w4 44")          \
    X(movs_single, "movsb; movsl", "w1 40, w4 41")                                                 \
    X(stos, "movl $2,%ecx; rep stosl", "w4 40, w4 44")                                             \
    X(lods, "movl %ebx,%esi; lodsw; movl $2,%ecx; rep lodsb", "r2 0, r1 2, r1 3")                  \
    X(scas, "movl $0x99,%eax; movl $3,%ecx; repne scasb", "r1 40, r1 41, r1 42")                   \
    X(cmps, "movl $2,%ecx; movl $0x300040,%esi; repe cmpsl", "r4 40, r4 44")                       \
    X(ins, "movl $0x80,%edx; insb", "w1 40")                                                       \
    X(outs, "movl %ebx,%esi; movl $0x80,%edx; movl $2,%ecx; rep outsb", "r1 0, r1 1")              \
    X(xlat, "movl $5,%eax; xlatb", "r1 5")                                                         \
    X(push, "leal 0x20(%ebx),%esp; pushl %eax; pushw %cx; push $1", "w4 1c, w2 1a, w4 16")         \
    X(push_mem, "pushl 8(%ebx)", "r4 8")                                                           \
    X(pop, "movl %ebx,%esp; popl %eax; popw %cx", "r4 0, r2 4")                                    \
    X(pop_mem, "pushl $1; popl 4(%ebx)", "w4 4")                                                   \
    X(pusha, "leal 0x20(%ebx),%esp; pushal", "w4 1c, w4 18, w4 14, w4 10, w4 c, w4 8, w4 4, w4 0") \
    X(popa, "movl %esp,0x300200; movl %ebx,%esp; popal",                                           \
      "r4 0, r4 4, r4 8, r4 10, r4 14, r4 18, r4 1c")                                              \
    X(call_ret, "leal 0x20(%ebx),%esp; call 1f; jmp 2f; 1: ret; 2:", "w4 1c, r4 1c")               \
    X(enter, "leal 0x20(%ebx),%esp; enter $8,$0; leave", "w4 1c, r4 1c")                           \
    X(pushf, "leal 0x20(%ebx),%esp; pushfl; popfl", "w4 1c, r4 1c")                                \
    X(sgdt, "sgdt 8(%ebx)", "w2 8, w4 a")                                                          \
    X(smsw, "smsw 8(%ebx)", "w2 8")                                                                \
    X(bound, "movl $0,%eax; movl $0x7f000000,0x300104; movl $0,0x300100; bound %eax,0x300100", "") \
    X(fld_4, "flds 4(%ebx)", "r4 4")                                                               \
    X(fld_8, "fldl 8(%ebx)", "r4 8, r4 c")                                                         \
    X(fld_10, "fldt (%ebx)", "r4 0, r4 4, r2 8")                                                   \
    X(fst_4, "fld1; fstps 4(%ebx)", "w4 4")                                                        \
    X(fst_8, "fld1; fstpl (%ebx)", "w4 0, w4 4")                                                   \
    X(fst_10, "fld1; fstpt (%ebx)", "w4 0, w4 4, w2 8")                                            \
    X(fild, "filds 2(%ebx); fildll 8(%ebx)", "r2 2, r4 8, r4 c")                                   \
    X(fist, "fld1; fistps 2(%ebx)", "w2 2")                                                        \
    X(fstcw, "fnstcw 2(%ebx)", "w2 2")                                                             \
    X(movd, "movd 4(%ebx),%mm0; movd %mm0,8(%ebx); emms", "r4 4, w4 8")                            \
    X(movq, "movq 8(%ebx),%mm0; movq %mm0,0x10(%ebx); emms", "r4 8, r4 c, w4 10, w4 14")           \
    X(movss, "movss 4(%ebx),%xmm0; movss %xmm0,8(%ebx)", "r4 4, w4 8")                             \
    X(movsd, "movsd 8(%ebx),%xmm0; movsd %xmm0,0x10(%ebx)", "r4 8, r4 c, w4 10, w4 14")            \
    X(movups, "movups (%ebx),%xmm0", "r4 0, r4 4, r4 8, r4 c")                                     \
    X(movaps, "movaps %xmm0,0x10(%ebx)", "w4 10, w4 14, w4 18, w4 1c")                             \
    X(paddd, "paddd (%ebx),%xmm1", "r4 0, r4 4, r4 8, r4 c")                                       \
    X(movnti, "movnti %eax,4(%ebx)", "w4 4")                                                       \
    X(ldmxcsr, "movl $0x1f80,(%ebx); ldmxcsr (%ebx); stmxcsr 4(%ebx)", "w4 0, r4 0, w4 4")         \
    X(lea_nothing, "leal 8(%ebx),%eax; prefetcht0 (%ebx); nopl (%ebx)", "")                        \
    X(unaligned, "movl 1(%ebx),%eax; movw %ax,3(%ebx)", "r4 1, w2 3")                              \
    X(lds, "movl $0x1234,(%ebx); movw %ds,4(%ebx); lds (%ebx),%eax", "w4 0, w2 4, r4 0, r2 4")     \
    X(lgdt, "sgdt (%ebx); lgdt (%ebx)", "w2 0, w4 2, r2 0, r4 2")                                  \
    X(far_return, "leal 0x20(%ebx),%esp; pushl %cs; call 1f; jmp 2f; 1: lretl; 2:",                \
      "w2 1c, w4 18, r4 18, r4 1c")                                                                \
    X(descriptor,                                                                                  \
      "sgdt 0x300180; movl 0x300182,%esi; movl $12,%ecx; movl %ebx,%edi; rep movsl;"               \
      "movl %ebx,0x300182; lgdt 0x300180; movl %ds,%eax; movl %eax,%es",                           \
      "w4 0, w4 4, w4 8, w4 c, w4 10, w4 14, w4 18, w4 1c, w4 20, w4 24, w4 28, w4 2c, r4 10, r4 " \
      "14")                                                                                        \
    X(fnstenv, "fnstenv (%ebx)", "w4 0, w4 4, w4 8, w4 c, w4 10, w4 14, w4 18")                    \
    X(fetch, "movl $0xc3414141,(%ebx); call *%ebx", NULL)                                          \
    X(fxsave, "fxsave (%ebx); fxrstor (%ebx)", NULL)                                               \
    X(maskmov, "movd %eax,%xmm0; pcmpeqd %xmm1,%xmm1; maskmovdqu %xmm1,%xmm0", NULL)               \
    X(over_the_edge, "movl $0xfd0001fe,%ebx; movl (%ebx),%eax", "r1 1fe, r1 1ff")

#define FORM_CODE(name, code, log)                                                                 \
    extern const uint8_t form_##name[], form_##name##_end[];                                       \
    __asm__(".pushsection .rodata\n.code32\nform_" #name ":\n" code "\nform_" #name                \
            "_end:\n.code64\n.popsection\n");
FORMS(FORM_CODE)

static const struct form {
    const char *name;
    const uint8_t *code, *end;
    const char *log;
} forms[] = {
#define FORM_ROW(name, code, log) {#name, form_##name, form_##name##_end, log},
    FORMS(FORM_ROW)};

extern const uint8_t prologue[], prologue_end[], epilogue[], epilogue_end[];
__asm__(".pushsection .rodata\n.code32\nprologue:\n"
        "movl $0x310000,%esp\nmovl %cr4,%eax\norl $0x600,%eax\nmovl %eax,%cr4\nfninit\n"
        "movl $0xfd000000,%ebx\nmovl $0x300000,%esi\nmovl $0xfd000040,%edi\n"
        "movl $0x11223344,%eax\nmovl $0x55667788,%ecx\nmovl $0x99aabbcc,%edx\nmovl $7,%ebp\nstc\n"
        "prologue_end:\nepilogue:\nmovb $5,%al\noutb %al,$0xf4\n1: jmp 1b\nepilogue_end:\n"
        ".code64\n.popsection\n");

struct seen {
    char log[LOG_MAX];
    uint8_t bytes[512], memory[512];
    uint32_t gpr[8];
};

/* A Multiboot kernel that is the form's code between prologue and epilogue. */
static void make_image(uint8_t image[4096], const struct form *f)
{
    memset(image, 0, 4096);
    boot_put32(image + 0x40, 0x1badb002);
    boot_put32(image + 0x44, 0x10000);
    boot_put32(image + 0x48, -(0x1badb002u + 0x10000));
    boot_put32(image + 0x4c, 0x100040);
    boot_put32(image + 0x50, 0x100000);
    boot_put32(image + 0x5c, CODE_GPA);
    uint8_t *at = image + 0x80;
    size_t n = (size_t)(prologue_end - prologue);
    memcpy(at, prologue, n), at += n;
    n = (size_t)(f->end - f->code);
    memcpy(at, f->code, n), at += n;
    memcpy(at, epilogue, (size_t)(epilogue_end - epilogue));
}

static void run_form(const struct form *f, enum engine engine, struct seen *s)
{
    static uint8_t image[4096];
    struct machine_config c = base_config();
    c.engine = engine;
    c.debug_exit = true;
    c.timeout_ns = 5000000000u;
    make_image(image, f);
    struct machine *m = assert_taken(boot_kernel(c, image, sizeof image));
    for (unsigned i = 0; i < sizeof device.bytes; i++) {
        device.bytes[i] = (uint8_t)(i * 7 + 1);
        phys_write(m->phys, MEMORY + i, device.bytes[i], 1);
    }
    *device.log = 0;
    cr_assert_eq(bus_map_mmio(m->bus, DEVICE, sizeof device.bytes, &ops, NULL), 0);
    enum machine_end end = machine_run(m);
    cr_expect_eq(end, END_DEBUG_EXIT, "%s: end %d", f->name, end);
    memcpy(s->log, device.log, sizeof s->log);
    memcpy(s->bytes, device.bytes, sizeof s->bytes);
    phys_dma_read(m->phys, MEMORY, s->memory, sizeof s->memory);
    memcpy(s->gpr, m->vcpu->gpr, sizeof s->gpr);
    bus_unmap_mmio(m->bus, DEVICE, sizeof device.bytes);
    machine_destroy(m);
}

Test(mmio, every_form, .timeout = 100)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        static struct seen interp, bt;
        run_form(&forms[i], ENGINE_INTERP, &interp);
        run_form(&forms[i], ENGINE_BT, &bt);
        const char *log = forms[i].log ? forms[i].log : interp.log;
        cr_expect_str_eq(interp.log, log, "%s in the interpreter: %s, not %s", forms[i].name,
                         interp.log, log);
        cr_expect_str_eq(bt.log, log, "%s translated: %s, not %s", forms[i].name, bt.log, log);
        cr_expect(!memcmp(&interp.bytes, &bt.bytes, sizeof bt - sizeof bt.log),
                  "%s: the engines differ", forms[i].name);
    }
}

/* How often a processor walks its tables is its own affair: no device may notice. */
Test(mmio, walks_ask_no_device)
{
    static const uint8_t halt[] = {0xf4};
    const struct form nothing = {"nothing", halt, halt + sizeof halt, ""};
    struct machine_config c = base_config();
    static uint8_t image[4096];
    make_image(image, &nothing);
    struct machine *m = assert_taken(boot_kernel(c, image, sizeof image));
    struct vcpu *v = m->vcpu;
    cr_assert_eq(bus_map_mmio(m->bus, DEVICE, sizeof device.bytes, &ops, NULL), 0);
    *device.log = 0;
    for (unsigned pae = 0; pae < 2; pae++) {
        v->cr0 |= CR0_PG | CR0_PE;
        v->cr3 = DEVICE;
        v->cr4 = pae ? CR4_PAE : 0;
        v->pdpte[0] = DEVICE | PTE_P;
        struct walk w = mmu_walk(v, 0x1000, ACC_WRITE, AS_SUPERVISOR, true);
        cr_expect_eq(w.ok, !pae, "all ones: reserved bits with PAE");
        cr_expect_str_eq(device.log, "");
    }
    v->cr0 &= ~CR0_PG;
    machine_destroy(m);
}
