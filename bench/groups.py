# SPDX-License-Identifier: MIT
"""Which workloads belong together. The names are the suite's own (workloads -l)."""

GROUPS = {
    "integer": ["intmix", "adc", "div64", "bitops", "atomic", "tls", "qsort"],
    "calls and indirect branches": ["fib", "vdispatch", "switchvm", "gotovm", "fptrvm"],
    "memory": ["chase16k", "chase4m", "chase64m", "pages32m", "copy_words", "copy_movs", "copy_skew", "copy_sse2", "fill_stos", "bytes"],
    "string instructions": ["movsb_short", "movsl_short", "stosb_short", "movsb_64k", "scasb_64k", "cmpsb_64k", "lodsb_64k"],
    "floating point": ["matmul_x87", "nbody_x87", "trig_x87", "matmul_sse2", "nbody_sse2", "triad_sse2"],
    "busybox": ["bb_sha256", "bb_gzip9", "bb_awk"],
    "self-modifying and generated code": ["smc_patch", "smc_mprotect", "smc_data", "jit_cold", "jit_warm", "jit_map"],
    "system calls and files": ["getppid_int80", "getppid_vdso", "clock_gettime", "read_zero4k", "pread4k", "access", "create_unlink"],
    "processes and memory management": ["mmap_touch", "pipe_pp", "ctx8", "fork_exit", "fork_exec", "shell", "segv", "signal", "nanosleep1ms"],
    "Debian's interpreters": ["py_start", "py_objects", "py_dicts", "py_text", "py_floats", "py_bignum", "bc"],
    "Debian's database": ["sql_insert", "sql_query"],
    "Debian's crypto": ["ssl_sha256", "ssl_aes", "ssl_sha3", "ssl_prime"],
    "Debian's compiler and binary utilities": ["gcc_O0", "gcc_O2", "objdump"],
    "busybox on data": ["bzip2", "bunzip2", "sort"],
    "intercepted instructions": ["rdtsc", "cpuid", "outb_80", "inb_61"],
}
SELF_MODIFYING = GROUPS["self-modifying and generated code"]
KERNEL_BOUND = [n for n in GROUPS["system calls and files"] + GROUPS["processes and memory management"] if n != "nanosleep1ms"]
USER_COMPUTE = [n for g in ("integer", "calls and indirect branches", "memory", "string instructions", "floating point", "busybox") for n in GROUPS[g]]


def grouped(names):
    left = list(names)
    for title, members in GROUPS.items():
        own = [n for n in members if n in left]
        left = [n for n in left if n not in own]
        if own:
            yield title, own
    if left:
        yield "others", left
