#!/bin/sh
# What aoe-vblade may still do once it serves: no capability, no system call it has no use for, no
# file beside its own; and that it still does all it has to, with either engine.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires socat
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"
[ "$(cat /proc/sys/kernel/seccomp/actions_avail 2>/dev/null)" ] || skip "needs a kernel with seccomp"
netns target
netns client
veth target client
disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"

# serve ARGUMENT...: on e7.3; $pid.
serve() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" aoe-vblade "$@" 7 3 eth1 "$disk" >"$tmp/line" 2>"$tmp/log" </dev/null &
    pid=$!
    cleanup "end $pid"
    wait_for 10 test -s "$tmp/line"
    # Confined when ready: it has answered.
    wait_for 10 answers
}
status_of() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$pid"/task/*/status | sort -u | tr '\n' ' ' | sed 's/ $//'; }

# wrote SECTORS: that many in one frame, written, flushed and read back, byte for byte.
wrote() {
    to=$(ip -n "$(ns target)" -o link show eth1 | sed 's/.*link\/ether \([0-9a-f:]*\) .*/\1/')
    count=$(printf '%02x' "$1")
    number=$((number + 1))
    data=$(printf "%0$(($1 * 1024))x" "$number")
    {
        echo "10 00 0007 03 00 00000001 41 00 $count 34 0700 0000 0000 0000 $data"
        echo '10 00 0007 03 00 00000002 00 00 00 e7 0000 0000 0000 0000'
        echo "10 00 0007 03 00 00000003 40 00 $count 24 0700 0000 0000 0000"
    } | in_ns client "$send" -t "$to" -w 10000 eth1 >"$tmp/answers"
    [ "$(cut -c 21-28 "$tmp/answers" | tr '\n' ' ')" = "41000040 00000040 40000040 " ] &&
        [ "$(tail -n 1 "$tmp/answers" | cut -c "45-$((44 + $1 * 1024))")" = "$data" ]
}
number=0
answers() { echo '10 00 0007 03 01 00000001 0000 0000 00 00 0000' | in_ns client "$send" -w 200 eth1 | grep -q '^18'; }
mtu() { for end in target client; do ip -n "$(ns $end)" link set eth1 mtu "$1"; done; }
control() { printf '%s\n' "$1" | timeout 10 socat -t 10 - "UNIX-CONNECT:$tmp/control"; }
logged() { grep -q "aoe-vblade: $1" "$tmp/log"; }

everything() {
    mtu 1500
    rm -rf "$tmp/state"
    mkdir "$tmp/state"
    truncate -s 1M "$disk"
    serve --engine "$1" --state "$tmp/state" --control "$tmp/control"
    equal "$1: capabilities" "$(status_of CapEff) $(status_of CapPrm) $(status_of CapInh)" \
        "0000000000000000 0000000000000000 0000000000000000"
    equal "$1: no new privileges, and a filter, in every thread" "$(status_of NoNewPrivs) $(status_of Seccomp)" "1 2"
    if [ "$1" = threads ]; then
        # shellcheck disable=SC2012 # numbers
        [ "$(ls "/proc/$pid/task" | wc -l)" -gt 2 ] || fail "no threads"
    fi
    wrote 2 || fail "$1: $(cat "$tmp/answers")"
    # Frames for more than jumbo frames: all its memory for them is made anew.
    mtu 20000
    wait_for 10 logged "eth1: up, MTU 20000, 38 sectors a frame"
    wrote 38 || fail "$1, MTU 20000: $(cat "$tmp/answers" "$tmp/log")"
    mtu 9000
    wait_for 10 logged "eth1: up, MTU 9000"
    wrote 17 || fail "$1, MTU 9000: $(cat "$tmp/answers" "$tmp/log")"
    ip -n "$(ns target)" link set eth1 down
    wait_for 10 logged "eth1: down"
    ip -n "$(ns target)" link set eth1 up
    wait_for 10 answers
    wrote 3 || fail "$1, down and up: $(cat "$tmp/answers" "$tmp/log")"
    ip -n "$(ns target)" link del eth1
    wait_for 10 logged "eth1: gone"
    veth target client
    wait_for 10 answers
    wrote 2 || fail "$1, another interface: $(cat "$tmp/answers" "$tmp/log")"
    # A config string is kept before it is answered; the disk has grown; a host is denied.
    echo '10 00 0007 03 01 00000001 0000 0000 00 04 0004 64617461' | in_ns client "$send" -w 10000 eth1 | grep -q '^18' ||
        fail "$1: no config string: $(cat "$tmp/log")"
    grep -q '"config": "64617461"' "$tmp/state/e7.3.json" || fail "$1: nothing kept: $(cat "$tmp/log")"
    truncate -s 2M "$disk"
    kill -HUP "$pid"
    wait_for 10 logged "e7.3: 4096 sectors now"
    equal "$1: told over the control socket" "$(control '{"request":"deny","mac":"02:00:00:00:00:09"}')" '{"answer":"done"}'
    grep -q '02:00:00:00:00:09' "$tmp/state/e7.3.json" || fail "$1: not kept: $(cat "$tmp/log")"
    kill -USR1 "$pid"
    wait_for 10 logged "e7.3: frames=.* writes=5 "
    running "$pid" || fail "$1: ended: $(cat "$tmp/log")"
    kill "$pid"
    status=0
    wait "$pid" || status=$?
    equal "$1: status after SIGTERM" "$status" 0
    [ ! -e "$tmp/control" ] || fail "$1: the control socket is still there"
    ! logged "sandbox:" || fail "$(cat "$tmp/log")"
    ! grep -qi 'not permitted\|permission denied' "$tmp/log" || fail "$1: $(cat "$tmp/log")"
}
everything io_uring
everything threads

# --- a table that is read again
ready() { printf '%s\n' "$@" >"$tmp/table" && kill -HUP "$pid"; }
truncate -s 1M "$disk.2"
cleanup "rm -f '$disk.2'"
printf '7 3 eth1 %s\n' "$disk" >"$tmp/table"
rm -f "$tmp/line"
ip netns exec "$(ns target)" aoe-vblade --config "$tmp/table" >"$tmp/line" 2>"$tmp/log" </dev/null &
pid=$!
cleanup "end $pid"
wait_for 10 test -s "$tmp/line"
wait_for 10 answers
equal "--config" "$(status_of CapEff) $(status_of CapPrm) $(status_of NoNewPrivs) $(status_of Seccomp)" \
    "0000000000002000 0000000000002000 1 2"
ip link add name eth2 netns "$(ns target)" type veth peer name eth2 netns "$(ns client)"
ready "7 3 eth1 $disk" "7 4 eth1,eth2 $disk.2"
wait_for 10 logged "e7.4: served now"
flock -n "$disk.2" true && fail "e7.4: not claimed"
truncate -s 1M "$tmp/elsewhere"
ready "7 3 eth1 $disk" "7 4 eth1,eth2 $disk.2" "7 5 eth1 $tmp/elsewhere"
wait_for 10 logged "e7.5: not served: $tmp/elsewhere: open: Permission denied"
wrote 2 || fail "--config: $(cat "$tmp/answers" "$tmp/log")"
kill "$pid" && wait "$pid"

# --- the way off
serve --no-sandbox
equal "--no-sandbox" "$(status_of NoNewPrivs) $(status_of Seccomp) $(status_of CapEff)" \
    "0 0 $(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)"
wrote 2 || fail "--no-sandbox: $(cat "$tmp/answers")"
