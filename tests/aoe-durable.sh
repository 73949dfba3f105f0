#!/bin/sh
# A write is answered when it is on stable storage: the descriptor is O_DSYNC and the write comes
# before the answer. --write-back has neither, and then FLUSH CACHE does it.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires strace
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p aoe-vblade --examples"
netns target
netns client
veth target client
# Writes are not taken by broadcast.
to=$(ip -n "$(ns target)" -o link show eth1 | sed 's/.*link\/ether \([0-9a-f:]*\) .*/\1/')
truncate -s 1M "$tmp/disk"

# traced ARGUMENT...: write a sector, flush, read it; the system calls are in $tmp/trace.
traced() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" strace -qq -o "$tmp/trace" -e trace=openat,pwrite64,pread64,fdatasync,fsync,sendto \
        "$BIN/aoe-vblade" "$@" 7 3 eth1 "$tmp/disk" >"$tmp/line" 2>"$tmp/log" </dev/null &
    job=$!
    wait_for 10 test -s "$tmp/line"
    pid=$(sed -n 's/^pid \([0-9]*\): .*/\1/p' "$tmp/line")
    cleanup "kill $pid 2>/dev/null"
    answers=$({
        printf '10 00 0007 03 00 00000001 41 00 01 34 0700 0000 0000 0000 %01024d\n' 0
        echo '10 00 0007 03 00 00000002 00 00 00 e7 0000 0000 0000 0000'
        echo '10 00 0007 03 00 00000003 40 00 01 24 0700 0000 0000 0000'
    } | in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c 21-28 | tr '\n' ' ')
    kill "$pid"
    wait $job || fail "status $?: $(cat "$tmp/log")"
    equal "flags, error, count and status of the answers" "$answers" "41000040 00000040 40000040 "
    opened=$(grep -F "\"$tmp/disk\"" "$tmp/trace" | tail -n 1)
    # From there on: the program's start has calls of its own.
    calls=$(sed -n "\\#\"$tmp/disk\"#,\$ p" "$tmp/trace" | sed -n 's/^\(pwrite64\|pread64\|fdatasync\|fsync\|sendto\)(.*/\1/p' | tr '\n' ' ')
}
in_order="sendto pwrite64 sendto fdatasync sendto pread64 sendto "
traced
equal "calls" "$calls" "$in_order"
case $opened in *O_DSYNC*) ;; *) fail "not O_DSYNC: $opened" ;; esac
case $opened in *O_DIRECT*) fail "a file O_DIRECT without -d: $opened" ;; esac
traced -s
case $opened in *O_SYNC*) ;; *) fail "-s is not O_SYNC: $opened" ;; esac
traced --write-back
equal "calls" "$calls" "$in_order"
case $opened in *SYNC*) fail "--write-back is synchronous: $opened" ;; esac
traced -d
case $opened in *O_DSYNC*O_DIRECT* | *O_DIRECT*O_DSYNC*) ;; *) fail "-d is not O_DIRECT: $opened" ;; esac
equal "calls, one sector read to try" "$calls" "pread64 $in_order"
