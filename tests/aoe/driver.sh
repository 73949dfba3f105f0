# Sourced by tests/aoe-*.sh after lib.sh, with namespaces `target' and `client' there: the aoe driver's
# files, played by scripts.
# shellcheck shell=sh disable=SC2154 # tmp is lib.sh's

mkdir -p "$tmp/sys/block" "$tmp/sys/module/aoe/parameters" "$tmp/sys/kernel/debug/aoe" "$tmp/etherd" "$tmp/run"
export sysfs_dir="$tmp/sys" etherd_dir="$tmp/etherd" run_dir="$tmp/run"
parameter=$tmp/sys/module/aoe/parameters/aoe_deadsecs
echo 180 >"$parameter"
mknod "$tmp/etherd/flush" c 1 3

# device NAME STATE INFLIGHT: in sysfs.
device() {
    mkdir -p "$tmp/sys/block/etherd!$1"
    echo "$2" >"$tmp/sys/block/etherd!$1/state"
    echo "$3" >"$tmp/sys/block/etherd!$1/inflight"
    echo "5 0 0 0 7 0 0 0 0 0 0 0 0 0 0 0 0" >"$tmp/sys/block/etherd!$1/stat"
    echo eth1 >"$tmp/sys/block/etherd!$1/netif"
    : >"$tmp/etherd/$1"
}
# driver NAME: fail the device once the parameter is low, as the real one does.
driver() {
    (
        until [ "$(cat "$parameter")" = 1 ]; do sleep 0.02; done
        echo down,closewait >"$tmp/sys/block/etherd!$1/state"
    ) &
    cleanup "kill $! 2>/dev/null"
}
