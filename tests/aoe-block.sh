#!/bin/sh
# Block devices: no page cache in between, one claim a device, none that is mounted or has blocks
# larger than AoE's sectors. On loop devices.
. "$(dirname -- "$0")/lib.sh"
requires losetup strace mkfs.ext4
. "$(dirname -- "$0")/aoe/lib.sh"

# loop NAME SECTOR-SIZE: a loop device on a file of 16 MiB; its path is in $loop.
loop() {
    truncate -s 16M "$tmp/$1"
    loop=$(losetup -f --show -b "$2" "$tmp/$1") || skip "no loop devices here"
    cleanup "losetup -d $loop"
}
loop small 512
small=$loop
loop large 4096
large=$loop
fails 1 in_ns target aoe-vblade 7 3 eth1 "$large"
equal "4096-byte blocks" "$(cat "$tmp/err")" \
    "aoe-vblade: $large: its blocks are 4096 bytes, AoE reads and writes single sectors of 512"

serve strace -f -qq -o "$tmp/trace" -e trace=openat,pwritev2 "$BIN/aoe-vblade" --engine threads 7 3 eth1 "$small"
equal "the line" "$(sed 's/.*: //' "$tmp/line")" "e7.3, 32768 sectors O_RDWR"
opened=$(grep -F "\"$small\"" "$tmp/trace" | tail -n 1)
for flag in O_RDWR O_DIRECT; do
    case $opened in *$flag*) ;; *) fail "not $flag: $opened" ;; esac
done
case $opened in *O_EXCL*) fail "device-mapper of this host could not use it: $opened" ;; esac

# A block read over AoE, changed beside it without a page cache, is read again as it is now.
sector() { printf '10 00 0007 03 00 %08d 40 00 01 24 0900 0000 0000 0000\n' "$1" | in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c 45-1068; }
equal "before" "$(sector 1)" "$(printf '%01024d' 0)"
head -c 512 /dev/zero | tr '\0' '\252' >"$tmp/sector"
dd if="$tmp/sector" of="$small" bs=512 seek=9 count=1 oflag=direct conv=notrunc status=none
equal "after" "$(sector 2)" "$(printf '%01024d' 0 | tr 0 a)"
# And the other way round, durable by itself.
printf '10 00 0007 03 00 00000003 41 00 01 34 0900 0000 0000 0000 %01024d\n' 0 |
    in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c 21-28 | grep -qx 41000040 || fail "no write"
equal "beside it" "$(dd if="$small" bs=512 skip=9 count=1 iflag=direct status=none | od -An -v -tx1 | tr -d ' \n')" \
    "$(printf '%01024d' 0)"
grep -q 'pwritev2(.*RWF_DSYNC' "$tmp/trace" || fail "not durable: $(grep pwritev2 "$tmp/trace")"

fails 1 in_ns target aoe-vblade 7 4 eth1 "$small"
grep -q "$small: claimed by another process (flock)" "$tmp/err" || fail "$(cat "$tmp/err")"
kill "$pid"
wait $job || fail "status $?"

# udev's look at a device, a shared claim for a moment, is waited for.
mkfifo "$tmp/held" "$tmp/release"
sh -c 'exec 9<"$1"; flock -s 9; echo >"$2"; head -n 1 "$3" >/dev/null' sh "$small" "$tmp/held" "$tmp/release" &
read -r _ <"$tmp/held"
ip netns exec "$(ns target)" aoe-vblade 7 3 eth1 "$small" >"$tmp/line" 2>"$tmp/log" </dev/null &
job=$!
echo >"$tmp/release"
wait_for 10 test -s "$tmp/line"
pid=$(sed -n 's/^pid \([0-9]*\): .*/\1/p' "$tmp/line")
kill "$pid"
wait $job || fail "status $?: $(cat "$tmp/log")"

mkfs.ext4 -q "$small"
mkdir "$tmp/mount"
cleanup "umount $tmp/mount 2>/dev/null"
mount "$small" "$tmp/mount"
fails 1 aoe-vblade 7 3 lo "$small"
equal "a mounted device" "$(cat "$tmp/err")" "aoe-vblade: $small: mounted on $tmp/mount"
umount "$tmp/mount"
if mkswap "$small" >/dev/null 2>&1 && swapon "$small" 2>/dev/null; then
    cleanup "swapoff $small 2>/dev/null"
    fails 1 aoe-vblade 7 3 lo "$small"
    equal "swap" "$(cat "$tmp/err")" "aoe-vblade: $small: in use as swap"
    swapoff "$small"
fi
