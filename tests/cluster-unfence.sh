#!/bin/sh
# A host asks its own unfence devices for what a fencing took: when it has joined, and before it is
# granted anything. What they refuse another member may do for it.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires cluster-fence python3

# A storage switch: $tmp/ports/N is what node N's port is. It opens for nobody while `jammed' is there.
mkdir "$tmp/ports" "$tmp/agents"
export FENCE_PATH="$tmp/agents"
cat >"$tmp/agents/fence_port" <<'SH'
#!/bin/sh
while IFS='=' read -r name value; do
    case $name in
        action) action=$value ;;
        port) port=$value ;;
        switch) switch=$value ;;
    esac
done
echo "$action $port" >>"$switch/log"
[ ! -e "$switch/jammed" ] || {
    echo 'fence_port: the switch does not answer' >&2
    exit 1
}
echo "$action" >"$switch/$port"
SH
chmod +x "$tmp/agents/fence_port"
: >"$tmp/ports/log"

conf 3
{
    printf '<cluster name="test" config_version="1">\n<cman port="%s"/><totem token="%s"/>\n' "$port" "$token"
    printf '<fence_daemon post_join_delay="-1" override_time="1"/>\n<clusternodes>\n'
    for number in 1 2 3; do
        printf '<clusternode name="%s.%s" nodeid="%s"><fence><method name="port">' "$net" "$number" "$number"
        printf '<device name="san" port="%s" action="off"/></method></fence>' "$number"
        [ "$number" != 3 ] || printf '<unfence><device name="san" port="3" action="on"/></unfence>'
        printf '</clusternode>\n'
    done
    printf '</clusternodes>\n<fencedevices><fencedevice name="san" agent="fence_port" switch="%s"/></fencedevices>\n</cluster>\n' \
        "$tmp/ports"
} >"$tmp/cluster.conf"
asked() { grep -c "^$1 $2\$" "$tmp/ports/log" || :; }
held() { cluster-stat --socket "$tmp/$1.sock" locks | grep -q "^$2	granted	$net\.$3	"; }
# sticky NODE: it takes the lock `volume' and keeps it.
sticky() { ctl "$1" '{"id":1,"op":"lock","resource":"volume","mode":"EX","sticky":true}' | grep -q '"granted"' || fail 'not granted'; }

# Alone it has not joined, and asks nobody.
boot=first3
join 3
fails 1 lock 3 -n volume -- true
equal 'asked before it joined' "$(asked on 3)" 0
boot=first1
join 1
boot=first2
join 2
quorate 1 2 3
lock 3 -w 60 volume -- true || fail "nothing for a node that can unfence itself: $(stat 3)"
equal 'its port' "$(cat "$tmp/ports/3")" on
equal 'asked' "$(asked on 3)" 1
wait_for 10 grep -q "node $net.3 is unfenced by $net.3 itself" "$tmp/join1.log"
cluster-stat --socket "$tmp/1.sock" log --kind unfenced | grep -q "	unfenced	$net.3	" || fail "$(cluster-stat --socket "$tmp/1.sock" log)"

# A daemon that starts over in the same boot keeps its lock, and what it has is not asked for again.
sticky 3
down 3
boot=first3
join 3
quorate 3
wait_for 20 held 1 volume 3
lock 3 -w 60 other -- true || fail "nothing for a node that is back: $(stat 3)"
equal 'asked while it holds something' "$(asked on 3)" 1

# It dies, its port is closed, and its next boot finds a switch that does not answer: it is a member,
# and granted nothing.
down 3
lock 1 -w 60 volume -- true || fail "not fenced: $(cat "$tmp/ports/log")"
equal 'its port' "$(cat "$tmp/ports/3")" off
: >"$tmp/ports/jammed"
boot=second3
join 3
quorate 3
wait_for 20 grep -q 'this host is not unfenced, so nothing is granted: device san: .*the switch does not answer' "$tmp/join3.log"
fails 1 lock 3 -n volume -- true
grep -q 'volume: this host is not unfenced: device san: ' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 lock 3 -w 1 volume -- true
grep -q 'the time to wait has passed, this host is not unfenced' "$tmp/err" || fail "$(cat "$tmp/err")"
stat 3 | grep -q "cluster-fence unfence $net.3" || fail "$(stat 3)"
seen=$(asked on 3)
more() { [ "$(asked on 3)" -gt "$((seen + 1))" ]; }
wait_for 20 more
# The others are not kept from anything.
lock 1 -w 60 volume -- true || fail 'one host that is not unfenced keeps the others waiting'

# The switch answers again.
rm "$tmp/ports/jammed"
lock 3 -w 60 volume -- true || fail "nothing although the switch answers: $(stat 3)"
equal 'its port' "$(cat "$tmp/ports/3")" on

# Where a host cannot do it itself, a member does it for it.
down 3
mkdir "$tmp/lame"
printf '#!/bin/sh\nexit 1\n' >"$tmp/lame/fence_port"
chmod +x "$tmp/lame/fence_port"
echo off >"$tmp/ports/3"
boot=third3
join 3 env FENCE_PATH="$tmp/lame"
quorate 3
wait_for 20 grep -q 'this host is not unfenced, so nothing is granted' "$tmp/join3.log"
start waiting.log clvm-lock --socket "$tmp/3.sock" -w 60 volume -- true
waiting=$pid
cluster-fence --socket "$tmp/1.sock" unfence "$net.3" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
wait "$waiting" || fail "nothing for a node that another one unfenced: $(cat "$tmp/waiting.log")"
equal 'its port' "$(cat "$tmp/ports/3")" on

# Fenced for the second time it is not let in; whoever lets it in has its port opened as well.
sticky 3
down 3
lock 1 -w 60 volume -- true || fail "not fenced: $(cat "$tmp/ports/log")"
boot=fourth3
join 3 env FENCE_PATH="$tmp/lame"
wait_for 20 sh -c "cluster-stat --socket '$tmp/1.sock' | grep -q ' $net.3 .* held '"
equal 'its port' "$(cat "$tmp/ports/3")" off
cluster-fence --socket "$tmp/1.sock" unfence "$net.3" >"$tmp/out" 2>&1 || fail "$(cat "$tmp/out")"
equal 'its port' "$(cat "$tmp/ports/3")" on
quorate 3
lock 3 -w 60 volume -- true || fail "nothing for a node that was let in: $(stat 3)"
! grep -q 'not unfenced' "$tmp/join3.log" || fail "$(cat "$tmp/join3.log")"
