#!/bin/sh
# vg-tool is killed before each of its writes to the disks: what is left is the group before the
# change or after it, for vg-tool and for LVM2, and the next change works.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"
requires strace

new_disk a 32M
a=$disk
new_disk b 32M
b=$disk
ours vgcreate -q v "$a" "$b"
ours lvcreate -q -an -l 1 -n old v 2>/dev/null
dd if="$a" of="$tmp/a.before" bs=1M status=none iflag=direct
dd if="$b" of="$tmp/b.before" bs=1M status=none iflag=direct
before=$(seqno v)

seen_old=0 seen_new=0 write=1
while :; do
    dd if="$tmp/a.before" of="$a" bs=1M status=none oflag=direct conv=fsync
    dd if="$tmp/b.before" of="$b" bs=1M status=none oflag=direct conv=fsync
    status=0
    strace -f -qq -o "$tmp/trace" -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when="$write" \
        vg-tool lvcreate -q -an -l 1 -n new v >"$tmp/out" 2>&1 || status=$?
    [ "$status" != 0 ] || break
    [ "$status" = 137 ] || fail "write $write: exit status $status: $(cat "$tmp/out")"
    for tool in ours lvm2; do
        names=$($tool lvs --noheadings -o lv_name v 2>"$tmp/warnings" | tr -d ' \n')
        case "$names,$($tool vgs --noheadings -o vg_seqno v 2>/dev/null | tr -d ' ')" in
            "old,$before") seen_old=$((seen_old + 1)) ;;
            "newold,$((before + 1))") seen_new=$((seen_new + 1)) ;;
            *) fail "write $write: $tool sees '$names'" ;;
        esac
    done
    # Whatever the state, the next change works and settles it.
    ours lvcreate -q -an -l 1 -n next v 2>/dev/null || fail "write $write: no change after the crash"
    lvm2 vgck v 2>"$tmp/warnings" || fail "write $write: vgck: $(cat "$tmp/warnings")"
    [ ! -s "$tmp/warnings" ] || fail "write $write: still unsettled: $(cat "$tmp/warnings")"
    write=$((write + 1))
done
# Two texts, two precommits, two commits.
equal "writes" "$((write - 1))" 6
{ [ "$seen_old" -ge 8 ] && [ "$seen_new" -ge 2 ]; } || fail "old $seen_old, new $seen_new"

# Each step is on the disks before the next begins.
strace -f -qq -o "$tmp/trace" -e trace=pwrite64,fdatasync vg-tool lvremove -q -y v/new >"$tmp/out" 2>&1
equal "order of writes and barriers" "$(sed 's/^[0-9]* *//; s/(.*//' "$tmp/trace" | tr '\n' ' ')" \
    "pwrite64 pwrite64 fdatasync fdatasync pwrite64 pwrite64 fdatasync fdatasync pwrite64 fdatasync pwrite64 fdatasync "
