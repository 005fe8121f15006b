# SPDX-License-Identifier: MIT
# A room: a copy of the fetched i386 tree in which its programs run directly on the host, by chroot.
# Sourced after common.sh. Needs root, an unprivileged user namespace, or sudo without a password.
#
#   make_room && in_room COMMAND ARGUMENT...      ROOM is where it is; remove_room ends it

# Beside the tree, since it is made of hard links, so that nothing can be written into the tree by accident.
make_room() {
    ROOM=$(cd -P "$GUESTS" && cd .. && pwd)/room.$$
    cp -al "$(cd -P "$GUESTS" && pwd)/root-i386" "$ROOM" && mkdir -p "$ROOM/tmp" "$ROOM/dev" && : >"$ROOM/dev/null" || return 1
    if [ "$(id -u)" = 0 ]; then
        ROOM_WAY=(chroot "$ROOM")
    elif unshare -r true 2>/dev/null; then
        ROOM_WAY=(unshare -r chroot "$ROOM")
    elif sudo -n true 2>/dev/null; then
        ROOM_WAY=(sudo -n chroot "$ROOM")
    else
        ROOM_WAY=()
        return 77
    fi
    # sh, cp, cat and their like are busybox's, as in the guest; what Debian's packages brought stays.
    in_room /bin/busybox --install -s /bin
}

in_room() { env -i PATH="$PATH:/usr/sbin:/sbin" "${ROOM_WAY[@]}" "$@"; }

remove_room() { [ -z "${ROOM:-}" ] || rm -rf "$ROOM"; }
