#!/bin/sh
# The fencing hook: once a deny has been answered, nothing that host has sent or will send touches
# the disk, after a restart too; other hosts go on. Writes are slowed down so that one is under way
# and one waits behind it at that moment.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires strace python3
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"
netns target
netns client
veth target client
mac_of() { ip -n "$(ns "$1")" -br link show eth1 | awk '{ print $3 }'; }
mac=$(mac_of client)
to=$(mac_of target)
disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"
mkdir "$tmp/state"

# serve COMMAND...: start the target, through COMMAND.
serve() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" "$@" "$BIN/aoe-vblade" --engine threads --state "$tmp/state" --control "$tmp/control" 7 3 eth1 "$disk" \
        >"$tmp/line" 2>"$tmp/log" </dev/null &
    job=$!
    wait_for 10 test -s "$tmp/line"
    pid=$(sed -n 's/^pid \([0-9]*\): .*/\1/p' "$tmp/line")
    cleanup "kill $pid 2>/dev/null"
}
ask() {
    python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall((sys.argv[2] + "\n").encode())
print(s.makefile().readline(), end="")' "$tmp/control" "$1"
}
# write DIGIT WAIT: sector 7; prints flags, error, count and status, or nothing.
write() {
    printf '10 00 0007 03 00 00000001 41 00 01 34 0700 0000 0000 0000 %s\n' "$(printf '%01024d' 0 | tr 0 "$1")" |
        in_ns client "$send" -t "$to" -w "$2" eth1 | tr -d - | cut -c 21-28
}
content() { dd if="$disk" bs=512 skip=7 count=1 status=none | od -An -v -tx1 -w512 | tr -d ' \n' | cut -c 1-2; }

serve strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:delay_enter=1500000
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
kill "$pid"
wait $job || fail "status $?: $(cat "$tmp/log")"

serve env
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
kill "$pid"
wait $job || fail "status $?: $(cat "$tmp/log")"
grep -q 02:00:00:00:00:42 "$tmp/state/e7.3.json" || fail "$(cat "$tmp/state/e7.3.json")"
echo '{"given":[' >"$tmp/state/e7.3.json"
fails 1 in_ns target aoe-vblade --state "$tmp/state" 7 3 eth1 "$disk"
grep -q "remove it to start afresh: $tmp/state/e7.3.json: EOF" "$tmp/err" || fail "$(cat "$tmp/err")"
