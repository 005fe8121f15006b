/* SPDX-License-Identifier: MIT */
/* interp_fpu_state.c: instructions that load and store x87 and SSE state: the environment in its
 * four formats, FSAVE, FXSAVE, MXCSR.
 *
 * The host executes FNSTENV and kin in the 32-bit protected-mode format; the others are converted
 * here (SDM vol. 1, figures 8-9 to 8-12). The host's last-instruction pointers mean nothing to the
 * guest and are replaced by those in v->fx. */
#include "runtime/interp_fpu.h"

#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/interp.h"
#include "runtime/mmu.h"

#include <stddef.h>
#include <string.h>

/* FNSTENV's image, 32-bit protected-mode format; FNSAVE's has the registers after it. */
struct fenv32 {
    uint32_t fcw, fsw, ftw;
    uint32_t fip;
    uint16_t fcs, fop;
    uint32_t fdp;
    uint16_t fds, reserved;
};
struct fsave32 {
    struct fenv32 env;
    uint8_t st[8][10];
};
_Static_assert(sizeof(struct fenv32) == 28, "FNSTENV writes 28 bytes");
_Static_assert(sizeof(struct fsave32) == 108, "FNSAVE writes 108 bytes");

#define FOP_MASK      0x07ffu
#define ENV_MAX       28u
#define FXSAVE_SIZE   512u
#define FXSAVE_X87    160u /* up to and with ST7 */
#define FXSAVE_STORED 288u /* up to and with XMM7: all that a 32-bit processor writes */
#define FXSAVE_MXCSR  offsetof(struct fxsave_area, mxcsr)

/* --- the environment in memory --- */

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static uint32_t get16(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Writes `env` with the guest's pointers to `out` in the format of opsize and mode; its length. */
static unsigned env_format(const struct vcpu *v, const struct fenv32 *env, unsigned opsize,
                           uint8_t *out)
{
    const struct fxsave_area *fx = &v->fx;
    uint32_t lip = (uint32_t)(fx->fcs << 4) + fx->fip, ldp = (uint32_t)(fx->fds << 4) + fx->fdp;
    uint32_t fop = fx->fop & FOP_MASK;
    bool real = vcpu_real_or_v86(v);

    if (opsize == 2) {
        put16(out, env->fcw);
        put16(out + 2, env->fsw);
        put16(out + 4, env->ftw);
        put16(out + 6, real ? lip : fx->fip);
        put16(out + 8, real ? (lip >> 4 & 0xf000) | fop : fx->fcs);
        put16(out + 10, real ? ldp : fx->fdp);
        put16(out + 12, real ? ldp >> 4 & 0xf000 : fx->fds);
        return 14;
    }
    memcpy(out, env, 12); /* reserved halves as the host has them */
    put32(out + 12, real ? 0xffff0000u | lip : fx->fip);
    put32(out + 16, real ? (lip >> 4 & 0x0ffff000) | fop : fx->fcs | fop << 16);
    put32(out + 20, real ? 0xffff0000u | ldp : fx->fdp);
    put32(out + 24, real ? ldp >> 4 & 0x0ffff000 : 0xffff0000u | fx->fds);
    return 28;
}

/* The reverse: the guest's pointers go to v->fx, the rest to `env`. */
static void env_parse(struct vcpu *v, const uint8_t *in, unsigned opsize, struct fenv32 *env)
{
    struct fxsave_area *fx = &v->fx;
    bool real = vcpu_real_or_v86(v);
    unsigned unit = opsize == 2 ? 2 : 4;

    *env = (struct fenv32){
        .fcw = get16(in), .fsw = get16(in + unit), .ftw = get16(in + 2 * (size_t)unit)};
    if (opsize == 2 && real) {
        fx->fip = get16(in + 6) | (get16(in + 8) & 0xf000) << 4;
        fx->fop = get16(in + 8) & FOP_MASK;
        fx->fdp = get16(in + 10) | (get16(in + 12) & 0xf000) << 4;
    } else if (opsize == 2) {
        fx->fip = get16(in + 6);
        fx->fcs = (uint16_t)get16(in + 8);
        fx->fdp = get16(in + 10);
        fx->fds = (uint16_t)get16(in + 12);
        fx->fop = 0;
    } else if (real) {
        fx->fip = get16(in + 12) | (get32(in + 16) & 0x0ffff000) << 4;
        fx->fop = get16(in + 16) & FOP_MASK;
        fx->fdp = get16(in + 20) | (get32(in + 24) & 0x0ffff000) << 4;
    } else {
        fx->fip = get32(in + 12);
        fx->fcs = (uint16_t)get16(in + 16);
        fx->fop = get16(in + 18) & FOP_MASK;
        fx->fdp = get32(in + 20);
        fx->fds = (uint16_t)get16(in + 24);
    }
    if (real)
        fx->fcs = fx->fds = 0; /* the image has linear addresses */
}

static void pointers_clear(struct vcpu *v)
{
    v->fx.fip = v->fx.fdp = 0;
    v->fx.fcs = v->fx.fds = v->fx.fop = 0;
}

/* IGNNE# goes away with the error that it was for. */
static void error_settle(struct vcpu *v)
{
    if (v->fpu && v->fpu->ignne && !(fpu_status() & FSW_ES))
        v->fpu->ignne = false;
}

static uint32_t image_address(struct vcpu *v, const struct insn *i, unsigned n, bool write)
{
    uint32_t la = interp_mem(v, i, n, write);
    interp_fpu_align(v, la, i->opsize == 2 ? 2 : 4);
    return la;
}

/* --- handlers; #NM has been checked --- */

static bool fnstenv(struct vcpu *v, const struct insn *i)
{
    unsigned n = i->opsize == 2 ? 14 : 28;
    struct fenv32 env;
    uint8_t out[ENV_MAX];
    uint32_t la = image_address(v, i, n, true);
    mmu_probe(v, la, n, ACC_WRITE);
    fpu_pointers_update(v);
    __asm__ volatile("fnstenv %0" : "=m"(env));
    mmu_write(v, la, out, env_format(v, &env, i->opsize, out));
    error_settle(v);
    return false;
}

static bool fnsave(struct vcpu *v, const struct insn *i)
{
    unsigned n = i->opsize == 2 ? 94 : 108, head;
    struct fsave32 save;
    uint8_t out[sizeof save];
    uint32_t la = image_address(v, i, n, true);
    mmu_probe(v, la, n, ACC_WRITE);
    fpu_pointers_update(v);
    __asm__ volatile("fnsave %0" : "=m"(save));
    head = env_format(v, &save.env, i->opsize, out);
    memcpy(out + head, save.st, sizeof save.st);
    mmu_write(v, la, out, n);
    pointers_clear(v);
    error_settle(v);
    return false;
}

/* FLDENV and FRSTOR wait; with IGNNE# asserted there may be something to clear first. */
static bool fldenv(struct vcpu *v, const struct insn *i)
{
    unsigned n = i->opsize == 2 ? 14 : 28;
    struct fenv32 env;
    uint8_t in[ENV_MAX];
    if (interp_fpu_pending(v))
        return interp_fpu_error(v);
    mmu_read(v, image_address(v, i, n, false), in, n);
    env_parse(v, in, i->opsize, &env);
    __asm__ volatile("fnclex; fldenv %0" : : "m"(env));
    error_settle(v);
    return false;
}

static bool frstor(struct vcpu *v, const struct insn *i)
{
    unsigned n = i->opsize == 2 ? 94 : 108;
    struct fsave32 save;
    uint8_t in[sizeof save];
    if (interp_fpu_pending(v))
        return interp_fpu_error(v);
    mmu_read(v, image_address(v, i, n, false), in, n);
    env_parse(v, in, i->opsize, &save.env);
    memcpy(save.st, in + n - sizeof save.st, sizeof save.st);
    __asm__ volatile("fnclex; frstor %0" : : "m"(save));
    error_settle(v);
    return false;
}

static bool fninit(struct vcpu *v, const struct insn *i)
{
    (void)i;
    __asm__ volatile("fninit");
    pointers_clear(v);
    error_settle(v);
    return false;
}

static bool fnclex(struct vcpu *v, const struct insn *i)
{
    (void)i;
    __asm__ volatile("fnclex");
    error_settle(v);
    return false;
}

static const struct {
    uint8_t opcode, modrm_mask, modrm;
    bool mem;
    fpu_special_fn *fn;
} specials[] = {
    {0xd9, 0x38, 4 << 3, true,  fldenv },
    {0xd9, 0x38, 6 << 3, true,  fnstenv},
    {0xdd, 0x38, 4 << 3, true,  frstor },
    {0xdd, 0x38, 6 << 3, true,  fnsave },
    {0xdb, 0xff, 0xe2,   false, fnclex },
    {0xdb, 0xff, 0xe3,   false, fninit },
};

fpu_special_fn *interp_fpu_special(const struct insn *i)
{
    for (unsigned n = 0; n < sizeof specials / sizeof specials[0]; n++)
        if (i->opcode == specials[n].opcode && i->has_mem == specials[n].mem &&
            (i->modrm & specials[n].modrm_mask) == specials[n].modrm)
            return specials[n].fn;
    return NULL;
}

/* --- FXSAVE, FXRSTOR (vol. 2): EM and TS both give #NM --- */

static uint32_t fxsave_address(struct vcpu *v, const struct insn *i, bool write)
{
    if (v->cr0 & (CR0_EM | CR0_TS))
        raise_nm(v);
    uint32_t la = interp_mem(v, i, FXSAVE_SIZE, write);
    if (la & 15)
        raise_gp(v, 0);
    return la;
}

bool interp_fpu_fxsave(struct vcpu *v, const struct insn *i)
{
    uint32_t la = fxsave_address(v, i, true);
    const uint8_t *image = (const uint8_t *)&v->fx;
    mmu_probe(v, la, FXSAVE_SIZE, ACC_WRITE);
    fpu_sync(v);
    if (v->cr4 & CR4_OSFXSR) {
        mmu_write(v, la, image, FXSAVE_STORED);
    } else {
        mmu_write(v, la, image, FXSAVE_MXCSR);
        mmu_write(v, la + (uint32_t)offsetof(struct fxsave_area, st),
                  image + offsetof(struct fxsave_area, st), sizeof v->fx.st);
    }
    return false;
}

bool interp_fpu_fxrstor(struct vcpu *v, const struct insn *i)
{
    struct fxsave_area area;
    uint32_t la = fxsave_address(v, i, false);
    mmu_read(v, la, &area, FXSAVE_SIZE);
    bool sse = v->cr4 & CR4_OSFXSR;
    if (sse && area.mxcsr & ~fpu_mxcsr_mask())
        raise_gp(v, 0);
    fpu_sync(v); /* MXCSR may stay */
    if (!sse)
        area.mxcsr = v->fx.mxcsr;
    area.mxcsr_mask = fpu_mxcsr_mask();
    area.fop &= FOP_MASK;
    memcpy(&v->fx, &area, sse ? FXSAVE_STORED : FXSAVE_X87);
    fpu_load(v);
    error_settle(v);
    return false;
}

/* --- MXCSR --- */

bool interp_fpu_ldmxcsr(struct vcpu *v, const struct insn *i)
{
    interp_fpu_check_sse(v);
    uint32_t la = interp_mem(v, i, 4, false);
    interp_fpu_align(v, la, 4);
    uint32_t value = mmu_read32(v, la);
    if (value & ~fpu_mxcsr_mask())
        raise_gp(v, 0);
    __asm__ volatile("ldmxcsr %0" : : "m"(value));
    return false;
}

bool interp_fpu_stmxcsr(struct vcpu *v, const struct insn *i)
{
    uint32_t value;
    interp_fpu_check_sse(v);
    uint32_t la = interp_mem(v, i, 4, true);
    interp_fpu_align(v, la, 4);
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    mmu_write32(v, la, value);
    return false;
}
