#!/bin/sh
# The fencing hook: once a deny has been answered, nothing that host has sent or will send touches
# the disk, after a restart too; other hosts go on. Writes are slowed down so that one is under way
# and one waits behind it at that moment.
. "$(dirname -- "$0")/lib.sh"
requires strace python3 prlimit
. "$(dirname -- "$0")/aoe/lib.sh"
disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"
mkdir "$tmp/state"

# start_target COMMAND...: through COMMAND.
start_target() { serve "$@" "$BIN/aoe-vblade" --engine threads --state "$tmp/state" --control "$tmp/control" 7 3 eth1 "$disk"; }
# write DIGIT WAIT: sector 7; prints flags, error, count and status, or nothing.
write() { written 03 0700 "$1" eth1 "$2"; }
content() { dd if="$disk" bs=512 skip=7 count=1 status=none | od -An -v -tx1 -w512 | tr -d ' \n' | cut -c 1-2; }

start_target strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:delay_enter=1500000
equal "the socket's mode" "$(stat -c %a "$tmp/control")" 600
equal "a write" "$(write a 10000)" 41000040
write b 1 >/dev/null &
under_way() { [ "$(grep -c pwritev2 "$tmp/trace")" = 2 ]; }
wait_for 10 under_way
write c 1 >/dev/null
equal "still the first" "$(content)" aa
equal "denied" "$(ask "{\"request\":\"deny\",\"mac\":\"$mac\"}")" '{"answer":"done"}'
equal "the one under way is done" "$(content)" bb
equal "no answer" "$(write d 1000)" ""
equal "the one behind it was dropped, and so is the next" "$(content)" bb
equal "calls" "$(grep -c 'pwritev2(' "$tmp/trace")" 2
grep -q "every export: $mac is denied" "$tmp/log" || fail "$(cat "$tmp/log")"
equal "no config answer" "$(echo '10 00 ffff ff 01 00000001 0000 0000 00 00 0000' | in_ns client "$send" -w 300 eth1)" -

# Another address of the same machine is another host.
ip -n "$(ns client)" link set eth1 address 02:00:00:00:aa:01
equal "another host" "$(write e 10000)" 41000040
ip -n "$(ns client)" link set eth1 address "$mac"
ended

start_target env
equal "after a restart" "$(write f 1000)" ""
equal "and of an export that is none" "$(ask '{"request":"admit","export":"e7.4","mac":"02:00:00:00:00:01"}')" \
    '{"answer":"error","error":"e7.4: not exported here"}'
equal "admitted" "$(ask "{\"request\":\"admit\",\"export\":\"e7.3\",\"mac\":\"$mac\"}")" '{"answer":"done"}'
equal "a write" "$(write f 10000)" 41000040
equal "content" "$(content)" ff

# The mask, over the socket and over the wire: both are kept.
equal "masked" "$(ask '{"request":"mask","add":["02:00:00:00:00:99"]}')" '{"answer":"done"}'
equal "not on the list" "$(write 1 500)" ""
equal "on the list" "$(ask "{\"request\":\"mask\",\"add\":[\"$mac\"],\"delete\":[\"02:00:00:00:00:99\"]}")" '{"answer":"done"}'
equal "a write" "$(write 1 10000)" 41000040
echo '10 00 0007 03 02 00000001 00 01 00 01 0001 020000000042' | in_ns client "$send" -t "$to" -w 10000 eth1 >/dev/null
ended
grep -q 02:00:00:00:00:42 "$tmp/state/e7.3.json" || fail "$(cat "$tmp/state/e7.3.json")"
echo '{"given":[' >"$tmp/state/e7.3.json"
fails 1 in_ns target aoe-vblade --state "$tmp/state" 7 3 eth1 "$disk"
grep -q "remove it to start afresh: $tmp/state/e7.3.json: EOF" "$tmp/err" || fail "$(cat "$tmp/err")"

# A line that is taken out leaves requests under way: they are waited for as any others.
rm "$tmp/state/e7.3.json"
echo "7 3 eth1 $disk" >"$tmp/exports"
serve strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:delay_enter=1500000 \
    "$BIN/aoe-vblade" --engine threads --config "$tmp/exports" --control "$tmp/control"
write 2 1 >/dev/null
wait_for 10 grep -q pwritev2 "$tmp/trace"
: >"$tmp/exports"
kill -HUP "$pid"
wait_for 10 grep -q "e7.3: no longer served as before" "$tmp/log"
equal "denied" "$(ask "{\"request\":\"deny\",\"mac\":\"$mac\"}")" '{"answer":"done"}'
equal "the one under way is done" "$(content)" 22
ended

# With no descriptor left for a client it is hung up on, and others are heard once there is one.
start_target env
free=0
while [ -e "/proc/$pid/fd/$free" ]; do free=$((free + 1)); done
most=$(prlimit --pid "$pid" --nofile --noheadings --output SOFT)
prlimit --pid "$pid" --nofile="$free:"
python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
sys.exit(s.recv(1) != b"")' "$tmp/control" || fail "a client is neither heard nor hung up on"
kill -USR1 "$pid"
wait_for 10 grep -q "e7.3: frames=" "$tmp/log"
prlimit --pid "$pid" --nofile="$most:"
equal "heard again" "$(ask '{"request":"admit","mac":"02:00:00:00:00:01"}')" '{"answer":"done"}'
ended
