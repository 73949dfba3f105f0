#!/bin/sh
# aoe-vblade and the tools under the kernel's own driver: every write the client was told is done
# survives the target's power cut, the exporting host and its clients see one content, a target or a
# cable that goes away for a while is only a pause, and our tools print what Debian's print.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2 --no-xen
give_programs node1 node2

on node2 'modprobe aoe'
for tool in "aoe-interfaces eth1" aoe-interfaces aoe-discover "aoe-stat"; do
    ours=0 theirs=0
    on node2 "/opt/fivenines/$tool" >"$tmp/ours" 2>&1 || ours=$?
    on node2 "/usr/sbin/$tool" >"$tmp/theirs" 2>&1 || theirs=$?
    equal "exit status of $tool" "$ours" "$theirs"
    equal "output of $tool" "$(cat "$tmp/ours")" "$(cat "$tmp/theirs")"
done

# target PROGRAM...: run it on node1 and wait until node2's driver has the device.
target() {
    daemon node1 target "$@"
    await node2 30 'aoe-discover && test -b /dev/etherd/e0.0 && aoe-stat e0.0 | grep -q up'
}

# One content: a block read over AoE before the exporting host changes it through device-mapper.
target aoe-vblade 0 0 eth1 /dev/vdc
for tool in aoe-stat "aoe-stat e0.0" "aoe-stat nothing"; do
    ours=0 theirs=0
    on node2 "/opt/fivenines/$tool" >"$tmp/ours" 2>&1 || ours=$?
    on node2 "/usr/sbin/$tool" >"$tmp/theirs" 2>&1 || theirs=$?
    equal "exit status of $tool" "$ours" "$theirs"
    equal "output of $tool" "$(cat "$tmp/ours")" "$(cat "$tmp/theirs")"
done
on node1 'echo "0 2048 linear /dev/vdc 0" | dmsetup create window'
put() { on "$1" "printf %s $3 | dd of=$2 bs=4096 conv=sync,notrunc oflag=direct status=none"; }
get() { on "$1" "dd if=$2 bs=4096 count=1 iflag=direct status=none | head -c 5"; }
put node1 /dev/mapper/window first
equal "read over AoE" "$(get node2 /dev/etherd/e0.0)" first
put node1 /dev/mapper/window again
equal "read over AoE after a local change" "$(get node2 /dev/etherd/e0.0)" again
put node2 /dev/etherd/e0.0 third
equal "read locally after a change over AoE" "$(get node1 /dev/mapper/window)" third
on node1 'dmsetup remove window'

# A pause, not an error: the target killed and started again, then the cable pulled, under load.
on node2 'rm -f /run/load; setsid sh -c "dd if=/dev/zero of=/dev/etherd/e0.0 bs=4096 count=400 oflag=direct status=none && echo fine >/run/load || echo broken >/run/load" >/dev/null 2>&1 </dev/null &'
stop node1 target KILL
daemon node1 target aoe-vblade 0 0 eth1 /dev/vdc
"$LAB" cut node1 eth1
"$LAB" join node1 eth1
await node2 120 'test -s /run/load'
equal "writes across a restart and a pulled cable" "$(on node2 'cat /run/load')" fine
on node1 "kill -0 \$(cat /run/target.pid)" || fail "the target did not survive the pulled cable"

# What the client was told is done is on the disk after a power cut: records in a file system over
# the kernel's driver, each durable for the client before it is reported.
on node2 'mkfs.ext4 -q -F /dev/etherd/e0.0 && mkdir -p /run/fs && mount /dev/etherd/e0.0 /run/fs'
daemon node2 records 'records write /run/fs/records --interval-ms 0'
await node2 120 "grep -q '^record 300 ' /run/records.log"
"$LAB" kill node1
acknowledged=$(on node2 "sed -n 's/^record \([0-9]*\) .*/\1/p' /run/records.log | tail -n 1")
[ "$acknowledged" -ge 300 ] || fail "only $acknowledged records were acknowledged"
"$LAB" start node1
on node1 "mkdir -p /run/fs && mount /dev/vdc /run/fs && records check /run/fs/records --upto $acknowledged"
