#!/bin/sh
# aoe-flush --dead and aoe-warm, with real targets on a cable and the driver's files played by a
# script: the parameter is lowered only while it must be, and put back whatever happens.
. "$(dirname -- "$0")/lib.sh"
requires_root
netns target
netns client
veth target client
truncate -s 3M "$tmp/3" "$tmp/4"
# shellcheck source=tests/aoe/driver.sh
. "$(dirname -- "$0")/aoe/driver.sh"
note=$tmp/run/aoe-flush.deadsecs
# target SLOT: its process is in $tmp/target.SLOT.
target() {
    ip netns exec "$(ns target)" aoe-vblade 7 "$1" eth1 "$tmp/$1" >"$tmp/line.$1" 2>"$tmp/log.$1" </dev/null &
    echo $! >"$tmp/target.$1"
    cleanup "kill $! 2>/dev/null"
    wait_for 10 test -s "$tmp/line.$1"
}
silence() {
    kill "$(cat "$tmp/target.$1")"
    wait "$(cat "$tmp/target.$1")" || :
}
is_low() { [ "$(cat "$parameter")" = 1 ]; }
is_back() { [ "$(cat "$parameter")" = "$1" ] && [ ! -s "$note" ]; }
dead() { in_ns client aoe-flush --dead "$@"; }
# refused WORDS NAME...: exit status 1, the parameter as it was.
refused() {
    words=$1
    shift
    fails 1 dead "$@"
    grep -q "$words" "$tmp/err" || fail "--dead $*: $(cat "$tmp/err")"
    is_back 180 || fail "--dead $*: left aoe_deadsecs=$(cat "$parameter"), the note $(cat "$note")"
}
# begun NAME...: a run in the background that has lowered the parameter; $pid is its process.
begun() {
    ip netns exec "$(ns client)" aoe-flush --dead --timeout 20 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null"
    wait_for 10 is_low
}
ended() {
    status=0
    wait "$pid" || status=$?
}

# --- what is not done
device e7.3 up "1 0"
device e7.4 up "0 0"
target 3
target 4
refused "aoe-flush: e7.3: ..:..:..:..:..:.. on eth1 answers: it is not dead" e7.3
refused "aoe-flush Error: .e9.9. is not an aoe device" e9.9
refused "which devices? Name them"
silence 3
silence 4
refused "e7.4: does not answer either: name it as well if it is dead" e7.3
target 4
device e7.4 up "0 2"
refused "e7.4: has requests under way that do not end" e7.3
device e7.4 up "0 0"
refused "e7.3: not failed by the driver in the time given" --timeout 1.5 e7.3
rm "$parameter"
fails 1 dead e7.3
grep -q "aoe_deadsecs: No such file" "$tmp/err" || fail "no driver: $(cat "$tmp/err")"
rm "$note"
echo 180 >"$parameter"
fails 1 dead --timeout 0 e7.3

# --- what is
driver e7.3
dead e7.3
is_back 180 || fail "aoe_deadsecs=$(cat "$parameter") after a success"
equal "the state" "$(cat "$tmp/sys/block/etherd!e7.3/state")" down,closewait
dead e7.3
device e7.3 up "0 0"
echo 0 >"$parameter"
driver e7.3
dead e7.3
is_back 0 || fail "aoe_deadsecs=$(cat "$parameter"), not what it was"
echo 180 >"$parameter"
# Another that is busy, and gets somewhere.
device e7.3 up "1 0"
device e7.4 up "0 2"
n=0
while :; do
    n=$((n + 1))
    echo "$n 0 0 0 7" >"$tmp/sys/block/etherd!e7.4/stat"
    sleep 0.05
done &
busy=$!
cleanup "kill $busy 2>/dev/null"
driver e7.3
dead e7.3
is_back 180 || fail "aoe_deadsecs=$(cat "$parameter") with another that is busy"
kill $busy
device e7.4 up "0 0"
silence 4
device e7.3 up "1 0"
driver e7.3
driver e7.4
dead e7.3 e7.4
is_back 180 || fail "aoe_deadsecs=$(cat "$parameter") after two"
target 4
device e7.3 up "1 0"
device e7.4 up "0 0"

# --- whatever happens
for signal in TERM HUP; do
    begun e7.3
    kill -$signal $pid
    ended
    case $signal in TERM) wanted=143 ;; *) wanted=129 ;; esac
    equal "status after SIG$signal" $status $wanted
    is_back 180 || fail "SIG$signal: aoe_deadsecs=$(cat "$parameter")"
done
begun e7.3
silence 4
ended
equal "status when another falls silent" $status 1
grep -q "e7.4: does not answer either" "$tmp/err" || fail "another falls silent: $(cat "$tmp/err")"
is_back 180 || fail "another falls silent: aoe_deadsecs=$(cat "$parameter")"
target 4
begun e7.3
target 3
ended
equal "status when it comes back" $status 1
grep -q "answers: it is not dead" "$tmp/err" || fail "it comes back: $(cat "$tmp/err")"
is_back 180 || fail "it comes back: aoe_deadsecs=$(cat "$parameter")"
silence 3
begun e7.3
kill -KILL $pid
ended
wait_for 5 is_back 180
# A second run waits for the first, and does not take its value for the old one.
begun e7.3
first=$pid
ip netns exec "$(ns client)" aoe-flush --dead e7.3 >"$tmp/out" 2>"$tmp/err" </dev/null &
second=$!
cleanup "kill $second 2>/dev/null"
waits() { find "/proc/$second/fd" -lname '*[socket]*' 2>/dev/null | grep -q . && is_low; }
wait_for 10 waits
driver e7.3
pid=$first
ended
equal "the first of two" $status 0
pid=$second
ended
equal "the second of two" $status 0
is_back 180 || fail "two at once: aoe_deadsecs=$(cat "$parameter")"
device e7.3 up "1 0"
# Killed with its keeper: the next run of any kind puts it right.
begun e7.3
keeper=$(ps -o pid= --ppid $pid | tr -d ' ' | head -n 1)
[ "$(echo "$keeper" | wc -w)" = 1 ] || fail "keepers: $keeper"
kill -KILL "$keeper" $pid
ended
is_low || fail "nobody was left to put it back, yet it is $(cat "$parameter")"
equal "the note" "$(cat "$note")" 180
in_ns client aoe-flush 2>"$tmp/err"
equal "put right" "$(cat "$tmp/err")" "aoe-flush: aoe_deadsecs: put back to 180, as it was before a run that was killed"
is_back 180 || fail "not put right: $(cat "$parameter")"
# An admin has been there since: what was noted is no longer true.
echo 180 >"$note"
echo 8 >"$parameter"
in_ns client aoe-flush
is_back 8 || fail "an admin's value is gone: $(cat "$parameter")"
echo nonsense >"$note"
fails 1 dead e7.3
grep -q "nonsense. is no number: set aoe_deadsecs yourself" "$tmp/err" || fail "a note of nonsense: $(cat "$tmp/err")"

# --- aoe-warm
estimate=$tmp/sys/kernel/debug/aoe/e7.3
cold="rttavg: 249024 rttdev: 1781223"
warm="rttavg: 230 rttdev: 12"
device e7.3 down "0 0"
truncate -s 3M "$tmp/etherd/e7.3"
dd if="$tmp/etherd/e7.3" of=/dev/null bs=512 count=1 iflag=direct 2>/dev/null || skip "no direct I/O in $tmp"
echo "$cold" >"$estimate"
fails 1 aoe-warm
fails 1 aoe-warm e7
equal "no device" "$(cat "$tmp/err")" "aoe-warm: \`e7': not a device such as e0.1"
fails 1 aoe-warm --once e7.3
equal "it is down" "$(cat "$tmp/err")" "aoe-warm: e7.3: down: waiting until it is up"
echo up >"$tmp/sys/block/etherd!e7.3/state"
fails 1 aoe-warm --once e7.3
equal "it stays cold" "$(cat "$tmp/err")" "aoe-warm: e7.3: round trip 249024 us, a lost frame is sent again after 14748 ms"
echo "$warm" >"$estimate"
aoe-warm --once e7.3 2>"$tmp/err"
equal "it is warm" "$(cat "$tmp/err")" "aoe-warm: e7.3: round trip 230 us, a lost frame is sent again after 1 ms"

aoe-warm --interval 0.05 --ready-fd 3 e7.3 2>"$tmp/warm" 3>"$tmp/ready" </dev/null &
pid=$!
cleanup "kill $pid 2>/dev/null"
wait_for 10 test -s "$tmp/ready"
lines() { [ "$(wc -l <"$tmp/warm")" -ge "$1" ]; }
lines 1
[ -n "$(find "/proc/$pid/fd" -lname "*/etherd/e7.3")" ] || fail "it does not keep the device open"
# Forgotten: it reads again until the estimate is small, here until the script says so.
echo "$cold" >"$estimate"
wait_for 10 lines 2
echo "$warm" >"$estimate"
# The device fails: it must not be what keeps it from coming back.
echo down,closewait >"$tmp/sys/block/etherd!e7.3/state"
truncate -s 0 "$tmp/etherd/e7.3"
wait_for 10 grep -q "e7.3: down,closewait: waiting until it is up" "$tmp/warm"
grep -q "e7.3: read: the device has no size" "$tmp/warm" || fail "$(cat "$tmp/warm")"
[ -z "$(find "/proc/$pid/fd" -lname "*/etherd/e7.3")" ] || fail "it keeps a failed device open"
truncate -s 3M "$tmp/etherd/e7.3"
said=$(grep -c "after 1 ms" "$tmp/warm" || :)
echo up >"$tmp/sys/block/etherd!e7.3/state"
again() { [ "$(grep -c "after 1 ms" "$tmp/warm")" -gt "$said" ]; }
wait_for 10 again
kill $pid
ended
equal "status after SIGTERM" $status 0
