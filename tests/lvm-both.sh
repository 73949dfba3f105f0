#!/bin/sh
# LVM2 and vg-tool change one volume group in turns; each reads what the other wrote.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"

new_disk a 64M
a=$disk
new_disk b 48M
b=$disk

# Labels.
equal "pvcreate" "$(ours pvcreate "$a" --metadatasize 32k --dataalignment 4k)" \
    "  Physical volume \"$a\" successfully created."
equal "layout" "$(lvm2 pvs --noheadings --units b -o pe_start,pv_mda_size,pv_mda_count "$a")" "   36864B    32768B     1"
ours pvcreate -q --pvmetadatacopies 2 "$b"
lvm2 pvck --dump headers "$b" >"$tmp/headers" || fail "pvck does not like the label"
lvm2 pvs --noheadings -o pv_mda_count,pe_start "$b" | grep -q '2 *1.00m' || fail "two metadata areas"

# The group, then volumes by both in turns.
equal "vgcreate" "$(ours vgcreate v "$a" "$b")" '  Volume group "v" successfully created'
lvm2 vgck v || fail "vgck"
equal "first seqno" "$(seqno v)" 1
equal "lvcreate" "$(ours lvcreate -an -L 5m -n one v)" "  Rounding up size to full physical extent 8.00 MiB
  Logical volume \"one\" created."
lvm2 lvcreate -qq -an -Zn -Wn -l 3 -n two v "$b" 2>/dev/null
ours lvcreate -q -an -l 2 -n three v "$b:5-" 2>/dev/null
lvm2 lvcreate -qq -an -Zn -Wn -l 2 -i 2 -n striped v 2>/dev/null
ours lvremove -q v/one
lvm2 lvrename -qq v two zwei
ours lvcreate -q -an -l 1 --addtag t1 -p r -n four v 2>/dev/null
equal "seqno" "$(seqno v)" 8
wanted="  four     1 /dev/a(0)
  striped  2 /dev/a(2),/dev/b(3)
  three    2 /dev/b(5)
  zwei     3 /dev/b(0)"
columns=lv_name,seg_size_pe,devices
lvm2 lvs --noheadings --separator ' ' -o $columns v >"$tmp/theirs"
ours lvs --noheadings --separator ' ' -o $columns v >"$tmp/mine"
cmp "$tmp/theirs" "$tmp/mine" || fail "they see different volumes: $(cat "$tmp/theirs" "$tmp/mine") $wanted"
[ "$(wc -l <"$tmp/mine")" = 4 ] || fail "volumes: $(cat "$tmp/mine")"
lvm2 lvs --noheadings -o lv_attr,lv_tags v/four | grep -q -- '-ri.* t1' || fail "permission and tag"

# The text: what LVM2 makes of the group as we wrote it is what we keep as a backup, but for the
# lines that name the writer.
lvm2 vgcfgbackup -f "$tmp/theirs" v >/dev/null
sed '/^#/d; /^description/d; /^creation_/d' "$tmp/theirs" >"$tmp/theirs.group"
sed '/^#/d; /^description/d; /^creation_/d' "$LVM_SYSTEM_DIR/backup/v" >"$tmp/mine.group"
diff -u "$tmp/theirs.group" "$tmp/mine.group" || fail "backup"
grep -q "^description = \"Created \*after\* executing 'lvcreate" "$LVM_SYSTEM_DIR/backup/v" || fail "backup description"
set -- "$LVM_SYSTEM_DIR"/archive/v_0000[0-9]-*.vg
[ -s "$1" ] || fail "archive"

# Round the ring, which holds two texts or so: hundreds of changes by one, checked by the other.
round=0
while [ "$round" -lt 40 ]; do
    ours lvcreate -q -an -l 1 -n "r$((round % 7))" v 2>/dev/null
    [ $((round % 10)) != 0 ] || lvm2 vgck v || fail "vgck after $round changes"
    ours lvremove -q "v/r$((round % 7))"
    round=$((round + 1))
done
equal "seqno after the rounds" "$(seqno v)" 88
lvm2 lvcreate -qq -an -Zn -Wn -l 1 -n last v 2>/dev/null || fail "LVM2 can still change it"
ours lvs v/last >/dev/null

# A text that does not fit is refused, and nothing changes.
new_disk c 64M
c=$disk
ours vgcreate -q --metadatasize 32k --dataalignment 4k -s 64k w "$c"
number=0
while ours lvcreate -q -an -l 1 -n "volume$number" w 2>"$tmp/err"; do
    number=$((number + 1))
    [ "$number" -lt 200 ] || fail "a 32 KiB area cannot hold $number volumes"
done
grep -q 'VG w [0-9]* metadata on .* exceeds maximum metadata size (15616 bytes)' "$tmp/err" || fail "$(cat "$tmp/err")"
equal "volumes that fit" "$(lvm2 vgs --noheadings -o lv_count w | tr -d ' ')" "$number"

# The way back to bare disks.
equal "vgremove" "$(ours vgremove -y v | tail -n 1)" '  Volume group "v" successfully removed'
equal "free again" "$(lvm2 pvs --noheadings -o pv_name,pv_attr,pv_in_use "$a" "$b" | tr -d ' ')" "$a---
$b---"
equal "pvremove" "$(ours pvremove "$a")" "  Labels on physical volume \"$a\" successfully wiped."
fails 5 lvm pvs --driverloaded n "$a"
