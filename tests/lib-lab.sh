# Sourced after lib.sh by the tests on real hosts: a lab of their own, and ours and Debian's
# programs side by side on its hosts.
# shellcheck shell=sh disable=SC2154 # tmp and top are lib.sh's
LAB_DIR=$tmp/lab
LAB=$top/tests/lab/lab
export LAB_DIR
# What runs on the hosts is the optimised build.
lab_bin=${LAB_PROGRAMS:-$top/target/lab}

# hosts_up N [OPTION...]: boot hosts; they are taken down with the test.
hosts_up() {
    requires_root
    (cd "$top" && cargo build -q --profile lab --workspace --bins)
    cleanup "$LAB down"
    "$LAB" up "$@"
}

# give_programs NODE...: ours into /opt/fivenines, which stands first in the PATH of `on`.
give_programs() {
    tar -C "$lab_bin" -cf "$tmp/programs.tar" aoe-vblade aoe-discover aoe-flush aoe-interfaces aoe-stat aoe-warm \
        cluster-join cluster-stat cluster-conf cluster-fence cluster-leave clvm-lock vg-tool xen-domctl fence_lab
    for node in "$@"; do
        "$LAB" push "$node" "$tmp/programs.tar" /run/programs.tar
        "$LAB" exec "$node" sh -c 'mkdir -p /opt/fivenines && tar -C /opt/fivenines -xf /run/programs.tar && rm /run/programs.tar && sync'
    done
}

# on NODE COMMAND: a shell command there, ours before Debian's in the PATH.
on() {
    node=$1
    shift
    "$LAB" exec "$node" sh -c "PATH=/opt/fivenines:\$PATH; export LVM_SUPPRESS_FD_WARNINGS=1; $*"
}

# await NODE SECONDS COMMAND: until it succeeds there.
await() {
    await_node=$1 await_seconds=$2
    shift 2
    wait_for "$await_seconds" on "$await_node" "$*"
}

# daemon NODE NAME COMMAND: started there in the background, its log in /run/NAME.log.
daemon() {
    node=$1 name=$2
    shift 2
    on "$node" "setsid $* >>/run/$name.log 2>&1 </dev/null & echo \$! >/run/$name.pid"
}

# stop NODE NAME [SIGNAL]: end a daemon and wait until it is gone.
stop() {
    on "$1" "pid=\$(cat /run/$2.pid); kill -${3:-TERM} \$pid; while kill -0 \$pid 2>/dev/null; do :; done"
}

# a_cluster NODE...: one key and cluster.conf on these hosts, and cluster-join running.
a_cluster() {
    head -c 64 /dev/urandom >"$tmp/key"
    {
        echo '<cluster name="lab" config_version="1">'
        [ $# != 2 ] || echo '<cman two_node="1" expected_votes="1"/>'
        # Emulated hosts on a busy machine are late; that must not look like a loss.
        echo '<totem token="5000"/>'
        echo '<clusternodes>'
        for node in "$@"; do
            echo "<clusternode name=\"$node\" nodeid=\"${node#node}\"><fence/></clusternode>"
        done
        echo '</clusternodes></cluster>'
    } >"$tmp/cluster.conf"
    for node in "$@"; do
        on "$node" 'umask 077; cat >/etc/cluster/cluster.key' <"$tmp/key"
        on "$node" 'cat >/etc/cluster/cluster.conf' <"$tmp/cluster.conf"
        daemon "$node" cluster-join cluster-join
    done
    for node in "$@"; do
        await "$node" 60 cluster-stat
    done
}
