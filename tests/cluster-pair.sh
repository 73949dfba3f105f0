#!/bin/sh
# Of two nodes one goes on alone: after its peer was fenced, or by a person's word, and never else.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires python3

# An agent that says what $tmp/power says, and a configuration of two nodes that use it.
mkdir "$tmp/agents"
cat >"$tmp/agents/fence_test" <<AGENT
#!/bin/sh
cat >>"$tmp/asked"
[ "\$(cat "$tmp/power")" = good ]
AGENT
chmod +x "$tmp/agents/fence_test"
export FENCE_PATH="$tmp/agents"
head -c 64 /dev/urandom >"$tmp/key"
chmod 600 "$tmp/key"
{
    printf '<cluster name="test" config_version="1">\n'
    printf '<cman port="%s" two_node="1" expected_votes="1"/><totem token="%s"/>\n<clusternodes>\n' "$port" "$token"
    for number in 1 2; do
        printf '<clusternode name="%s.%s" nodeid="%s"><fence><method name="1">' "$net" "$number" "$number"
        printf '<device name="power"/></method></fence></clusternode>\n'
    done
    printf '</clusternodes>\n<fencedevices><fencedevice name="power" agent="fence_test"/></fencedevices>\n</cluster>\n'
} >"$tmp/cluster.conf"

# acknowledge NODE PEER NEWEST: what cluster-fence --ack says, through that node.
acknowledge() {
    python3 - "$tmp/$1.sock" "$net.$2" "$3" <<'PYTHON'
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(80)
client.connect(sys.argv[1])
reader = client.makefile()
def call(**request):
    client.sendall(json.dumps(dict(id=1, **request)).encode() + b"\n")
    return reader.readline()
pending = json.loads(call(op="fences"))["ok"]["fences"]["pending"][0]
print(call(op="fence-ack", node=sys.argv[2], operation=pending["operation"], incarnation=pending["incarnation"],
           newest=sys.argv[3] == "newest"), end="")
PYTHON
}

echo bad >"$tmp/power"
join 1
join 2
quorate 1 2
lock 1 -n before -- true || fail 'two of two grant no lock'

# Nothing is granted before the peer is certainly off.
down 2
wait_for 15 sh -c "cluster-stat --socket '$tmp/1.sock' | grep -q 'is not fenced after'"
fails 1 lock 1 -n alone -- true
grep -q "nodename=$net.2" "$tmp/asked" || fail "$(cat "$tmp/asked")"
echo good >"$tmp/power"
quorate 1
lock 1 -n alone -- true || fail 'no lock although the peer was fenced'
grep -q "$net.2 is certainly off (method 1, run by $net.1" "$tmp/join1.log" || fail "$(cat "$tmp/join1.log")"

# After a restart it still is the only voter, and asks nobody.
down 1
join 1
quorate 1

# The other one is back in another boot: its log is dropped, and both vote again.
echo bad >"$tmp/power"
start join2.log cluster-join --conf "$tmp/cluster.conf" --node "$net.2" --state "$tmp/state2" --socket "$tmp/2.sock" \
    --key "$tmp/key" --boot second
printf '%s\n' "$pid" >"$tmp/2.pid"
wait_for 20 grep -q 'went on without this one: this node.s log is dropped' "$tmp/join2.log"
quorate 2
wait_for 20 sh -c "cluster-stat --json --socket '$tmp/1.sock' | grep -q '\"votes_expected\":2'"
lock 2 -w 60 alone -- true || fail 'no lock on the node that returned'

# The other way round; the agent fails, and a person's word does.
down 1
wait_for 20 sh -c "cluster-stat --socket '$tmp/2.sock' | grep -q 'is not fenced after'"
acknowledge 2 1 no >"$tmp/out"
grep -q '"done"' "$tmp/out" || fail "$(cat "$tmp/out")"
quorate 2
lock 2 -n by-word -- true || fail 'no lock although a person said that the peer is off'

# The stale one alone: it must not go on by itself, and says what it waits for.
down 2
start join1.log cluster-join --conf "$tmp/cluster.conf" --node "$net.1" --state "$tmp/state1" --socket "$tmp/1.sock" \
    --key "$tmp/key" --boot third
printf '%s\n' "$pid" >"$tmp/1.pid"
wait_for 15 answers 1
wait_for 15 sh -c "cluster-stat --socket '$tmp/1.sock' | grep -q 'it may have gone on without this node'"
acknowledge 1 2 no >"$tmp/out"
grep -q 'newest' "$tmp/out" || fail "$(cat "$tmp/out")"
fails 1 lock 1 -n alone -- true
join 2
quorate 1 2
