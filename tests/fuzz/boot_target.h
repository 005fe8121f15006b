/* SPDX-License-Identifier: MIT */
/* boot_target.h: an image in memory -> a boot of the process's one machine. */
#ifndef RINGDOWN_TESTS_FUZZ_BOOT_TARGET_H
#define RINGDOWN_TESTS_FUZZ_BOOT_TARGET_H

#include "tests/fuzz/fuzz.h"

/* Loads it as the kernel; refused or taken, and one line when refused. */
void fuzz_boot(const uint8_t *data, size_t size);

#endif
