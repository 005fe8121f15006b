/* SPDX-License-Identifier: MIT */
/* harness.c: runs tests, counts, prints. */
#include "guest.h"

static const struct test *current;
static unsigned failures_here, known;

bool on_qemu(void)
{
    uint32_t r[4];
    cpuid(0x40000000, r);
    return r[1] == 0x54474354; /* "TCGT" */
}

void fail(const char *fmt, ...)
{
    if (failures_here++ >= 5)
        return;
    bool deviation = current && current->qemu && on_qemu();
    print("%s %s: ", deviation ? "KNOWN" : "FAIL", current ? current->name : "?");
    va_list ap;
    va_start(ap, fmt);
    vprint(fmt, ap);
    va_end(ap);
    if (deviation)
        print(" (QEMU: %s)", current->qemu);
    print("\n");
}

void expect(const struct ctx *c, unsigned vector, uint32_t error, const void *eip, const char *what)
{
    if (c->vector != vector || c->error != error || c->eip != (uint32_t)eip)
        fail("%s: vector %#x error %#x eip %#x cr2 %#x, expected vector %#x error %#x eip %#x",
             what, c->vector, c->error, c->eip, c->cr2, vector, error, (uint32_t)eip);
}

static bool selected(const char *name)
{
    bool any = false;
    for (const char *p = cmdline; *p; p++) {
        if (memcmp(p, "only=", 5))
            continue;
        any = true;
        size_t n = 0;
        while (p[5 + n] && p[5 + n] != ' ')
            n++;
        if (n == strlen(name) && !memcmp(p + 5, name, n))
            return true;
    }
    return !any;
}

_Noreturn void run_tests(const struct test *tests, unsigned n)
{
    unsigned passed = 0, failed = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!selected(tests[i].name))
            continue;
        if (tests[i].qemu && tests[i].qemu[0] == '!' && on_qemu()) {
            print("KNOWN %s: not run (QEMU: %s)\n", tests[i].name, tests[i].qemu + 1);
            known++;
            continue;
        }
        current = &tests[i];
        failures_here = 0;
        if (cmdline_has("verbose"))
            print("RUN %s\n", current->name);
        current->run();
        if (!failures_here) {
            passed++;
            print("PASS %s\n", current->name);
        } else if (current->qemu && on_qemu()) {
            known++;
        } else {
            failed++;
            if (failures_here > 5)
                print("FAIL %s: and %u more\n", current->name, failures_here - 5);
        }
    }
    if (known)
        print("%u known QEMU deviations\n", known);
    print("%u passed, %u failed\n", passed, failed);
    guest_exit(failed ? 0x10 : 0);
}

/* Called by boot.S. */
void guest_start(void);
void guest_start(void)
{
    if (multiboot_info) {
        const uint32_t *info = (const uint32_t *)multiboot_info;
        if (info[0] & 4)
            cmdline = (const char *)info[4];
    }
    cpu_init();
    guest_main();
    guest_exit(0);
}
