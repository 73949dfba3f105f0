#!/bin/sh
# A cluster goes over to a new key while a lock is held and clients work.
. "$(dirname -- "$0")/lib.sh"
token=${token:-1000}
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/links.sh
. "$(dirname -- "$0")/cluster/links.sh"

conf 3
states_in_memory
for number in 1 2 3; do
    mkdir "$tmp/keys$number"
    cp -p "$tmp/key" "$tmp/keys$number/key"
    start "join$number.log" cluster-join --conf "$tmp/cluster.conf" --node "$net.$number" \
        --state "$tmp/state$number" --socket "$tmp/$number.sock" --key "$tmp/keys$number/key"
    printf '%s\n' "$pid" >"$tmp/$number.pid"
    wait_for 15 answers "$number"
done
quorate 1 2 3
for number in 1 2 3; do together "$number"; done
head -c 64 /dev/urandom >"$tmp/new"
chmod 600 "$tmp/new"

# reread NODE COUNT: have its daemon read the keys again, and see it find so many beside the main one.
reread() {
    seen=$(grep -c 'read again' "$tmp/join$1.log" || :)
    kill -HUP "$(daemon "$1")"
    wait_for 10 sh -c "[ \$(grep -c 'read again' '$tmp/join$1.log') -gt $seen ]"
    equal "node $1's other keys" "$(sed -n 's/.*read again, \([0-9]*\) more.*/\1/p' "$tmp/join$1.log" | tail -n 1)" "$2"
}
# steady STEP: nobody was missed and the clients were served.
steady() {
    for at in 1 2 3; do
        equal "node $at after $1" "$(standing "$at")" "$before"
        equal "losses seen by node $at after $1" "$(grep -c 'is lost' "$tmp/join$at.log" || :)" 0
        worked "$at" $((5 * token))
    done
    kill -0 "$holder" || fail "the lock was lost: $(cat "$tmp/holder.log")"
}

before=$(standing 1)
start holder.log clvm-lock --socket "$tmp/2.sock" held -- sleep 600
holder=$pid
wait_for 10 sh -c "cluster-stat --socket '$tmp/2.sock' --locks | grep -q '^held'"
for number in 1 2 3; do work "$number"; done

# A key that others can read is not taken, and changes nothing.
cp "$tmp/new" "$tmp/keys1/key.next"
chmod 644 "$tmp/keys1/key.next"
kill -HUP "$(daemon 1)"
wait_for 10 grep -q 'the keys stay as they are: .*key.next: mode 0644 lets others read' "$tmp/join1.log"
rm "$tmp/keys1/key.next"

for number in 1 2 3; do
    cp -p "$tmp/new" "$tmp/keys$number/key.next"
    reread "$number" 1
done
steady 'the new key is accepted'
for number in 1 2 3; do
    ln "$tmp/keys$number/key" "$tmp/keys$number/key.old"
    mv "$tmp/keys$number/key.next" "$tmp/keys$number/key"
    reread "$number" 1
done
steady 'the new key is used'
for number in 1 2 3; do
    rm "$tmp/keys$number/key.old"
    reread "$number" 0
done
steady 'the old key is forgotten'

# A daemon that starts with the new key is in, one with the old key is out.
down 3
cp -p "$tmp/key" "$tmp/keys3/key"
start join3.log cluster-join --conf "$tmp/cluster.conf" --node "$net.3" --state "$tmp/state3" \
    --socket "$tmp/3.sock" --key "$tmp/keys3/key"
printf '%s\n' "$pid" >"$tmp/3.pid"
sees 1 's["counters"]["refused-key"] > 0'
fails 1 stat 3
# It need not be started again to be told the right one.
cp -p "$tmp/new" "$tmp/keys3/key"
reread 3 0
quorate 3
together 3
kill -0 "$holder" || fail 'the lock was lost'
