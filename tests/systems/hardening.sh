#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the compiler and the linker lend the monitor against being led astray is there: hardening.sh [PROGRAM].
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/vm.sh"
program=${1:-${RINGDOWN:-$TOP/build/ringdown}}
command -v readelf >/dev/null || skip "no readelf"
headers=$(readelf -hlW "$program") dynamic=$(readelf -dW "$program") names=$(readelf -sW --dyn-syms "$program")
need() { printf '%s\n' "$2" | grep -Eq "$3" || fail "$program: $1"; }
need "can't be placed at random" "$headers" 'Type: +DYN'
need "relocations stay writable" "$headers" 'GNU_RELRO'
need "functions are bound late" "$dynamic" 'BIND_NOW'
need "the stack can be executed" "$headers" 'GNU_STACK.* RW +0x'
need "no stack protector" "$names" '__stack_chk_fail'
need "no checked library calls" "$names" '__(v|f|d)?s?n?printf_chk|__memcpy_chk'
printf '%s\n' "$headers" | grep -Eq 'LOAD.* RWE ' && fail "$program: a segment is writable and executable"
printf '%s\n' "$dynamic" | grep -q TEXTREL && fail "$program: its code is relocated"
pass "random placement, read-only relocations, no executable data, checked stacks and calls"
