#!/bin/sh
# The kernel's own driver and a target that goes away: what a lost frame costs with aoe-warm and
# without, and how long a dead target's device holds its users up with aoe-flush --dead and without.
# shellcheck disable=SC2016 # single quotes keep words for the shells in the hosts
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/lib-lab.sh"
hosts_up 2 --no-xen
give_programs node1 node2
cleanup '"$LAB" exec -n --timeout 20 node2 sh -c "aoe-stat; cat /sys/module/aoe/parameters/aoe_deadsecs /run/keeper.log; dmesg | grep aoe: | tail -n 20"'

# Hundredths of a second since the host was switched on.
on node2 'cat >/run/now; chmod 755 /run/now' <<'EOF'
#!/bin/sh
IFS=' .' read -r seconds hundredths _ </proc/uptime
echo $((seconds * 100 + 1$hundredths - 100))
EOF
# timed NAME COMMAND...: when it began, when it ended and its status, in /run/NAME.
on node2 'cat >/run/timed; chmod 755 /run/timed' <<'EOF'
#!/bin/sh
name=$1
shift
rm -f "/run/$name"
began=$(/run/now) status=0
"$@" >"/run/$name.log" 2>&1 || status=$?
echo "$began $(/run/now) $status" >"/run/$name.new"
mv "/run/$name.new" "/run/$name"
EOF
parameter=/sys/module/aoe/parameters/aoe_deadsecs

# started NAME: a read of the device in the background, under way when this returns. Each reads
# where none has read before: busybox's dd may take what is cached.
place=0
started() {
    place=$((place + 4096))
    on node2 "rm -f /run/$1; setsid /run/timed $1 dd if=/dev/etherd/e0.0 of=/dev/null bs=4096 skip=$place count=1 \
        >/dev/null 2>&1 </dev/null &
        until grep -q '[1-9]' /sys/block/etherd!e0.0/inflight; do :; done"
}
# field NAME N: of what was timed, when it has ended.
field() {
    await node2 120 "test -s /run/$1"
    on node2 "cut -d' ' -f$2 /run/$1"
}
target() { daemon node1 "target$1" "aoe-vblade 0 $1 eth1 $2"; }
seen() { await node2 60 "aoe-discover; aoe-stat 'e0\.$1 ' | grep -q ' up '"; }
shown() { echo "$(($1 / 100)).$(printf %02d $(($1 % 100))) s"; }

on node2 "modprobe aoe; aoe-interfaces eth1; echo 60 >$parameter; mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug"
on node1 'truncate -s 64M /var/other'
target 0 /dev/vdc
target 1 /var/other
seen 0
seen 1

# --- a lost frame: the cable is pulled, a read is sent, the cable is back
# lost NAME: hundredths from before the cable was back to the end of the read, in $stall.
lost() {
    "$LAB" cut node1 eth1
    started "$1"
    joined=$(on node2 /run/now)
    "$LAB" join node1 eth1
    stall=$(($(field "$1" 2) - joined))
    equal "the read after a lost frame, $1" "$(field "$1" 3)" 0
}
lost cold
cold=$stall
daemon node2 keeper aoe-warm e0.0
await node2 120 "grep -q 'e0.0: round trip' /run/keeper.log"
again=$(on node2 "sed -n 's/.*sent again after \([0-9]*\) ms/\1/p' /run/keeper.log | head -n 1")
lost warm
warm=$stall
echo "a lost frame: $(shown "$cold") without aoe-warm, $(shown "$warm") with it (which said $again ms)"
[ "$again" -lt 1000 ] || fail "aoe-warm left the estimate at $again ms"
if [ "$warm" -ge 300 ] || [ "$warm" -ge $((cold / 3)) ]; then
    fail "a lost frame cost $cold without aoe-warm, $warm with it"
fi

# --- a dead target, left to the driver
on node2 "echo 6 >$parameter"
stop node1 target0 KILL
started alone
alone=$(($(field alone 2) - $(field alone 1)))
[ "$(field alone 3)" != 0 ] || fail "a read of a dead target succeeded"
target 0 /dev/vdc
rounds=$(on node2 "grep -c 'round trip' /run/keeper.log")
seen 0
await node2 60 "[ \$(grep -c 'round trip' /run/keeper.log) -gt $rounds ]"

# --- and not left to it
on node2 "echo 60 >$parameter"
stop node1 target0 KILL
started blocked
stop node1 target1 KILL
on node2 'status=0; aoe-flush --dead e0.0 2>/run/refusal || status=$?; echo $status' >"$tmp/status"
equal "status while another is silent" "$(cat "$tmp/status")" 1
on node2 'grep -q "e0.1: does not answer either" /run/refusal; aoe-stat "e0\.1 " | grep -q " up "'
equal "aoe_deadsecs after a refusal" "$(on node2 "cat $parameter")" 60
target 1 /var/other
on node2 "until [ \$(/run/now) -ge $(($(on node2 /run/now) + 300)) ]; do :; done; test ! -e /run/blocked"
on node2 '/run/timed flush aoe-flush --dead e0.0'
equal "status of aoe-flush --dead" "$(field flush 3)" 0
flush=$(($(field blocked 2) - $(field flush 1)))
[ "$(field blocked 3)" != 0 ] || fail "a read of a dead target succeeded"
equal "aoe_deadsecs" "$(on node2 "cat $parameter")" 60
on node2 'dd if=/dev/etherd/e0.1 of=/dev/null bs=1M count=1; aoe-stat "e0\.1 " | grep -q " up "'
echo "a dead target: $(shown $alone) with aoe_deadsecs=6, $(shown $flush) from aoe-flush --dead with aoe_deadsecs=60"
[ "$flush" -lt 500 ] || fail "aoe-flush --dead took $flush hundredths of a second"
# It comes back when it is back, once its users have let go of it.
target 0 /dev/vdc
seen 0
on node2 'dd if=/dev/etherd/e0.0 of=/dev/null bs=1M skip=1 count=1'
