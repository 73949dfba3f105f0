#!/bin/sh
# fence_aoemask takes a host's access away and gives it back, at Debian's vblade and at ours: the
# host hears nothing more, the others lose nothing, and what cannot be verified is a failure.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires fence_aoemask aoe-vblade vblade python3
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"

# The target's host is the switch between the one that fences and its victim.
netns target
netns fencer
netns victim
ip -n "$(ns target)" link add san type bridge
ip -n "$(ns target)" link set san up
for host in fencer victim; do
    ip link add name "$host" netns "$(ns target)" type veth peer name eth1 netns "$(ns $host)"
    ip -n "$(ns target)" link set "$host" master san
    ip -n "$(ns target)" link set "$host" up
    ip -n "$(ns $host)" link set eth1 up
done
address() { ip -n "$(ns "$1")" -o link show eth1 | sed 's/.*link\/ether \([0-9a-f:]*\) .*/\1/'; }
fencer=$(address fencer)
victim=$(address victim)
# Hosts that only their addresses are there of, and a second address of the victim.
third=02:00:00:00:00:03
fourth=02:00:00:00:00:04
second=02:00:00:00:00:99

# serve TARGET SHELF [OPTION...]: start it, unless it is the first time in place of the last one.
serve() {
    program=$1 shelf=$2
    shift 2
    [ -e "$tmp/disk$shelf" ] || head -c 1048576 /dev/zero >"$tmp/disk$shelf"
    rm -f "$tmp/line$shelf"
    ip netns exec "$(ns target)" "$program" "$@" "$shelf" 0 san "$tmp/disk$shelf" \
        >"$tmp/line$shelf" 2>"$tmp/err$shelf" </dev/null &
    echo $! >"$tmp/pid$shelf"
    cleanup "kill -CONT $! 2>/dev/null; kill $! 2>/dev/null"
    wait_for 10 test -s "$tmp/line$shelf"
}
stop() {
    kill "$(cat "$tmp/pid$1")"
    wait "$(cat "$tmp/pid$1")" || :
}
# hears HOST ADDRESS SHELF: whether a read from that address is answered.
hears() {
    hex=$(echo "$2" | tr -d :)
    shelf=$(printf %04x "$3")
    answer=$(echo "10 00 $shelf 00 00 00000021 40 00 01 24 0500 0000 0000 0000" |
        in_ns "$1" "$send" -f "$hex" -w "${WAIT-400}" eth1)
    [ "$answer" != - ]
}
served() { WAIT=5000 hears "$@" || fail "$* is not served"; }
denied() { if hears "$@"; then fail "$* is served"; fi; }
agent() { in_ns fencer fence_aoemask -i eth1 "$@"; }

for target in aoe-vblade vblade; do
    # Wherever the victim stands in the list.
    for mask in $victim,$fencer,$third,$fourth $fencer,$victim $third,$fencer,$fourth,$victim \
        $fencer,$third,$victim,$second,$fourth; do
        serve $target 7 -m "$mask"
        served victim "$victim" 7
        served fencer "$fencer" 7
        macs=$victim,$second
        agent -o status -n 7.0 -m "$macs" >"$tmp/out"
        agent -n 7.0 -m "$macs" >"$tmp/out" || fail "$target -m $mask: off"
        equal "said" "$(cat "$tmp/out")" "Success: denied at 1 targets"
        fails 2 agent -o status -n 7.0 -m "$macs"
        equal "said" "$(cat "$tmp/out")" "Status: OFF"
        denied victim "$victim" 7
        denied victim "$second" 7
        served fencer "$fencer" 7
        for other in $third $fourth; do
            case $mask in *$other*) served victim "$other" 7 ;; esac
        done
        # A write of the victim's changes nothing.
        sector=$(printf '%01024d' 0 | tr 0 f)
        echo "10 00 0007 00 00 0000005b 41 00 01 34 0000 0000 0000 0000 $sector" |
            in_ns victim "$send" -w 300 eth1 >"$tmp/out"
        equal "answer to a write" "$(cat "$tmp/out")" -
        cmp -s "$tmp/disk7" /dev/zero -n 1048576 || fail "the disk was written"
        # Denied again it stays denied; then it is let back.
        agent -n 7.0 -m "$macs" >"$tmp/out"
        agent -o on -n 7.0 -m "$victim" >"$tmp/out" || fail "$target -m $mask: on"
        served victim "$victim" 7
        served fencer "$fencer" 7
        agent -o status -n 7.0 -m "$macs" >"$tmp/out"
        stop 7
    done

    # A target that serves everybody denies nobody, and is not made to serve one host alone.
    serve $target 7
    fails 1 agent -n 7.0 -m "$victim"
    grep -q 'its mask list is empty' "$tmp/err" || fail "no word of the empty list"
    fails 1 agent -o monitor -n 7.0
    agent -o on -n 7.0 -m "$victim" >"$tmp/out" 2>"$tmp/err"
    served victim "$third" 7
    stop 7

    # One of two does not answer: the other is cut off, and the verdict is no.
    serve $target 7 -m "$fencer,$victim"
    fails 1 agent -n 7.0,8.0 -m "$victim" -t 2
    grep -q 'e8.0 at eth1: no answer' "$tmp/err" || fail "no word of the missing target"
    denied victim "$victim" 7
    # It was only slow.
    serve $target 8 -m "$fencer,$victim"
    kill -STOP "$(cat "$tmp/pid8")"
    fails 1 agent -n 7.0,8.0 -m "$victim" -t 1
    agent -v -n 7.0,8.0 -m "$victim" -t 20 >"$tmp/out" 2>"$tmp/asked" &
    asking=$!
    wait_for 10 grep -q 'e7.0 at ' "$tmp/asked"
    kill -CONT "$(cat "$tmp/pid8")"
    wait $asking || fail "not denied by a target that is back"
    denied victim "$victim" 8
    # A target that forgot its edits is noticed.
    stop 8
    serve $target 8 -m "$fencer,$victim"
    agent -o status -n 7.0,8.0 -m "$victim" >"$tmp/out" || fail "a restarted target serves the victim"
    equal "said" "$(cat "$tmp/out")" "Status: ON, served at 1 of 2 targets"
    # Frames get lost.
    if tc -n "$(ns target)" qdisc add dev fencer root netem loss 30% 2>/dev/null; then
        agent -n 7.0,8.0 -m "$victim" -t 30 >"$tmp/out" || fail "not denied over a bad line"
        tc -n "$(ns target)" qdisc del dev fencer root
        denied victim "$victim" 8
    else
        agent -n 7.0,8.0 -m "$victim" >"$tmp/out"
        denied victim "$victim" 8
    fi
    # As the daemon calls it, and as a list.
    printf 'action=status\nnodename=x\nagent=fence_aoemask\ninterface=eth1\nport=7.0 8.0@eth1\nmac=%s\ncolour=red\n' \
        "$victim" >"$tmp/in"
    fails 2 in_ns fencer sh -c "fence_aoemask <$tmp/in"
    equal "list" "$(agent -o list | sed 's/,.*//' | tr '\n' ' ')" "7.0@eth1 8.0@eth1 "
    agent -o monitor -n 7.0,8.0 >"$tmp/out"
    stop 7
    stop 8
done

# What cannot be right is said before anything is sent.
fails 1 agent -n 7.0 -m "$fencer"
grep -q "this host's" "$tmp/err" || fail "a host would take its own access away"
fails 1 agent -o reboot -n 7.0 -m "$victim"
fails 1 agent -n 7.0
fails 1 agent --no-such-option
fails 1 agent -i no-such-if -o validate-all -n 7.0
agent -o validate-all -n 7.0
fence_aoemask -o metadata | python3 -c 'import sys, xml.dom.minidom as d; d.parse(sys.stdin)'
