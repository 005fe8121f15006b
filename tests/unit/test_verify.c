/* SPDX-License-Identifier: MIT */
/* test_verify.c: the verifier by hand-made blocks of single instructions: those that it must
 * accept, and many that it must refuse, each for the reason given. tests/unit/verify_code.h tells
 * how they are written; branches and sequences are in test_verify_control.c. */
#include "tests/unit/verify_code.h"

/* --- accepted --- */

static const char *const instructions[] = {
    "8bc1", "448bc0", "6689c1", "88e0", "b412", "66b83412", "b878563412", "04ff", "0578563412",
    "81c178563412", "83c1ff", "69c078563412", "f6c101", "f7c178563412", "66f7c13412", "f7d0",
    "fec0", "ffc0", "418bc4", "41ffc4", "41bc00000000", "664189c4", "458d642404", "8d0408",
    "678d0408", "668d00", "8d0485ffffffff", "c1e004", "d3e0", "93", "98", "6699", "9b", "9e", "9f",
    "a801", "f5", "f8", "f9", "fc", "fd", "f390", "90", "0f1fc0", "0f18c0", "0f44c1", "0f94c0",
    "0fa3c8", "0fa4c804", "0fbae804", "0fafc1", "0fb1c8", "0fb6c4", "440fb6c0", "0fb7c1",
    "f30fb8c1", "0fbcc1", "0fc7f0", "0fc8", "0faee8", "0faef0", "0faef8", "d9c0", "dec1", "dfe0",
    "dbe3", "0f28c1", "660f6ec0", "660f7ec1", "f30f2ac1", "f20f2dc1", "0f50c1", "0f77", "0f71d004",
    "660f3840c1", "f20f38f1c1", "66f20f38f1c1", "660f3a0fc104", "660f3a14c101",
    /* in the view */
    "65678b00", "65678900", "6567448b00", "65678b8078563412", "65678b0425a0860100", "65678b44b108",
    "656766c7003412", "6567c70078563412", "6567f00108", "6567f00fb108", "6567f00fc708", "6567d900",
    "6567db28", "6567dd38", "65670f1000", "6567660f7f00", "6567f30f1000", "65670f18 00",
    "65670fae10", "65670f38f000", "6567 418b0424", "6567428b0420", "65670fa308",
    "6567f7 00 00000000",
    /* slots */
    "418b87 @seg[0].base", "450fb797 @seg[5].sel", "458b8f @seg[5].base", "418b8f @hot.irq_hint"};

Test(verify, instructions_accepted)
{
    for (size_t i = 0; i < COUNT(instructions); i++)
        code(VERIFY_NONE, "%s", instructions[i]);
    unsigned vif = offsetof(struct vcpu, hot.vif); /* near enough for a byte */
    code(VERIFY_NONE, "418b4f%02x", vif);
    code(VERIFY_NONE, "41c747%02x00000000", vif);
    code(VERIFY_NONE, "41c747%02x00020000", vif);
    /* the scratch registers, once they are set */
    code(VERIFY_NONE, "448bc0 418bc8");
    code(VERIFY_NONE, "448bc0 458b8f @seg[5].base 6567438b0408");
    code(VERIFY_NONE, "450fb797 @seg[0].sel 656766448910");
    code(VERIFY_NONE, "440fb6c0 6567428a0403");
    code(VERIFY_NONE, "41b878563412 4181c078563412");
}

/* --- refused: opcodes --- */

static const char *const opcodes[] = {
    /* system calls, interrupts, traps, ways back from them */
    "0f05", "0f07", "0f34", "0f35", "cc", "cd80", "ce", "cf", "f1", "0f0b", "0fb9c0", "0fffc0",
    "0faa", "f30f01ec",
    /* ports, privileged and system instructions */
    "6c", "6d", "6e", "6f", "e400", "e500", "e600", "e700", "ec", "ed", "ee", "ef", "f4", "fa",
    "fb", "0f06", "0f08", "0f09", "f30f09", "0f20c0", "0f22d8", "0f21c0", "0f23f8", "0f30", "0f32",
    "0f33", "0f00c0", "0f00c8", "0f00d0", "0f00d8", "0f00e0", "0f00e8", "65670f0100", "65670f0108",
    "65670f0110", "65670f0118", "0f01e0", "0f01f0", "65670f0138", "0f01f8", "0f01f9", "0f01c1",
    "0f01c2", "0f01c3", "0f01c8", "0f01c9", "0f01ca", "0f01cb", "0f01cf", "0f01d0", "0f01d1",
    "0f01d4", "0f01d6", "0f01d7", "0f01d8", "0f01d9", "0f01ee", "0f01ef", "0f02c0", "0f03c0",
    "0f37", "0f31", "0fa2", "0f78c0", "0f79c0", "660f388000", "660f388100", "660f388200",
    /* the segment registers and their bases */
    "06", "07", "0e", "16", "17", "1e", "1f", "8cc0", "8ed8", "8ee0", "8ee8", "0fa0", "0fa1",
    "0fa8", "0fa9", "c400", "c500", "65670fb200", "65670fb400", "65670fb500", "f30faec0",
    "f30faec8", "f30faed0", "f30faed8",
    /* far transfers, and near ones that go anywhere */
    "9a", "ea", "ca0000", "cb", "c20000", "6567ff10", "6567ff20", "6567ff18", "6567ff28", "ffd0",
    "ffe0", "e000", "e100", "e200", "c7f800000000", "c6f800", "0f01d5", "66e900000000",
    "66e800000000", "f3c3", "66c3", "67e300",
    /* the host's stack */
    "50", "54", "57", "4150", "58", "5c", "5f", "4158", "60", "61", "6800000000", "6a00", "8fc0",
    "fff0", "6567ff30", "65678f00", "9c", "9d", "c8000000", "c9",
    /* memory that no ModRM byte names */
    "a000000000", "a100000000", "a200000000", "a300000000", "a4", "a5", "a6", "a7", "aa", "ab",
    "ac", "ad", "ae", "af", "f3a5", "f3ab", "d7", "0ff7c0", "660ff7c0", "660f38f800", "f20f38f800",
    "0f38f900", "0f01fc",
    /* the processor's state as a whole, or its addresses */
    "65670fae00", "65670fae08", "65670fae20", "65670fae28", "65670fae30", "65670fc720",
    "65670fc728", "65670fc718", "6567d920", "6567d930", "6567dd20", "6567dd30", "f30faee8",
    "f30faef0", "f20faef0", "660faef0", "66 0fae38", "f30fc7f8", "f30fc7f0", "f30f1ec8",
    "65670fc730", "6567660fc730", "65670fc738", "f30f38d800", "f30f38dcc0", "f30f38fac0",
    "f30f3af0c000", "660f38f500", "0f38f600", "660f38f6c0", "f30f38f6c0",
    /* VEX, EVEX, XOP, 3DNow! */
    "c5f877", "c4e27bf5c1", "62f17c4828c1", "8fe97801c0", "0f0fc08e", "0f0e",
    /* not in 64-bit code, or something else there */
    "27", "2f", "37", "3f", "63c0", "82c000", "d400", "d500", "d6",
    /* extensions of groups that are not listed */
    "fed0", "fee0", "fef8", "fff8", "c7c800000000", "c6d000", "0fbac004", "0fbad804", "0fc7c0",
    "0fc7c8", "0faed0", "0faec0", "0f71c004", "0f73e004", "6567d908", "6567db20", "6567db30",
    "6567dd28", "0f2bc0", "0fe7c0", "0fc3c0", "f20ff0c0", "0f18 60 00", "0fb8c1", "f20fb8c1",
    "f30fbcc1", "f30fbdc1", "0f04", "0f0a", "0f0c", "0f24c0", "0f26c0", "0fa6c0", "0fa7c0",
    "0f38fe00", "0f3affc000", "0f3ac0c000", "0fd6c0", "0fe6c0", "f20f5bc0"};

Test(verify, opcodes_refused)
{
    for (size_t i = 0; i < COUNT(opcodes); i++)
        code(VERIFY_OPCODE, "%s", opcodes[i]);
    tell("opcodes");
}

/* --- refused: registers --- */

static const unsigned monitors[] = {4, 13, 14, 15};
static const char *const two_registers[] = {
    "01", "03", "0b",   "13",   "1b",   "23",   "29",   "31",   "39",   "85",   "87",
    "89", "8b", "0faf", "0f42", "0fa3", "0fab", "0fb1", "0fb7", "0fbc", "0fbf", "0fc1"};
static const struct {
    const char *opcode;
    unsigned ext;
    const char *imm;
} one_register[] = {
    {"81",   0, "00000000"},
    {"83",   4, "00"      },
    {"c1",   4, "04"      },
    {"d1",   5, ""        },
    {"d3",   7, ""        },
    {"f7",   2, ""        },
    {"f7",   4, ""        },
    {"ff",   0, ""        },
    {"ff",   1, ""        },
    {"c7",   0, "00000000"},
    {"0fba", 5, "01"      },
    {"0fc7", 6, ""        }
};

Test(verify, reserved_registers_refused)
{
    for (size_t m = 0; m < COUNT(monitors); m++) {
        unsigned r = monitors[m], low = r & 7;
        unsigned rex_b = 0x40 | (r >> 3), rex_r = 0x40 | (r >> 3) << 2,
                 rex_x = 0x40 | (r >> 3) << 1;
        for (size_t i = 0; i < COUNT(two_registers); i++) {
            code(VERIFY_REGISTER, "%02x%s%02x", rex_b, two_registers[i], 0xc0 | low);
            code(VERIFY_REGISTER, "%02x%s%02x", rex_r, two_registers[i], 0xc0 | low << 3);
        }
        for (size_t i = 0; i < COUNT(one_register); i++)
            code(VERIFY_REGISTER, "%02x%s%02x%s", rex_b, one_register[i].opcode,
                 0xc0 | one_register[i].ext << 3 | low, one_register[i].imm);
        code(VERIFY_REGISTER, "%02x%02x00000000", rex_b, 0xb8 | low);
        code(VERIFY_REGISTER, "%02x%02x", rex_b, 0x90 | low);
        code(VERIFY_REGISTER, "%02x0f%02x", rex_b, 0xc8 | low);
        code(VERIFY_REGISTER, "66%02x0f6e%02x", rex_b, 0xc0 | low);
        code(VERIFY_REGISTER, "66%02x0f7e%02x", rex_b, 0xc0 | low);
        code(VERIFY_REGISTER, "f2%02x0f2c%02x", rex_r, 0xc0 | low << 3);
        code(VERIFY_REGISTER, "66%02x0f3a16%02x00", rex_b, 0xc0 | low);
        code(VERIFY_REGISTER, "f2%02x0f38f1%02x", rex_r, 0xc0 | low << 3);
        /* loads and stores of them, addresses made of them */
        code(VERIFY_REGISTER, "6567%02x8b%02x", rex_r, low << 3);
        code(VERIFY_REGISTER, "6567%02x89%02x", rex_r, low << 3);
        code(VERIFY_REGISTER, "6567%02x8b44%02x00", rex_b, 0x20 | low);
        code(VERIFY_REGISTER, "%02x8d44%02x00", rex_b, 0x20 | low);
        code(VERIFY_REGISTER, "%02x8d%02x", rex_r, low << 3);
        if (r == 4)
            continue; /* as an index it means none */
        code(VERIFY_REGISTER, "6567%02x8b04%02x", rex_x, low << 3);
        code(VERIFY_REGISTER, "%02x8d04%02x", rex_x, low << 3);
    }
    tell("reserved registers");
}

Test(verify, byte_registers_refused)
{
    for (unsigned r = 4; r < 8; r++) { /* SPL, BPL, SIL, DIL */
        code(VERIFY_REGISTER, "4088%02x", 0xc0 | r);
        code(VERIFY_REGISTER, "4088%02x", 0xc0 | r << 3);
        code(VERIFY_REGISTER, "40%02x00", 0xb0 | r);
        code(VERIFY_REGISTER, "400f94%02x", 0xc0 | r);
        code(VERIFY_REGISTER, "440fb6%02x", 0xc0 | r);
    }
    for (unsigned r = 12; r < 16; r++) {
        code(VERIFY_REGISTER, "4188%02x", 0xc0 | (r & 7));
        code(VERIFY_REGISTER, "41%02x00", 0xb0 | (r & 7));
        code(VERIFY_REGISTER, "410fb6%02x", 0xc0 | (r & 7));
    }
    for (unsigned r = 8; r < 16; r++) { /* vector registers that no guest has */
        code(VERIFY_REGISTER, "440f28%02x", 0xc0 | (r & 7) << 3);
        code(VERIFY_REGISTER, "410f28%02x", 0xc0 | (r & 7));
    }
    tell("byte and vector registers");
}

Test(verify, unset_scratch_registers_refused)
{
    for (unsigned r = 0; r < 4; r++) {
        code(VERIFY_SCRATCH, "418b%02x", 0xc0 | r);
        code(VERIFY_SCRATCH, "4489%02x", 0xc0 | r << 3);
        code(VERIFY_SCRATCH, "4401%02x", 0xc0 | r << 3);
        code(VERIFY_SCRATCH, "4101%02x", 0xc0 | r);
        code(VERIFY_SCRATCH, "4188%02x", 0xc0 | r);
        code(VERIFY_SCRATCH, "410fb6%02x", 0xc0 | r);
        code(VERIFY_SCRATCH, "41%02x", 0x90 | r);
        code(VERIFY_SCRATCH, "41ff%02x", 0xc0 | r);
        code(VERIFY_SCRATCH, "66448b%02x", 0xc0 | r << 3);
        code(VERIFY_SCRATCH, "6641%02x0000", 0xb8 | r);
        code(VERIFY_SCRATCH, "6567418b%02x", r);
        code(VERIFY_SCRATCH, "6567428b04%02x", r << 3);
        code(VERIFY_SCRATCH, "65674489%02x", r << 3);
        code(VERIFY_SCRATCH, "418d%02x00", 0x40 | r);
        code(VERIFY_SCRATCH, "66410f6e%02x", 0xc0 | r);
    }
    code(VERIFY_SCRATCH, "448bd0 " STRING_MOVE " 418bc2");
    code(VERIFY_SCRATCH, "448bd0 " STRING_STORE " 418bc2");
    code(VERIFY_SCRATCH, "448bd0 " STRING_LOAD " 418bc2");
    code(VERIFY_SCRATCH, "448bc0 " TIME " 418bc0");
    code(VERIFY_SCRATCH, "448bc8 " TIME " 418bc1");
    code(VERIFY_SCRATCH, SET_R8 TLB_READ "438b041a 418bc2");
    code(VERIFY_SCRATCH, SET_R8 TLB_READ "438b041a 418bc3");
    code(VERIFY_SCRATCH, "448bc8 e8 =block 418bc1");
    code(VERIFY_SCRATCH, "448bd0 " SET_R8 PROBE_CALL " 418bc2");
    code(VERIFY_SCRATCH, "448bc0 " INTERRUPTS_ON " 418bc0");
    tell("scratch registers");
}

/* --- refused: memory --- */

static const char *const accesses[] = {
    "8b00",         "8900",   "8a00",    "8800",   "0100",   "8b8078563412", "0fb600",
    "c70000000000", "ff00",   "f600 00", "d900",   "db28",   "0f1000",       "0f2900",
    "0f6f00",       "0fb100", "0fc708",  "0f1800", "0fae10", "0fa308",       "0f38f000"};

Test(verify, accesses_outside_the_view_refused)
{
    for (size_t i = 0; i < COUNT(accesses); i++) {
        code(VERIFY_MEMORY, "%s", accesses[i]);
        code(VERIFY_MEMORY, "65%s", accesses[i]);
        code(VERIFY_MEMORY, "67%s", accesses[i]);
    }
    static const char *const prefixes[] = {"64",     "6467",   "2e6567", "366567",
                                           "3e6567", "266567", "6765",   "656767",
                                           "656764", "f36567", "f06567", "666567"};
    for (size_t i = 0; i < COUNT(prefixes); i++)
        code(VERIFY_PREFIX, "%s8b00", prefixes[i]);
    /* RIP-relative, in the view or not */
    static const char *const relative[] = {"8b05",   "8905",   "0105", "ff05", "dd05",
                                           "0f1005", "0fb605", "8d05", "8b0d", "8b3d"};
    for (size_t i = 0; i < COUNT(relative); i++) {
        code(VERIFY_RIP, "%s00000000", relative[i]);
        if (relative[i][1] != 'd' || relative[i][0] != '8')
            code(VERIFY_RIP, "6567%s00000000", relative[i]);
    }
    code(VERIFY_MEMORY, "658d00");
    code(VERIFY_MEMORY, "65678d00");
    code(VERIFY_MEMORY, "418b0407"); /* [r15 + rax] */
    code(VERIFY_MEMORY, "418b4500"); /* [r13] */
    code(VERIFY_MEMORY, "438b44d500");
    code(VERIFY_MEMORY, "418b0446"); /* [r14 + rax*2] */
    code(VERIFY_MEMORY, "418b04c6");
    code(VERIFY_MEMORY, "42 8b0430");  /* [rax + r14] */
    code(VERIFY_REGISTER, "438b0436"); /* [r14 + r14] */
    code(VERIFY_REGISTER, "438b043e"); /* [r14 + r15] */
    code(VERIFY_REGISTER, "438b042e"); /* [r14 + r13] */
    code(VERIFY_SCRATCH, "438b0406");  /* [r14 + r8], which holds nothing of use */
    code(VERIFY_WIDE, "498b0406");
    code(VERIFY_REGISTER, "6567418b06");
    code(VERIFY_MEMORY, "65418b06");
    code(VERIFY_MEMORY, "67418b06");
    code(VERIFY_NONE, "418b06"); /* [r14] */
    code(VERIFY_NONE, "418b0406");
    code(VERIFY_NONE, "438b842600000080"); /* [r14 + r12 - 2 GiB] */
    code(VERIFY_MEMORY, "8b0424");         /* [rsp] */
    code(VERIFY_MEMORY, "67418b87 @hot.vif");
    code(VERIFY_MEMORY, "65418b87 @hot.vif");
    code(VERIFY_REGISTER, "6567418b87 @hot.vif");
    tell("memory operands");
}

Test(verify, slots_refused)
{
    for (size_t i = 0; i < COUNT(code_fields); i++) {
        const char *name = code_fields[i].name;
        bool readable = !strcmp(name, "hot.vif") || !strcmp(name, "hot.vflags") ||
                        !strcmp(name, "hot.irq_hint") || strstr(name, "].base");
        if (!readable || !strcmp(name, "seg[6].base"))
            code(VERIFY_SLOT, "418b87 @%s", name);
        code(VERIFY_SLOT, "418987 @%s", name);
        if (strcmp(name, "hot.vif") != 0)
            code(VERIFY_SLOT, "41c787 @%s 00000000", name);
    }
    static const char *const if_values[] = {"00010000", "02020000", "00020100",
                                            "ffffffff", "00000200", "d5020000"};
    for (size_t i = 0; i < COUNT(if_values); i++)
        code(VERIFY_SLOT, "41c787 @hot.vif %s", if_values[i]);
    static const char *const forms[] = {"8a87",   "0fb687", "8887", "0187", "0387",
                                        "3987",   "8787",   "ff87", "dd87", "0f1087",
                                        "0f1187", "0fb187", "d987"};
    for (size_t i = 0; i < COUNT(forms); i++)
        code(VERIFY_SLOT, "41%s @hot.vif", forms[i]);
    code(VERIFY_SLOT, "66418b87 @hot.vif");
    code(VERIFY_SLOT, "6641c787 @hot.vif 0000");
    code(VERIFY_SLOT, "f041ff87 @hot.vif");
    code(VERIFY_SLOT, "4183bf @hot.irq_hint 00");
    code(VERIFY_SLOT, "418b87 @hot.vif+1");
    code(VERIFY_SLOT, "418b87 @hot.vif+3");
    code(VERIFY_SLOT, "410fb787 @hot.vif");
    code(VERIFY_SLOT, "410fb787 @seg[0].base");
    code(VERIFY_SLOT, "410fb787 @seg[0].sel+1");
    code(VERIFY_SLOT, "410fb787 @seg[6].sel");
    code(VERIFY_SLOT, "418b87 @seg[0].sel");
    code(VERIFY_SLOT, "418b07");
    code(VERIFY_SLOT, "418b47fc");
    code(VERIFY_SLOT, "418b87fcffffff");
    tell("slots");
}

Test(verify, wide_operations_refused)
{
    static const char *const wide[] = {"488bc0",
                                       "4889c0",
                                       "4801c0",
                                       "488bc8",
                                       "49ffc4",
                                       "488d00",
                                       "48c1e004",
                                       "480fafc1",
                                       "480fb6c0",
                                       "480fb7c0",
                                       "4898",
                                       "4899",
                                       "48f7e0",
                                       "48f7f8",
                                       "48b80000000000000000",
                                       "4893",
                                       "480fc8",
                                       "480fa3c8",
                                       "480fbcc1",
                                       "480f44c1",
                                       "66480f6ec0",
                                       "66480f7ec0",
                                       "f2480f2ac0",
                                       "f2480f2dc0",
                                       "f3480fb8c1",
                                       "f2480f38f1c0",
                                       "66480f3a16c000",
                                       "480f50c0",
                                       "480fd7c0",
                                       "480fc7f0",
                                       "6567488b00",
                                       "6567488900",
                                       "65674801 00",
                                       "6567480fc708",
                                       "6567480fb100",
                                       "656748c70000000000",
                                       "498b87 @hot.view",
                                       "498b87 @hot.scratch",
                                       "4d8b97 @hot.view",
                                       "4c8bc9",
                                       "498bc9",
                                       "4a8d3416",
                                       "4a8d3c17",
                                       "4b8d0c30",
                                       "4f8b5cd500",
                                       "488be0",
                                       "498be0",
                                       "4c8be8",
                                       "4d8bf8"};
    for (size_t i = 0; i < COUNT(wide); i++)
        code(VERIFY_WIDE, "%s", wide[i]);
    tell("64-bit operations");
}

Test(verify, prefixes_refused)
{
    static const char *const wrong[] = {
        "f001c0",     "f0ffc0",       "f00fb1c8",      "6567f08b00",   "6567f03900",
        "6567f08500", "6567f08800",   "6567f0d900",    "6567f00fa308", "6567f0c1 0004",
        "f090",       "658bc0",       "678bc0",        "65678bc0",     "6590",
        "6790",       "65b800000000", "67b800000000",  "6567f5",       "40668bc0",
        "48678bc0",   "66668bc0",     "2e90",          "3690",         "3e90",
        "2690",       "6490",         "3e8bc0",        "648bc0",       "f3f38bc0",
        "f2f30f10c0", "f0f001c0",     "f0666567 0100", "2e7400",       "3ee900000000",
        "6566900f",   "f3f290"};
    for (size_t i = 0; i < COUNT(wrong); i++)
        code(VERIFY_PREFIX, "%s", wrong[i]);
    tell("prefixes");
}
