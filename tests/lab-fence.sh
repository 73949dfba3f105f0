#!/bin/sh
# Dead means fenced, on real hosts: a host loses its power, its network or its mind, and what it
# held is given away after it is certainly off, never before, and soon.
# shellcheck disable=SC2016 # single quotes keep words for the shells in the hosts
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2
give_programs node1 node2

# The hosts' power switch, one second slow, and a third vote on this machine.
mkfifo "$tmp/ready"
"$LAB" net "$LAB" power --delay 1000 --ready-fd 3 >"$tmp/power.log" 2>&1 3>"$tmp/ready" </dev/null &
power=$!
cleanup "kill $power 2>/dev/null"
read -r _ <"$tmp/ready"

now() { date +%s%N; }
# since WHEN: milliseconds.
since() { echo $((($(now) - $1) / 1000000)); }

# configure BODY: this cluster.conf and a new log on both hosts and here.
number=0
configure() {
    number=$((number + 1))
    {
        echo "<cluster name=\"lab$number\" config_version=\"1\">"
        cat
        echo '</cluster>'
    } >"$tmp/cluster.conf"
    head -c 64 /dev/urandom >"$tmp/key"
    chmod 600 "$tmp/key"
    for node in node1 node2; do
        on "$node" 'umask 077; cat >/etc/cluster/cluster.key' <"$tmp/key"
        on "$node" 'cat >/etc/cluster/cluster.conf; rm -rf /var/lib/cluster; sync' <"$tmp/cluster.conf"
    done
}
member() { daemon "$1" cluster-join cluster-join; }
witness() {
    "$LAB" net "$lab_bin/cluster-join" --conf "$tmp/cluster.conf" --node 192.168.100.254 --state "$tmp/witness$number" \
        --key "$tmp/key" --socket "$tmp/witness.sock" </dev/null >"$tmp/witness.log" 2>&1 &
    witness=$!
    cleanup "kill $witness 2>/dev/null"
}
quorate() { await "$1" 60 cluster-stat; }
# whole NODE: it sees everybody as a member.
whole() { await "$1" 60 'cluster-stat --json | jq -e "all(.members[]; .state == \"member\")"'; }

# waiter NODE NAME: wait there for the lock NAME, and note the moment it is had.
waiter() {
    (on "$1" "clvm-lock $2 -- true" && now >"$tmp/$2.had") >"$tmp/$2.log" 2>&1 &
    await "$1" 20 "cluster-stat locks | grep -q '^$2	waiting'"
}
had() { wait_for "$1" test -s "$tmp/$2.had"; }

# Two hosts and a power switch.
device='<fence><method name="power"><device name="switch" plug="%s"/></method></fence>'
{
    echo '<cman two_node="1" expected_votes="1"/><clusternodes>'
    for node in node1 node2; do
        # shellcheck disable=SC2059 # a format of ours
        printf "<clusternode name=\"$node\" nodeid=\"${node#node}\">$device</clusternode>\n" "$node"
    done
    echo '</clusternodes><fencedevices><fencedevice name="switch" agent="fence_lab" ip="192.168.100.254"/></fencedevices>'
} | configure
member node1 && member node2
whole node1
on node2 'setsid clvm-lock first -- sleep 1000 >/dev/null 2>&1 </dev/null & until cluster-stat locks | grep -q "^first	granted"; do :; done'
waiter node1 first
cut=$(now)
"$LAB" kill node2
had 60 first
took=$((($(cat "$tmp/first.had") - cut) / 1000000))
echo "power cut to lock granted on the other of two hosts, agent of 1 s: $took ms" >&2
[ "$took" -le "${FENCE_LIMIT_MS:-6000}" ] || fail "took $took ms"
grep -q 'off node2: off' "$tmp/power.log" || fail "node2 was not fenced: $(cat "$tmp/power.log")"
"$LAB" status | grep -q '^node2	o' || fail 'no status'
on node1 'cluster-fence history' | grep -q node2 || fail 'no history of it'
# The lost host comes back, and the survivor of a survivor too.
"$LAB" wait node2 ready 2>/dev/null || "$LAB" start node2
member node2
whole node1
