#!/bin/sh
# Nodes are added to a running cluster and taken out of it, each with a cluster.conf of its own.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3

# write VERSION NODE...: the configuration of these nodes, in $tmp/next.conf.
write() {
    version=$1
    shift
    {
        printf '<cluster name="test" config_version="%s">\n<cman port="%s"/><totem token="%s"/>\n<clusternodes>\n' \
            "$version" "$port" "$token"
        for number in "$@"; do
            printf '<clusternode name="%s.%s" nodeid="%s"><fence/></clusternode>\n' "$net" "$number" "$number"
        done
        printf '</clusternodes>\n</cluster>\n'
    } >"$tmp/next.conf"
}

# begin NODE: start that node's daemon with its own file.
begin() {
    start "join$1.log" cluster-join --conf "$tmp/$1.conf" --node "$net.$1" --state "$tmp/state$1" \
        --socket "$tmp/$1.sock" --key "$tmp/key"
    printf '%s\n' "$pid" >"$tmp/$1.pid"
    wait_for 15 answers "$1"
}

# update NODE: make $tmp/next.conf the configuration, through that node; prints who has it.
update() {
    call=$(python3 -c 'import json, sys
print(json.dumps({"id": 1, "op": "conf-update", "text": open(sys.argv[1]).read()}))' "$tmp/next.conf")
    ctl "$1" "$call"
}

# has NODE...: wait until each has $tmp/next.conf as its file.
has() { for at in "$@"; do wait_for 15 cmp -s "$tmp/next.conf" "$tmp/$at.conf"; done; }

conf 3
for number in 1 2 3; do cp "$tmp/cluster.conf" "$tmp/$number.conf"; done
begin 1
begin 2
begin 3
quorate 1 2 3

# A fourth node: the update first, then its daemon with the same file.
write 2 1 2 3 4
update 2 >"$tmp/out"
equal 'stored' "$(grep -o '"stored":true' "$tmp/out" | wc -l)" 3
has 1 2 3
grep -q 'config_version="1"' "$tmp/1.conf.old" || fail 'the former file is not kept'
cp "$tmp/next.conf" "$tmp/4.conf"
begin 4
quorate 4
wait_for 20 sh -c "cluster-stat --json --socket '$tmp/1.sock' | grep -q '\"votes_expected\":4'"
lock 4 -w 60 r -- true || fail 'no lock on the node that was added'

# What is no successor is refused with its reason.
update 1 >"$tmp/out"
grep -q '"kind":"changed","message":"config_version is 2, and 2 is in force' "$tmp/out" || fail "$(cat "$tmp/out")"

# The leader is taken out: it goes by itself, the others go on.
out=$(leader 1)
rest=$(for number in 1 2 3 4; do [ "$number" = "$out" ] || printf '%s ' "$number"; done)
first=${rest%% *}
# shellcheck disable=SC2086 # a list
write 3 $rest
update "$first" >"$tmp/out"
equal 'stored' "$(grep -o '"stored":true' "$tmp/out" | wc -l)" 3
code=0
wait "$(daemon "$out")" || code=$?
equal 'exit status of the removed' "$code" 2
grep -q 'configuration 3 has this node no more: it was removed' "$tmp/join$out.log" || fail "$(cat "$tmp/join$out.log")"
# shellcheck disable=SC2086
quorate $rest
wait_for 20 sh -c "cluster-stat --json --socket '$tmp/$first.sock' | grep -q '\"votes_expected\":3'"
lock "$first" -w 60 r -- true || fail 'no lock after the leader was removed'
# Its own file does not have it any more, so it does not start again.
fails 2 cluster-join --conf "$tmp/$out.conf" --node "$net.$out" --state "$tmp/state$out" --socket "$tmp/x.sock" --key "$tmp/key"
grep -q "is not one of the nodes" "$tmp/err" || fail "$(cat "$tmp/err")"

# A node that was away has an old file: it is brought up to date.
last=${rest% }
last=${last##* }
down "$last"
# shellcheck disable=SC2086
write 4 $rest
update "$first" >"$tmp/out"
grep -q '"version":4' "$tmp/out" || fail "$(cat "$tmp/out")"
begin "$last"
has "$last"
quorate "$last"

# One leaves for good by its own wish.
ctl "$last" '{"id":1,"op":"leave","remove":true}' >"$tmp/out"
equal 'leave' "$(cat "$tmp/out")" '{"id":1,"ok":{"done":{}}}'
wait "$(daemon "$last")" || fail 'a daemon that left exits with an error'
wait_for 20 sh -c "cluster-stat --json --socket '$tmp/$first.sock' | grep -q '\"votes_expected\":2'"
wait_for 15 grep -q 'config_version="5"' "$tmp/$first.conf"
grep -q "\"$net.$last\"" "$tmp/$first.conf" && fail 'the node that left is still in the file'
lock "$first" -w 60 r -- true || fail 'no lock after a node left'
