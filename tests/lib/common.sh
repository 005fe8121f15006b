# SPDX-License-Identifier: MIT
# Shell helpers shared by demo, check, bench/run and the tests: where things are, how progress is
# said, how Debian packages come. Sourced by bash; it sets variables and runs nothing.
#
#   TOP    root of the checkout           CACHE   things fetched once (gitignored)
#   BUILD  the optimised build            GUESTS  kernels and the i386 tree within CACHE

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${RINGDOWN_CACHE:-$TOP/.cache}
BUILD=${RINGDOWN_BUILD:-$TOP/build}
GUESTS=$CACHE/guests

say() { printf '%s\n' "$*"; }
step() { printf '==> %s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# as_root COMMAND...: runs it as root, by sudo when needed; fails when there is no way to.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        return 1
    fi
}

# with_log TITLE LOG COMMAND...: runs a long command with its output in LOG, shows that it is alive
# (a dot each five seconds, or seconds counted in place on a terminal), and on failure the log's end.
with_log() {
    local title=$1 log=$2 start=$SECONDS pid rc last=0
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    [ -t 1 ] || printf '    %s ' "$title"
    while kill -0 "$pid" 2>/dev/null; do
        if [ -t 1 ]; then
            printf '\r    %s %ds' "$title" $((SECONDS - start))
        elif [ $((SECONDS - last)) -ge 5 ] && [ $((SECONDS - start)) -ge 5 ]; then
            printf '.'
            last=$SECONDS
        fi
        sleep 0.2
    done
    wait "$pid"
    rc=$?
    if [ -t 1 ]; then printf '\r    %s %ds\n' "$title" $((SECONDS - start)); else printf ' %ds\n' $((SECONDS - start)); fi
    if [ "$rc" != 0 ]; then
        say "    failed (status $rc); the end of $log:"
        tail -n 25 "$log" | sed 's/^/    | /'
    fi
    return "$rc"
}

# need_packages PACKAGE...: installs the Debian packages of the list that are missing.
need_packages() {
    local p have missing=()
    have=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' "$@" 2>/dev/null) "
    for p in "$@"; do
        case $have in *" installed:$p "*) ;; *) missing+=("$p") ;; esac
    done
    [ ${#missing[@]} = 0 ] && return 0
    step "installing ${#missing[@]} Debian packages: ${missing[*]}"
    command -v apt-get >/dev/null 2>&1 || die "missing packages and no apt-get: ${missing[*]}"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null 2>&1 ||
        die "not root and no sudo; please install: ${missing[*]}"
    if ! with_log "apt-get install" "$CACHE/logs/apt-install.log" install_quietly "${missing[@]}"; then
        with_log "apt-get update" "$CACHE/logs/apt-update.log" as_root apt-get -q update || true
        with_log "apt-get install" "$CACHE/logs/apt-install.log" install_quietly "${missing[@]}" ||
            die "could not install: ${missing[*]}"
    fi
}

install_quietly() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
}
