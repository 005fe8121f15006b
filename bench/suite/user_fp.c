/* SPDX-License-Identifier: MIT */
/*
 * Double-precision kernels.  Compiled twice from the same text: once for x87
 * and once for SSE2, told apart by FP_TAG.
 */
#include "bench.h"

#define CAT_(a, b, c) a##b##c
#define CAT(a, b, c)  CAT_(a, b, c)
#define STR_(x)       #x
#define STR(x)        STR_(x)

#define DIM           96

static double a[DIM][DIM], b[DIM][DIM], c[DIM][DIM];

static int setup_mat(uint32_t n)
{
    (void)n;
    for (int i = 0; i < DIM; i++)
        for (int j = 0; j < DIM; j++) {
            a[i][j] = (double)((i * 31 + j * 17) % 29) / 29.0;
            b[i][j] = (double)((i * 13 + j * 7) % 23) / 23.0;
            c[i][j] = 0;
        }
    return 0;
}

static NOINLINE void matmul(void)
{
    for (int i = 0; i < DIM; i++)
        for (int k = 0; k < DIM; k++) {
            double x = a[i][k];

            for (int j = 0; j < DIM; j++)
                c[i][j] += x * b[k][j];
        }
}

static uint32_t run_mat(uint32_t n)
{
    setup_mat(n);
    for (uint32_t i = 0; i < n; i++)
        matmul();
    return (uint32_t)(c[DIM / 2][DIM / 3] / n * 1000.0);
}

/* ---- nbody: six bodies, softened gravity, leapfrog steps ---- */

#define BODIES 6

static double px[BODIES], py[BODIES], pz[BODIES];
static double vx[BODIES], vy[BODIES], vz[BODIES], mass[BODIES];

static inline double root(double x)
{
#ifdef __SSE2_MATH__
    __asm__("sqrtsd %0, %0" : "+x"(x));
#else
    __asm__("fsqrt" : "+t"(x));
#endif
    return x;
}

static uint32_t run_nbody(uint32_t n)
{
    const double dt = 1.0 / 1024;

    for (int i = 0; i < BODIES; i++) {
        px[i] = i * 1.5;
        py[i] = (i & 1 ? -0.5 : 0.5) * i;
        pz[i] = 0.125 * i;
        vx[i] = 0.03125 * (i - 3);
        vy[i] = i ? 1.0 / i : 0;
        vz[i] = 0.0625 * (i & 3);
        mass[i] = i ? 0.01 * i : 1.0;
    }
    while (n--) {
        for (int i = 0; i < BODIES; i++)
            for (int j = i + 1; j < BODIES; j++) {
                double dx = px[i] - px[j], dy = py[i] - py[j], dz = pz[i] - pz[j];
                double d2 = dx * dx + dy * dy + dz * dz + 0.015625;
                double f = dt / (d2 * root(d2));

                vx[i] -= dx * mass[j] * f;
                vy[i] -= dy * mass[j] * f;
                vz[i] -= dz * mass[j] * f;
                vx[j] += dx * mass[i] * f;
                vy[j] += dy * mass[i] * f;
                vz[j] += dz * mass[i] * f;
            }
        for (int i = 0; i < BODIES; i++) {
            px[i] += dt * vx[i];
            py[i] += dt * vy[i];
            pz[i] += dt * vz[i];
        }
    }
    return (uint32_t)(int32_t)(px[0] * 1000.0);
}

#ifdef __SSE2_MATH__

static double *ta, *tb, *tc;
#define TRIAD (128u << 10) /* elements: three arrays of 1 MiB */

static int setup_triad(uint32_t n)
{
    (void)n;
    if (!ta) {
        ta = map_pages(TRIAD * sizeof(double));
        tb = map_pages(TRIAD * sizeof(double));
        tc = map_pages(TRIAD * sizeof(double));
    }
    for (uint32_t i = 0; i < TRIAD; i++) {
        ta[i] = 0;
        tb[i] = i * 0.5;
        tc[i] = i * 0.25;
    }
    return 0;
}

static NOINLINE void triad(double *restrict x, const double *restrict y, const double *restrict z,
                           double k)
{
    for (uint32_t i = 0; i < TRIAD; i++)
        x[i] = y[i] + k * z[i];
}

static uint32_t run_triad(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        triad(ta, tb, tc, 1.5 + (i & 1));
    return (uint32_t)ta[TRIAD - 1];
}

#else

/* Transcendental instructions, which exist only on the x87. */
static uint32_t run_trig(uint32_t n)
{
    double x = 0.1, acc = 0;

    for (uint32_t i = 0; i < n; i++) {
        double s, k, t;

        __asm__("fsincos" : "=t"(k), "=u"(s) : "0"(x));
        __asm__("fpatan" : "=t"(t) : "0"(k), "u"(s) : "st(1)");
        acc += t - x;
        x += 1e-6;
    }
    return (uint32_t)(int32_t)(acc * 1e6);
}

#endif

const struct bench CAT(fp_, FP_TAG, _benches)[] = {
#ifdef __SSE2_MATH__
    {"matmul_" STR(FP_TAG), "96^3 multiply-adds", 400, run_mat, NULL, NULL, 0},
    {"nbody_" STR(FP_TAG),                  "15 pairs", 1000000, run_nbody, NULL, NULL, 0},
    {"triad_" STR(FP_TAG),                 "3 MiB", 1500, run_triad, setup_triad, NULL, 0},
#else
    {"matmul_" STR(FP_TAG), "96^3 multiply-adds", 80, run_mat, NULL, NULL, 0},
    {"nbody_" STR(FP_TAG), "15 pairs", 200000, run_nbody, NULL, NULL, 0},
    {"trig_" STR(FP_TAG), "fsincos+fpatan", 1000000, run_trig, NULL, NULL, 0},
#endif
    {0                   }
};
