# SPDX-License-Identifier: MIT
# Makes the initramfs images that the demo, the tests and the benchmark boot. Sourced after common.sh.
# Each maker prints nothing, writes into $CACHE/images, and does no work when its inputs are older.

IMAGES=$CACHE/images
MKCPIO=$IMAGES/mkcpio

# newer_than OUT INPUT...: OUT exists and no input is newer.
newer_than() {
    local out=$1 f
    shift
    [ -e "$out" ] || return 1
    for f in "$@"; do [ "$f" -nt "$out" ] && return 1; done
    return 0
}

make_mkcpio() {
    mkdir -p "$IMAGES"
    newer_than "$MKCPIO" "$TOP/tests/lib/mkcpio.c" && return 0
    "${CC:-cc}" -std=gnu17 -O2 -D_GNU_SOURCE -o "$MKCPIO.new" "$TOP/tests/lib/mkcpio.c" && mv "$MKCPIO.new" "$MKCPIO"
}

# What every image begins with: busybox, /init, the console that the kernel opens first.
list_base() {
    cat <<LIST
nod /dev/console 0600 c 5 1
dir /proc 0755
dir /sys 0755
dir /tmp 1777
file /init $TOP/tests/lib/guest-init.sh 0755
file /bin/busybox $GUESTS/root-i386/bin/busybox 0755
LIST
}

# make_image OUT LISTING-FUNCTION INPUT...: the archive, written whole or not at all.
make_image() {
    local out=$1 list=$2
    shift 2
    make_mkcpio || return 1
    newer_than "$out" "$TOP/tests/lib/guest-init.sh" "$TOP/tests/lib/initramfs.sh" "$MKCPIO" "$GUESTS/stamp" "$@" && return 0
    "$list" >"$out.list" && "$MKCPIO" "$out.list" >"$out.new" && mv "$out.new" "$out"
}

# busybox alone: boots to a shell.
make_small_image() {
    SMALL_IMAGE=$IMAGES/small.cpio
    make_image "$SMALL_IMAGE" list_base
}

# busybox and the dynamically linked programs, with tests/systems/programs/ as /test.
list_programs() {
    local r=$GUESTS/root-i386
    list_base
    cat <<LIST
omit */lto-dump*
omit */i686-linux-gnu-lto-dump*
omit usr/lib/gcc/*/12/lto1
omit usr/lib/gcc/*/12/lto-wrapper
omit usr/lib/gcc/*/12/plugin
omit */lib*san*
omit */gprofng*
omit */libgprofng*
omit usr/bin/*gp-*
omit usr/bin/*gprof*
omit usr/bin/*gold
omit usr/bin/*dwp
omit usr/bin/*gcov*
omit */gconv
omit usr/lib/python3.11/test
omit usr/lib/python3.11/pydoc_data
omit usr/lib/python3.11/idlelib
omit usr/lib/python3.11/lib2to3
omit usr/lib/python3.11/ensurepip
omit usr/share/perl*
omit bin/busybox
tree /bin $r/bin
tree /lib $r/lib
tree /etc $r/etc
tree /usr/bin $r/usr/bin
tree /usr/lib $r/usr/lib
tree /usr/include $r/usr/include
tree /test $TOP/tests/systems/programs
LIST
}
make_programs_image() {
    PROGRAMS_IMAGE=$IMAGES/programs.cpio
    make_image "$PROGRAMS_IMAGE" list_programs "$TOP"/tests/systems/programs/*
}
