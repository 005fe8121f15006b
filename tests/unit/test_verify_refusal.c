/* SPDX-License-Identifier: MIT */
/* test_verify_refusal.c: what becomes of a machine whose translator emits bad code. The inspector
 * is replaced by one that refuses the block or gate it is told to. */
#include "boot_image.h"

#include "translator/inspect.h"

static unsigned inspected, refuse_at; /* counting from 1; 0: none */

enum verify_error inspect_block(struct cache *c, const struct block *b, struct verify_report *out)
{
    (void)c;
    (void)b;
    *out = (struct verify_report){0};
    return ++inspected == refuse_at ? VERIFY_OPCODE : VERIFY_NONE;
}

enum verify_error inspect_gate(struct cache *c, unsigned mode, uint32_t host, uint32_t size,
                               struct verify_report *out)
{
    (void)c;
    (void)mode;
    (void)host;
    (void)size;
    *out = (struct verify_report){0};
    return VERIFY_NONE;
}

void inspect_print(struct cache *c, uint32_t host, uint32_t body, uint32_t size,
                   enum verify_error error, const struct verify_report *report, FILE *out)
{
    (void)c;
    (void)host;
    (void)body;
    (void)size;
    (void)report;
    fprintf(out, "%s\n", verify_error_text(error));
}

#define CODE_GPA 0x100080

/* Four blocks, of which the last writes 7 to the debug-exit port. */
static const uint8_t guest[] = {0x31, 0xc0,        /* xor eax, eax */
                                0xeb, 0x00,        /* jmp +0 */
                                0xb0, 0x07,        /* mov al, 7 */
                                0xeb, 0x00,        /* jmp +0 */
                                0x90,              /* nop */
                                0xeb, 0x00,        /* jmp +0 */
                                0xe6, 0xf4,        /* out 0xf4, al */
                                0xf4, 0xeb, 0xfd}; /* hlt; jmp -3 */

static struct machine *boot_guest(unsigned verify)
{
    static uint8_t image[4096];
    struct machine_config c = base_config();
    c.engine = ENGINE_BT;
    c.debug_exit = true;
    c.verify = verify;
    c.timeout_ns = 20000000000u;
    boot_put32(image + 0x40, 0x1badb002);
    boot_put32(image + 0x44, 0x10000);
    boot_put32(image + 0x48, -(0x1badb002u + 0x10000));
    boot_put32(image + 0x4c, 0x100040);
    boot_put32(image + 0x50, 0x100000);
    boot_put32(image + 0x5c, CODE_GPA);
    memcpy(image + 0x80, guest, sizeof guest);
    return assert_taken(boot_kernel(c, image, sizeof image));
}

Test(verify_refusal, all_blocks_are_inspected_unless_told_otherwise)
{
    static const unsigned wanted[] = {
        [INSPECT_ALWAYS] = 4, [INSPECT_SAMPLED] = 1, [INSPECT_OFF] = 0};
    for (unsigned mode = INSPECT_ALWAYS; mode <= INSPECT_OFF; mode++) {
        inspected = 0;
        struct machine *m = boot_guest(mode);
        cr_assert_eq(machine_run(m), END_DEBUG_EXIT);
        cr_assert_eq(m->end_value, 7u);
        cr_assert_eq(inspected, wanted[mode], "mode %u: %u", mode, inspected);
        cr_assert_eq(m->stats.verified, wanted[mode]);
        cr_assert_eq(m->stats.verify_refused, 0u);
        machine_destroy(m);
    }
}

/* The block does not run, not one of its instructions, and the run ends as the monitor's failure.
 */
Test(verify_refusal, a_refusal_ends_the_run)
{
    for (refuse_at = 1; refuse_at <= 4; refuse_at++) {
        inspected = 0;
        struct machine *m = boot_guest(INSPECT_ALWAYS);
        cr_assert_eq(machine_run(m), END_ERROR);
        cr_assert(strstr(m->end_message, "verifier"), "%s", m->end_message);
        cr_assert_eq(m->stats.verify_refused, 1u);
        cr_assert_leq(inspected, refuse_at, "nothing more is translated");
        machine_destroy(m);
    }
}
