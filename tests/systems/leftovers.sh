#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# While a guest runs, the monitor holds no descriptor but those it needs, each by name, and nothing of the environment:
# whoever has taken it over finds neither what its parent had open nor what it knew.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"
VM=ringdown
need_vm
[ -r "$GUESTS/linux-686/vmlinuz" ] || skip "no kernel"
make_small_image || fail "cannot make the initramfs"
DIR=$(mktemp -d)
monitor=
trap '[ -z "$monitor" ] || kill "$monitor" 2>/dev/null; rm -rf "$DIR"' EXIT
cp "$GUESTS/linux-686/vmlinuz" "$DIR/kernel"
echo secret >"$DIR/secret"
echo 'c0100000 T start' >"$DIR/symbols"
# The kernel by an inherited descriptor's name: it has to last until then.
PASSWORD=s3cr3t "$RINGDOWN" run --kernel /proc/self/fd/8 --initrd "$SMALL_IMAGE" --symbols "$DIR/symbols" \
    --append "console=ttyS0 ringdown.mode=idle" --stats-json "$DIR/stats" --timeout 60 \
    </dev/null >"$DIR/out" 2>"$DIR/err" 8<"$DIR/kernel" 9<"$DIR/secret" 200>"$DIR/other" &
monitor=$!
for _ in $(seq 300); do
    grep -q IDLE "$DIR/out" && break
    kill -0 "$monitor" 2>/dev/null || fail "the monitor has ended: $(head -1 "$DIR/err")"
    sleep 0.1
done
grep -q IDLE "$DIR/out" || fail "the guest did not get to its prompt"
fds=0
for fd in /proc/"$monitor"/fd/*; do
    to=$(readlink "$fd")
    case ${fd##*/}:$to in
    0:/dev/null | 1:"$DIR/out" | 2:"$DIR/err") ;;
    [3-9]:pipe:* | [3-9]:"anon_inode:[eventfd]" | [3-9]:/memfd:ringdown-* | [1-9][0-9]:/memfd:ringdown-*) ;;
    *:"$DIR/stats") ;;
    *:"$DIR/kernel" | *:"$SMALL_IMAGE")
        grep -q '^flags:.*0\{0,6\}[0-7]*[04]$' "/proc/$monitor/fdinfo/${fd##*/}" || fail "$to can be written"
        ;;
    *) fail "descriptor ${fd##*/} is open: $to" ;;
    esac
    fds=$((fds + 1))
done
tr '\0' '\n' <"/proc/$monitor/environ" | grep -q . && fail "the environment can be read: $(tr '\0' '\n' <"/proc/$monitor/environ" | head -1)"
kill "$monitor"
wait "$monitor" 2>/dev/null
monitor=
pass "$fds descriptors, each known; no environment"
