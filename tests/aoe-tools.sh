#!/bin/sh
# The aoe- programs on fixtures, in a mount namespace where /dev/etherd and
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
        mount -t tmpfs tmpfs /run
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

# --- aoe-flush
outcome aoe-flush
expect "no node" 1 "" "aoe-flush: /dev/etherd/flush does not exist or is not writeable."
: >"$tmp/dev/etherd/flush"
outcome aoe-flush -a
expect "a file" 1 "" "aoe-flush: /dev/etherd/flush is not a character device file
aoe-flush: use udev or aoe-mkdevs to create it"
rm "$tmp/dev/etherd/flush"
mknod "$tmp/dev/etherd/flush" c 1 3
# wrote STRING...: what the program wrote, its own name aside, which the original asks basename for.
wrote() {
    equal "what was written" "$(sed -n '/"aoe-/d; s/.*write([0-9]*, \("[^"]*"\), .*/\1/p' "$tmp/trace" | tr '\n' ' ')" "$1 "
}
traced aoe-flush
expect "all that is down" 0 "" ""
wrote '"\n"'
traced aoe-flush -a
expect "all that is not in use" 0 "" ""
wrote '"all"'
if [ -z "${ORIGINAL-}" ]; then
    # The original asks aoe-stat, which does not see these: its messages are the same, on stdout.
    traced aoe-flush e0.3 e20.0
    expect "two devices" 0 "" ""
    wrote '"e0.3" "e20.0"'
    traced aoe-flush e0.3 e9.9
    expect "an unknown device" 1 "" 'aoe-flush Error: "e9.9" is not an aoe device'
fi
rm "$tmp/dev/etherd/flush"
mknod "$tmp/dev/etherd/flush" c 1 7
outcome aoe-flush -a
equal "the driver refuses: status" "$status" 1
grep -q '^aoe-flush: flush failed$' "$tmp/err" || fail "the driver refuses: $(cat "$tmp/err")"

# --- aoe-revalidate
outcome aoe-revalidate
expect "no device named" 1 "" "Usage: aoe-revalidate e{major}.{minor}"
outcome aoe-revalidate e0.3
expect "no node" 1 "" "aoe-revalidate: /dev/etherd/revalidate does not exist or is not writeable"
mknod "$tmp/dev/etherd/revalidate" c 1 3
traced aoe-revalidate e0.3
expect "revalidation" 0 "" ""
wrote '"e0.3\n"'
rm "$tmp/dev/etherd/revalidate"
mknod "$tmp/dev/etherd/revalidate" c 1 7
outcome aoe-revalidate e0.3
equal "the driver refuses: status" "$status" 1
grep -q '^aoe-revalidate: revalidate failed$' "$tmp/err" || fail "the driver refuses: $(cat "$tmp/err")"

# --- aoe-mkdevs, aoe-mkshelf
nodes() { (cd "$1" && stat -c '%n %F %a %Hr:%Lr' -- * | sed 's/ special file//' | sort -V); }
outcome aoe-mkdevs
expect "no directory" 1 "" "Usage: aoe-mkdevs {dir}
       n_partitions=16 aoe-mkdevs {dir}"
outcome aoe-mkshelf /dev/made
expect "no shelf" 1 "" "Usage: aoe-mkshelf {dir} {shelfaddress}
       n_partitions=16 aoe-mkshelf {dir} {shelfaddress}"
(export n_partitions=1 n_shelves=2 && outcome aoe-mkdevs /dev/made && expect "the driver of 2005" 0 "" "")
equal "its nodes" "$(nodes "$tmp/dev/made" | sed -n '1,8p;37p' | tr '\n' ';')" \
    "discover character 200 152:3;e0.0 block 660 152:0;e0.1 block 660 152:1;e0.2 block 660 152:2;e0.3 block 660 152:3;e0.4 block 660 152:4;e0.5 block 660 152:5;e0.6 block 660 152:6;revalidate character 200 152:5;"
equal "how many" "$(nodes "$tmp/dev/made" | wc -l)" 37
outcome aoe-mkshelf /dev/made 7
expect "one shelf" 0 "" ""
equal "a partition of its last disk" "$(nodes "$tmp/dev/made" | grep '^e7.15p15 ')" "e7.15p15 block 660 152:2047"
outcome aoe-mkshelf /dev/nowhere 1
equal "no such directory: status" "$status" 1
mkdir "$tmp/dev/.udev"
outcome aoe-mkdevs /dev/made
expect "with udev" 1 "" "aoe-mkdevs Error: udev detected.  You shouldn't need to use aoe-mkdevs.
aoe-mkdevs: Please see the aoe-mkdevs manpage.
aoe-mkdevs: Exiting."
rmdir "$tmp/dev/.udev"
echo 1 >"$tmp/sys/module/aoe/parameters/aoe_dyndevs"
outcome aoe-mkshelf /dev/made 1
expect "dynamic devices" 1 "" "aoe-mkshelf Error: aoe module is using dynamic devices.
aoe-mkshelf: Please see the aoe-mkshelf manpage.
aoe-mkshelf: Exiting."
rm "$tmp/sys/module/aoe/parameters/aoe_dyndevs"

# --- aoe-version
outcome aoe-version
equal "versions: status" "$status" 0
printf '              aoetools:\t36\n  installed aoe driver:\n    running aoe driver:\t85\n' >"$tmp/wanted"
echo 85 >"$tmp/sys/module/aoe/version"
outcome aoe-version
sed 's/^\( *installed aoe driver:\).*/\1/' "$tmp/out" | cmp - "$tmp/wanted" || fail "versions: $(cat "$tmp/out")"

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
