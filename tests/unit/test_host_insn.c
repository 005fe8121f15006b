/* SPDX-License-Identifier: MIT */
/* Which instructions of translated code may raise a guest's exception, as --stress precise asks. */
#include "translator/host_insn.h"

#include <criterion/criterion.h>

static const struct {
    bool may_fault;
    uint8_t size, code[12];
    const char *text;
} cases[] = {
  /* the monitor's own memory, and none */
    {false, 3, {0x49, 0x89, 0xc9},                         "mov r9, rcx"          },
    {false, 7, {0x45, 0x8b, 0x87, 0x00, 0x01, 0x00, 0x00}, "r8d, [r15 + 0x100]"   },
    {false, 5, {0x49, 0x8b, 0x4c, 0xcd, 0x00},             "rcx, [r13 + rcx*8]"   },
    {false, 4, {0x4e, 0x8b, 0x1c, 0xd9},                   "r11, [rcx + r11*8]"   },
    {false, 2, {0x41, 0x50},                               "push r8"              },
    {false, 1, {0xc3},                                     "ret"                  },
    {false, 5, {0x67, 0x65, 0x8d, 0x43, 0x04},             "lea eax, gs:[ebx + 4]"},
    {false, 2, {0x01, 0xd8},                               "add eax, ebx"         },
 /* guest memory: through GS, by a view's pointer, by a host pointer of the software TLB */
    {true,  4, {0x67, 0x65, 0x8b, 0x03},                   "mov eax, gs:[ebx]"    },
    {true,  5, {0x65, 0x67, 0x83, 0x03, 0x01},             "add gs:[ebx], 1"      },
    {true,  4, {0x43, 0x8b, 0x04, 0x1a},                   "mov eax, [r10 + r11]" },
    {true,  2, {0xf3, 0xa4},                               "rep movsb"            },
    {true,  1, {0xab},                                     "stosd"                },
    {true,  6, {0x65, 0x67, 0x41, 0xff, 0x34, 0x24},       "push gs:[r12d]"       },
 /* exceptions without memory */
    {true,  2, {0xf7, 0xf1},                               "div ecx"              },
    {true,  2, {0xf6, 0xfb},                               "idiv bl"              },
    {true,  2, {0xde, 0xf9},                               "fdivp"                },
    {true,  4, {0xf2, 0x0f, 0x58, 0xc1},                   "addsd xmm0, xmm1"     },
    {true,  3, {0x0f, 0xfc, 0xc1},                         "paddb mm0, mm1"       },
    {true,  2, {0x0f, 0x0b},                               "ud2"                  },
 /* what cannot be read is taken for the worst */
    {true,  1, {0x0f},                                     "?"                    },
};

Test(host_insn, may_fault)
{
    struct host_decoder *d = host_decoder_create();
    cr_assert(d);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[96];
        bool got =
            host_decoder_may_fault(d, cases[i].code, cases[i].size, 0x1000, text, sizeof(text));
        cr_expect(got == cases[i].may_fault, "%s, read as %s: %d", cases[i].text, text, got);
    }
    host_decoder_destroy(d);
}
