#!/bin/sh
# aoe-discover, aoe-interfaces and aoe-stat on fixtures, in a mount namespace where /dev/etherd and
# /sys/module are ours. ORIGINAL=1 runs the same checks on Debian's aoetools.
. "$(dirname -- "$0")/lib.sh"
requires unshare strace
requires_root
bin=$BIN
[ -z "${ORIGINAL-}" ] || { bin=/sbin && requires /sbin/aoe-stat; }

mkdir -p "$tmp/sys/block" "$tmp/sys/class/net/eth0" "$tmp/sys/module/aoe/parameters" "$tmp/dev/etherd"
mknod "$tmp/dev/null" c 1 3

# The fixtures in place: the original cannot be pointed at others, and its aoe-stat overlooks every
# path with a "p" in it, so sysfs_dir is /mnt.
fixture() {
    # shellcheck disable=SC2016 # expanded by that shell
    sysfs_dir=/mnt unshare -m sh -eu -c '
        tmp=$1
        shift
        mount --bind "$tmp/sys" /mnt
        mount --bind "$tmp/sys/module" /sys/module
        mount --bind "$tmp/sys/class/net" /sys/class/net
        mount --bind "$tmp/dev" /dev
        exec "$@"' sh "$tmp" "$@"
}
# outcome PROGRAM ARGUMENT...: its status; $tmp/out and $tmp/err have the rest.
outcome() {
    program=$1
    shift
    status=0
    fixture "$bin/$program" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
}
# expect WHAT STATUS STDOUT STDERR, after outcome.
expect() {
    equal "$1: status" "$status" "$2"
    equal "$1: stdout" "$(cat "$tmp/out")" "$3"
    equal "$1: stderr" "$(cat "$tmp/err")" "$4"
}
# device NAME DEV SIZE NETIF PAYLOAD STATE: one in sysfs; - leaves a file out.
device() {
    directory="$tmp/sys/block/etherd!$1"
    mkdir -p "$directory"
    shift
    for file in dev size netif payload state; do
        rm -f "$directory/$file"
        [ "$1" = - ] || echo "$1" >"$directory/$file"
        shift
    done
}

# --- aoe-stat
outcome aoe-stat
expect "no devices" 1 "" ""
device e0.3 152:48 204800 eth0 - up
device e20.0 152:320 1953545776 eth0 - down,closewait
outcome aoe-stat
expect "an old driver" 0 "      e0.3         0.104GB   eth0 up            
     e20.0      1000.215GB   eth0 down,closewait" ""
device e0.3 152:48 204800 eth0,eth1 8704 up
device e20.0 152:320 1953545776 eth0 - down,closewait
device e65534.254 152:4080 - none 1024 -
device e1.1 - 0 - 1024 up
mkdir -p "$tmp/sys/block/sda" "$tmp/sys/block/etherd!e0.3p1"
outcome aoe-stat
expect "payloads" 0 "      e0.3         0.104GB  eth0,eth1 8704  up            
      e1.1         0.000GB       (NA) 1024  up            
     e20.0      1000.215GB       eth0 down,closewait               
e65534.254            (NA)       none 1024  (NA)          " ""
outcome aoe-stat 'e[01]\.'
expect "an expression" 0 "      e0.3         0.104GB  eth0,eth1 8704  up            
      e1.1         0.000GB       (NA) 1024  up            " ""
outcome aoe-stat 'e3\.'
expect "no match" 1 "" ""
outcome aoe-stat '['
equal "a bad expression: status" "$status" 2
grep -q '^grep: ' "$tmp/err" || fail "a bad expression: $(cat "$tmp/err")"
mknod "$tmp/dev/etherd/e0.3" b 152 48
mknod "$tmp/dev/etherd/e20.0" b 152 321
outcome aoe-stat e20
expect "a wrong minor" 0 "     e20.0      1000.215GB       eth0 down,closewait               " \
    "aoe-stat Warning: device node /dev/etherd/e20.0 has wrong minor device number"
mv "$tmp/sys/block" "$tmp/sys/elsewhere"
outcome aoe-stat
expect "no sysfs" 1 "" "aoe-stat Error: sysfs is not mounted"
mv "$tmp/sys/elsewhere" "$tmp/sys/block"

# --- aoe-discover
outcome aoe-discover
expect "no node" 1 "" "aoe-discover: /dev/etherd/discover does not exist or is not writeable."
: >"$tmp/dev/etherd/discover"
outcome aoe-discover
expect "a file" 1 "" "aoe-discover: /dev/etherd/discover is not a character device file
aoe-discover: use udev or aoe-mkdevs to create it"
rm "$tmp/dev/etherd/discover"
mknod "$tmp/dev/etherd/discover" c 1 3
# Traced, for the device keeps nothing.
traced() {
    program=$1
    shift
    status=0
    fixture strace -f -qq -s 200 -e trace=write -o "$tmp/trace" "$bin/$program" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
}
traced aoe-discover
expect discovery 0 "" ""
grep -q 'write([0-9]*, "\\n", 1)' "$tmp/trace" || fail "discovery wrote: $(cat "$tmp/trace")"

# --- aoe-interfaces
outcome aoe-interfaces
expect "no list" 1 "" ""
list=$tmp/sys/module/aoe/parameters/aoe_iflist
echo "eth0 eth1" >"$list"
outcome aoe-interfaces
expect "the list" 0 "eth0 eth1" ""
mkdir "$tmp/sys/class/net/eth2"
outcome aoe-interfaces eth2 eth0
expect "two interfaces" 0 "" ""
equal "what was written" "$(od -An -c "$list" | tr -d ' \n')" 'eth2eth0\0'
outcome aoe-interfaces "eth0 eth2"
expect "two in one argument" 0 "" ""
equal "what was written" "$(od -An -c "$list" | tr -d ' \n')" 'eth0eth2\0'
outcome aoe-interfaces eth0 foo0 bar0
expect "unknown interfaces" 1 "" 'aoe-interfaces Error: "foo0" is not a network interface
aoe-interfaces Error: "bar0" is not a network interface'
equal "and nothing was written" "$(od -An -c "$list" | tr -d ' \n')" 'eth0eth2\0'
outcome aoe-interfaces -c eth0
expect "-c with arguments" 1 "" "aoe-interfaces Error: -c flag takes no arguments"
outcome aoe-interfaces -c
expect "clearing" 0 "" ""
equal "what was written" "$(od -An -c "$list" | tr -d ' \n')" '\0'
rm "$list"
outcome aoe-interfaces eth0
expect "no node" 1 "" "aoe-interfaces: /dev/etherd/interfaces does not exist or is not writeable."
: >"$tmp/dev/etherd/interfaces"
outcome aoe-interfaces eth0
expect "a file" 1 "" "aoe-interfaces: /dev/etherd/interfaces is not a character device file
aoe-interfaces: use udev or aoe-mkdevs to create it"
rm "$tmp/dev/etherd/interfaces"
mknod "$tmp/dev/etherd/interfaces" c 1 3
traced aoe-interfaces eth2 eth0
expect "by the node" 0 "" ""
grep -q 'write([0-9]*, "eth2 eth0\\0", 10)' "$tmp/trace" || fail "the node got: $(cat "$tmp/trace")"

# --- ours alone: redirected by variables, and --json
[ -z "${ORIGINAL-}" ] || exit 0
export sysfs_dir="$tmp/sys" etherd_dir="$tmp/dev/etherd"
equal "--json" "$("$BIN/aoe-stat" --json 2>/dev/null | head -n 2)" \
    '{"device":"e0.3","bytes":104857600,"netif":"eth0,eth1","payload":8704,"state":"up"}
{"device":"e1.1","bytes":0,"netif":null,"payload":1024,"state":"up"}'
"$BIN/aoe-discover"
echo eth0 >"$list"
equal "sysfs_dir" "$("$BIN/aoe-interfaces")" eth0
fails 1 "$BIN/aoe-interfaces" ../net/eth0
