/* SPDX-License-Identifier: MIT */
/* test_decode.c: the decoder by cases, and the table by sweeps.
 *
 * A case is code and the line that describe() makes of what the decoder says:
 *
 *   name class length opsize/addrsize operands
 *
 * where an operand is rN.size, mSEG:base+index*scale+disp.size, #imm, @rel, FAR, sN, cN, dN, xN,
 * mmN, stN, 1 or string operands [esi].size. The sweeps ask of every opcode, ModRM byte and prefix
 * what must hold whatever the instruction is. */
#include "translator/decode_text.h"
#include "translator/insn.h"
#include "translator/insn_table.h"

#include "ringdown/feature.h"
#include "ringdown/x86.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct decoder *decoder;

static void setup(void)
{
    decoder = decoder_create_features(~0u);
    cr_assert(decoder);
}
static void teardown(void)
{
    decoder_destroy(decoder);
}
TestSuite(decode, .init = setup, .fini = teardown);

/* ---- cases ---- */

static unsigned parse_hex(const char *text, uint8_t *out, unsigned max)
{
    unsigned n = 0, value;
    int used;
    while (n < max && sscanf(text, "%2x%n", &value, &used) == 1) {
        out[n++] = (uint8_t)value;
        text += used;
    }
    return n;
}

static const char *const reg_names[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
static const char *const seg_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};

static int describe_mem(char *buf, size_t size, const struct insn *i)
{
    int n = snprintf(buf, size, " m%s:", seg_names[i->mem_seg]);
    if (i->mem_base != 0xff)
        n += snprintf(buf + n, size - n, "%s", reg_names[i->mem_base]);
    if (i->mem_index != 0xff)
        n += snprintf(buf + n, size - n, "+%s*%u", reg_names[i->mem_index], i->mem_scale);
    return n + snprintf(buf + n, size - n, "%+d.%u", i->disp, i->mem_size);
}

static int describe_opnd(char *buf, size_t size, const struct insn *i, unsigned k)
{
    const struct opnd *o = &i->opnd[k];
    switch (o->kind) {
    case OPND_REG:
        return snprintf(buf, size, " r%u.%u", o->reg, o->size);
    case OPND_MEM:
        return describe_mem(buf, size, i);
    case OPND_STR:
        return snprintf(buf, size, " [%s].%u", reg_names[o->reg], o->size);
    case OPND_IMM: {
        bool second = k > 0 && i->opnd[k - 1].kind == OPND_IMM;
        return snprintf(buf, size, " #%x", second ? i->imm2 : i->imm);
    }
    case OPND_REL:
        return snprintf(buf, size, " @%d", (int32_t)i->imm);
    case OPND_FAR:
        return snprintf(buf, size, " %x:%x", i->imm2, i->imm);
    case OPND_ONE:
        return snprintf(buf, size, " 1");
    default: {
        static const char *const prefix[] = {[OPND_SEG] = "s", [OPND_CR] = "c",   [OPND_DR] = "d",
                                             [OPND_XMM] = "x", [OPND_MMX] = "mm", [OPND_ST] = "st"};
        return snprintf(buf, size, " %s%u", prefix[o->kind], o->reg);
    }
    }
}

static void describe(char *buf, size_t size, enum decode_status status, const struct insn *i)
{
    static const char *const bad[] = {"", "undefined", "too long", "truncated"};
    int n;
    if (status != DECODE_OK) {
        snprintf(buf, size, "%s %u", bad[status], i->length);
        return;
    }
    n = snprintf(buf, size, "%s%s%s%s %s %u %u/%u", i->lock ? "lock " : "", i->rep ? "rep " : "",
                 i->repne ? "repne " : "", i->info->name, insn_class_name(i->info->cls), i->length,
                 i->opsize, i->addrsize);
    for (unsigned k = 0; k < i->n_opnds; k++)
        n += describe_opnd(buf + n, size - n, i, k);
}

struct decode_case {
    int bits;
    const char *code, *expected;
};

static void run_cases(const struct decode_case *cases, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        uint8_t code[32];
        char got[200];
        struct insn i;
        unsigned length = parse_hex(cases[k].code, code, sizeof(code));
        enum decode_status status = decode(decoder, code, length, cases[k].bits == 32, &i);
        describe(got, sizeof(got), status, &i);
        cr_expect_str_eq(got, cases[k].expected, "%d-bit %s:\n  got  %s\n  want %s", cases[k].bits,
                         cases[k].code, got, cases[k].expected);
    }
}
#define RUN_CASES(c) run_cases(c, sizeof(c) / sizeof((c)[0]))

Test(decode, integer)
{
    static const struct decode_case cases[] = {
        {32, "01 c8",             "add identical 2 4/4 r0.4 r1.4"           },
        {32, "66 01 c8",          "add identical 3 2/4 r0.2 r1.2"           },
        {16, "01 c8",             "add identical 2 2/2 r0.2 r1.2"           },
        {16, "66 01 c8",          "add identical 3 4/2 r0.4 r1.4"           },
        {32, "00 e7",             "add identical 2 4/4 r7.1 r4.1"           },
        {32, "83 c0 ff",          "add identical 3 4/4 r0.4 #ffffffff"      },
        {32, "80 c0 ff",          "add identical 3 4/4 r0.1 #ff"            },
        {32, "82 c0 ff",          "add callout 3 4/4 r0.1 #ff"              },
        {32, "66 81 c0 ff ff",    "add identical 5 2/4 r0.2 #ffff"          },
        {32, "05 78 56 34 12",    "add identical 5 4/4 r0.4 #12345678"      },
        {32, "6b c1 80",          "imul identical 3 4/4 r0.4 r1.4 #ffffff80"},
        {32, "66 69 c1 00 80",    "imul identical 5 2/4 r0.2 r1.2 #8000"    },
        {32, "40",                "inc rewritten 1 4/4 r0.4"                },
        {32, "4c",                "dec rewritten 1 4/4 r4.4"                },
        {32, "6a ff",             "push rewritten 2 4/4 #ffffffff"          },
        {32, "66 68 34 12",       "push rewritten 4 2/4 #1234"              },
        {32, "8f 44 24 04",       "pop rewritten 4 4/4 mss:esp+4.4"         },
        {32, "87 d8",             "xchg identical 2 4/4 r0.4 r3.4"          },
        {32, "93",                "xchg identical 1 4/4 r3.4 r0.4"          },
        {32, "d1 f0",             "shl identical 2 4/4 r0.4 1"              },
        {32, "d3 e8",             "shr identical 2 4/4 r0.4 r1.1"           },
        {32, "c0 20 07",          "shl memory 3 4/4 mds:eax+0.1 #7"         },
        {32, "f7 08 78 56 34 12", "test memory 6 4/4 mds:eax+0.4 #12345678" },
        {32, "f6 d8",             "neg identical 2 4/4 r0.1"                },
        {32, "0f b6 c4",          "movzx identical 3 4/4 r0.4 r4.1"         },
        {32, "0f bf 00",          "movsx memory 3 4/4 r0.4 mds:eax+0.2"     },
        {32, "0f 94 00",          "sete memory 3 4/4 mds:eax+0.1"           },
        {32, "0f 4f c1",          "cmovg identical 3 4/4 r0.4 r1.4"         },
        {32, "0f ba 28 1f",       "bts memory 4 4/4 mds:eax+0.4 #1f"        },
        {32, "66 0f a3 08",       "bt memory 4 2/4 mds:eax+0.2 r1.2"        },
        {32, "0f a5 c8",          "shld identical 3 4/4 r0.4 r1.4 r1.1"     },
        {32, "f0 0f c7 08",       "lock cmpxchg8b memory 4 4/4 mds:eax+0.8" },
        {32, "0f cf",             "bswap identical 2 4/4 r7.4"              },
        {32, "8d 44 88 10",       "lea memory 4 4/4 r0.4 mds:eax+ecx*4+16.0"},
        {32, "62 00",             "bound callout 2 4/4 r0.4 mds:eax+0.8"    },
        {32, "d5 10",             "aad callout 2 4/4 #10"                   },
        {32, "d6",                "salc callout 1 4/4"                      },
        {32, "d7",                "xlat rewritten 1 4/4 r0.1 [ebx].1"       },
        {32, "c8 34 12 05",       "enter rewritten 4 4/4 #1234 #5"          },
        {32, "0f 38 f0 00",       "movbe memory 4 4/4 r0.4 mds:eax+0.4"     },
        {32, "66 f2 0f 38 f1 c1", "repne crc32 identical 6 2/4 r0.4 r1.2"   },
        {32, "66 f3 0f b8 c1",    "rep popcnt identical 5 2/4 r0.2 r1.2"    },
        {32, "f3 0f bc c1",       "rep bsf identical 4 4/4 r0.4 r1.4"       },
        {32, "0f c3 08",          "movnti memory 3 4/4 mds:eax+0.4 r1.4"    },
        {32, "66 0f c7 f1",       "rdrand identical 4 2/4 r1.2"             },
    };
    RUN_CASES(cases);
}

Test(decode, control_and_system)
{
    static const struct decode_case cases[] = {
        {32, "74 fe",                "je control 2 4/4 @-2"                  },
        {32, "0f 85 fc ff ff ff",    "jne control 6 4/4 @-4"                 },
        {32, "66 e9 fe ff",          "jmp control 4 2/4 @-2"                 },
        {32, "e8 01 00 00 00",       "call control 5 4/4 @1"                 },
        {32, "ff d0",                "call control 2 4/4 r0.4"               },
        {32, "ff 24 85 00 10 00 00", "jmp control 7 4/4 mds:+eax*4+4096.4"   },
        {32, "c2 08 00",             "ret control 3 4/4 #8"                  },
        {32, "67 e3 02",             "jcxz control 3 4/2 @2"                 },
        {32, "ea 78 56 34 12 08 00", "jmp far callout-end 7 4/4 8:12345678"  },
        {16, "9a 34 12 00 f0",       "call far callout-end 5 2/2 f000:1234"  },
        {32, "ff 2b",                "jmp far callout-end 2 4/4 mds:ebx+0.6" },
        {16, "ff 1f",                "call far callout-end 2 2/2 mds:ebx+0.4"},
        {32, "cd 80",                "int callout-end 2 4/4 #80"             },
        {32, "cf",                   "iret callout-end 1 4/4"                },
        {32, "fa",                   "cli rewritten 1 4/4"                   },
        {32, "f4",                   "hlt callout-end 1 4/4"                 },
        {32, "8e d8",                "mov rewritten 2 4/4 s3 r0.2"           },
        {32, "8c d8",                "mov rewritten 2 4/4 r0.4 s3"           },
        {32, "8c 18",                "mov rewritten 2 4/4 mds:eax+0.2 s3"    },
        {32, "8e c8",                "undefined 2"                           },
        {32, "8e f0",                "undefined 2"                           },
        {32, "0f a9",                "pop rewritten 2 4/4 s5"                },
        {32, "c4 00",                "les callout-end 2 4/4 r0.4 mds:eax+0.6"},
        {32, "c5 c0",                "undefined 2"                           },
        {32, "0f 01 10",             "lgdt callout 3 4/4 mds:eax+0.6"        },
        {32, "0f 01 38",             "invlpg callout 3 4/4 mds:eax+0.0"      },
        {32, "0f 01 e0",             "smsw callout 3 4/4 r0.4"               },
        {32, "0f 01 20",             "smsw callout 3 4/4 mds:eax+0.2"        },
        {32, "0f 01 f0",             "lmsw callout-end 3 4/4 r0.2"           },
        {32, "0f 22 d8",             "mov callout-end 3 4/4 c3 r0.4"         },
        {32, "66 0f 20 18",          "mov callout 4 2/4 r0.4 c3"             },
        {32, "0f 20 08",             "undefined 3"                           },
        {32, "0f 23 f8",             "mov callout-end 3 4/4 d7 r0.4"         },
        {32, "0f a2",                "cpuid callout 2 4/4"                   },
        {32, "0f 34",                "sysenter callout-end 2 4/4"            },
        {32, "0f 05",                "undefined 2"                           },
        {32, "0f aa",                "undefined 2"                           },
        {32, "e4 60",                "in callout 2 4/4 r0.1 #60"             },
        {32, "66 ef",                "out callout 2 2/4 r2.2 r0.2"           },
        {32, "f3 6c",                "rep ins callout 2 4/4 [edi].1 r2.2"    },
        {32, "0f 02 00",             "lar callout 3 4/4 r0.4 mds:eax+0.2"    },
        {32, "0f 0b",                "undefined 2"                           },
        {32, "0f b9 40 10",          "undefined 4"                           },
        {32, "0f ff 04 24",          "undefined 4"                           },
        {32, "f1",                   "int1 callout-end 1 4/4"                },
    };
    RUN_CASES(cases);
}

Test(decode, strings_and_nops)
{
    static const struct decode_case cases[] = {
        {32, "a4",             "movs rewritten 1 4/4 [edi].1 [esi].1"      },
        {32, "f3 a5",          "rep movs rewritten 2 4/4 [edi].4 [esi].4"  },
        {32, "f3 66 a5",       "rep movs rewritten 3 2/4 [edi].2 [esi].2"  },
        {16, "f2 a6",          "repne cmps rewritten 2 2/2 [esi].1 [edi].1"},
        {32, "f2 f3 ae",       "rep scas rewritten 3 4/4 r0.1 [edi].1"     },
        {32, "f3 f2 ae",       "repne scas rewritten 3 4/4 r0.1 [edi].1"   },
        {32, "ad",             "lods rewritten 1 4/4 r0.4 [esi].4"         },
        {32, "90",             "nop identical 1 4/4"                       },
        {32, "66 90",          "nop identical 2 2/4"                       },
        {32, "f3 90",          "rep pause identical 2 4/4"                 },
        {32, "66 f3 90",       "rep pause identical 3 2/4"                 },
        {32, "0f 1f 44 00 00", "nop identical 5 4/4 mds:eax+eax*1+0.0"     },
        {32, "f3 0f 1e fb",    "rep nop identical 4 4/4 r3.4"              },
        {32, "0f 18 08",       "prefetch memory 3 4/4 mds:eax+0.0"         },
        {32, "0f 18 38",       "nop identical 3 4/4 mds:eax+0.0"           },
        {32, "0f 0d 08",       "prefetch memory 3 4/4 mds:eax+0.0"         },
        {32, "0f 0d c8",       "nop identical 3 4/4 r0.4"                  },
        {32, "9b",             "fwait identical 1 4/4"                     },
    };
    RUN_CASES(cases);
}

Test(decode, addressing)
{
    static const struct decode_case cases[] = {
        {32, "8b 00",                "mov memory 2 4/4 r0.4 mds:eax+0.4"        },
        {32, "8b 05 78 56 34 12",    "mov memory 6 4/4 r0.4 mds:+305419896.4"   },
        {32, "8b 45 00",             "mov memory 3 4/4 r0.4 mss:ebp+0.4"        },
        {32, "8b 04 24",             "mov memory 3 4/4 r0.4 mss:esp+0.4"        },
        {32, "8b 04 25 00 10 00 00", "mov memory 7 4/4 r0.4 mds:+4096.4"        },
        {32, "8b 04 2d 00 10 00 00", "mov memory 7 4/4 r0.4 mds:+ebp*1+4096.4"  },
        {32, "8b 44 25 80",          "mov memory 4 4/4 r0.4 mss:ebp-128.4"      },
        {32, "8b 84 c5 80 ff ff ff", "mov memory 7 4/4 r0.4 mss:ebp+eax*8-128.4"},
        {32, "8b 04 28",             "mov memory 3 4/4 r0.4 mds:eax+ebp*1+0.4"  },
        {32, "8b 04 60",             "mov memory 3 4/4 r0.4 mds:eax+0.4"        },
        {32, "3e 8b 45 08",          "mov memory 4 4/4 r0.4 mds:ebp+8.4"        },
        {32, "36 64 65 8b 00",       "mov memory 5 4/4 r0.4 mgs:eax+0.4"        },
        {32, "a1 78 56 34 12",       "mov memory 5 4/4 r0.4 mds:+305419896.4"   },
        {32, "67 a2 34 f2",          "mov memory 4 4/2 mds:+62004.1 r0.1"       },
        {16, "8b 00",                "mov memory 2 2/2 r0.2 mds:ebx+esi*1+0.2"  },
        {16, "8b 01",                "mov memory 2 2/2 r0.2 mds:ebx+edi*1+0.2"  },
        {16, "8b 02",                "mov memory 2 2/2 r0.2 mss:ebp+esi*1+0.2"  },
        {16, "8b 43 ff",             "mov memory 3 2/2 r0.2 mss:ebp+edi*1-1.2"  },
        {16, "8b 84 34 12",          "mov memory 4 2/2 r0.2 mds:esi+4660.2"     },
        {16, "8b 05",                "mov memory 2 2/2 r0.2 mds:edi+0.2"        },
        {16, "8b 06 34 12",          "mov memory 4 2/2 r0.2 mds:+4660.2"        },
        {16, "8b 46 10",             "mov memory 3 2/2 r0.2 mss:ebp+16.2"       },
        {16, "26 8b 07",             "mov memory 3 2/2 r0.2 mes:ebx+0.2"        },
        {16, "67 8b 04 24",          "mov memory 4 2/4 r0.2 mss:esp+0.2"        },
        {32, "67 8b 06 34 12",       "mov memory 5 4/2 r0.4 mds:+4660.4"        },
    };
    RUN_CASES(cases);
}

Test(decode, floating_point_and_vectors)
{
    static const struct decode_case cases[] = {
        {32, "d8 c1",             "fadd identical 2 4/4 st0 st1"                 },
        {32, "dc c1",             "fadd identical 2 4/4 st1 st0"                 },
        {32, "d8 00",             "fadd memory 2 4/4 mds:eax+0.4"                },
        {32, "dd 45 08",          "fld memory 3 4/4 mss:ebp+8.8"                 },
        {32, "db 28",             "fld memory 2 4/4 mds:eax+0.10"                },
        {32, "df 30",             "fbstp memory 2 4/4 mds:eax+0.10"              },
        {32, "d9 e8",             "fld1 identical 2 4/4 st0"                     },
        {32, "d9 d1",             "undefined 2"                                  },
        {32, "d9 d9",             "fstp identical 2 4/4 st1 st0"                 },
        {32, "df c1",             "ffreep identical 2 4/4 st1"                   },
        {32, "df e0",             "fnstsw identical 2 4/4 r0.2"                  },
        {32, "df e1",             "undefined 2"                                  },
        {32, "da e9",             "fucompp identical 2 4/4 st0 st1"              },
        {32, "d9 30",             "fnstenv callout 2 4/4 mds:eax+0.28"           },
        {32, "66 d9 20",          "fldenv callout 3 2/4 mds:eax+0.14"            },
        {32, "dd 30",             "fnsave callout 2 4/4 mds:eax+0.108"           },
        {16, "dd 20",             "frstor callout 2 2/2 mds:ebx+esi*1+0.94"      },
        {32, "0f ae 00",          "fxsave callout 3 4/4 mds:eax+0.0"             },
        {32, "0f ae f8",          "sfence identical 3 4/4"                       },
        {32, "0f 6f c1",          "movq identical 3 4/4 mm0 mm1"                 },
        {32, "0f 60 00",          "punpcklbw memory 3 4/4 mm0 mds:eax+0.4"       },
        {32, "66 0f 60 00",       "punpcklbw memory 4 4/4 x0 mds:eax+0.16"       },
        {16, "66 0f 6e c1",       "movd identical 4 2/2 x0 r1.4"                 },
        {32, "0f 7e 08",          "movd memory 3 4/4 mds:eax+0.4 mm1"            },
        {32, "f3 0f 10 00",       "rep movss memory 4 4/4 x0 mds:eax+0.4"        },
        {32, "66 f3 0f 10 00",    "rep movss memory 5 2/4 x0 mds:eax+0.4"        },
        {32, "f2 0f 2a c1",       "repne cvtsi2sd identical 4 4/4 x0 r1.4"       },
        {32, "f2 0f 2c 00",       "repne cvttsd2si memory 4 4/4 r0.4 mds:eax+0.8"},
        {32, "66 0f d7 c1",       "pmovmskb identical 4 4/4 r0.4 x1"             },
        {32, "66 0f c5 c1 03",    "pextrw identical 5 4/4 r0.4 x1 #3"            },
        {32, "0f c4 00 03",       "pinsrw memory 4 4/4 mm0 mds:eax+0.2 #3"       },
        {32, "66 0f 3a 14 00 05", "pextrb memory 6 4/4 mds:eax+0.1 x0 #5"        },
        {32, "66 0f 71 d1 04",    "psrlw identical 5 4/4 x1 #4"                  },
        {32, "66 0f 38 22 00",    "pmovsxbq memory 5 4/4 x0 mds:eax+0.2"         },
        {32, "66 0f 3a 63 00 0c", "pcmpistri memory 6 4/4 x0 mds:eax+0.16 #c"    },
        {32, "f3 0f 60 c1",       "undefined 4"                                  },
        {32, "0f 71 10 04",       "undefined 4"                                  },
        {32, "0f 0f c1 9e",       "undefined 2"                                  },
        {32, "0f 3a 44 c1 00",    "undefined 5"                                  },
    };
    RUN_CASES(cases);
}

Test(decode, lock)
{
    static const struct decode_case cases[] = {
        {32, "f0 01 08",          "lock add memory 3 4/4 mds:eax+0.4 r1.4"    },
        {32, "f0 01 c8",          "undefined 3"                               },
        {32, "f0 03 08",          "undefined 3"                               },
        {32, "f0 38 08",          "undefined 3"                               },
        {32, "f0 87 08",          "lock xchg memory 3 4/4 mds:eax+0.4 r1.4"   },
        {32, "f0 0f b1 08",       "lock cmpxchg memory 4 4/4 mds:eax+0.4 r1.4"},
        {32, "f0 0f a3 08",       "undefined 4"                               },
        {32, "f0 0f ab 08",       "lock bts memory 4 4/4 mds:eax+0.4 r1.4"    },
        {32, "f0 82 00 01",       "lock add callout 4 4/4 mds:eax+0.1 #1"     },
        {32, "f0 90",             "undefined 2"                               },
        {32, "f0 d1 20",          "undefined 3"                               },
        {32, "f0 66 f3 83 00 01", "lock rep add memory 6 2/4 mds:eax+0.2 #1"  },
    };
    RUN_CASES(cases);
}

/* ---- prefixes, length, truncation ---- */

static bool same_record(const struct insn *a, const struct insn *b)
{
    struct insn x = *a, y = *b;
    memset(x.bytes, 0, sizeof(x.bytes));
    memset(y.bytes, 0, sizeof(y.bytes));
    return memcmp(&x, &y, sizeof(x)) == 0;
}

Test(decode, prefixes_in_all_orders)
{
    static const uint8_t set[4] = {0x66, 0x67, 0x2e, 0xf3};
    static const uint8_t bodies[][3] = {
        {0xa5},
        { 0x8b,     0x06},
        { 0x0f, 0x58, 0x07},
        { 0x0f, 0xb8, 0x07}
    };
    for (unsigned b = 0; b < 4; b++) {
        struct insn first;
        unsigned tried = 0;
        for (unsigned order = 0; order < 256; order++) {
            uint8_t code[16] = {0};
            unsigned used = 0;
            for (unsigned k = 0; k < 4; k++) {
                unsigned which = order >> (2 * k) & 3;
                used |= 1u << which;
                code[k] = set[which];
            }
            if (used != 15)
                continue;
            memcpy(code + 4, bodies[b], 3);
            struct insn i;
            cr_assert_eq(decode(decoder, code, sizeof(code), true, &i), DECODE_OK);
            if (tried++ == 0)
                first = i;
            cr_expect(same_record(&i, &first), "order %#x of body %u", order, b);
        }
        cr_expect_eq(tried, 24);
    }
}

Test(decode, fifteen_bytes)
{
    uint8_t code[32];
    struct insn i;
    memset(code, 0x66, sizeof(code));
    code[14] = 0x90;
    cr_expect_eq(decode(decoder, code, 15, true, &i), DECODE_OK);
    cr_expect_eq(i.length, 15);
    cr_expect_eq(decode(decoder, code, 14, true, &i), DECODE_TRUNCATED);
    code[14] = 0x66;
    code[15] = 0x90;
    cr_expect_eq(decode(decoder, code, 14, true, &i), DECODE_TRUNCATED);
    cr_expect_eq(decode(decoder, code, 15, true, &i), DECODE_TOO_LONG);
    cr_expect_eq(decode(decoder, code, 32, true, &i), DECODE_TOO_LONG);
    /* Eleven prefixes leave four bytes, too few for MOV EAX, imm32. */
    code[11] = 0x3e;
    memset(code, 0x3e, 11);
    code[11] = 0xb8;
    cr_expect_eq(decode(decoder, code, 15, true, &i), DECODE_TOO_LONG);
    code[10] = 0xb8;
    cr_expect_eq(decode(decoder, code, 15, true, &i), DECODE_OK);
    cr_expect_eq(decode(decoder, code, 0, true, &i), DECODE_TRUNCATED);
}

/* ---- sweeps ---- */

/* Prefix sets of the sweeps; the opcode follows. */
static const struct prefix_set {
    uint8_t n, bytes[3];
} prefix_sets[] = {
    {0, {0}         },
    {1, {0x66}      },
    {1, {0xf2}      },
    {1, {0xf3}      },
    {1, {0x67}      },
    {2, {0x66, 0xf2}},
    {2, {0xf3, 0x66}},
    {1, {0xf0}      },
    {2, {0x65, 0xf0}},
};

static bool is_opcode(unsigned map, unsigned opcode)
{
    static const uint8_t not [] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64,
                                   0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    if (map == 0)
        return !memchr(not, (int)opcode, sizeof(not ));
    return map != 1 || (opcode != 0x38 && opcode != 0x3a);
}

static unsigned put_code(uint8_t *code, const struct prefix_set *p, unsigned map, unsigned opcode,
                         unsigned modrm)
{
    unsigned n = p->n;
    memcpy(code, p->bytes, n);
    if (map > 0)
        code[n++] = 0x0f;
    if (map > 1)
        code[n++] = map == 2 ? 0x38 : 0x3a;
    code[n++] = (uint8_t)opcode;
    code[n++] = (uint8_t)modrm;
    for (unsigned fill = n; fill < 32; fill++)
        code[fill] = fill == n ? 0x25 : (uint8_t)(fill * 7);
    return n;
}

typedef void sweep_fn(const uint8_t *code, bool code32, enum decode_status status,
                      const struct insn *i);
static void sweep(sweep_fn *check)
{
    for (unsigned p = 0; p < sizeof(prefix_sets) / sizeof(prefix_sets[0]); p++) {
        for (unsigned map = 0; map < 4; map++) {
            for (unsigned opcode = 0; opcode < 256; opcode++) {
                for (unsigned modrm = 0; modrm < 512 && is_opcode(map, opcode); modrm++) {
                    uint8_t code[32];
                    struct insn i;
                    put_code(code, &prefix_sets[p], map, opcode, modrm & 255);
                    bool code32 = modrm < 256;
                    check(code, code32, decode(decoder, code, 15, code32, &i), &i);
                }
            }
        }
    }
}

static void check_invariants(const uint8_t *code, bool code32, enum decode_status status,
                             const struct insn *i)
{
    (void)code32;
    cr_assert(i->info && i->op == i->info->op);
    cr_assert(i->length >= 1 && i->length <= 15 && !memcmp(i->bytes, code, i->length));
    cr_assert(status == DECODE_OK || (status == DECODE_UNDEFINED && i->op == OP_UD));
    if (status != DECODE_OK)
        return;
    const struct insn_info *f = i->info;
    bool mem_opnd = false;
    for (unsigned k = 0; k < i->n_opnds; k++) {
        const struct opnd *o = &i->opnd[k];
        cr_assert(o->kind != OPND_NONE && o->reg < 8);
        cr_assert(o->kind != OPND_SEG || o->reg < 6);
        cr_assert(o->kind != OPND_REG || o->size == 1 || o->size == 2 || o->size == 4);
        mem_opnd |= o->kind == OPND_MEM;
    }
    cr_assert_eq(i->has_mem, mem_opnd, "%s", f->name);
    cr_assert(f->cls != CLASS_UNDEFINED && f->op != OP_UD);
    cr_assert(f->cls != CLASS_MEMORY || i->has_mem, "%s", f->name);
    cr_assert(f->cls != CLASS_IDENTICAL || !i->has_mem || f->op == OP_NOP, "%s", f->name);
    cr_assert(!i->lock || (i->has_mem && (f->flags & INSN_LOCKABLE)));
    cr_assert(!(i->rep && i->repne));
    cr_assert(i->mem_base == 0xff || i->mem_base < 8);
    cr_assert(i->mem_index == 0xff || i->mem_index < 8);
    unsigned tail = i->disp_size + i->imm_size + i->has_modrm + i->has_sib;
    cr_assert_lt(tail, i->length, "%s", f->name);
}

Test(decode, sweep_invariants)
{
    sweep(check_invariants);
}

/* Fewer bytes than the length are too few, more change nothing. */
static void check_truncation(const uint8_t *code, bool code32, enum decode_status status,
                             const struct insn *i)
{
    struct insn other;
    for (unsigned n = 0; n < i->length; n++)
        cr_assert_eq(decode(decoder, code, n, code32, &other), DECODE_TRUNCATED, "%s",
                     i->info->name);
    uint8_t copy[32];
    memcpy(copy, code, i->length);
    memset(copy + i->length, 0xcc, sizeof(copy) - i->length);
    cr_assert_eq(decode(decoder, copy, i->length, code32, &other), status);
    cr_assert(same_record(i, &other), "%s", i->info->name);
    cr_assert_eq(decode(decoder, copy, 32, code32, &other), status);
    cr_assert(same_record(i, &other), "%s", i->info->name);
}

Test(decode, sweep_truncation)
{
    sweep(check_truncation);
}

/* What capstone 4 does not know at all; where it knows an instruction it must agree on its length.
 * In 16-bit code it misses most mandatory prefixes. */
static bool capstone_ignorant(const struct insn *i, bool code32)
{
    if (i->op == OP_NOP || i->op == OP_PREFETCH || i->op == OP_FENCE)
        return true;
    if (!code32 && (i->prefix66 || i->rep || i->repne))
        return true;
    return i->prefix66 && (i->rep || i->repne);
}

static struct decode_text *text;
static void check_capstone(const uint8_t *code, bool code32, enum decode_status status,
                           const struct insn *i)
{
    if (status != DECODE_OK)
        return;
    unsigned length = decode_text_length(text, code, 15, code32);
    if (length == 0)
        cr_assert(capstone_ignorant(i, code32), "%d-bit %s", code32 ? 32 : 16, i->info->name);
    else
        cr_assert_eq(length, i->length, "%s: capstone %u, table %u", i->info->name, length,
                     i->length);
}

Test(decode, capstone_agrees_on_lengths)
{
    text = decode_text_create();
    cr_assert(text);
    sweep(check_capstone);
    decode_text_destroy(text);
}

/* ---- the table ---- */

/* A code that should select the row, with a given register or memory form. */
static bool code_for_row(const struct insn_row *r, bool memory, uint8_t *code)
{
    struct prefix_set p = {0, {0}};
    if (r->pfx == 0x66 || r->pfx == 0xf2 || r->pfx == 0xf3)
        p = (struct prefix_set){1, {r->pfx}};
    if ((memory && r->mod == 2) || (!memory && r->mod == 1))
        return false;
    unsigned modrm = memory ? 0x40 : 0xc0;
    modrm |= (r->ext != 0xff ? r->ext : 1u) << 3;
    modrm |= r->rm != 0xff ? r->rm : 3u;
    put_code(code, &p, r->map, r->opcode, modrm);
    return true;
}

Test(decode, every_row_decodes_to_itself)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        const struct insn_row *r = &insn_rows[k];
        unsigned forms = 0;
        for (unsigned form = 0; form < 4; form++) {
            uint8_t code[32];
            struct insn i;
            if (!code_for_row(r, form & 1, code))
                continue;
            forms++;
            enum decode_status status = decode(decoder, code, 15, form & 2, &i);
            if (r->info.cls == CLASS_UNDEFINED)
                cr_expect_eq(status, DECODE_UNDEFINED, "row %u %s", k, r->info.name);
            else
                cr_expect(status == DECODE_OK && i.info == &r->info, "row %u %s got %s", k,
                          r->info.name, i.info->name);
        }
        cr_expect(forms > 0, "row %u %s", k, r->info.name);
    }
}

Test(decode, no_two_rows_match)
{
    insn_table_init();
    for (unsigned a = 0; a < insn_row_count; a++) {
        const struct insn_row *x = &insn_rows[a];
        for (unsigned b = a + 1; b < insn_row_count; b++) {
            const struct insn_row *y = &insn_rows[b];
            if (x->map != y->map || x->opcode != y->opcode)
                continue;
            bool ext = x->ext == y->ext || x->ext == 0xff || y->ext == 0xff;
            bool rm = x->rm == y->rm || x->rm == 0xff || y->rm == 0xff;
            bool mod = x->mod == y->mod || x->mod == 0 || y->mod == 0;
            bool np = (x->pfx == INSN_PFX_NP && y->pfx == INSN_PFX_NOREP) ||
                      (y->pfx == INSN_PFX_NP && x->pfx == INSN_PFX_NOREP) ||
                      (x->pfx == 0x66 && y->pfx == INSN_PFX_NOREP) ||
                      (y->pfx == 0x66 && x->pfx == INSN_PFX_NOREP);
            bool pfx = x->pfx == y->pfx || x->pfx == 0 || y->pfx == 0 || np;
            cr_expect(!(ext && rm && mod && pfx), "rows %u and %u: %s, %s", a, b, x->info.name,
                      y->info.name);
        }
    }
}

Test(decode, table_is_consistent)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        const struct insn_row *r = &insn_rows[k];
        const struct insn_info *f = &r->info;
        unsigned flags = f->fl_read | f->fl_write | f->fl_maybe;
        cr_expect_eq(flags & ~EFL_HOST, 0, "%s", f->name);
        cr_expect_eq(f->fl_write & f->fl_maybe, 0, "%s", f->name);
        cr_expect(f->feature < FEAT_NEVER && f->op < OP_COUNT && f->cls < CLASS_COUNT);
        if (f->flags & INSN_LOCKABLE)
            cr_expect(f->flags & INSN_WRITES0, "%s", f->name);
        if (f->flags & INSN_ALIGN16) {
            bool any16 = f->op == OP_FXSAVE || f->op == OP_FXRSTOR;
            for (unsigned o = 0; o < 3; o++)
                any16 |= insn_spec_info[r->opnd[o]].mem_size == 16;
            cr_expect(any16 && r->mod == 1, "%s", f->name);
        }
        cr_expect_eq(f->cls == CLASS_MEMORY && r->mod == 2, false, "%s", f->name);
        cr_expect_neq(strcmp(insn_op_name(f->op), "?"), 0);
    }
}

Test(decode, features_gate_rows)
{
    for (unsigned feature = FEAT_BASE + 1; feature < FEAT_NEVER; feature++) {
        struct decoder *d = decoder_create_features(~(1u << feature));
        for (unsigned k = 0; k < insn_row_count; k++) {
            const struct insn_row *r = &insn_rows[k];
            uint8_t code[32];
            struct insn i;
            if (r->info.cls == CLASS_UNDEFINED || !code_for_row(r, r->mod == 1, code))
                continue;
            enum decode_status want = r->info.feature == feature ? DECODE_UNDEFINED : DECODE_OK;
            cr_expect_eq(decode(d, code, 15, true, &i), want, "%s", r->info.name);
        }
        decoder_destroy(d);
    }
}

Test(decode, text)
{
    static const uint8_t code[] = {0x2e, 0x66, 0x2e, 0x01, 0x44, 0x8b, 0x10};
    static const uint8_t jump[] = {0x3e, 0x2e, 0x74, 0xfb};
    static const uint8_t bad[] = {0x0f, 0x0b};
    struct insn i;
    char buf[100];
    decode(decoder, code, sizeof(code), true, &i);
    cr_expect_str_eq(decode_format(decoder, &i, 0x1000, true, buf, sizeof(buf)),
                     "add word ptr cs:[ebx + ecx*4 + 0x10], ax");
    decode(decoder, jump, sizeof(jump), true, &i);
    cr_expect(strstr(decode_format(decoder, &i, 0x1000, true, buf, sizeof(buf)), "0xfff"), "%s",
              buf);
    decode(decoder, bad, sizeof(bad), true, &i);
    cr_expect_str_eq(decode_format(decoder, &i, 0x1000, true, buf, sizeof(buf)), "(undefined)");
}
