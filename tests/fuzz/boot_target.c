/* SPDX-License-Identifier: MIT */
/* boot_target.c: see boot_target.h. */
#include "tests/fuzz/boot_target.h"

#include "runtime/boot.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void fuzz_boot(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    char err[256] = "";
    struct machine *m = fuzz_machine(ENGINE_INTERP);
    if (fd < 0) {
        fd = memfd_create("kernel", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        m->config.bios = NULL;
        m->config.kernel = m->config.initrd = path;
        m->config.append = "console=ttyS0";
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        fuzz_fail("no memory file");
    if (!boot_open_files(m, err, sizeof err))
        fuzz_fail("not opened: %s", err);
    if (!machine_reset(m, err, sizeof err) && (!*err || strchr(err, '\n')))
        fuzz_fail("refused by: %s", err);
    boot_close_files(m);
}
