/* SPDX-License-Identifier: MIT */
/* Integer workloads: a mixed kernel, carries, 64-bit division, bit work, sorting. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* ---- intmix: linked lists, a 16-bit matrix, a scanner, and a CRC ---- */

#define NODES 96
#define DIM   12

struct node {
    struct node *next;
    int16_t key;
    uint16_t val;
};

static struct node pool[NODES];
static int16_t ma[DIM][DIM], mb[DIM][DIM];
static int32_t mc[DIM][DIM];
static const char scan_text[] =
    "12,-7,3.25,x9,+88,1e5,-2.5e-3,,0x1f,777,.5,9.,abc,-0,+,4e,31415,2.71828,"
    "6.02e23,-1,19,z,0.001,1000000,-33.0,8e8,+5,,12a,7";

static uint16_t crc16(uint16_t crc, uint32_t v, int bits)
{
    while (bits--) {
        uint32_t bit = (crc ^ v) & 1;

        crc >>= 1;
        if (bit)
            crc ^= 0xa001;
        v >>= 1;
    }
    return crc;
}

static struct node *merge(struct node *a, struct node *b)
{
    struct node head, *t = &head;

    while (a && b) {
        if (a->key <= b->key) {
            t->next = a;
            a = a->next;
        } else {
            t->next = b;
            b = b->next;
        }
        t = t->next;
    }
    t->next = a ? a : b;
    return head.next;
}

static struct node *sort_list(struct node *l)
{
    struct node *slow = l, *fast;

    if (!l || !l->next)
        return l;
    for (fast = l->next; fast && fast->next; fast = fast->next->next)
        slow = slow->next;
    fast = slow->next;
    slow->next = NULL;
    return merge(sort_list(l), sort_list(fast));
}

static struct node *reverse(struct node *l)
{
    struct node *r = NULL;

    while (l) {
        struct node *n = l->next;

        l->next = r;
        r = l;
        l = n;
    }
    return r;
}

static NOINLINE uint16_t do_list(uint32_t seed)
{
    struct node *l = NULL, *p;
    uint16_t crc = 0;
    int found = 0;

    for (int i = 0; i < NODES; i++) {
        pool[i].key = (int16_t)(xs32(&seed) & 0x3ff);
        pool[i].val = (uint16_t)i;
        pool[i].next = l;
        l = &pool[i];
    }
    for (int k = 0; k < 24; k++) {
        for (p = l; p && p->key != k * 41; p = p->next)
            ;
        found += p != NULL;
        l = reverse(l);
    }
    l = sort_list(l);
    for (p = l; p; p = p->next)
        crc = crc16(crc, p->key + p->val, 8);
    return (uint16_t)(crc + found);
}

static NOINLINE uint16_t do_matrix(uint32_t seed)
{
    uint32_t acc = 0;

    for (int i = 0; i < DIM; i++)
        for (int j = 0; j < DIM; j++) {
            ma[i][j] = (int16_t)(xs32(&seed) >> 20);
            mb[i][j] = (int16_t)(seed & 0xfff);
        }
    for (int i = 0; i < DIM; i++)
        for (int j = 0; j < DIM; j++) {
            int32_t s = 0;

            for (int k = 0; k < DIM; k++)
                s += ma[i][k] * mb[k][j];
            mc[i][j] = s;
            acc += ((s >> 2) & 0xf) * ((s >> 5) & 0x7f);
        }
    return (uint16_t)(acc ^ (acc >> 16));
}

enum state { S_START, S_SIGN, S_INT, S_FRAC, S_EXP, S_EXPS, S_EXPD, S_BAD, S_COUNT };

static NOINLINE uint16_t do_scan(uint32_t seed)
{
    uint16_t count[S_COUNT] = {0}, crc = 0;
    enum state s = S_START;

    for (const char *p = scan_text;; p++) {
        char c = *p;

        if (c == ',' || !c) {
            count[s]++;
            s = S_START;
            if (!c)
                break;
            continue;
        }
        if ((seed ^ (uint32_t)(p - scan_text)) % 61 == 0)
            c = '#';
        switch (s) {
        case S_START:
            s = c == '+' || c == '-'   ? S_SIGN
                : c >= '0' && c <= '9' ? S_INT
                : c == '.'             ? S_FRAC
                                       : S_BAD;
            break;
        case S_SIGN:
            s = c >= '0' && c <= '9' ? S_INT : c == '.' ? S_FRAC : S_BAD;
            break;
        case S_INT:
            s = c >= '0' && c <= '9' ? S_INT : c == '.' ? S_FRAC : c == 'e' ? S_EXP : S_BAD;
            break;
        case S_FRAC:
            s = c >= '0' && c <= '9' ? S_FRAC : c == 'e' ? S_EXP : S_BAD;
            break;
        case S_EXP:
            s = c == '+' || c == '-' ? S_EXPS : c >= '0' && c <= '9' ? S_EXPD : S_BAD;
            break;
        case S_EXPS:
        case S_EXPD:
            s = c >= '0' && c <= '9' ? S_EXPD : S_BAD;
            break;
        default:
            break;
        }
    }
    for (int i = 0; i < S_COUNT; i++)
        crc = crc16(crc, count[i], 16);
    return crc;
}

static uint32_t run_intmix(uint32_t n)
{
    uint16_t crc = 0;

    for (uint32_t i = 1; i <= n; i++) {
        crc = crc16(crc, do_list(i * 2654435761u), 16);
        crc = crc16(crc, do_matrix(i * 40503u), 16);
        crc = crc16(crc, do_scan(i), 16);
    }
    return crc;
}

/* ---- adc: multi-word addition with a live carry through the loop ---- */

#define WORDS 64

static uint32_t run_adc(uint32_t n)
{
    static uint32_t a[WORDS], b[WORDS];
    uint32_t seed = 99;

    for (int i = 0; i < WORDS; i++) {
        a[i] = xs32(&seed);
        b[i] = xs32(&seed);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t cnt = WORDS, t;
        const uint32_t *src = b;
        uint32_t *dst = a;

        /* lea and dec leave CF alone, as compilers of long adders rely on */
        __asm__ volatile("clc\n"
                         "1: movl (%1), %3\n"
                         "adcl %3, (%0)\n"
                         "lea 4(%1), %1\n"
                         "lea 4(%0), %0\n"
                         "decl %2\n"
                         "jnz 1b\n"
                         : "+r"(dst), "+r"(src), "+r"(cnt), "=&r"(t)
                         :
                         : "memory", "cc");
    }
    return a[0] ^ a[WORDS - 1];
}

/* ---- div64: 64-bit by 32/64-bit division through the compiler's helpers ---- */

static uint32_t run_div64(uint32_t n)
{
    uint64_t x = 0x123456789abcdefull, acc = 0;
    uint32_t seed = 7;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = xs32(&seed) | 1;

        acc += x / d + x % (d >> 7 | 1);
        acc ^= x / (((uint64_t)d << 13) | 5);
        x = x * 6364136223846793005ull + 1442695040888963407ull;
    }
    return (uint32_t)(acc ^ acc >> 32);
}

/* ---- bitops: bsf, bsr, bt, shld, rotates, setcc ---- */

static uint32_t run_bitops(uint32_t n)
{
    uint32_t s = 12345, acc = 0;
    static uint32_t map[64];

    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = xs32(&s) | 1, lo, hi, cy, y = acc;

        __asm__("bsfl %1, %0" : "=r"(lo) : "r"(x) : "cc");
        __asm__("bsrl %1, %0" : "=r"(hi) : "r"(x) : "cc");
        __asm__("shldl $7, %1, %0" : "+r"(y) : "r"(x) : "cc");
        __asm__("btsl %2, %1\n\tsbbl %0, %0" : "=r"(cy), "+m"(map[x >> 26]) : "r"(x & 31) : "cc");
        acc = (y << (lo & 7) | y >> (32 - (hi | 1))) + cy + lo * hi;
        acc += (int32_t)acc < (int32_t)x;
    }
    return acc;
}

/* ---- atomic: locked read-modify-write ---- */

static uint32_t run_atomic(uint32_t n)
{
    static uint32_t v, w;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t e = w;

        __atomic_fetch_add(&v, i, __ATOMIC_SEQ_CST);
        __atomic_compare_exchange_n(&w, &e, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    return v ^ w;
}

/* ---- tls: loads and stores through the thread segment ---- */

static __thread volatile uint32_t tls_slot[4];

static uint32_t run_tls(uint32_t n)
{
    for (int i = 0; i < 4; i++)
        tls_slot[i] = 0;
    for (uint32_t i = 0; i < n; i++)
        tls_slot[i & 3] += tls_slot[(i + 1) & 3] + i;
    return tls_slot[0] ^ tls_slot[3];
}

/* ---- qsort: generic quicksort with a comparison callback ---- */

#define SORT_N (1u << 16)

static uint32_t *sort_buf;
typedef int (*cmp_fn)(const void *, const void *);

static NOINLINE int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void swap_elem(char *a, char *b, size_t sz)
{
    while (sz >= 4) {
        uint32_t t = *(uint32_t *)a;

        *(uint32_t *)a = *(uint32_t *)b;
        *(uint32_t *)b = t;
        a += 4;
        b += 4;
        sz -= 4;
    }
}

static NOINLINE void quick(char *lo, char *hi, size_t sz, cmp_fn cmp)
{
    while ((size_t)(hi - lo) > 8 * sz) {
        char *mid = lo + (hi - lo) / (2 * sz) * sz, *i = lo, *j = hi - sz;

        if (cmp(mid, lo) < 0)
            swap_elem(mid, lo, sz);
        if (cmp(j, lo) < 0)
            swap_elem(j, lo, sz);
        if (cmp(j, mid) < 0)
            swap_elem(j, mid, sz);
        swap_elem(mid, lo, sz); /* the pivot waits in front */
        for (j = hi;;) {
            do
                i += sz;
            while (i < hi && cmp(i, lo) < 0);
            do
                j -= sz;
            while (cmp(lo, j) < 0);
            if (i >= j)
                break;
            swap_elem(i, j, sz);
        }
        swap_elem(lo, j, sz);
        if (j - lo < hi - j) {
            quick(lo, j, sz, cmp);
            lo = j + sz;
        } else {
            quick(j + sz, hi, sz, cmp);
            hi = j;
        }
    }
    for (char *i = lo + sz; i < hi; i += sz)
        for (char *j = i; j > lo && cmp(j, j - sz) < 0; j -= sz)
            swap_elem(j, j - sz, sz);
}

static int setup_sort(uint32_t n)
{
    (void)n;
    if (!sort_buf)
        sort_buf = map_pages(SORT_N * sizeof(*sort_buf));
    return 0;
}

static uint32_t run_qsort(uint32_t n)
{
    uint32_t seed = 4242, acc = 0;
    cmp_fn volatile cmp = cmp_u32;

    for (uint32_t r = 0; r < n; r++) {
        for (uint32_t i = 0; i < SORT_N; i++)
            sort_buf[i] = xs32(&seed);
        quick((char *)sort_buf, (char *)(sort_buf + SORT_N), sizeof(*sort_buf), cmp);
        for (uint32_t i = 1; i < SORT_N; i++)
            if (sort_buf[i - 1] > sort_buf[i])
                die("qsort: not sorted");
        acc = acc * 31 + sort_buf[SORT_N / 3];
    }
    return acc;
}

const struct bench int_benches[] = {
    {"intmix", "pass", 20000, run_intmix, NULL, NULL, 0},
    {"adc",   "64-word add", 3000000, run_adc, NULL, NULL, 0},
    {"div64",    "3 divisions", 8000000, run_div64, NULL, NULL, 0},
    {"bitops",       "round", 60000000, run_bitops, NULL, NULL, 0},
    {"atomic",    "2 locked ops", 15000000, run_atomic, NULL, NULL, 0},
    {"tls", "rmw", 80000000, run_tls, NULL, NULL, 0},
    {"qsort",    "sort of 64Ki words", 40, run_qsort, setup_sort, NULL, 0},
    {0      }
};
