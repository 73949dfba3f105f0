# Sourced by tests/cluster-*.sh after cluster/lib.sh: two networks, and what must not change.
# shellcheck shell=sh disable=SC2154 # tmp, net, port and token are lib.sh's

requires python3

# two_networks COUNT: cluster.conf with an altname for each node, a namespace for each node and a
# bridge for each network; the nodes' ends are eth1 and eth2.
two_networks() {
    net=10.77.0 second=10.78.0
    conf "$1"
    for number in $(seq "$1"); do
        sed -i "s|nodeid=\"$number\"><fence/>|nodeid=\"$number\"><altname name=\"$second.$number\"/><fence/>|" \
            "$tmp/cluster.conf"
        netns "node$number"
    done
    for ring in 1 2; do
        netns "bridge$ring"
        ip -n "$(ns "bridge$ring")" link add br0 type bridge
        ip -n "$(ns "bridge$ring")" link set br0 up
        for number in $(seq "$1"); do
            ip link add name "eth$ring" netns "$(ns "node$number")" type veth \
                peer name "port$number" netns "$(ns "bridge$ring")"
            ip -n "$(ns "bridge$ring")" link set "port$number" master br0 up
            [ "$ring" = 1 ] && address=$net.$number || address=$second.$number
            ip -n "$(ns "node$number")" addr add "$address/24" dev "eth$ring"
            ip -n "$(ns "node$number")" link set "eth$ring" up
        done
    done
    for number in $(seq "$1"); do join "$number" ip netns exec "$(ns "node$number")"; done
}

# unplug and plug NODE NETWORK: its port on that network's bridge.
unplug() { ip -n "$(ns "bridge$2")" link set "port$1" down; }
plug() { ip -n "$(ns "bridge$2")" link set "port$1" up; }

# ask NODE EXPRESSION: a Python expression over the status `s` of that node.
ask() { python3 "$top/tests/cluster/ask.py" "$tmp/$1.sock" "$2"; }

# sees NODE EXPRESSION: wait until it is so.
sees() { python3 "$top/tests/cluster/ask.py" "$tmp/$1.sock" "$2" 80 >"$tmp/seen" || fail "node $1: never $2: $(cat "$tmp/seen")"; }

# standing NODE: what no trouble of a link or a stranger may change.
standing() { ask "$1" '(s["leader"], s["term"], [(m["id"], m["state"], m["incarnation"]) for m in s["members"]])'; }

# together NODE: wait until it sees every node as a member.
together() { sees "$1" 'all(m["state"] == "member" for m in s["members"])'; }

# work NODE: a client of that node that takes and frees a lock again and again.
work() {
    start "work$1.log" python3 "$top/tests/cluster/work.py" "$tmp/$1.sock" "$tmp/$1.work"
    printf '%s\n' "$pid" >"$tmp/$1.worker"
    wait_for 20 test -s "$tmp/$1.work"
}

# worked NODE MS: it still does, and no round took longer than that.
worked() {
    kill -0 "$(cat "$tmp/$1.worker")" 2>/dev/null || fail "the client of node $1 ended: $(cat "$tmp/work$1.log")"
    read -r rounds worst <"$tmp/$1.work"
    echo "node $1: $rounds rounds, the longest took $worst ms"
    [ "$worst" -le "$2" ] || fail "a round of the client of node $1 took $worst ms: $(cat "$tmp/work$1.log")"
}
