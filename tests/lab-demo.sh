#!/bin/sh
# The whole chain on two real Xen hosts: scripts/demo, whose every step must hold.
. "$(dirname -- "$0")/lib.sh"
requires_root

LAB_DIR=$tmp/lab
export LAB_DIR
"$top/scripts/demo" >"$tmp/demo" 2>&1 || {
    cat "$tmp/demo"
    fail "scripts/demo ended with status $?"
}
cat "$tmp/demo"
held=$(grep -cE ' held( \(.*\))?$' "$tmp/demo")
equal "steps that held, the total included" "$held" 10
grep -qE 'pause [0-9.]+ s' "$tmp/demo" || fail "no pause was measured"
grep -qE 'stall [0-9.]+ s' "$tmp/demo" || fail "no stall was measured"
