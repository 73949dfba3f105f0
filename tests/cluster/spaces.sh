# Sourced after tests/cluster/lib.sh: every node in a network namespace of its own, on one switch.
# shellcheck shell=sh disable=SC2034,SC2154 # net and tmp are the others'
requires_root
net=10.77.0

# spaces COUNT: the switch and so many namespaces, each with one cable to it.
spaces() {
    netns switch
    ip -n "$(ns switch)" link add br0 type bridge
    ip -n "$(ns switch)" link set br0 up
    for number in $(seq "$1"); do
        netns "node$number"
        ip link add name eth1 netns "$(ns "node$number")" type veth peer name "port$number" netns "$(ns switch)"
        ip -n "$(ns switch)" link set "port$number" master br0 up
        ip -n "$(ns "node$number")" addr add "$net.$number/24" dev eth1
        ip -n "$(ns "node$number")" link set eth1 up
    done
}

# settle NODE COMMAND...: the daemon of that node, in its namespace.
settle() {
    settled=$1
    shift
    join "$settled" ip netns exec "$(ns "node$settled")" "$@"
}

# cut and mend NODE...: its port leaves the switch; the cable is up all the time, so that nobody is
# told, and it takes effect at once.
cut() { for at in "$@"; do ip -n "$(ns switch)" link set "port$at" nomaster; done; }
mend() { for at in "$@"; do ip -n "$(ns switch)" link set "port$at" master br0; done; }

# members NODE COUNT: so many are members in its eyes.
members() { [ "$(stat "$1" | grep -c ' member ')" = "$2" ]; }
# inquorate NODE: it says that it has no majority.
inquorate() {
    code=0
    stat "$1" >/dev/null 2>&1 || code=$?
    [ "$code" = 1 ]
}
# alive NODE...: those daemons are the processes that were started.
alive() {
    for at in "$@"; do
        kill -0 "$(daemon "$at")" || fail "the daemon of node $at ended: $(tail -n 3 "$tmp/join$at.log")"
    done
}
