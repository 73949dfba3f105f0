#!/bin/sh
# aoe-vblade's command line, messages, start-up line, claims and end. ORIGINAL=1 runs what is
# vblade's own on Debian's vblade.
. "$(dirname -- "$0")/lib.sh"
requires_root
target=aoe-vblade
[ -z "${ORIGINAL-}" ] || { target=vblade && requires vblade; }
netns target
netns client
veth target client
truncate -s 1M "$tmp/disk"
usage="usage: $target [-b bufcnt] [-o offset] [-l length] [-d ] [-s] [-r] [ -m mac[,mac...] ] shelf slot netif filename"

# refused LAST-LINE ARGUMENT...: exit status 1, nothing on stdout, stderr ends so. Ours names the
# program and the object before vblade's words.
refused() {
    ending=$1
    shift
    fails 1 in_ns target "$target" "$@"
    equal "stdout of '$*'" "$(cat "$tmp/out")" ""
    case $(tail -n 1 "$tmp/err") in
        *"$ending") ;;
        *) fail "'$*' said: $(cat "$tmp/err")" ;;
    esac
}
refused "$usage"
refused "$usage" 7 3
refused "$usage" 7 3 eth1 "$tmp/disk" more
refused "$usage" -x 7 3 eth1 "$tmp/disk"
grep -q "$target: invalid option -- 'x'" "$tmp/err" || fail "-x: $(cat "$tmp/err")"
refused "$usage" 7 3 eth1 "$tmp/disk" -b
grep -q "$target: option requires an argument -- 'b'" "$tmp/err" || fail "-b: $(cat "$tmp/err")"
refused "$usage" -b 0 7 3 eth1 "$tmp/disk"
refused "$usage" -b x 7 3 eth1 "$tmp/disk"
refused "$usage" -l 0 7 3 eth1 "$tmp/disk"
refused "$usage" -o -1 7 3 eth1 "$tmp/disk"
refused "open: No such file or directory" 7 3 eth1 "$tmp/none"
refused "open: Is a directory" 7 3 eth1 "$tmp"
refused "nosuchif: No such device" 7 3 nosuchif "$tmp/disk"
refused "Offset 2048 too large for 2048-sector export" -o 2048 7 3 eth1 "$tmp/disk"
truncate -s 511 "$tmp/small"
refused "0-sector file size is too small" 7 3 eth1 "$tmp/small"

# started ARGUMENT...: its start-up line without the pid in $line, its process in $pid.
started() {
    rm -f "$tmp/line"
    # ip execs the program: no shell in between, so this is its process.
    ip netns exec "$(ns target)" "$target" "$@" >"$tmp/line" 2>"$tmp/log" </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null"
    wait_for 10 test -s "$tmp/line"
    line=$(cat "$tmp/line")
    case $line in
        "pid $pid: "*) line=${line#"pid $pid: "} ;;
        *) fail "start-up line of process $pid: $line" ;;
    esac
}
ended() {
    kill "$pid"
    status=0
    wait "$pid" || status=$?
}
started 7 3 eth1 "$tmp/disk"
equal "the line" "$line" "e7.3, 2048 sectors O_RDWR"
ended
[ -n "${ORIGINAL-}" ] || equal "status after SIGTERM" $status 0
started 7 3 eth1 "$tmp/disk" -r -o 0x10 -l 010 -b16 -m 02:00:00:00:00:01,02000000000a
equal "options behind the operands" "$line" "e7.3, 8 sectors O_RDONLY"
ended
started -dsr -- 7 3 eth1 "$tmp/disk"
equal "clustered options" "$line" "e7.3, 2048 sectors O_RDONLY"
ended
[ -z "${ORIGINAL-}" ] || exit 0

# --- where vblade is lax
refused "$usage" 70000 3 eth1 "$tmp/disk"
grep -q "aoe-vblade: shelf .70000': not a number from 0 to 65534" "$tmp/err" || fail "$(cat "$tmp/err")"
refused "$usage" x 3 eth1 "$tmp/disk"
refused "$usage" 7 255 eth1 "$tmp/disk"
refused "$usage" -m zz 7 3 eth1 "$tmp/disk"
grep -q "aoe-vblade: -m: .zz' is not an Ethernet address" "$tmp/err" || fail "$(cat "$tmp/err")"
refused "$usage" -l 5x 7 3 eth1 "$tmp/disk"
refused "Length 5000 too big - exceeds size of file!" -l 5000 7 3 eth1 "$tmp/disk"
refused "$tmp/none: open: No such file or directory" 7 3 eth1 "$tmp/none"
refused "neither a regular file nor a block device" 7 3 eth1 /dev/null
mkfifo "$tmp/fifo"
refused "neither a regular file nor a block device" 7 3 eth1 "$tmp/fifo"
refused "lo0: No such device" 7 3 lo0 "$tmp/disk"

# --- a second target on the same export
started 7 3 eth1 "$tmp/disk"
refused "$tmp/disk: claimed by another process (flock): is it exported already?" 7 4 eth1 "$tmp/disk"
refused "is it exported already?" -r 7 4 eth1 "$tmp/disk"
fails 1 flock -n "$tmp/disk" true
kill -KILL "$pid"
wait "$pid" || :
started 7 4 eth1 "$tmp/disk"

# --- counters, and the end
kill -USR1 "$pid"
wait_for 10 grep -q "^aoe-vblade: e7.4: frames=0 reads=0 " "$tmp/log"
ended
equal "status after SIGTERM" $status 0
equal "counters" "$(grep -c "frames=0 reads=0 " "$tmp/log")" 2

# --- readiness, by descriptor and by socket
mkfifo "$tmp/ready"
ip netns exec "$(ns target)" aoe-vblade --ready-fd 5 7 3 eth1 "$tmp/disk" 5>"$tmp/ready" >"$tmp/line" 2>"$tmp/log" &
pid=$!
cleanup "kill $pid 2>/dev/null"
equal "the ready line" "$(timeout 10 head -c 1 "$tmp/ready" | od -An -tx1 | tr -d ' ')" 0a
grep -q "^pid $pid: " "$tmp/line" || fail "ready before its line"
ended

# --- the unsafe option says so
started --write-back 7 3 eth1 "$tmp/disk"
grep -q "write-back: writes are answered before they are on stable storage" "$tmp/log" || fail "no warning"
ended
refused "$usage" -s --write-back 7 3 eth1 "$tmp/disk"
fails 0 aoe-vblade --version
fails 0 aoe-vblade --help
equal "the usage in the help" "$(head -n 1 "$tmp/out")" "$usage"

# --- privileges that are missing are named
if command -v setpriv >/dev/null; then
    chmod 711 "$tmp" && chmod 666 "$tmp/disk"
    fails 1 in_ns target setpriv --reuid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
        "$BIN/aoe-vblade" 7 3 eth1 "$tmp/disk"
    grep -q "aoe-vblade: eth1: Operation not permitted" "$tmp/err" || fail "$(cat "$tmp/err")"
fi
