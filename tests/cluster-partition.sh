#!/bin/sh
# A node whose cable is pulled grants nothing and says why, the others go on, and it comes back.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires_root

net=10.77.0
conf 3
netns bridge
ip -n "$(ns bridge)" link add br0 type bridge
ip -n "$(ns bridge)" link set br0 up
for number in 1 2 3; do
    netns "node$number"
    ip link add name eth1 netns "$(ns "node$number")" type veth peer name "port$number" netns "$(ns bridge)"
    ip -n "$(ns bridge)" link set "port$number" master br0 up
    ip -n "$(ns "node$number")" addr add "$net.$number/24" dev eth1
    ip -n "$(ns "node$number")" link set eth1 up
done
for number in 1 2 3; do join "$number" ip netns exec "$(ns "node$number")"; done
quorate 1 2 3

# cut and mend NODE: its port on the bridge.
cut() { ip -n "$(ns bridge)" link set "port$1" down; }
mend() { ip -n "$(ns bridge)" link set "port$1" up; }
# notices NODE: milliseconds until it says that it has no majority.
notices() {
    before=$(date +%s%N)
    # It may miss one of the two before the other.
    until ! cluster-stat --socket "$tmp/$1.sock" >"$tmp/out" 2>&1 && grep -q '1 of 3 votes' "$tmp/out"; do
        [ $((($(date +%s%N) - before) / 1000000)) -lt 60000 ] || fail 'a minute without notice'
    done
    echo $((($(date +%s%N) - before) / 1000000))
}

for victim in "$(leader 1)" "$(($(leader 1) % 3 + 1))"; do
    one=$((victim % 3 + 1))
    two=$((one % 3 + 1))
    cut "$victim"
    took=$(notices "$victim")
    echo "isolated node $victim noticed after $took ms with a token of $token ms"
    [ "$took" -le $((8 * token)) ] || fail "the isolated node took $took ms to notice"
    grep -q '1 of 3 votes, 2 needed: .* lost since .*; one of them must return' "$tmp/out" || fail "$(cat "$tmp/out")"
    fails 1 lock "$victim" -n "cut$victim" -- true
    grep -q 'not quorate: 1 of 3 votes' "$tmp/err" || fail "$(cat "$tmp/err")"
    fails 1 lock "$victim" -w 1 "cut$victim" -- true
    grep -q 'the time to wait has passed, not quorate' "$tmp/err" || fail "$(cat "$tmp/err")"
    lock "$one" -w 60 "cut$victim" -- true || fail "the majority does not go on: $(stat "$one")"
    quorate "$one" "$two"
    start waiting.log clvm-lock --socket "$tmp/$victim.sock" -w 60 later -- true
    waiting=$pid
    mend "$victim"
    wait "$waiting" || fail "who waited through the partition got nothing: $(cat "$tmp/waiting.log")"
    quorate 1 2 3
    wait_for 20 sh -c "cluster-stat --socket '$tmp/$one.sock' | grep -c ' member ' | grep -qx 3"
done
