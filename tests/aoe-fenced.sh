#!/bin/sh
# A host is fenced, and its AoE disks are failed on the survivors: scripts/aoe-fenced, with a real
# cluster and real targets, and the driver's files played by a script.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires cluster-fence aoe-flush
netns target
netns client
veth target client
# shellcheck source=tests/aoe/driver.sh
. "$(dirname -- "$0")/aoe/driver.sh"
fenced() { in_ns client env CLUSTER_SOCKET="$tmp/1.sock" "$top/scripts/aoe-fenced" "$@"; }
fenced --help | grep -q 'aoe-fenced NODE=eX.Y' || fail "$(fenced --help)"
fails 2 fenced
fails 2 fenced n3
fails 2 fenced n3=sdb

conf 3
for node in 1 2 3; do join "$node"; done
quorate 1 2 3
# e7.3 is on the host that dies, e7.4 on one that lives.
truncate -s 3M "$tmp/4"
start target.log ip netns exec "$(ns target)" aoe-vblade 7 4 eth1 "$tmp/4"
wait_for 10 test -s "$tmp/target.log"
device e7.3 up "1 0"
device e7.4 up "0 0"
state() { cat "$tmp/sys/block/etherd!$1/state"; }
driver e7.3
start fenced.log fenced "$net.2=e7.4" "$net.3=e7.3,e7.9"

ctl 3 '{"id":1,"op":"lock","resource":"disk","mode":"EX","sticky":true}' | grep -q granted || fail "no lock for node 3"
down 3
wait_for 15 sh -c "cluster-fence --socket '$tmp/1.sock' list | grep -q '^pending'"
equal "lost is not fenced" "$(state e7.3) $(cat "$tmp/fenced.log")" "up "
# Refused for as long as one of the others has not noticed that it is gone.
acknowledged() { cluster-fence --socket "$tmp/1.sock" --ack "$net.3" --yes >"$tmp/out" 2>&1; }
wait_for 15 acknowledged
wait_for 20 grep -q "aoe-fenced: $net.3 is fenced: failed e7.3\$" "$tmp/fenced.log"
equal "failed" "$(state e7.3)" down,closewait
equal "not failed" "$(state e7.4)" up
equal "aoe_deadsecs" "$(cat "$parameter")" 180

# One that was started too late, and one whose disk answers again.
start late.log fenced "$net.3=e7.3"
wait_for 20 grep -q "aoe-fenced: $net.3 is fenced: failed e7.3\$" "$tmp/late.log"
start back.log fenced "$net.3=e7.4"
wait_for 30 grep -q "e7.4 may keep mirrors waiting: aoe-flush --dead e7.4" "$tmp/back.log"
grep -q "answers: it is not dead" "$tmp/back.log" || fail "$(cat "$tmp/back.log")"
equal "not failed" "$(state e7.4)" up
