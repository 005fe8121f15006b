#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fetches the guests that the tests, the demo and the benchmark run: Debian's own 32-bit packages,
# once, into .cache/ of the checkout.
#
# It uses the package sources and keys that this system is configured with, in a package state of
# its own, for architecture i386: the system's dpkg and apt are neither asked nor changed, so it
# needs no root. Packages are verified by apt (signed release file, checksums).
#
# What it leaves in .cache/guests:
#   linux-686/      vmlinuz System.map config version      Debian's kernel for 32-bit machines
#   linux-686-pae/  the same, with PAE and NX
#   gnumach/        gnumach version                        GNU Mach, a Multiboot kernel
#   root-i386/      an unpacked tree of i386 programs (busybox, python3, sqlite3, openssl, gcc, bc)
#
# Exit status: 0 all there; 3 no package archive in reach; 1 anything else, with one line that says what.
# RINGDOWN_GUEST_SOURCES=FILE uses that sources.list instead of the system's.
# RINGDOWN_OFFLINE=1 does not try the archive.
set -u -o pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Change this when what is fetched or its layout changes: it makes an old cache be fetched again.
LAYOUT=1
PROGRAMS=(busybox-static python3 sqlite3 openssl gcc libc6-dev bc)
KERNELS=(686 686-pae)
MACH=gnumach-image-1.8-486

STATE=$CACHE/apt
STAMP=$GUESTS/stamp
WANT="$LAYOUT ${PROGRAMS[*]} ${KERNELS[*]} $MACH"

# The suites that carry Debian itself for this release: a third party's archive is left out, since
# nothing here comes from one and it may not be in reach.
own_sources() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
    if [ -n "${RINGDOWN_GUEST_SOURCES:-}" ]; then
        cp "$RINGDOWN_GUEST_SOURCES" "$STATE/etc/sources.list.d/" || return 1
        return 0
    fi
    awk -v code="$codename" '
        function ours(suite) { return suite ~ "^(" code "|stable|oldstable)(-(updates|security|proposed-updates)|/updates)?$" }
        /^[ \t]*deb[ \t]/ {
            line = $0
            sub(/\[[^]]*\]/, "", line)
            split(line, f, /[ \t]+/)
            opts = ""
            if (match($0, /signed-by=[^] \t]*/)) opts = "[" substr($0, RSTART, RLENGTH) "] "
            if (ours(f[3])) { sub(/^[ \t]*deb[ \t]+/, "", line); print "deb " opts line }
        }' /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null >"$STATE/etc/sources.list"
    local f
    for f in /etc/apt/sources.list.d/*.sources; do
        [ -r "$f" ] || continue
        awk -v code="$codename" 'BEGIN { RS = ""; ORS = "\n\n" }
            $0 ~ "(^|\n)Suites:[^\n]*[ \t](" code "|stable|oldstable)(-updates|-security|/updates)?([ \t\n]|$)" {
                out = ""
                n = split($0, line, "\n")
                for (i = 1; i <= n; i++)
                    if (line[i] !~ /^(Architectures:|#)/) out = out line[i] "\n"
                print out
            }' "$f" >"$STATE/etc/sources.list.d/${f##*/}"
    done
    grep -q -s -r -E '^(deb |URIs:)' "$STATE/etc/sources.list" "$STATE/etc/sources.list.d"
}

private_apt_setup() {
    mkdir -p "$STATE"/etc/{sources.list.d,preferences.d,apt.conf.d,auth.conf.d} \
        "$STATE"/{lists,archives}/partial "$STATE/state" || return 1
    : >"$STATE/status"
    : >"$STATE/etc/sources.list"
    rm -f "$STATE"/etc/sources.list.d/*
    cat >"$STATE/apt.conf" <<CONF
APT::Architecture "i386";
APT::Architectures { "i386"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
Dir::State "$STATE/state";
Dir::State::status "$STATE/status";
Dir::State::lists "$STATE/lists";
Dir::Cache "$STATE";
Dir::Cache::archives "$STATE/archives";
Dir::Etc::sourcelist "$STATE/etc/sources.list";
Dir::Etc::sourceparts "$STATE/etc/sources.list.d";
Dir::Etc::preferences "$STATE/etc/preferences";
Dir::Etc::preferencesparts "$STATE/etc/preferences.d";
CONF
}

apt_private() {
    local tool=$1
    shift
    APT_CONFIG=$STATE/apt.conf LC_ALL=C "$tool" "$@" </dev/null
}

# Runs apt-get with its output in a log; each package is named as it comes.
apt_shown() {
    apt_private apt-get -q -y "$@" 2>&1 | tee "$STATE/log" |
        sed -u -n 's/^Get:[0-9]* [^ ]* [^ ]* i386 \([^ ]*\) i386 \([^ ]*\) \[\(.*\)\]/    \1 \2 (\3)/p'
    return "${PIPESTATUS[0]}"
}

apt_failed() {
    die "$1: $(grep -E '^(E|Err):? ?' "$STATE/log" | tail -n 1 | sed -E 's#[a-z]+://[^ ]*##g')"
}

newest_deb() { ls -t "$STATE/archives/$1"_*.deb 2>/dev/null | head -n 1; }

unpack_kernel() { # FLAVOUR PACKAGE
    local flavour=$1 deb out=$GUESTS/linux-$1
    deb=$(newest_deb "$2")
    [ -n "$deb" ] || die "package $2 did not arrive"
    rm -rf "$out.new" "$out" && mkdir -p "$out.new"
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$out.new" ./boot || die "cannot unpack ${deb##*/}"
    local f
    for f in vmlinuz System.map config; do
        mv "$out.new"/boot/"$f"-* "$out.new/$f" || die "${deb##*/} holds no $f"
    done
    rmdir "$out.new/boot"
    echo "$2" >"$out.new/version"
    mv "$out.new" "$out"
    say "    linux-$flavour: $2"
}

unpack_mach() {
    local deb out=$GUESTS/gnumach
    deb=$(newest_deb "$MACH")
    [ -n "$deb" ] || die "package $MACH did not arrive"
    rm -rf "$out.new" "$out" && mkdir -p "$out.new"
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$out.new" ./boot || die "cannot unpack ${deb##*/}"
    mv "$out.new"/boot/gnumach*.gz "$out.new/gnumach.gz" 2>/dev/null || mv "$out.new"/boot/gnumach* "$out.new/gnumach"
    [ ! -e "$out.new/gnumach.gz" ] || gzip -dc "$out.new/gnumach.gz" >"$out.new/gnumach"
    rm -rf "$out.new/boot"
    dpkg-deb -f "$deb" Version >"$out.new/version"
    mv "$out.new" "$out"
    say "    gnumach: $MACH $(cat "$out/version")"
}

# Every program package with what it depends on, unpacked into one tree; kernels stay out of it.
unpack_root() {
    local deb n=0 out=$GUESTS/root-i386
    rm -rf "$out.new" "$out" && mkdir -p "$out.new"
    for deb in "$STATE"/archives/*.deb; do
        case ${deb##*/} in linux-image-* | gnumach-*) continue ;; esac
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$out.new" --no-same-owner --exclude='./usr/share/doc' --exclude='./usr/share/man' \
                --exclude='./usr/share/locale' --exclude='./dev' || die "cannot unpack ${deb##*/}"
        n=$((n + 1))
    done
    mv "$out.new" "$out"
    say "    root-i386: $n packages"
}

resolve_kernel() { # FLAVOUR: the versioned package behind linux-image-FLAVOUR
    apt_private apt-cache depends "linux-image-$1" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

main() {
    local k p packages=() size
    mkdir -p "$GUESTS" || die "cannot create $GUESTS"
    exec 9>"$CACHE/lock"
    command -v flock >/dev/null 2>&1 && flock 9
    [ "$(cat "$STAMP" 2>/dev/null)" = "$WANT" ] && exit 0
    [ -z "${RINGDOWN_OFFLINE:-}" ] || { say "no package archive: RINGDOWN_OFFLINE is set" >&2; exit 3; }
    for p in apt-get apt-cache dpkg-deb tar; do
        command -v "$p" >/dev/null 2>&1 || { say "no package archive: no $p on this system" >&2; exit 3; }
    done

    step "fetching Debian's i386 guests into ${CACHE#"$TOP"/} (once)"
    private_apt_setup || die "cannot write to $STATE"
    own_sources || { say "no package archive: this system has no Debian sources configured" >&2; exit 3; }
    say "    package lists"
    apt_shown update || true
    if ! apt_private apt-cache show busybox-static >/dev/null 2>&1; then
        say "no package archive in reach (details: ${STATE#"$TOP"/}/log)" >&2
        exit 3
    fi

    for k in "${KERNELS[@]}"; do
        p=$(resolve_kernel "$k")
        [ -n "$p" ] || die "the archive has no linux-image-$k for i386"
        packages+=("$p")
    done
    apt_private apt-cache show "$MACH" >/dev/null 2>&1 || die "the archive has no $MACH for i386"
    packages+=("$MACH")

    rm -f "$STATE"/archives/*.deb
    size=$(apt_private apt-get -y --print-uris install "${PROGRAMS[@]}" 2>/dev/null | awk '{s += $3} END {printf "%d", s / 1e6}')
    say "    programs and what they depend on (${size:-?} MB)"
    apt_shown -d install "${PROGRAMS[@]}" || apt_failed "cannot fetch the programs"
    say "    kernels: ${packages[*]}"
    (cd "$STATE/archives" && apt_shown download "${packages[@]}") || apt_failed "cannot fetch the kernels"

    say "    unpacking"
    local i=0
    for k in "${KERNELS[@]}"; do
        unpack_kernel "$k" "${packages[i]}"
        i=$((i + 1))
    done
    unpack_mach
    unpack_root
    rm -f "$STATE"/archives/*.deb
    printf '%s\n' "$WANT" >"$STAMP"
}
main
