#!/bin/sh
# vg-tool on a real device-mapper: what it activates is what Debian's lvm2 would, either can
# deactivate what the other activated, and a clustered volume is active on one host at a time and
# takes flushes on each.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2 --no-xen
give_programs node1 node2

# One group, changed by both in turn.
on node1 'vg-tool pvcreate /dev/vdb && vg-tool vgcreate -c n plain /dev/vdb && vg-tool lvcreate -n ours -L 40M plain'
on node1 'lvm lvcreate -y -n theirs -L 24M plain'
on node1 'lvm vgck plain'
for command in 'pvs' 'vgs' 'lvs' 'lvs -o lv_name,vg_name,lv_attr,lv_size,devices'; do
    equal "$command" "$(on node1 "vg-tool $command plain" 2>&1 || on node1 "vg-tool $command")" \
        "$(on node1 "lvm $command plain" 2>&1 || on node1 "lvm $command")"
done
equal "tables of both" "$(on node1 "dmsetup table plain-ours | cut -d' ' -f2-3")" "81920 linear"
mapped() { on node1 'dmsetup info -c --noheadings -o name,uuid,open,segments --sort name; dmsetup table; ls -l /dev/plain /dev/mapper | grep -c plain'; }
mapped >"$tmp/mixed"
on node1 'vg-tool vgchange -an plain'
equal "nothing active" "$(on node1 'dmsetup ls')" 'No devices found'
on node1 'lvm vgchange -ay plain'
mapped >"$tmp/lvm"
on node1 'vg-tool vgchange -an plain && vg-tool vgchange -ay plain'
mapped >"$tmp/ours"
equal "what is mapped by ours and by lvm2" "$(cat "$tmp/ours")" "$(cat "$tmp/lvm")"
on node1 'lvm vgchange -an plain'

# Data where the other reads it.
on node1 'vg-tool lvchange -ay plain/ours && echo here | dd of=/dev/plain/ours bs=4096 conv=sync oflag=direct status=none'
on node1 'vg-tool vgchange -an plain && lvm lvchange -ay plain/ours'
equal "data" "$(on node1 'head -n 1 /dev/plain/ours')" here

# In use is not deactivated, and not removed.
on node1 'mkfs.ext4 -q /dev/plain/ours && mkdir -p /run/fs && mount /dev/plain/ours /run/fs'
fails 5 on node1 'vg-tool lvchange -an plain/ours'
fails 5 on node1 'vg-tool lvremove -y plain/ours'
on node1 'umount /run/fs && vg-tool lvremove -y plain/ours && lvm vgck plain'

# Two hosts, one disk of node1 seen by both.
a_cluster node1 node2
daemon node1 vblade aoe-vblade 0 0 eth1 /dev/vdc
on node2 'modprobe aoe && aoe-interfaces eth1'
await node2 30 'aoe-discover && aoe-stat e0.0'
on node1 'vg-tool pvcreate /dev/vdc && vg-tool vgcreate shared /dev/vdc && vg-tool lvcreate -an -n v -L 16M shared'
on node2 'vg-tool vgs --noheadings -o vg_name,vg_attr shared' | grep -q 'shared wz--nc' || fail "no clustered group on node2"
on node1 'vg-tool lvchange -aey shared/v'
fails 5 on node2 'vg-tool lvchange -aey shared/v'
grep -q node1 "$tmp/err" || fail "the refusal does not name the holder: $(cat "$tmp/err")"
fails 5 on node2 'vg-tool lvchange -asy shared/v'
fails 5 on node2 'vg-tool lvremove -y shared/v'
equal "not active on node2" "$(on node2 'dmsetup ls')" 'No devices found'
# Flushes are taken on both, wherever the disk is; data goes to the disk and nowhere else.
flushes() { on "$1" "cat /sys/dev/block/\$(dmsetup info -c --noheadings -o major,minor --separator : shared-v)/queue/write_cache"; }
equal "write cache where the disk is" "$(flushes node1)" 'write back'
equal "table where the disk is" "$(on node1 'dmsetup table shared-v' | cut -d' ' -f3)" linear
on node1 'vg-tool lvchange -an shared/v'
on node2 'vg-tool lvchange -aey shared/v'
equal "write cache where it is seen over AoE" "$(flushes node2)" 'write back'
equal "table where it is seen over AoE" "$(on node2 'dmsetup table shared-v' | cut -d' ' -f3)" delay
on node2 'echo over AoE | dd of=/dev/shared/v bs=4096 conv=sync,fsync oflag=direct status=none'
equal "blocks of the flush sink" "$(on node2 'stat -c %b /run/lvm/flush-sink')" 0
on node2 'vg-tool lvchange -an shared/v'
on node1 'vg-tool lvchange -aey shared/v'
equal "what was written over AoE" "$(on node1 'head -n 1 /dev/shared/v')" 'over AoE'
# Shared inside a hand-over: both have it, and neither can be alone until the other lets go.
on node1 'vg-tool lvchange -asy shared/v'
on node2 'vg-tool lvchange -asy shared/v'
fails 5 on node2 'vg-tool lvchange -aey shared/v'
on node1 'vg-tool lvchange -an shared/v'
on node2 'vg-tool lvchange -aey shared/v'
fails 5 on node1 'vg-tool lvchange -ay shared/v'
# Without a quorum nothing is activated or changed, and reports go on.
stop node1 cluster-join KILL
await node2 20 '! cluster-stat'
fails 5 on node2 'vg-tool lvcreate -n w -L 4M shared'
grep -qi quor "$tmp/err" || fail "no word of the quorum: $(cat "$tmp/err")"
on node2 'vg-tool lvs shared' | grep -q ' v ' || fail "lvs does not report without a quorum"
