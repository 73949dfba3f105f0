#!/bin/sh
# The kernel's own driver under torture: two file systems of one host's disks are written all over
# and checked on another while the target is killed, cables are pulled, and a cable between them
# loses, doubles and swaps frames. Then one disk is written by one host and read by the other, each
# way, and no read is older than a write that was done.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
requires jq
middlebox=$BIN/examples/aoe-middlebox
[ -x "$middlebox" ] || skip "needs cargo build -p nines-testkit --examples"
hosts_up 2 --no-xen
give_programs node1 node2
"$LAB" push node2 "$lab_bin/aoe-warm" /opt/fivenines/aoe-warm
faults=${TORTURE_FAULTS:---drop 3 --duplicate 3 --reorder 3}
rounds=${TORTURE_ROUNDS:-3}

on node1 'cat >/run/exports' <<'END'
0 0 eth1 /dev/vdb
0 1 eth1 /dev/vdc
END
target() { daemon node1 target aoe-vblade --config /run/exports; }
target
on node2 'modprobe aoe'
for slot in 0 1; do
    await node2 30 "aoe-discover && test -b /dev/etherd/e0.$slot && aoe-stat e0.$slot | grep -q up"
done
on node2 'mkfs.ext4 -q -F /dev/etherd/e0.0 && mkfs.xfs -q -f /dev/etherd/e0.1 && mkdir -p /run/ext4 /run/xfs &&
    mount -t ext4 /dev/etherd/e0.0 /run/ext4 && mount -t xfs /dev/etherd/e0.1 /run/xfs'
# The first lost frame of a device just opened would hold everything up for a quarter of a minute. On
# a busy machine the estimate does not become as small as that program wants it, but small enough.
on node2 'aoe-warm --once e0.0 e0.1 || test $? = 1'

# The middlebox takes the place of node2's storage cable.
net() { "$LAB" net ip "$@"; }
net link set n2eth1 nomaster
net link add box0 mtu 9000 type veth peer name box1 mtu 9000
net link set box0 master storage up
net link set box1 up
# shellcheck disable=SC2086 # options
start counts "$LAB" net "$middlebox" $faults n2eth1 box1
box=$pid
wait_for 10 grep -q "between n2eth1 and box1" "$tmp/counts"

seed() { [ "$1" = ext4 ] && echo 11 || echo 12; }
for fs in ext4 xfs; do
    daemon node2 $fs "records torture /run/$fs/file --seed $(seed $fs) --until /run/end"
done
# operations FS: how many it has told of.
operations() { on node2 "sed -n 's/^operations //p' /run/$1.log | tail -n 1"; }
# progress: each file system has done a hundred operations more.
progress() {
    for fs in ext4 xfs; do
        on node2 "kill -0 \$(cat /run/$fs.pid)" || fail "$fs: $(on node2 "cat /run/$fs.log; dmesg | tail -n 20")"
        before=$(operations $fs)
        await node2 60 "test \$(sed -n 's/^operations //p' /run/$fs.log | tail -n 1) -ge $((${before:-0} + 100))"
    done
}
pull() {
    "$LAB" cut "$1" eth1
    "$LAB" join "$1" eth1
}
progress
for round in $(seq "$rounds"); do
    stop node1 target KILL
    target
    progress
    pull node2
    progress
    stop node1 target KILL
    target
    pull node1
    progress
    echo "round $round: $(operations ext4) operations on ext4, $(operations xfs) on xfs"
done
on node2 'touch /run/end'
for fs in ext4 xfs; do
    await node2 60 "! kill -0 \$(cat /run/$fs.pid)"
    equal "the end on $fs" "$(on node2 "tail -n 1 /run/$fs.log")" 'done'
done

kill "$box"
wait "$box" || fail "the middlebox: $(cat "$tmp/counts")"
tail -n 1 "$tmp/counts"
tail -n 1 "$tmp/counts" | jq -e 'all(.dropped > 0 and .duplicated > 0 and .reordered > 0)' >/dev/null ||
    fail "there were no faults: $(cat "$tmp/counts")"
net link del box0
net link set n2eth1 master storage

# whole FS FILE-SYSTEM-DIRECTORY NODE: the file is what was done to it.
whole() { on "$3" "records verify $2/file --seed $(seed "$1") --operations $(operations "$1")"; }
on node2 'sync && echo 3 >/proc/sys/vm/drop_caches'
for fs in ext4 xfs; do whole $fs /run/$fs node2; done
equal "complaints of node2's kernel" "$(on node2 "dmesg | grep -iE 'I/O error|EXT4-fs (error|warning)|XFS.*(error|corrupt)' || :")" ''
on node2 'umount /run/ext4 /run/xfs'
stop node1 target
on node1 'e2fsck -fn /dev/vdb >/run/fsck 2>&1 || { cat /run/fsck; exit 1; }'
on node1 'xfs_repair -n /dev/vdc >/run/fsck 2>&1 || { cat /run/fsck; exit 1; }'
on node1 'mkdir -p /run/ext4 /run/xfs && mount -t ext4 -o ro /dev/vdb /run/ext4 && mount -t xfs -o ro /dev/vdc /run/xfs'
for fs in ext4 xfs; do whole $fs /run/$fs node1; done
on node1 'umount /run/ext4 /run/xfs'

# exchange FROM NODE DEVICE NODE DEVICE: three hundred runs of blocks written by one and each read
# by the other as soon as it is acknowledged, the writer up to four ahead; prints what it came to.
mkfifo "$tmp/back"
# shellcheck disable=SC2094 # a FIFO
exchange() {
    "$LAB" exec "$2" records stamp "$3" --from "$1" <"$tmp/back" |
        "$LAB" exec "$4" records follow "$5" 2>"$tmp/followed" >"$tmp/back" || [ $? = 1 ] || fail "$(cat "$tmp/followed")"
    sed -n 's/.*: \([0-9]* reads, [0-9]* stale\)$/\1/p' "$tmp/followed"
}
# coherence PROGRAM...: both ways between node1's device-mapper and node2's driver.
coherence() {
    daemon node1 target "$@"
    await node2 30 "aoe-discover && aoe-stat e0.1 | grep -q up"
    there="$(exchange 1000 node1 /dev/mapper/window node2 /dev/etherd/e0.1)"
    back="$(exchange 2000 node2 /dev/etherd/e0.1 node1 /dev/mapper/window)"
    stop node1 target
    echo "$1: written on the disk's host: $there; written over AoE: $back"
}
on node1 'echo "0 2048 linear /dev/vdc 0" | dmsetup create window'
coherence aoe-vblade 0 1 eth1 /dev/vdc
equal "reads over AoE" "$there" "300 reads, 0 stale"
equal "reads by the disk's host" "$back" "300 reads, 0 stale"
coherence vblade 0 1 eth1 /dev/vdc
case "$there $back" in
    '300 reads, '*' stale 300 reads, '*' stale') ;;
    *) fail "with vblade: '$there' and '$back'" ;;
esac
[ "$there" != "300 reads, 0 stale" ] || fail "reads over vblade were all current: this shows nothing"
