#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests run.sh's rule: monitors of paper that end in each of the ways there are.
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/tests/guests"
bad=0
# case VERDICT NAME COMMANDS
case_is() {
    printf '#!/bin/sh\n%s\n' "$3" >"$dir/ringdown"
    chmod +x "$dir/ringdown"
    "$here/run.sh" --build "$dir" --timeout 3 "$2" >"$dir/out" 2>&1
    [ "$?" = "$1" ] && return
    echo "fail: status other than $1 for: $3"
    cat "$dir/out"
    bad=1
}
done='echo "PASS a"; echo "1 passed, 0 failed"'
case_is 0 some "$done; exit 1"
case_is 0 triple "$done; echo 'ringdown: the guest died of a triple fault' >&2; exit 3"
case_is 1 some 'echo "1 passed, 1 failed"; exit 33'
case_is 1 some 'echo "1 passed, 1 failed"; exit 1'
case_is 1 some 'exit 1'
case_is 1 some 'echo "PASS a"; exit 1'
case_is 1 some "$done; exit 0"
case_is 1 some "$done; exit 2"
case_is 1 some "$done; exit 3"
case_is 1 some "$done; exit 4"
case_is 1 some "$done; echo 'ringdown: out of memory' >&2; exit 1"
case_is 1 some "$done; echo '==1==ERROR: AddressSanitizer: heap-use-after-free' >&2; exit 1"
case_is 1 some "$done; kill -SEGV \$\$"
case_is 1 some "$done; kill -KILL \$\$"
case_is 1 some "$done; exec sleep 20"
case_is 1 triple "$done; exit 1"
case_is 1 triple "$done; exit 3"
case_is 1 triple 'echo "ringdown: triple fault" >&2; exit 3'
[ $bad = 0 ] && echo "pass: 18 ways to end"
exit $bad
