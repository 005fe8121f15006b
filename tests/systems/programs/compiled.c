/* SPDX-License-Identifier: MIT */
/* What gcc compiles in the guest: integer, 64-bit, floating point, strings, recursion, signals. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf back;

static void on_fault(int number)
{
    siglongjmp(back, number);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static unsigned ackermann(unsigned m, unsigned n)
{
    return m == 0 ? n + 1 : ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static volatile int *volatile nowhere;

static void fault(int how, volatile int *zero)
{
    if (how == 0)
        *nowhere = 1;
    else
        printf("%d\n", 7 / *zero);
}

int main(void)
{
    static uint32_t v[4096];
    uint64_t h = 14695981039346656037u;
    uint32_t s = 1;
    for (int i = 0; i < 4096; i++)
        v[i] = s = s * 1664525u + 1013904223u;
    qsort(v, 4096, sizeof(*v), compare);
    for (int i = 0; i < 4096; i++)
        h = (h ^ v[i]) * 1099511628211u;
    printf("fnv %016llx div %llu mod %lld\n", (unsigned long long)h,
           (unsigned long long)(h / 1000003u), (long long)(int64_t)h % 65537);
    long double sum = 0;
    double product = 1;
    float single = 0;
    for (int i = 1; i < 2000; i++) {
        sum += 1.0L / i;
        product *= 1.0 + sin(i) / 1000;
        single += 1.0f / (float)i;
    }
    printf("%.20Lg %.17g %.9g %a\n", sum, product, (double)single, exp(1.5) + pow(2, 0.3));
    printf("%d %u %s\n", (int)lrint(-2.5), ackermann(2, 30), strstr("translated blocks", "blocks"));
    volatile int zero = 0;
    signal(SIGSEGV, on_fault);
    signal(SIGFPE, on_fault);
    for (int how = 0; how < 2; how++) {
        int number = sigsetjmp(back, 1);
        if (number)
            printf("signal %d\n", number);
        else
            fault(how, &zero);
    }
    char *big = calloc(1, 3 << 20);
    memset(big + 4096, 0xa5, 1 << 20);
    printf("%d %d\n", big[4095], big[4096 + (1 << 20) - 1]);
    free(big);
    return 0;
}
