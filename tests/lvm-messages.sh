#!/bin/sh
# What goes wrong is said in LVM2's words, with its exit codes: scripts read both.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"

new_disk a 64M
a=$disk
new_disk b 64M
b=$disk
lvm2 vgcreate -qq v "$a"
lvm2 lvcreate -qq -an -Zn -Wn -l 1 -n d v 2>/dev/null
lvm2 vgcreate -qq --maxlogicalvolumes 1 capped "$b"
lvm2 lvcreate -qq -an -Zn -Wn -l 1 -n d capped 2>/dev/null

# same COMMAND...: both refuse with the same exit status and the same words.
same() {
    theirs=0 mine=0
    lvm2 "$@" >"$tmp/theirs" 2>&1 </dev/null || theirs=$?
    ours "$@" >"$tmp/mine" 2>&1 </dev/null || mine=$?
    [ "$theirs" != 0 ] || fail "LVM2 accepts: $*"
    equal "exit status of $*" "$mine" "$theirs"
    diff -u "$tmp/theirs" "$tmp/mine" || fail "$*"
}

same lvs nosuch
same vgs nosuch
same lvs v/nosuch
same pvs /dev/null
same lvcreate -an -L 4m nosuch
same lvcreate -an -L 4m -n d v
same lvcreate -an -L 9g -n big v
same lvcreate -an -l 99 -n big v
same lvcreate -an -L 0 -n zero v
same lvcreate -an -L 4m -n snapshot1 v
same lvcreate -an -L 4m -n x_rimage_0 v
same lvcreate -an -L 4m -n bad/name v
same lvcreate -an
same lvcreate --foo
same lvcreate -an -L 4x v
same lvcreate -a aax -L 4m v
same lvcreate -an -L 4m -n d2 capped
same lvremove -y v/nosuch
same lvremove -y nosuch/d
same lvchange -ay v/nosuch
same vgchange -ay nosuch
same vgremove nosuch
same vgcreate v "$a"
same vgcreate w "$a"
same pvcreate "$a"
same pvcreate /dev/nosuch
same pvremove "$a"
same lvs --reportformat json_std
same lvs --units x

fails 3 vg-tool lvremove
grep -q "  No command with matching syntax recognised.  Run 'lvremove --help' for more information." "$tmp/err"
fails 3 vg-tool vgcreate w

fails 2 vg-tool nosuchcommand
grep -q "  No such command.  Try 'lvm help'." "$tmp/err" || fail "$(cat "$tmp/err")"

# One program under many names.
ln -s "$BIN/vg-tool" "$tmp/lvs"
ln -s "$BIN/vg-tool" "$tmp/lvm"
equal "as lvs" "$("$tmp/lvs" --noheadings -o lv_name v)" "  d   "
equal "as lvm lvs" "$("$tmp/lvm" lvs --noheadings -o lv_name v)" "  d   "
equal "as vg-tool lvm lvs" "$(vg-tool lvm lvs --noheadings -o lv_name v)" "  d   "
equal "by path" "$(vg-tool lvs --noheadings -o lv_full_name /dev/v/d)" "  v/d "

# Without device-mapper: what needs it says so and changes nothing, what does not works.
if [ ! -e /sys/class/misc/device-mapper ]; then
    fails 5 vg-tool lvcreate -L 4m -n active v
    grep -q 'the kernel has no device-mapper' "$tmp/err" || fail "$(cat "$tmp/err")"
    fails 5 vg-tool lvchange -ay v/d
    equal "seqno" "$(seqno v)" 2
    vg-tool lvcreate -q -an -L 4m -n inactive v 2>/dev/null || fail "-an needs no device-mapper"
    vg-tool lvremove -q v/inactive || fail "lvremove needs no device-mapper"
fi

# The first 2 KiB and a file system's signature go when a disk becomes a physical volume, after a
# question; without an answer nothing is touched.
new_disk c 16M
printf '\123\357' | dd of="$disk" bs=1 seek=1080 conv=notrunc status=none
fails 5 vg-tool pvcreate "$disk" </dev/null
grep -q "WARNING: ext4 signature detected on $disk at offset 1080. Wipe it?" "$tmp/err" || fail "$(cat "$tmp/err")"
equal "still there" "$(dd if="$disk" bs=1 skip=1080 count=2 status=none | od -An -tx1)" " 53 ef"
vg-tool pvcreate -y "$disk" >/dev/null
equal "gone" "$(dd if="$disk" bs=1 skip=1080 count=2 status=none | od -An -tx1)" " 00 00"
