#!/bin/sh
# Groups that must not be changed are not: missing disks, copies of disks, two histories, another
# host's, metadata from the future. LVM2's words where it has them.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"

# refuses WORDS GROUP: neither lvcreate nor lvremove does anything, and says why.
refuses() {
    for disk in $disks; do sha256sum "$disk"; done >"$tmp/sums"
    fails 5 vg-tool lvcreate -an -l 1 -n new "$2"
    grep -q -- "$1" "$tmp/err" || fail "$2: $(cat "$tmp/err")"
    fails 5 vg-tool lvremove -y "$2"
    grep -q -- "$1" "$tmp/err" || fail "$2: $(cat "$tmp/err")"
    sha256sum -c --quiet "$tmp/sums" || fail "$2 was changed"
}

fixture 07-missing-pv
refuses 'Cannot change VG fx7 while PVs are missing.' fx7
fixture 08-exported
refuses 'Volume group fx8 is exported' fx8
fixture 08-foreign-systemid
refuses 'Cannot access VG fx8 with system ID otherhost with unknown local system ID.' fx8
lvm_conf 'global/system_id_source = "lvmlocal" local/system_id = "otherhost"'
ours lvcreate -q -an -l 1 -n new fx8 2>/dev/null || fail "a group with our own system id"
fixture 08-dlm
refuses 'Cannot access VG fx8 with lock type dlm that requires lvmlockd.' fx8
fixture 09-duplicate-pv
refuses 'Cannot update volume group fx9 with duplicate PV devices.' fx9
fixture 12-unknown-compat-flag-and-key
refuses 'its metadata has what this version would lose: .*newkey' fx12
fixture 08-clustered
refuses 'Cannot access clustered VG fx8: .*cluster-join' fx8

# Two hosts that changed one group without knowing of each other.
disks=
new_disk a 32M
a=$disk
new_disk b 32M
b=$disk
ours vgcreate -q split "$a" "$b"
cp --sparse=always "$tmp/b.img" "$tmp/b.before"
ours lvcreate -q -an -l 1 -n left split "$a" 2>/dev/null
dd if="$a" of="$tmp/a.left" bs=1M iflag=direct status=none
dd if="$tmp/b.before" of="$b" bs=1M oflag=direct status=none
lvm_conf
ours lvremove -q -y split/left
ours lvcreate -q -an -l 1 -n right split "$b" 2>/dev/null
dd if="$tmp/b.before" of="$a" bs=1M count=0 status=none
# b now has seqno 4; bring a's half to the same number with other content.
dd if="$tmp/a.left" of="$a" bs=1M oflag=direct status=none
disks=$a
lvm_conf
cat >"$tmp/put.py" <<'PY'
import struct, sys, zlib
START = 0xf597a6cf
crc = lambda data: zlib.crc32(data, START ^ 0xffffffff) ^ 0xffffffff
with open(sys.argv[1], "r+b") as disk:
    disk.seek(4096)
    header = bytearray(disk.read(512))
    offset, size = struct.unpack_from("<QQ", header, 40)
    disk.seek(4096 + offset)
    text = disk.read(size).replace(b"seqno = 2", b"seqno = 4")
    disk.seek(4096 + offset)
    disk.write(text)
    struct.pack_into("<I", header, 40 + 16, crc(text))
    struct.pack_into("<I", header, 0, crc(bytes(header[4:])))
    disk.seek(4096)
    disk.write(header)
PY
requires python3
python3 "$tmp/put.py" "$a"
blockdev --flushbufs "$a" 2>/dev/null || :
disks="$a $b"
lvm_conf
fails 0 vg-tool vgs split
grep -q 'WARNING: VG split seqno 4 on .* differs from the one on' "$tmp/err" || fail "$(cat "$tmp/err")"
refuses 'differs from the one on' split

# --- a disk in use is not touched: not its first byte is erased before that is known
truncate -s 32M "$tmp/used.img"
mkfs.ext4 -q "$tmp/used.img"
used=$(losetup -f --show "$tmp/used.img")
cleanup "umount '$tmp/mounted' 2>/dev/null; losetup -d $used"
disks=$used
lvm_conf
mkdir "$tmp/mounted"
mount -o ro "$used" "$tmp/mounted"
before=$(head -c 65536 "$used" | cksum)
fails 5 vg-tool pvcreate -y "$used"
fails 5 vg-tool vgcreate -c n -y used "$used"
equal "a mounted disk after pvcreate and vgcreate" "$(head -c 65536 "$used" | cksum)" "$before"
