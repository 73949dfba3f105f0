# Sourced after tests/cluster/lib.sh: fence devices in software, and a cluster.conf that uses them.
# shellcheck shell=sh disable=SC2154 # net, port, token and tmp are lib.sh's

# The room has a switch for every node: $tmp/room/N.power lists the processes that hang on it. What
# files are there decides how the agent behaves: `broken' and it fails, `lies' and it says yes and
# does nothing, `gate' (a pipe) and it waits for a line; that line is run before it says yes. Who is in
# the log is at the gate.
mkdir "$tmp/room" "$tmp/agents"
: >"$tmp/room/log"
export FENCE_PATH="$tmp/agents"
cat >"$tmp/agents/fence_room" <<'SH'
#!/bin/sh
# Options are read from standard input, as every fence agent does.
action=off
while IFS='=' read -r name value; do
    case $name in
        action) action=$value ;;
        port) port=$value ;;
        room) room=$value ;;
    esac
done
case $action in
    metadata)
        echo '<resource-agent name="fence_room"><parameters><parameter name="action"><content type="string"
            default="off"/></parameter></parameters><actions><action name="off"/><action name="on"/>
            <action name="status"/><action name="metadata"/></actions></resource-agent>'
        exit 0
        ;;
esac
gate=
[ "$action" != off ] || [ ! -p "$room/gate" ] || {
    # For writing as well: opening it does not wait for whoever opens the gate.
    exec 3<>"$room/gate"
    gate=3
}
echo "$action $port" >>"$room/log"
[ "$action" = off ] || exit 0
[ -z "$gate" ] || {
    read -r order <&3
    eval "$order"
}
[ ! -e "$room/broken" ] || {
    echo 'fence_room: the switch does not answer' >&2
    exit 1
}
[ -e "$room/lies" ] || while read -r process; do kill -KILL "$process" 2>/dev/null; done <"$room/$port.power"
exit 0
SH
chmod +x "$tmp/agents/fence_room"

# fence_conf COUNT: as lib.sh's conf, every node on its switch.
fence_conf() {
    conf "$1"
    {
        printf '<cluster name="test" config_version="1">\n<cman port="%s" %s/><totem token="%s"/>\n' \
            "$port" "${2-}" "$token"
        printf '<fence_daemon post_join_delay="-1" post_fail_delay="0" override_time="1"/>\n<clusternodes>\n'
        for number in $(seq "$1"); do
            printf '<clusternode name="%s.%s" nodeid="%s"><fence><method name="switch">' "$net" "$number" "$number"
            printf '<device name="room" port="%s" action="off"/></method></fence></clusternode>\n' "$number"
            : >"$tmp/room/$number.power"
        done
        printf '</clusternodes>\n<fencedevices><fencedevice name="room" agent="fence_room" room="%s"/></fencedevices>\n' \
            "$tmp/room"
        printf '</cluster>\n'
    } >"$tmp/cluster.conf"
}

# power NODE: its daemon is started, in a boot of its own, and hangs on the node's switch.
power() {
    boots=$((${boots:-0} + 1))
    # shellcheck disable=SC2034 # for join
    boot="boot-$1-$boots"
    printf '%s\n' "$boot" >"$tmp/room/$1.boot"
    settle "$1"
    daemon "$1" >"$tmp/room/$1.power"
}
# again NODE: its daemon is started once more, in the boot its host is in.
again() {
    # shellcheck disable=SC2034 # for join
    boot=$(cat "$tmp/room/$1.boot")
    settle "$1"
    daemon "$1" >"$tmp/room/$1.power"
}
# broken, lies, well: how the switches behave from now on.
broken() { : >"$tmp/room/broken"; }
lies() { : >"$tmp/room/lies"; }
well() { rm -f "$tmp/room/broken" "$tmp/room/lies" "$tmp/room/gate"; }
# gate: each switching off waits until `order COMMAND` says what happens first, and takes the gate away.
gate() {
    rm -f "$tmp/room/gate"
    mkfifo "$tmp/room/gate"
}
order() {
    mv "$tmp/room/gate" "$tmp/room/opened"
    # Several may wait there, and each takes a line.
    for _ in 1 2 3 4 5; do printf '%s\n' "$1"; done 1<>"$tmp/room/opened"
    rm "$tmp/room/opened"
}
# switched NODE COUNT: it has been switched off so many times, or is about to be.
switched() { [ "$(grep -c "^off $1\$" "$tmp/room/log" 2>/dev/null || :)" -ge "$2" ]; }
# sticky NODE RESOURCE: that host takes it and keeps it.
sticky() { ctl "$1" "{\"id\":1,\"op\":\"lock\",\"resource\":\"$2\",\"mode\":\"EX\",\"sticky\":true}" | grep -q '"granted"' || fail "node $1 did not get $2"; }
# free NODE RESOURCE: that node gets it at once.
free() { lock "$1" -n "$2" -- true; }
