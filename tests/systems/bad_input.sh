#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Whatever a user gets wrong is told in exactly one line on standard error that begins with
# "ringdown: " and names the culprit, with exit status 2, before a guest starts: nothing on standard
# output.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/vm.sh"
VM=ringdown
need_vm
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
cases=0

# bad CULPRIT [arguments of ringdown]: CULPRIT is a fixed string that the line must hold.
bad() {
    local culprit=$1 status
    shift
    cases=$((cases + 1))
    timeout 20 "$RINGDOWN" "$@" </dev/null >"$DIR/out" 2>"$DIR/err"
    status=$?
    [ "$status" = 2 ] || fail "status $status, not 2: $* ($(head -n 1 "$DIR/err"))"
    [ "$(wc -l <"$DIR/err")" = 1 ] || fail "$(wc -l <"$DIR/err") lines, not 1: $*"
    grep -q '^ringdown: ' "$DIR/err" || fail "no 'ringdown: ' in front: $(cat "$DIR/err")"
    grep -qF -- "$culprit" "$DIR/err" || fail "'$culprit' is not named: $(cat "$DIR/err")"
    [ ! -s "$DIR/out" ] || fail "standard output is not empty: $*"
}

bytes() { printf "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc status=none; }
zeros() { head -c "$2" /dev/zero >"$1"; }

# --- the command line ---
bad 'no command' # nothing at all
bad frobnicate frobnicate
bad 'nothing to boot' run
bad --frobnicate run --frobnicate
bad -z run -z
bad --kernel run --kernel
bad stray run --kernel x stray
bad --engine run --engine jit --kernel x
bad "$DIR/none" run --kernel "$DIR/none"
bad "$DIR" run --kernel "$DIR"
bad /dev/zero run --kernel /dev/zero
bad "$DIR/none" run --bios "$DIR/none"
bad exclude run --kernel x --bios y
for size in '' x 12Q 1.5G -1 +5 0x100 256MB ' 5M' 99999999999999999999 99999999999G; do
    bad --memory run --kernel x --memory "$size"
done
for size in 0 512K 1025K 3073M 4G 100G; do bad --memory run --kernel x --memory "$size"; done
for size in '' x 1K 2G; do bad --cache-size run --kernel x --cache-size "$size"; done
for time in '' x -1 0 1s 1e9 99999999999 nan inf . 0x10; do
    bad --timeout run --kernel x --timeout "$time"
done
for when in '' never Always always,off; do bad --verify run --kernel x --verify "$when"; done
for what in '' all decode, decode,x ,; do bad --dump run --kernel x --dump "$what"; done
for where in '' x file: stdio:; do bad --serial run --kernel x --serial "$where"; done
bad "$DIR/no/file" run --kernel x --serial "file:$DIR/no/file"
bad "$DIR/no/file" run --kernel x --stats-json "$DIR/no/file"
bad "$DIR/no/file" run --kernel x --profile-json "$DIR/no/file"
bad "$DIR/none" run --kernel "$0" --symbols "$DIR/none"
bad "$DIR" run --kernel "$0" --symbols "$DIR"
bad 'nor a System.map' run --kernel "$0" --symbols "$0"
for spec in x max,-nosuch max,+nosuch max,sse max, 686,-; do
    bad --cpu: run --kernel x --cpu "$spec"
done

# --- images ---
: >"$DIR/empty"
bad "$DIR/empty" run --kernel "$DIR/empty"
bad "$DIR/empty" run --bios "$DIR/empty"
zeros "$DIR/zeros" 65536
bad 'not a kernel' run --kernel "$DIR/zeros"
zeros "$DIR/odd" 65537
bad 'not a ROM' run --bios "$DIR/odd"
bad 'not a kernel' run --kernel "${BASH_SOURCE[0]}"
bad 'not a kernel' run --kernel "$RINGDOWN"
zeros "$DIR/big" 1
truncate -s 17M "$DIR/big"
bad "$DIR/big" run --bios "$DIR/big"

# a Multiboot header with the given address fields at offset 0, in a file of 4 KiB
le32() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
multiboot() { # FLAGS HEADER LOAD LOAD_END BSS_END ENTRY
    local sum=$((-(0x1badb002 + $1) & 0xffffffff)) field text
    zeros "$DIR/mb" 4096
    text=$(le32 0x1badb002)$(le32 "$1")$(le32 $sum)
    shift
    for field; do text+=$(le32 "$field"); done
    bytes "$text" "$DIR/mb" 0
}
reject_multiboot() { # CULPRIT fields
    local culprit=$1
    shift
    multiboot "$@"
    bad "$culprit" run --kernel "$DIR/mb"
}
reject_multiboot 'not ELF' 0x3
reject_multiboot 'unknown features 0x8' 0x10008 0x100000 0x100000 0 0 0x100000
reject_multiboot 'before the file' 0x10000 0x100010 0x100000 0 0 0x100000
reject_multiboot 'before the file' 0x10000 0x100000 0x100010 0 0 0x100000
reject_multiboot 'out of order' 0x10000 0x100000 0x100000 0xfffff 0 0x100000
reject_multiboot 'out of order' 0x10000 0x100000 0x100000 0 0xfffff 0x100000
reject_multiboot 'truncated' 0x10000 0x100000 0x100000 0x102000 0 0x100000
reject_multiboot 'outside memory' 0x10000 0x100000 0x100000 0 0xffffffff 0x100000
reject_multiboot 'outside memory' 0x10000 0xb8000 0xb8000 0 0 0xb8000
reject_multiboot 'outside memory' 0x10000 0xfffffff0 0xfffffff0 0 0 0
reject_multiboot 'outside memory' 0x10000 0 0 0 0 0
zeros "$DIR/mb" 16
bytes "$(le32 0x1badb002)$(le32 0x10000)$(le32 $((-(0x1badb002 + 0x10000) & 0xffffffff)))" "$DIR/mb" 0
bad truncated run --kernel "$DIR/mb"

# gzip: cut short, and damaged
if multiboot 0x10000 0x100000 0x100000 0 0 0x100000 && gzip -c "$DIR/mb" >"$DIR/mb.gz"; then
    head -c -9 "$DIR/mb.gz" >"$DIR/cut.gz"
    bad "$DIR/cut.gz" run --kernel "$DIR/cut.gz"
    cp "$DIR/mb.gz" "$DIR/damaged.gz"
    bytes '\xff\xff\xff\xff\xff\xff' "$DIR/damaged.gz" 20
    bad "$DIR/damaged.gz" run --kernel "$DIR/damaged.gz"
    bad "$DIR/none" run --kernel "$DIR/mb" --module "$DIR/none args"
    truncate -s 300M "$DIR/huge"
    bad "$DIR/huge" run --kernel "$DIR/mb" --module "$DIR/huge args"
fi

# --- a real kernel, cut anywhere, and with companions that don't fit ---
linux=$GUESTS/linux-686/vmlinuz
if [ -e "$linux" ]; then
    size=$(stat -c %s "$linux")
    for cut in 1 512 514 530 600 1024 4096 8192 16384 17000 65536 $((size / 2)) $((size - 4096)) $((size - 65536)); do
        head -c "$cut" "$linux" >"$DIR/cut"
        bad "$DIR/cut" run --kernel "$DIR/cut"
    done
    bad "$linux" run --kernel "$linux" --memory 16M
    bad "$DIR/none" run --kernel "$linux" --initrd "$DIR/none"
    truncate -s 250M "$DIR/initrd"
    bad "$DIR/initrd" run --kernel "$linux" --initrd "$DIR/initrd"
    truncate -s 5G "$DIR/initrd"
    bad "$DIR/initrd" run --kernel "$linux" --initrd "$DIR/initrd" --memory 3G
    bad --append run --kernel "$linux" --append "$(head -c 5000 /dev/zero | tr '\0' a)"
    bad --module run --kernel "$linux" --module "$linux"
fi
pass "$cases kinds of bad input"
