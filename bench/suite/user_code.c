/* SPDX-License-Identifier: MIT */
/* Code that changes: patched immediates, data beside code, and freshly written code. */
#include "bench.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u

typedef uint32_t (*code_fn)(void);

static uint8_t *page;

static void emit32(uint8_t **p, uint32_t v)
{
    memcpy(*p, &v, 4);
    *p += 4;
}

static int setup_rwx(uint32_t n)
{
    (void)n;
    if (!page) {
        page = map_pages(16 * PAGE);
        if (mprotect(page, 16 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
            return 1;
    }
    memset(page, 0xcc, 16 * PAGE);
    return 0;
}

/* mov $imm, %eax ; ret: store the immediate, then call */
static uint32_t run_patch(uint32_t n)
{
    uint32_t acc = 0;

    page[0] = 0xb8;
    page[5] = 0xc3;
    for (uint32_t i = 0; i < n; i++) {
        *(volatile uint32_t *)(page + 1) = i * 2654435761u;
        acc += ((code_fn)(uintptr_t)page)();
    }
    return acc;
}

/* The same, but the mapping is made writable and executable in turn around each patch. */
static uint32_t run_patch_prot(uint32_t n)
{
    uint32_t acc = 0;

    page[0] = 0xb8;
    page[5] = 0xc3;
    for (uint32_t i = 0; i < n; i++) {
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
        *(volatile uint32_t *)(page + 1) = i * 2654435761u;
        mprotect(page, PAGE, PROT_READ | PROT_EXEC);
        acc += ((code_fn)(uintptr_t)page)();
    }
    mprotect(page, 16 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    return acc;
}

/* incl (counter) ; mov (counter), %eax ; ret with the counter on the code's own page */
static uint32_t run_data_beside(uint32_t n)
{
    uint32_t acc = 0;
    uint8_t *p = page;
    uint32_t counter = (uint32_t)(uintptr_t)(page + 2048);

    *p++ = 0xff;
    *p++ = 0x05;
    emit32(&p, counter);
    *p++ = 0xa1;
    emit32(&p, counter);
    *p++ = 0xc3;
    *(volatile uint32_t *)(page + 2048) = 0;
    for (uint32_t i = 0; i < n; i++)
        acc += ((code_fn)(uintptr_t)page)();
    return acc;
}

/*
 * Write a function whose body is a run of arithmetic inside a counted loop:
 *   xor eax,eax ; mov ecx,loops ; L: add/xor/rol/lea ... ; dec ecx ; jnz L ; ret
 * Returns the number of bytes written.
 */
static size_t emit_func(uint8_t *at, uint32_t seed, uint32_t loops, int ops)
{
    uint8_t *p = at, *top;

    *p++ = 0x31;
    *p++ = 0xc0;
    *p++ = 0xb9;
    emit32(&p, loops);
    top = p;
    for (int i = 0; i < ops; i++) {
        uint32_t r = xs32(&seed);

        switch (r >> 30) {
        case 0:
            *p++ = 0x05;
            emit32(&p, r);
            break; /* add eax, imm */
        case 1:
            *p++ = 0x35;
            emit32(&p, r);
            break; /* xor eax, imm */
        case 2:
            *p++ = 0xc1;
            *p++ = 0xc0;
            *p++ = r & 31;
            break; /* rol eax, imm */
        default:
            *p++ = 0x8d;
            *p++ = 0x44;
            *p++ = 0x48;
            *p++ = r & 127;
            break; /* lea eax,[eax+ecx*2+d] */
        }
    }
    *p++ = 0x49; /* dec ecx */
    *p++ = 0x0f;
    *p++ = 0x85; /* jnz near */
    emit32(&p, (uint32_t)(top - (p + 4)));
    *p++ = 0xc3;
    return (size_t)(p - at);
}

/* Fill one page with functions and run every one of them `loops` times round. */
static uint32_t jit_page(uint8_t *at, uint32_t seed, uint32_t loops)
{
    uint16_t start[64];
    size_t off = 0;
    uint32_t acc = 0;
    int n = 0;

    while (off + 160 < PAGE && n < 64) {
        start[n++] = (uint16_t)off;
        off += emit_func(at + off, seed + n, loops, 16);
        off = (off + 15) & ~(size_t)15;
    }
    for (int i = 0; i < n; i++)
        acc ^= ((code_fn)(uintptr_t)(at + start[i]))() + i;
    return acc;
}

static uint32_t run_jit_cold(uint32_t n)
{
    uint32_t acc = 0;

    for (uint32_t i = 0; i < n; i++)
        acc += jit_page(page + (i & 15) * PAGE, i + 1, 1);
    return acc;
}

static uint32_t run_jit_warm(uint32_t n)
{
    uint32_t acc = 0;

    for (uint32_t i = 0; i < n; i++)
        acc += jit_page(page + (i & 15) * PAGE, i + 1, 1000);
    return acc;
}

/* A fresh mapping for each page of code, as loaders and plug-in hosts do. */
static uint32_t run_jit_map(uint32_t n)
{
    uint32_t acc = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (m == MAP_FAILED)
            die("mmap");
        acc += jit_page(m, 5, 1);
        munmap(m, PAGE);
    }
    return acc;
}

const struct bench code_benches[] = {
    {"smc_patch",    "patch+call", 100000, run_patch, setup_rwx, NULL, 0},
    {"smc_mprotect",        "2 mprotect+patch+call", 20000, run_patch_prot, setup_rwx, NULL, 0},
    {"smc_data",     "call", 5000000, run_data_beside, setup_rwx, NULL, 0},
    {"jit_cold",             "page of functions", 2000, run_jit_cold, setup_rwx, NULL, 0},
    {"jit_warm", "page, 1000 rounds", 400, run_jit_warm, setup_rwx, NULL, 0},
    {"jit_map",         "fresh page", 1500, run_jit_map, setup_rwx, NULL, 0},
    {0    }
};
