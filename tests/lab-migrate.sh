#!/bin/sh
# Migrations that break on real hosts: whatever ends them, the domain runs exactly once, its lock
# and its volumes are where it runs and nowhere else, and it has lost no record.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2
give_programs node1 node2
domain=web

a_cluster node1 node2
for n in 1 2; do
    on node$n 'modprobe aoe && aoe-interfaces eth1'
    daemon node$n target aoe-vblade 0 $((n - 1)) eth1 /dev/vdc
done
await node1 30 'aoe-discover && aoe-stat e0.1'
await node2 30 'aoe-discover && aoe-stat e0.0'
on node1 "vg-tool pvcreate /dev/vdc /dev/etherd/e0.1 && vg-tool vgcreate vg /dev/vdc /dev/etherd/e0.1
    vg-tool lvcreate -n m0 -L 64M vg /dev/vdc && vg-tool lvcreate -n m1 -L 64M vg /dev/etherd/e0.1
    /usr/lib/fivenines/make-guest /dev/vg/m0 /dev/vg/m1 && vg-tool vgchange -an vg"
for n in 1 2; do
    on node$n "mkdir -p /etc/xen/auto; cat >/etc/xen/auto/$domain" <<END
kernel = "/boot/vmlinuz-6.1-xenU"
memory = 128
name = "$domain"
disk = [ 'phy:vg/m0,sda1,w', 'phy:vg/m1,sda2,w' ]
root = "/dev/md0 ro"
END
    daemon node$n receive xen-domctl receive
done

# lists NODE: the domain's copies there, in any state, by name.
lists() { on "$1" "xl list | awk '\$1 ~ /^$domain(--|\$)/ { print \$1 }'"; }

# active NODE: the volumes active there.
active() { on "$1" "dmsetup ls | awk '/^vg-/ { print \$1 }' | sort | tr '\n' ' '"; }

# held: who holds the locks of the domain and its volumes, one "NODE MODE" a lock.
held() { on "$1" "cluster-stat locks --json | jq -r 'select(.resource | test(\"^D_|^.{64}\$\")) | .granted[] | \"\(.node) \(.mode)\"' | sort | uniq -c | sed 's/^ *//'"; }

# last NODE: the last record printed there.
last() { on "$1" "cat /var/log/xen/console/guest-$domain*.log | sed -n 's/.*record \([0-9]*\) .*/\1/p' | sort -n | tail -n 1"; }
goes_on() { [ "$(last "$1")" -ge "$2" ]; }

# runs_once NODE OTHER: exactly there, with everything it owns, and writing.
runs_once() {
    wait_for 60 settled "$1" "$2"
    wait_for 60 goes_on "$1" $(($(last "$1") + 20))
    for node in node1 node2; do
        ! on "$node" "grep -hs 'Disk failure' /var/log/xen/console/guest-$domain*.log" || fail "a half of the mirror is lost"
    done
}
settled() {
    [ "$(lists "$1")" = "$domain" ] && [ -z "$(lists "$2")" ] &&
        [ "$(active "$1")" = 'vg-m0 vg-m1 ' ] && [ -z "$(active "$2")" ] &&
        [ "$(held "$1")" = "3 $1 EX" ]
}

on node1 "xen-domctl create $domain"
await node1 90 "grep -q 'record 20 ' /var/log/xen/console/guest-$domain.log"
runs_once node1 node2

# begin: start moving to node2 in the background; its exit status goes to /run/migrate.status.
begin() {
    on node1 "rm -f /run/migrate.status; setsid sh -c 'xen-domctl migrate --live $domain node2 >/run/migrate.log 2>&1 & echo \$! >/run/migrate.pid; wait \$!; echo \$? >/run/migrate.status' >/dev/null 2>&1 </dev/null &"
}
ended() { await node1 180 'test -s /run/migrate.status'; on node1 'cat /run/migrate.log >&2; cat /run/migrate.status'; }

echo 'the receiver dies in the middle of the stream'
begin
await node2 60 "xl list | grep -q '^$domain--incoming'"
stop node2 receive KILL
daemon node2 receive xen-domctl receive
equal "exit status" "$(ended)" 2
runs_once node1 node2

echo 'the sender is interrupted'
begin
await node2 60 "xl list | grep -q '^$domain--incoming'"
on node1 "kill -TERM \$(cat /run/migrate.pid)"
equal "exit status" "$(ended)" 2
runs_once node1 node2

echo 'the storage cable is out for a while: AoE, cluster and stream stand still at once'
begin
await node2 60 "xl list | grep -q '^$domain--incoming'"
"$LAB" cut node2 eth1
await node1 30 '! cluster-stat'
"$LAB" join node2 eth1
case $(ended) in 0) runs_once node2 node1 && back=1 ;; *) runs_once node1 node2 && back= ;; esac

echo 'and one that nothing happens to'
if [ -n "$back" ]; then
    on node2 "xen-domctl migrate --live $domain node1"
    runs_once node1 node2
else
    on node1 "xen-domctl migrate --live $domain node2"
    runs_once node2 node1
fi

# Every record that was acknowledged, on either half, its journal replayed as after a power cut.
ran=$([ -n "$back" ] && echo node1 || echo node2)
acknowledged=$(last "$ran")
on "$ran" "xen-domctl destroy $domain"
for half in m0 m1; do
    on "$ran" "vg-tool lvchange -aey vg/$half && mkdir -p /run/half && mount /dev/vg/$half /run/half && records check /run/half/var/records --upto $acknowledged && umount /run/half && vg-tool lvchange -an vg/$half"
done
