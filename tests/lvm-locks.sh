#!/bin/sh
# vg-tool and LVM2 on one host: the same lock files, so neither loses the other's change.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"
requires flock

new_disk a 128M
ours vgcreate -q v "$disk"

# Both at once, several each.
jobs=
for number in 1 2 3 4 5 6; do
    ours lvcreate -q -an -l 1 -n "mine$number" v >"$tmp/mine$number" 2>&1 &
    jobs="$jobs $!"
    lvm2 lvcreate -qq -an -Zn -Wn -l 1 -n "theirs$number" v >"$tmp/theirs$number" 2>&1 &
    jobs="$jobs $!"
done
for job in $jobs; do wait "$job" || fail "a job failed: $(cat "$tmp"/mine? "$tmp"/theirs?)"; done
equal "volumes" "$(lvm2 vgs --noheadings -o lv_count v | tr -d ' ')" 12
equal "changes" "$(seqno v)" 13
lvm2 vgck v || fail "vgck"
equal "nothing left behind" "$(ls "$tmp/lock")" ""

# Who holds the group's lock is waited for, or not, as lvm.conf says.
mkfifo "$tmp/go"
flock "$tmp/lock/V_v" sh -c "echo held >'$tmp/held'; read line <'$tmp/go'" &
holder=$!
wait_for 10 test -s "$tmp/held"
fails 5 vg-tool lvcreate --config global/wait_for_locks=0 -an -l 1 -n early v
grep -q "Can't get lock for v" "$tmp/err" || fail "$(cat "$tmp/err")"
ours lvcreate -q -an -l 1 -n late v 2>/dev/null &
waiter=$!
# It stands in the queue when it holds the side file.
in_queue() { ! flock -n "$tmp/lock/V_v:aux" true; }
wait_for 10 in_queue
equal "before" "$(vg-tool lvs --noheadings -o lv_name v | grep -c late || :)" 0
echo go >"$tmp/go"
wait "$holder" "$waiter" || fail "the waiter"
ours lvs v/late >/dev/null || fail "the waiter's volume"

# What LVM2 remembers of devices is forgotten when they change.
if [ -d /run/lvm ]; then
    new_disk b 32M
    lvm_conf 'devices/hints = "all"'
    sed -i 's/hints = "none"//' "$LVM_SYSTEM_DIR/lvm.conf"
    lvm2 pvs >/dev/null
    ours pvcreate -q "$disk"
    lvm2 pvs --noheadings -o pv_name | grep -q "$disk" || fail "LVM2 does not see a new physical volume"
fi
