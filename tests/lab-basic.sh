#!/bin/sh
# The lab itself: commands, files, cables, power cuts, and that nothing of it is left behind.
# shellcheck disable=SC2016 # single quotes keep words for the shells and awks in the hosts
. "$(dirname -- "$0")/lib.sh"
requires_root
requires cargo ip mmdebstrap nbdkit qemu-system-x86_64

LAB_DIR=$tmp/lab
export LAB_DIR
lab() { "$top/tests/lab/lab" "$@"; }
cleanup "LAB_DIR=$LAB_DIR lab down"

lab up 2 --no-xen >"$tmp/up"
equal 'hosts that came up' "$(cut -f1,2 "$tmp/up" | sort | tr '\t\n' '  ')" 'node1 ready node2 ready '

# Commands: exit status, streams, words.
fails 3 lab exec node1 sh -c 'echo out; echo err >&2; exit 3'
equal stdout "$(cat "$tmp/out")" out
equal stderr "$(cat "$tmp/err")" err
fails 137 lab exec node1 sh -c 'kill -9 $$'
fails 127 lab exec node1 no-such-program
equal stdin "$(seq 100000 | lab exec node2 sha256sum)" "$(seq 100000 | sha256sum)"
equal 'large stdout' "$(lab exec -n node2 seq 100000 | sha256sum)" "$(seq 100000 | sha256sum)"
equal words "$(lab exec node1 printf '<%s>' 'a b' '' '*' '$x')" '<a b><><*><$x>'
equal 'host name' "$(lab exec node2 hostname)" node2
fails 125 lab exec node3 true
fails 2 lab exec node10 true

# More commands at a time than a host has ports.
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    lab exec -n node1 sh -c "usleep 300000; echo $i" >"$tmp/many.$i" &
done
wait
equal 'commands side by side' "$(cat "$tmp"/many.* | sort -n | tr '\n' ' ')" '1 2 3 4 5 6 7 8 9 10 11 12 '

# A command dies with whoever asked for it, and the port serves the next one.
runs() { lab exec -n node1 sh -c "kill -0 \$(cat /tmp/$1)"; }
gone() { ! runs "$1"; }
fails 124 lab exec --timeout 3 node1 sh -c 'echo $$ >/tmp/late; exec sleep 1000'
lab exec -n node1 test -s /tmp/late
wait_for 10 gone late
"$top/tests/lab/lab" exec -n node1 sh -c 'echo $$ >/tmp/orphan; exec sleep 1000' &
client=$!
wait_for 10 runs orphan
kill -9 $client
wait $client 2>/dev/null || true
wait_for 10 gone orphan
# What a command leaves in the background on purpose stays, and is not waited for.
lab exec -n node1 sh -c 'setsid sh -c "echo \$\$ >/tmp/daemon; exec sleep 1000" & until [ -s /tmp/daemon ]; do :; done'
runs daemon

# Files.
head -c 3000001 /dev/urandom >"$tmp/file"
chmod 751 "$tmp/file"
lab push node1 "$tmp/file" /usr/sbin/pushed
equal 'pushed file' "$(lab exec node1 sha256sum </dev/null /usr/sbin/pushed | cut -d' ' -f1)" "$(sha256sum <"$tmp/file" | cut -d' ' -f1)"
equal 'its mode' "$(lab exec -n node1 stat -c %a /usr/sbin/pushed)" 751
lab push node1 "$tmp/file" /opt/new/dir/
lab exec -n node1 cmp /opt/new/dir/file /usr/sbin/pushed
fails 2 lab push node1 "$tmp/file" /usr/sbin
fails 2 lab push node1 "$tmp/none" /usr/sbin/none

# Cables: with the neighbours' addresses known for good, what is not seen was dropped on the way.
for node in 1 2; do
    peer=$((3 - node))
    lab exec -n "node$node" ip neighbour replace "10.0.0.$peer" lladdr "52:54:00:05:0$peer:01" nud permanent dev eth1
done
# Echo requests a host has received.
echoes() { lab exec -n "$1" awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp; }
ping_once() { lab exec -n "$1" ping -q -c1 -W1 "$2"; }
equal 'largest frame' "$(lab exec -n node1 ping -q -c1 -W5 -M 'do' -s 8972 10.0.0.2 | grep -c '1 received')" 1
before=$(echoes node2)
ping_once node1 10.0.0.2 >/dev/null
equal 'echo requests received over a whole cable' "$(echoes node2)" $((before + 1))
lab cut node2 eth1
before1=$(echoes node1) before2=$(echoes node2)
fails 1 ping_once node1 10.0.0.2
ping_once node2 10.0.0.1 >/dev/null && fail 'a ping crossed a cut cable'
equal 'frames into a cut cable' "$(echoes node2)" "$before2"
equal 'frames out of a cut cable' "$(echoes node1)" "$before1"
equal 'carrier of a cut cable' "$(lab exec -n node2 cat /sys/class/net/eth1/carrier)" 0
equal 'status of a cut cable' "$(lab status --json | jq -r 'select(.node == "node2").cut[]')" eth1
ping_once node1 192.168.100.2 >/dev/null || fail 'the other cable was cut too'
lab join node2 eth1
wait_for 10 ping_once node1 10.0.0.2

# Power: what was flushed is there afterwards, what was not is not.
lab exec -n node1 sh -c '
    echo kept >/etc/cluster/kept && sync /etc/cluster/kept /etc/cluster
    yes durable | head -c 8192 | dd of=/dev/vdb bs=4k oflag=direct conv=fsync,notrunc
    yes written | head -c 8192 | dd of=/dev/vdb bs=4k seek=100 oflag=direct conv=notrunc
    echo 3 >/proc/sys/vm/drop_caches
    dd if=/dev/vdb bs=4k skip=100 count=1 iflag=direct | grep -q written' 2>"$tmp/dd" || fail "cannot write: $(cat "$tmp/dd")"
lab kill node1
equal 'status after a power cut' "$(lab status | cut -f1,2 | tr '\t\n' '  ')" 'node1 off node2 on '
fails 125 lab exec node1 true
lab wait node1 off
lab start node1 >/dev/null
fails 2 lab start node1
equal 'flushed blocks after a power cut' \
    "$(lab exec -n node1 dd if=/dev/vdb bs=4k count=2 2>/dev/null | sha256sum)" "$(yes durable | head -c 8192 | sha256sum)"
equal 'unflushed blocks after a power cut' \
    "$(lab exec -n node1 dd if=/dev/vdb bs=4k skip=100 count=2 2>/dev/null | sha256sum)" "$(head -c 8192 /dev/zero | sha256sum)"
equal 'configuration after a power cut' "$(lab exec -n node1 cat /etc/cluster/kept)" kept
lab exec -n node1 test -x /usr/sbin/pushed

# The console, and a host that goes off by itself.
lab console node2 </dev/null >"$tmp/console" &
console=$!
lab exec -n node2 sh -c 'echo a word on the console >/dev/console'
wait_for 10 grep -q 'a word on the console' "$tmp/console"
lab exec -n node2 sh -c 'echo c >/proc/sysrq-trigger' 2>/dev/null && fail 'the host survived a panic'
lab wait node2 off --timeout 60
wait $console
grep -q 'Kernel panic' "$tmp/console" || fail 'no panic on the console'

# A host that cannot come up says why, long before the deadline.
head -c 8192 /dev/zero | dd of="$LAB_DIR/node2/vda.img" conv=notrunc 2>/dev/null
fails 2 lab start node2
grep -q '/var: cannot mount the system disk' "$tmp/err" || fail "no reason: $(cat "$tmp/err")"

# Another lab beside this one, with the hypervisor, found again by the next `up` when it was
# forgotten.
first=$LAB_DIR
LAB_DIR=$tmp/other
cleanup "LAB_DIR=$LAB_DIR lab down"
lab up 1 >/dev/null
equal hypervisor "$(lab exec -n node1 sh -c 'xl info xen_version | cut -d. -f1,2')" 4.17
equal 'processors for guests' "$(lab exec -n node1 sh -c 'xl info virt_caps | grep -o hap')" hap
[ "$(lab netns)" != "$(LAB_DIR=$first lab netns)" ] || fail 'two labs share a namespace'
LAB_DIR=$first lab exec -n node1 true
rm "$LAB_DIR/state.json"
lab up 1 --no-xen >/dev/null
equal "hosts after a forgotten lab" "$(pgrep -fc "qemu-system-x86_64 .*/run/nines-lab/$(lab netns | cut -c5-)/")" 1
left=$(lab netns)
lab down
LAB_DIR=$first lab exec -n node1 true
[ ! -e "$LAB_DIR" ] || fail "left behind: $LAB_DIR"

# One whose directory somebody removed is taken down by the next `up` or `down` of any lab.
lab up 1 --no-xen >/dev/null
rm -r "$LAB_DIR"

LAB_DIR=$first
left="$left $(lab netns)"
lab down
[ ! -e "$LAB_DIR" ] || fail "left behind: $LAB_DIR"
for name in $left; do
    [ ! -e "/run/netns/$name" ] || fail "left behind: namespace $name"
    ! pgrep -f "/run/nines-lab/${name#lab-}" >/dev/null || fail "left behind: a process of $name"
    [ ! -e "/run/nines-lab/${name#lab-}" ] || fail "left behind: sockets of $name"
done
fails 1 lab status
