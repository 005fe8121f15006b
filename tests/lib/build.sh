# SPDX-License-Identifier: MIT
# What building needs, and building. Sourced after common.sh.

BUILD_PACKAGES=(gcc libc6-dev gcc-multilib cmake ninja-build pkg-config libcapstone-dev
    libunwind-dev zlib1g-dev)
CHECK_PACKAGES=(clang clang-format libcriterion-dev python3 qemu-system-x86)

# configure DIR CMAKE-ARGUMENT...: once; ninja itself sees when it must be done again.
configure() {
    local dir=$1
    shift
    [ -e "$dir/build.ninja" ] && return 0
    with_log "configuring ${dir#"$TOP"/}" "$CACHE/logs/configure-${dir##*/}.log" cmake -S "$TOP" -B "$dir" -G Ninja "$@"
}

# compile DIR TARGET...: says nothing but its name when there is nothing to do.
compile() {
    local dir=$1
    shift
    with_log "building ${dir#"$TOP"/}" "$CACHE/logs/build-${dir##*/}.log" ninja -C "$dir" "$@"
}

# require_target DIR TARGET: configures again when a build was configured before the packages for this
# target were there.
require_target() {
    ninja -C "$1" -t query "$2" >/dev/null 2>&1 && return 0
    with_log "configuring ${1#"$TOP"/} again" "$CACHE/logs/configure-${1##*/}.log" \
        cmake -S "$TOP" -B "$1" -U 'CRITERION*' -U RINGDOWN_HAVE_M32 || return 1
    ninja -C "$1" -t query "$2" >/dev/null 2>&1
}
