#!/bin/sh
# SPDX-License-Identifier: MIT
# INIT from a ROM: run.sh MONITOR ROM ENGINE. The second INIT leaves a processor that waits for SIPI: only the
# timeout ends it.
out=$("$1" run --engine "$3" --bios "$2" --memory 16M --debug-exit --serial stdio --timeout 2 </dev/null 2>/dev/null)
status=$?
[ "$status" = 4 ] && [ "$out" = ab ] && { echo "pass: $3: restarted once, then waits"; exit 0; }
echo "fail: $3: status $status, \"$out\" instead of 4, \"ab\""
exit 1
