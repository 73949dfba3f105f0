#!/bin/sh
# Dead means fenced, on real hosts: a host loses its power, its network or its mind, and what it
# held is given away after it is certainly off, never before, and soon.
# shellcheck disable=SC2016 # single quotes keep words for the shells in the hosts
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2
give_programs node1 node2

# Shown with a failure.
cleanup 'for node in node1 node2; do echo "$node:"; "$LAB" exec -n --timeout 20 "$node" sh -c "/opt/fivenines/cluster-stat; tail -n 25 /run/cluster-join.log"; done; cat "$tmp"/witness.log "$tmp/power.log"'

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
cluster=lab
configure() {
    {
        echo "<cluster name=\"$cluster\" config_version=\"1\">"
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
# member NODE [OPTION...]
member() {
    member=$1
    shift
    daemon "$member" cluster-join env FENCE_PATH=/opt/fivenines cluster-join "$@"
}
witness() {
    "$LAB" net "$lab_bin/cluster-join" --conf "$tmp/cluster.conf" --node 10.0.0.254 --state "$tmp/witness-state" \
        --key "$tmp/key" --socket "$tmp/witness.sock" </dev/null >"$tmp/witness.log" 2>&1 &
    witness=$!
    cleanup "kill $witness 2>/dev/null"
}
quorate() { await "$1" 60 cluster-stat; }
# whole NODE: it sees everybody as a member.
whole() { await "$1" 60 'cluster-stat --json >/run/whole && ! grep -qE "\"state\":\"(lost|absent|left|fenced|held)\"" /run/whole'; }

# hold NODE NAME: that host keeps the lock NAME.
hold() {
    on "$1" "setsid clvm-lock $2 -- sleep 1000 >/dev/null 2>&1 </dev/null &
        until cluster-stat locks | grep -q '^$2	granted'; do :; done"
}
# waiter NODE NAME: wait there for the lock NAME, and note the moment it is had.
waiter() {
    (on "$1" "clvm-lock $2 -- true" && now >"$tmp/$2.had") >"$tmp/$2.log" 2>&1 &
    await "$1" 20 "cluster-stat locks | grep -q '^$2	waiting'"
}
had() { wait_for "$1" test -s "$tmp/$2.had"; }
# power_cut NAME: node2 holds NAME and its power is cut. Sets `took' to how long that kept it from node1, in ms.
power_cut() {
    hold node2 "$1"
    waiter node1 "$1"
    cut=$(now)
    "$LAB" kill node2
    had 60 "$1"
    took=$((($(cat "$tmp/$1.had") - cut) / 1000000))
}

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
power_cut first
echo "power cut to lock granted on the other of two hosts, agent of 1 s: $took ms" >&2
[ "$took" -le "${FENCE_LIMIT_MS:-6000}" ] || fail "took $took ms"
grep -q 'off node2: off' "$tmp/power.log" || fail "node2 was not fenced: $(cat "$tmp/power.log")"
"$LAB" status | grep -q '^node2	o' || fail 'no status'
on node1 'cluster-fence history' | grep -q node2 || fail 'no history of it'
# The lost host comes back, and the survivor of a survivor too.
"$LAB" wait node2 ready 2>/dev/null || "$LAB" start node2
member node2
whole node1
for node in node1 node2; do stop "$node" cluster-join; done

# Two hosts that reset themselves, two networks, and a witness.
{
    echo '<watchdog device="/dev/watchdog" timeout="5"/><clusternodes>'
    for node in 1 2; do
        echo "<clusternode name=\"10.0.0.$node\" nodeid=\"$node\"><altname name=\"192.168.100.$node\"/></clusternode>"
    done
    echo '<clusternode name="10.0.0.254" nodeid="3" witness="1"><altname name="192.168.100.254"/></clusternode>'
    echo '</clusternodes>'
} | configure
"$lab_bin/cluster-conf" check "$tmp/cluster.conf" >"$tmp/check" || fail "check: $(cat "$tmp/check")"
bound=$(sed -n 's/.*is reset after at most \([0-9.]*\) s.*/\1/p' "$tmp/check" | head -n 1)
[ -n "$bound" ] || fail "no bound: $(cat "$tmp/check")"
witness
for node in node1 node2; do
    on "$node" 'modprobe xen_wdt timeout=5'
    member "$node" --node "10.0.0.${node#node}"
done
whole node1

# An outage of everything that nobody is hurt by: nothing is held, so nobody is reset.
for node in node1 node2; do "$LAB" cut "$node" eth0 && "$LAB" cut "$node" eth1; done
deadline=$(($(now) + ${OUTAGE_SECONDS:-30} * 1000000000))
wait_for 20 on node1 'cluster-stat --json | grep -q "\"quorate\":false"'
while [ "$(now)" -lt "$deadline" ]; do
    "$LAB" wait node1 off --timeout 2 && fail 'node1 was reset in an outage and held nothing'
    "$LAB" status | grep -q 'off' && fail "a host was reset in an outage: $("$LAB" status)"
done
for node in node1 node2; do "$LAB" join "$node" eth0 && "$LAB" join "$node" eth1; done
whole node1
whole node2

# One network gone is no loss.
hold node2 kept
"$LAB" cut node2 eth1
"$LAB" wait node2 off --timeout 10 && fail 'node2 was reset with one network left'
on node1 'cluster-stat --json | grep -q "\"state\":\"lost\""' && fail 'node2 is lost with one network left'
"$LAB" join node2 eth1

# Both gone, and the host is well: it resets itself before anybody gets what it held.
waiter node1 kept
isolated=$(now)
"$LAB" cut node2 eth1 && "$LAB" cut node2 eth0
("$LAB" wait node2 off --timeout 60 && now >"$tmp/off") &
had 60 kept
wait_for 5 test -s "$tmp/off"
off=$((($(cat "$tmp/off") - isolated) / 1000000))
took=$((($(cat "$tmp/kept.had") - isolated) / 1000000))
echo "isolated: reset after $off ms, what it held granted elsewhere after $took ms, bound $bound s" >&2
[ "$off" -lt "$took" ] || fail "granted after $took ms, reset after $off ms"
[ "$took" -le 12000 ] || [ -n "${FENCE_LIMIT_MS-}" ] || fail "took $took ms"
"$LAB" join node2 eth1 && "$LAB" join node2 eth0
"$LAB" start node2
on node2 'test -s /var/lib/cluster/reset' || fail 'nothing on disk about the reset'
on node2 'modprobe xen_wdt timeout=5'
member node2 --node 10.0.0.2
whole node1

# Its power is cut: the same bound.
power_cut gone
echo "power cut to lock granted elsewhere by the watchdog's bound: $took ms, bound $bound s" >&2
[ "$took" -le 12000 ] || [ -n "${FENCE_LIMIT_MS-}" ] || fail "took $took ms"
