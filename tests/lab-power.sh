#!/bin/sh
# Power cuts: a host that exports two disks loses its power while the other host writes to both
# over the kernel's driver, one through a file system and one raw. Every record the writers were told
# is durable is on the disks afterwards, $LAB_ROUNDS times (2). Debian's vblade, which answers from
# the page cache, shows what that takes: how many records it loses is printed.
# shellcheck disable=SC2016 # single quotes keep words for the shells in the hosts
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
rounds=${LAB_ROUNDS:-2}
hosts_up 2 --no-xen
give_programs node1 node2
on node1 'printf "0 0 eth1 /dev/vdc\n0 1 eth1 /dev/vdb\n" >/etc/aoe.exports && sync'
on node2 'modprobe aoe && aoe-interfaces eth1 && mkdir -p /run/fs'

# serve KIND: start the targets of that kind; they have their addresses to themselves.
serve() {
    case $1 in
        ours) daemon node1 target aoe-vblade --config /etc/aoe.exports ;;
        vblade)
            daemon node1 target /usr/sbin/vblade 0 0 eth1 /dev/vdc
            daemon node1 other /usr/sbin/vblade 0 1 eth1 /dev/vdb
            ;;
    esac
    await node2 60 'aoe-discover && aoe-stat e0.0 | grep -q "up *$" && aoe-stat e0.1 | grep -q "up *$"'
}
# reported NAME: the last record a writer was told is durable.
reported() { on node2 "sed -n 's/^record \([0-9]*\) .*/\1/p' /run/$1.log | tail -n 1"; }
# load COUNT: write until both writers have so many records more, then cut the power in mid-write.
load() {
    on node2 'rm -f /run/raw.log /run/file.log; mount /dev/etherd/e0.0 /run/fs'
    daemon node2 file 'records write /run/fs/records --interval-ms 0'
    daemon node2 raw 'records write /dev/etherd/e0.1 --interval-ms 0'
    for name in file raw; do
        await node2 120 "[ \$(grep -c '^record' /run/$name.log) -ge $1 ]"
    done
    "$LAB" kill node1
    file=$(reported file) raw=$(reported raw)
    on node2 'kill -9 $(cat /run/file.pid) $(cat /run/raw.pid); aoe-flush --dead e0.0 e0.1; umount -l /run/fs'
    "$LAB" start node1
}
# verdict: what the disks have, each as "well" or the first thing that is wrong.
verdict() {
    on node1 "mkdir -p /run/fs && mount /dev/vdc /run/fs
        records check /run/fs/records --upto $file >/run/verdict 2>&1 && echo file well || cat /run/verdict
        umount /run/fs
        records check /dev/vdb --upto $raw >/run/verdict 2>&1 && echo raw well || cat /run/verdict" || true
}

serve ours
on node2 'mkfs.ext4 -q -F /dev/etherd/e0.0'
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    load $((60 + round * 37 % 90))
    found=$(verdict)
    echo "round $round: $file records in a file, $raw on a device: $(echo "$found" | tr '\n' ' ')"
    equal "round $round" "$found" "file well
raw well"
    serve ours
done
stop node1 target
serve vblade
load 100
echo "vblade: $file records in a file, $raw on a device were reported; found: $(verdict | tr '\n' ' ')"
