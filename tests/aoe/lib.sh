# Sourced by tests/aoe-*.sh after lib.sh and what they require: a target and a client on one cable,
# frames written out, and the target's control socket.
# shellcheck shell=sh disable=SC2154 # tmp is lib.sh's

requires_root
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"
netns target
netns client
veth target client
# mac_of NAME [INTERFACE]: its Ethernet address.
mac_of() { ip -n "$(ns "$1")" -br link show "${2-eth1}" | awk '{ print $3 }'; }
# shellcheck disable=SC2034 # for those who source this
mac=$(mac_of client)
to=$(mac_of target)

# serve COMMAND...: start a target. $pid is its own process whatever is around it, $job what to wait
# for; $tmp/line and $tmp/log are what it says.
serve() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" "$@" >"$tmp/line" 2>"$tmp/log" </dev/null &
    job=$!
    wait_for 10 test -s "$tmp/line"
    pid=$(sed -n '1s/^pid \([0-9]*\): .*/\1/p' "$tmp/line")
    cleanup "kill $pid 2>/dev/null"
}
# ended: it ends in order when it is told to.
ended() {
    kill "$pid"
    wait "$job" || fail "status $?: $(cat "$tmp/log")"
}

# written SLOT SECTOR DIGIT [INTERFACE [MILLISECONDS]]: write one sector full of that digit of e7, its
# number as it stands in a frame; prints flags, error, count and status of the answer, or nothing.
written() {
    printf '10 00 0007 %s 00 00000001 41 00 01 34 %s 0000 0000 0000 %s\n' "$1" "$2" "$(printf '%01024d' 0 | tr 0 "$3")" |
        in_ns client "$send" -t "$(mac_of target "${4-eth1}")" -w "${5-10000}" "${4-eth1}" | tr -d - | cut -c 21-28
}
# read_back SLOT SECTOR [HEX]: the same of a read, and so many hexadecimal digits of the data.
read_back() {
    printf '10 00 0007 %s 00 00000001 40 00 01 24 %s 0000 0000 0000\n' "$1" "$2" |
        in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c "21-28,45-$((44 + ${3-2}))"
}

# ask JSON [SOCKET]: a request to the control socket, and its answer.
ask() {
    python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall((sys.argv[2] + "\n").encode())
print(s.makefile().readline(), end="")' "${2-$tmp/control}" "$1"
}
