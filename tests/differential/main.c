/* SPDX-License-Identifier: MIT */
/* main.c: the tool of the differential tests.
 *
 *   rd_cases generate SEED FIRST COUNT OUT [ONLY]   write cases; ONLY: names of operations,
 * comma-separated rd_cases show FILE INDEX [HEX...]               a case: bytes, disassembly,
 * inputs, results side by side rd_cases coverage FILE...                       the table's rows and
 * how often the files test each, as JSON
 *
 * `coverage` ends with status 1 if a row that is offered has no test. */
#include "tests/differential/facts.h"
#include "tests/differential/generate.h"
#include "tests/lib/host_judge.h"
#include "translator/insn_table.h"

#include "ringdown/feature.h"

#include <cpuid.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the host has of what rows may need. */
static uint32_t host_features(void)
{
    unsigned a, b, c, d, b7 = 0, c7, d7;
    __cpuid(1, a, b, c, d);
    if (__get_cpuid_max(0, NULL) >= 7)
        __cpuid_count(7, 0, a, b7, c7, d7);
    const struct {
        unsigned word, bit, feature;
    } t[] = {
        {d,  15, FEAT_CMOV   },
        {d,  8,  FEAT_CX8    },
        {d,  4,  FEAT_TSC    },
        {d,  5,  FEAT_MSR    },
        {d,  11, FEAT_SEP    },
        {d,  24, FEAT_FXSR   },
        {d,  0,  FEAT_FPU    },
        {d,  23, FEAT_MMX    },
        {d,  25, FEAT_SSE    },
        {d,  26, FEAT_SSE2   },
        {c,  0,  FEAT_SSE3   },
        {c,  9,  FEAT_SSSE3  },
        {c,  19, FEAT_SSE41  },
        {c,  20, FEAT_SSE42  },
        {c,  23, FEAT_POPCNT },
        {c,  25, FEAT_AES    },
        {c,  1,  FEAT_PCLMUL },
        {c,  22, FEAT_MOVBE  },
        {d,  19, FEAT_CLFLUSH},
        {c,  30, FEAT_RDRAND },
        {b7, 18, FEAT_RDSEED }
    };
    uint32_t f = 1u << FEAT_BASE;
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        f |= (t[i].word >> t[i].bit & 1) << t[i].feature;
    return f;
}

static bool named(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strcasestr(p, name)); p++)
        if ((p == list || p[-1] == ',') && (!p[n] || p[n] == ','))
            return true;
    return false;
}

static int generate(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    struct generator g = {.seed = (uint32_t)strtoul(argv[2], NULL, 0), .features = host_features()};
    uint32_t first = (uint32_t)strtoul(argv[3], NULL, 0),
             count = (uint32_t)strtoul(argv[4], NULL, 0);
    g.decoder = decoder_create_features(g.features);
    host_assume_environment();
    unsigned unjudged = 0, *rows = calloc(insn_row_count, sizeof *rows), n = 0;
    if (!g.decoder || !rows)
        return 1;
    for (unsigned i = 0; i < insn_row_count; i++) {
        const struct insn_row *r = &insn_rows[i];
        if (g.features >> r->info.feature & 1 && facts_treatment(r) != TREAT_GUEST &&
            (argc < 7 || named(argv[6], r->info.name) || named(argv[6], insn_op_name(r->info.op))))
            rows[n++] = i;
    }
    if (!n) {
        fprintf(stderr, "rd_cases: no operation is named %s\n", argv[6]);
        return 2;
    }
    FILE *f = fopen(argv[5], "wb");
    struct case_file h = {CASE_MAGIC, count, 0, g.seed};
    if (!f || fwrite(&h, sizeof h, 1, f) != 1)
        return perror(argv[5]), 1;
    for (uint32_t i = 0; i < count; i++) {
        struct test_case c;
        uint32_t index = first + i;
        generate_case(&g, index, &insn_rows[rows[(index * 7919ull + index / n) % n]], &c);
        if (fwrite(&c, sizeof c, 1, f) != 1)
            return perror(argv[5]), 1;
        unjudged += c.row != 0xffff && facts_treatment(&insn_rows[c.row]) == TREAT_NATIVE &&
                    (!c.native || c.ignore & DIFFERS_FLAGS);
    }
    decoder_destroy(g.decoder);
    free(rows);
    printf("%u not judged\n", unjudged);
    return fclose(f) ? 1 : 0;
}

static bool load(const char *path, struct case_file *h, struct test_case **c,
                 struct case_result **r)
{
    FILE *f = fopen(path, "rb");
    *c = NULL, *r = NULL;
    if (!f || fread(h, sizeof *h, 1, f) != 1 || h->magic != CASE_MAGIC) {
        fprintf(stderr, "rd_cases: %s: not a case file\n", path);
        return false;
    }
    *c = calloc(h->count, sizeof **c);
    *r = calloc(h->count, sizeof **r);
    bool ok = *c && *r && fread(*c, sizeof **c, h->count, f) == h->count;
    if (ok && h->has_results)
        ok = fread(*r, sizeof **r, h->count, f) == h->count;
    fclose(f);
    return ok;
}

/* --- show --- */

static const char *const reg_names[8] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};

static bool parse_hex(const char *s, struct case_result *r)
{
    if (strlen(s) != 2 * sizeof *r)
        return false;
    for (size_t i = 0; i < sizeof *r; i++) {
        unsigned v;
        if (sscanf(s + 2 * i, "%2x", &v) != 1)
            return false;
        ((uint8_t *)r)[i] = (uint8_t)v;
    }
    return true;
}

static void show_code(const struct test_case *c)
{
    struct decoder *d = decoder_create_features(~0u);
    uint32_t pc = CASE_CODE + c->index % CASE_BATCH * CASE_SLOT + c->start;
    for (unsigned at = 0; at < c->length;) {
        struct insn i;
        char text[128] = "(undefined)";
        enum decode_status s = decode(d, c->code + at, c->length - at, true, &i);
        unsigned n =
            s == DECODE_TRUNCATED || s == DECODE_TOO_LONG || !i.length ? c->length - at : i.length;
        if (s == DECODE_OK)
            decode_format(d, &i, pc + at, true, text, sizeof text);
        printf("  %08x ", pc + at);
        for (unsigned k = 0; k < n; k++)
            printf(" %02x", c->code[at + k]);
        printf("   %s\n", text);
        at += n;
    }
    decoder_destroy(d);
}

static void row_of(const char *name, uint32_t in, bool has_in, const struct case_result *r[],
                   unsigned n, size_t off)
{
    printf("  %-8s", name);
    if (has_in)
        printf(" %08x ", in);
    else
        printf("          ");
    uint32_t first = 0;
    for (unsigned k = 0; k < n; k++) {
        uint32_t v;
        memcpy(&v, (const uint8_t *)r[k] + off, 4);
        if (!k)
            first = v;
        printf("  %08x%c", v, v != first ? '*' : ' ');
    }
    printf("\n");
}

static int show(int argc, char **argv)
{
    struct case_file h;
    struct test_case *c;
    struct case_result *r, extra[6];
    if (argc < 4 || !load(argv[2], &h, &c, &r))
        return 2;
    uint32_t index = (uint32_t)strtoul(argv[3], NULL, 0), at = index - c[0].index;
    if (at >= h.count)
        return fprintf(stderr, "rd_cases: no case %u in %s\n", index, argv[2]), 2;
    const struct case_result *list[7];
    unsigned n = 0;
    if (h.has_results && c[at].native)
        list[n++] = &r[at];
    for (int i = 4; i < argc && n < 7; i++)
        if (parse_hex(argv[i], &extra[i - 4]))
            list[n++] = &extra[i - 4];
    printf("case %u seed %u: row %s, memory %#x, floating point %#x, undefined flags %#x\n", index,
           h.seed, c[at].row < insn_row_count ? insn_rows[c[at].row].info.name : "?",
           c[at].mem_seed, c[at].fpu_seed, c[at].flags_undefined);
    show_code(&c[at]);
    for (unsigned i = 0; i < c[at].patches; i++)
        printf("  [%08x] = %08x\n", CASE_DATA + c[at].patch[i].off, c[at].patch[i].value);
    printf("            before    %s\n", n && list[0] == &r[at] ? "host      others" : "engines");
    static const char *const heads[] = {"vector", "error", "cr2", "eip"};
    for (unsigned i = 0; i < 4; i++)
        row_of(heads[i], 0, false, list, n, i * 4);
    row_of("eflags", c[at].eflags, true, list, n, 16);
    for (unsigned i = 0; i < 8; i++)
        row_of(reg_names[i], c[at].gpr[i], true, list, n, 20 + 4 * i);
    row_of("changed", 0, false, list, n, 52);
    row_of("hash", 0, false, list, n, 56);
    for (unsigned k = 0; k < n; k++)
        for (unsigned i = 0; i < list[k]->diffs && i < CASE_DIFFS; i++)
            printf("  result %u: [%08x] = %08x\n", k, CASE_DATA + list[k]->diff[i].off,
                   list[k]->diff[i].value);
    if (!c[at].fpu_seed)
        return 0;
    uint8_t fx[512] __attribute__((aligned(16)));
    case_fill_fx(c[at].fpu_seed, fx);
    for (unsigned i = 0; i < 288; i += 4) {
        bool differs = false;
        for (unsigned k = 1; k < n; k++)
            differs |= memcmp(list[k]->fx + i, list[0]->fx + i, 4) != 0;
        char name[16];
        if (i < 32)
            snprintf(name, sizeof name, "fx+%u", i);
        else
            snprintf(name, sizeof name, "%s%u.%u", i < 160 ? "st" : "xmm",
                     (i < 160 ? i - 32 : i - 160) / 16, i / 4 % 4);
        uint32_t in;
        memcpy(&in, fx + i, 4);
        if (differs || i < 8 || i == 24)
            row_of(name, in, true, list, n, offsetof(struct case_result, fx) + i);
    }
    return 0;
}

/* --- coverage --- */

static const char *spec_name(unsigned spec)
{
    static const char *const names[] = {
#define X(name, source, size, memory_size, fixed) #name,
        INSN_SPECS(X)
#undef X
    };
    return spec < SPEC_COUNT ? names[spec] : "?";
}

static int coverage(int argc, char **argv)
{
    unsigned(*tested)[2] = calloc(insn_row_count, sizeof *tested);
    if (!tested)
        return 1;
    for (int i = 2; i < argc; i++) {
        struct case_file h;
        struct test_case *c;
        struct case_result *r;
        if (!load(argv[i], &h, &c, &r))
            return 2;
        for (uint32_t k = 0; k < h.count; k++)
            if (c[k].row < insn_row_count)
                tested[c[k].row][c[k].native]++;
        free(c);
        free(r);
    }
    uint32_t features = host_features();
    unsigned total[CLASS_COUNT] = {0}, covered[CLASS_COUNT] = {0}, bad = 0;
    printf("{\"forms\": [\n");
    for (unsigned i = 0; i < insn_row_count; i++) {
        const struct insn_row *r = &insn_rows[i];
        bool has = features >> r->info.feature & 1;
        const char *guest = facts_treatment(r) == TREAT_GUEST ? facts_guest(r->info.op) : NULL;
        bool ok = tested[i][0] || tested[i][1] || guest;
        printf("{\"map\": %u, \"opcode\": \"%02x\", \"ext\": %d, \"prefix\": %u, \"mod\": \"%s\", "
               "\"name\": \"%s\", "
               "\"operands\": \"%s %s %s\", \"class\": \"%s\", \"offered\": %s, \"host\": %u, "
               "\"engines\": %u, "
               "\"guest\": \"%s\"}%s\n",
               r->map, r->opcode, r->ext == 0xff ? -1 : r->ext, r->pfx,
               r->mod == 0   ? "any"
               : r->mod == 1 ? "memory"
                             : "register",
               r->info.name, spec_name(r->opnd[0]), spec_name(r->opnd[1]), spec_name(r->opnd[2]),
               insn_class_name(r->info.cls), has ? "true" : "false", tested[i][1], tested[i][0],
               guest ? guest : "", i + 1 < insn_row_count ? "," : "");
        if (!has)
            continue;
        total[r->info.cls]++;
        covered[r->info.cls] += ok;
        if (!ok) {
            bad++;
            fprintf(stderr, "no test: %s (map %u opcode %02x ext %d prefix %u mod %u)\n",
                    r->info.name, r->map, r->opcode, r->ext == 0xff ? -1 : r->ext, r->pfx, r->mod);
        }
    }
    printf("], \"classes\": {");
    for (unsigned k = 0; k < CLASS_COUNT; k++)
        printf("%s\"%s\": [%u, %u]", k ? ", " : "", insn_class_name(k), covered[k], total[k]);
    printf("}}\n");
    free(tested);
    return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
    insn_table_init();
    int status = 2;
    if (argc > 1 && !strcmp(argv[1], "generate"))
        status = generate(argc, argv);
    else if (argc > 1 && !strcmp(argv[1], "show"))
        status = show(argc, argv);
    else if (argc > 1 && !strcmp(argv[1], "coverage"))
        status = coverage(argc, argv);
    if (status == 2 && argc < 4)
        fprintf(stderr,
                "usage: rd_cases generate SEED FIRST COUNT OUT [ONLY] | show FILE INDEX [HEX...] | "
                "coverage FILE...\n");
    return status;
}
