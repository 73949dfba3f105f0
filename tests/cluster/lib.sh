# Sourced by tests/cluster-*.sh after lib.sh: clusters of daemons on loopback addresses.
# shellcheck shell=sh disable=SC2154 # tmp and pid are lib.sh's

requires cluster-join cluster-stat clvm-lock
# A network of this test's own, as far as loopback has any.
net=127.$(($$ / 250 % 250 + 1)).$(($$ % 250))
port=$((15000 + $$ % 10000))
token=${token:-1000}

# conf COUNT [CMAN-ATTRIBUTES]: cluster.conf and key of COUNT nodes, in $tmp.
conf() {
    {
        printf '<cluster name="%s" config_version="1">\n' "${cluster:-test}"
        printf '<cman port="%s" %s/><totem token="%s"/>\n<clusternodes>\n' "$port" "${2-}" "$token"
        for number in $(seq "$1"); do
            printf '<clusternode name="%s.%s" nodeid="%s"><fence/></clusternode>\n' "$net" "$number" "$number"
        done
        printf '</clusternodes>\n</cluster>\n'
    } >"$tmp/cluster.conf"
    head -c 64 /dev/urandom >"$tmp/key"
    chmod 600 "$tmp/key"
}

# join NODE [COMMAND...]: start that node's daemon, perhaps under a command, and wait until it serves.
# Where `boot' is set, that is which boot of its host it takes this for. A node whose
# cluster.conf is its own has it in $tmp/NODE.conf.
join() {
    node=$1
    shift
    file=$tmp/cluster.conf
    [ ! -e "$tmp/$node.conf" ] || file=$tmp/$node.conf
    start "join$node.log" "$@" cluster-join --conf "$file" --node "$net.$node" --state "$tmp/state$node" \
        --socket "$tmp/$node.sock" --key "$tmp/key" ${boot:+--boot "$boot"}
    printf '%s\n' "$pid" >"$tmp/$node.pid"
    wait_for 15 answers "$node"
}

# answers NODE: its daemon serves, quorate or not.
answers() {
    code=0
    cluster-stat --socket "$tmp/$1.sock" >/dev/null 2>&1 || code=$?
    [ "$code" -le 1 ]
}

# states_in_memory: where the nodes' states are on no disk. A disk that others keep busy may take
# longer for a flush than a token lasts, and a node that waits for it so long is lost, as it should.
states_in_memory() {
    memory=$(mktemp -d /dev/shm/fivenines-test.XXXXXX) || return 0
    cleanup "rm -rf '$memory'"
    for number in 1 2 3 4 5 6 7 8 9; do
        mkdir "$memory/$number"
        ln -s "$memory/$number" "$tmp/state$number"
    done
}

daemon() { cat "$tmp/$1.pid"; }

# down NODE [SIGNAL]: end that node's daemon and wait until it has ended.
down() {
    kill "-${2:-KILL}" "$(daemon "$1")"
    wait "$(daemon "$1")" 2>/dev/null || :
}

stat() { cluster-stat --socket "$tmp/$1.sock"; }
lock() {
    on=$1
    shift
    clvm-lock --socket "$tmp/$on.sock" "$@"
}

# quorate NODE...: wait until each of them says so.
quorate() { for at in "$@"; do wait_for 20 cluster-stat --socket "$tmp/$at.sock"; done; }

# leader SEEN-FROM: the number of the node that leads.
leader() { cluster-stat --socket "$tmp/$1.sock" | sed -n "s/^leader   $net\.\([0-9]*\) .*/\1/p"; }

# ctl NODE LINE...: send lines to the control socket, print as many answers.
ctl() {
    python3 - "$tmp/$1.sock" "$@" <<'PYTHON'
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(80)
client.connect(sys.argv[1])
reader = client.makefile()
for line in sys.argv[3:]:
    client.sendall(line.encode() + b"\n")
    print(reader.readline().rstrip())
PYTHON
}
