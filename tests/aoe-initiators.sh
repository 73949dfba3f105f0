#!/bin/sh
# Debian's aoeping and aoecfg against aoe-vblade: discovery, IDENTIFY, the five config actions.
# ORIGINAL=1 runs against Debian's vblade, whose short answers need help: it never pads, and the
# tools overlook an answer of less than 60 bytes.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires aoeping aoecfg
target=aoe-vblade
[ -z "${ORIGINAL-}" ] || { target=vblade && requires vblade; }
netns target
netns client
veth target client
truncate -s 3M "$tmp/disk"
ip netns exec "$(ns target)" "$target" 7 3 eth1 "$tmp/disk" >"$tmp/line" 2>"$tmp/log" </dev/null &
pid=$!
cleanup "kill $pid 2>/dev/null"
wait_for 10 test -s "$tmp/line"
mac=$(in_ns target cat /sys/class/net/eth1/address | tr -d :)
long="a label that is longer than the padding"

if [ -z "${ORIGINAL-}" ]; then
    # With the empty string the answer is 32 bytes and padding.
    in_ns client aoeping -s 5 7 3 eth1 || fail "aoeping got no answer"
    equal "an empty string" "$(in_ns client aoecfg -t 2 7 3 eth1)" ""
fi
equal set "$(in_ns client aoecfg -t 2 -c fset -s "$long" 7 3 eth1)" "$long"
in_ns client aoeping -s 5 -v 7 3 eth1 >"$tmp/out"
grep -qx "found e7.3 with mac $mac" "$tmp/out" || fail "aoeping -v: $(cat "$tmp/out")"
in_ns client aoeping -s 5 -I 7 3 eth1 >"$tmp/out"
grep -q "serial_number: *7.3:" "$tmp/out" || fail "aoeping -I: $(cat "$tmp/out")"
in_ns client aoeping -s 5 -i 7 3 eth1 >"$tmp/out"
[ "$(wc -l <"$tmp/out")" -ge 32 ] || fail "aoeping -i: $(cat "$tmp/out")"
# vblade announces no SMART: aoeping says so and sends none. Ours says how the disk is and aborts
# what it has no data for.
fails 1 in_ns client aoeping -s 5 -S read_data 7 3 eth1
if [ -z "${ORIGINAL-}" ]; then
    grep -q "SMART command aborted on target" "$tmp/err" || fail "aoeping -S read_data: $(cat "$tmp/err")"
    in_ns client aoeping -s 5 -S return_status 7 3 eth1 >"$tmp/out"
    equal "health" "$(sed -n 's/^ *\(LBA Mid\|LBA High\|Status\): *//p' "$tmp/out" | tr '\n' ' ')" "0x4f 0xc2 0x40 "
fi

equal read "$(in_ns client aoecfg -t 2 7 3 eth1)" "$long"
equal "test, equal" "$(in_ns client aoecfg -t 2 -c test -s "$long" 7 3 eth1)" "$long"
equal "test, unequal" "$(in_ns client aoecfg -t 1 -c test -s "a label" 7 3 eth1)" ""
equal "prefix" "$(in_ns client aoecfg -t 1 -c prefix -s "a label" 65535 255 eth1)" "7.3	$long"
equal "no prefix" "$(in_ns client aoecfg -t 1 -c prefix -s "b" 65535 255 eth1)" ""
equal "set where one is" "$(in_ns client aoecfg -t 2 -c set -s "another label, also longer" 7 3 eth1)" "*badcfg*"
equal "set again" "$(in_ns client aoecfg -t 2 -c set -s "$long" 7 3 eth1)" "$long"
equal "force set" "$(in_ns client aoecfg -t 2 -c fset -s "$long 2" 7 3 eth1)" "$long 2"
equal "the new one" "$(in_ns client aoecfg -t 2 7 3 eth1)" "$long 2"
# Another slot is not ours: aoecfg waits in vain.
equal "another slot" "$(in_ns client aoecfg -t 1 7 4 eth1)" ""
if [ -z "${ORIGINAL-}" ]; then
    equal "a short string" "$(in_ns client aoecfg -t 2 -c fset -s "x" 7 3 eth1)" "x"
    equal "no string" "$(in_ns client aoecfg -t 1 -c fset -s "" 7 3 eth1)" ""
    in_ns client aoeping -s 5 7 3 eth1
fi
kill -0 $pid || fail "the target ended: $(cat "$tmp/log")"
