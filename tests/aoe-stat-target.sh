#!/bin/sh
# aoe-stat --target: what each client has asked of each export, how long it took, and what became of
# the frames; as a table, as JSON and for Prometheus.
. "$(dirname -- "$0")/lib.sh"
requires jq strace
. "$(dirname -- "$0")/aoe/lib.sh"
disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"

# Writes are slowed down, so that one is under way when it comes again.
serve strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:delay_enter=300000 \
    "$BIN/aoe-vblade" --engine threads --control "$tmp/one.sock" 7 3 eth1 "$disk"
stat() { aoe-stat --target "$@" "$tmp/one.sock"; }
# of WHAT...: members of the client's object, by address or name.
of() { stat --json | jq -r --arg who "$1" "select(.export) | (.clients + [.all])[] | select(.client == \$who) | [$2] | join(\" \")"; }
tell() { in_ns client "$send" -t "$to" "$@" eth1; }
sector=$(printf '%01024d' 0)
write="41 00 01 34 0700 0000 0000 0000 $sector"

equal "nobody yet" "$(of all .reads,.writes,.others,.queue_most)" "0 0 0 0"
fails 0 stat
equal "lines" "$(wc -l <"$tmp/out" | tr -d ' ')" 4

# Two reads, one that is refused, a flush, a config query; and a write that comes again.
{
    echo "10 00 0007 03 00 00000002 40 00 02 24 0700 0000 0000 0000"
    echo "10 00 0007 03 00 00000003 40 00 01 24 0700 0000 0000 0000"
    echo "10 00 0007 03 00 00000004 40 00 01 24 ffff ffff 0000 0000"
    echo "10 00 0007 03 00 00000005 00 00 00 e7 0000 0000 0000 0000"
    echo "10 00 0007 03 01 00000006 0000 0000 00 00 0000"
} | tell -w 10000 >"$tmp/answers"
equal "answers" "$(grep -c ^18 "$tmp/answers")" 5
equal "reads, their bytes, flushes, others, refused" "$(of "$mac" .reads,.bytes_read,.flushes,.others,.refused)" "2 1536 1 2 1"
echo "10 00 0007 03 00 00000010 $write" | tell -w 1 >/dev/null
under_way() { [ "$(grep -c pwritev2 "$tmp/trace")" = 1 ]; }
wait_for 10 under_way
echo "10 00 0007 03 00 00000011 $write" | tell -w 10000 | grep -q '^18' || fail "no answer to the second write"
equal "writes, bytes, repeated, the most at once" "$(of "$mac" .writes,.bytes_written,.duplicates,.queue_most)" "2 1024 1 2"
equal "under way" "$(of "$mac" .queue)" 0
# The first took the delay at least, the second waited for it and then took it too.
[ "$(of "$mac" .change_latency.max_ns)" -ge 300000000 ] || fail "the longest write: $(of "$mac" .change_latency.max_ns) ns"
equal "times taken" "$(of "$mac" .read_latency.count,.change_latency.count)" "2 3"

# Another client; and one whose frames are not answered leaves only a number.
echo "10 00 0007 03 00 00000007 40 00 01 24 0700 0000 0000 0000" | tell -f 02:00:00:00:00:09 -w 1 >/dev/null
other() { [ "$(of 02:00:00:00:00:09 .reads)" = 1 ]; }
wait_for 10 other
equal "all" "$(of all .reads,.writes)" "3 2"
echo "10 00 0007 03 01 00000008 0000 0000 00 01 0001 78" | tell -w 1 >/dev/null
ignored() { [ "$(of "$mac" .ignored)" = 1 ]; }
wait_for 10 ignored

# --- the forms
stat >"$tmp/out"
equal "a line for all, and one for each" "$(awk '{ print $1 }' "$tmp/out" | tr '\n' ' ')" \
    "EXPORT e7.3 $mac 02:00:00:00:00:09 INTERFACE eth1 "
stat --prometheus >"$tmp/out"
grep -qxF "aoe_target_requests_total{export=\"e7.3\",client=\"$mac\",operation=\"write\"} 2" "$tmp/out" || fail "$(cat "$tmp/out")"
grep -qxF "aoe_target_troubles_total{export=\"e7.3\",client=\"$mac\",trouble=\"repeated\"} 1" "$tmp/out" || fail "$(cat "$tmp/out")"
grep -q '^aoe_target_interface_frames_total{.*fate="dropped"} 0$' "$tmp/out" || fail "$(cat "$tmp/out")"
! grep -vE '^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+\{[^}]*\} [0-9.]+)$' "$tmp/out" || fail "no Prometheus text"
equal "an interface" "$(stat --json | jq -r 'select(.interface) | "\(.interface) \(.running) \(.mtu)"')" "eth1 true 1500"

# --- what is no target
fails 1 aoe-stat --target "$tmp/none.sock"
grep -q "aoe-stat: $tmp/none.sock: No such file or directory" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 aoe-stat --target "$tmp/one.sock" "$tmp/none.sock"
grep -q '^e7.3 ' "$tmp/out" || fail "one that does not answer hides the other"
fails 1 aoe-stat --target --json --prometheus "$tmp/one.sock"
ended
