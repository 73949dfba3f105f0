#!/bin/sh
# Volume groups of a cluster: two nodes see one disk and change its group under the cluster's
# locks. Here both run on this machine, with a daemon each.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"
# shellcheck source=cluster/lib.sh
. "$top/tests/cluster/lib.sh"
requires python3 flock

conf 2
join 1
join 2
quorate 1 2
export CLUSTER_CONF="$tmp/cluster.conf"
# on NODE COMMAND...: vg-tool as that node's.
on() {
    at=$1
    shift
    CLUSTER_SOCKET="$tmp/$at.sock" ours "$@"
}

new_disk a 64M
on 1 pvcreate -q "$disk"
equal "vgcreate" "$(on 1 vgcreate v "$disk")" '  Clustered volume group "v" successfully created'
equal "attributes" "$(on 2 vgs --noheadings -o vg_attr v)" "  wz--nc"
on 1 lvcreate -q -an -l 1 -n one v 2>/dev/null
on 2 lvcreate -q -an -l 1 -n two v 2>/dev/null
equal "volumes" "$(on 1 lvs --noheadings -o lv_name v | tr -d ' ')" "one
two"

# LVM2 keeps its hands off: it will not activate the volumes on every host.
lvm2 lvs >"$tmp/out" 2>"$tmp/err" || :
grep -q 'Skipping clustered VG v' "$tmp/err" || fail "LVM2 says: $(cat "$tmp/out" "$tmp/err")"

# A change waits for another node's, and holds up nobody on its own host meanwhile.
mkfifo "$tmp/end"
start holder.log clvm-lock --socket "$tmp/2.sock" -m PR V_v -- sh -c "echo held; read line <'$tmp/end'"
holder=$pid
wait_for 10 grep -q held "$tmp/holder.log"
on 1 lvcreate -q -an -l 1 -n three v 2>/dev/null &
waiter=$!
waits() { ctl 1 '{"id":1,"op":"locks"}' | grep -q '"waiting":\[{"node":"'"$net"'.1","mode":"PW"'; }
wait_for 20 waits
flock -n "$tmp/lock/V_v" true || fail "it holds the host's lock while it waits for the cluster's"
equal "meanwhile" "$(on 1 lvs --noheadings -o lv_name v | wc -l)" 2
echo end >"$tmp/end"
wait "$holder" "$waiter" || fail "the change that waited"
equal "afterwards" "$(on 2 lvs --noheadings -o lv_name v | wc -l)" 3

# Changes from both at once.
jobs=
for number in 1 2 3 4; do
    for node in 1 2; do
        on $node lvcreate -q -an -l 1 -n "from$node.$number" v 2>"$tmp/err$node.$number" &
        jobs="$jobs $!"
    done
done
for job in $jobs; do wait "$job" || fail "a change failed: $(cat "$tmp"/err?.?)"; done
equal "all changes" "$(on 1 vgs --noheadings -o lv_count,vg_seqno v | tr -s ' ')" " 11 12"

# A volume active on one node is not removed by the other.
resource=$(on 1 lvs --noheadings -o vg_uuid,lv_uuid v/one | tr -d ' -')
ctl 2 '{"id":1,"op":"lock","resource":"'"$resource"'","mode":"EX","wait_ms":0,"sticky":true,"note":"v/one"}' |
    grep -q granted || fail "no lock for $resource"
fails 5 env CLUSTER_SOCKET="$tmp/1.sock" vg-tool lvremove -y v/one
grep -q "Logical volume v/one is busy on another node: $net.2 holds it EX (v/one)" "$tmp/err" || fail "$(cat "$tmp/err")"
on 2 lvremove -q -y v/one || fail "the node that has it active"
equal "its lock" "$(ctl 1 '{"id":1,"op":"locks"}' | grep -c "$resource" || :)" 0

# Without a quorum the group is shown, and nothing else.
down 2
wait_for 20 sh -c "! cluster-stat --socket '$tmp/1.sock'"
equal "shown" "$(on 1 vgs --noheadings -o vg_attr v)" "  wz--nc"
fails 5 env CLUSTER_SOCKET="$tmp/1.sock" vg-tool lvcreate -an -l 1 -n four v
grep -q "Cannot access clustered VG v: cluster test: not quorate: 1 of 2 votes" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 5 env CLUSTER_SOCKET="$tmp/1.sock" vg-tool pvcreate "$disk"
down 1
fails 5 env CLUSTER_SOCKET="$tmp/1.sock" vg-tool lvremove -y v
grep -q "Cannot access clustered VG v: .*/1.sock: is cluster-join running?" "$tmp/err" || fail "$(cat "$tmp/err")"
equal "still shown" "$(on 1 lvs --noheadings -o lv_name v | wc -l)" 10

# The way out: LVM2 takes the group over, for one host.
lvm2 vgchange -y --lock-type none --lockopt force v >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
equal "LVM2 has it" "$(lvm2 lvs --noheadings -o lv_name v | wc -l)" 10
equal "not clustered" "$(on 1 vgs --noheadings -o vg_attr v)" "  wz--n-"
on 1 lvcreate -q -an -l 1 -n four v 2>/dev/null || fail "a group that is not clustered needs no cluster"

# vgcreate -c n, on a cluster's host: still under the cluster's lock, which is down.
new_disk b 32M
fails 5 vg-tool vgcreate -c n w "$disk"
CLUSTER_CONF="$tmp/absent" ours vgcreate -q w "$disk"
equal "without cluster.conf" "$(ours vgs --noheadings -o vg_attr w)" "  wz--n-"
