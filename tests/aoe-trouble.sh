#!/bin/sh
# Trouble with the disk is the initiator's to hear of and never the target's end: a full file
# system, an I/O error, a transfer that comes in parts. A SIGTERM finishes and answers what is
# under way.
. "$(dirname -- "$0")/lib.sh"
requires strace mkfs.ext4
. "$(dirname -- "$0")/aoe/lib.sh"

# start_target DISK ENGINE COMMAND...: through COMMAND.
start_target() {
    disk=$1 engine=$2
    shift 2
    serve "$@" "$BIN/aoe-vblade" --engine "$engine" 7 3 eth1 "$disk"
}
write() { written 03 "$@"; }
# health: LBA 8 to 23 of the answer to SMART RETURN STATUS, f42c when the disk is failing.
health() { echo '10 00 0007 03 00 00000009 00 da 01 b0 00 4fc2 a0 0000 0000' | in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c 31-34; }
# Sparse files, larger than the file systems they are on: one with direct I/O, one without.
truncate -s 8M "$tmp/image"
mkfs.ext4 -q "$tmp/image"
mkdir "$tmp/ext4" "$tmp/ram"
mount -o loop "$tmp/image" "$tmp/ext4" || skip "no loop devices here"
cleanup "umount '$tmp/ext4'"
mount -t tmpfs -o size=1m tmpfs "$tmp/ram"
cleanup "umount '$tmp/ram'"
for place in ext4 ram; do
    for engine in io_uring threads; do
        truncate -s 16M "$tmp/$place/disk"
        start_target "$tmp/$place/disk" $engine env
        equal "a write to $place" "$(write 0100 a)" 41000040
        # What the file system holds back for files that grow is given out to direct writes only.
        cat /dev/zero 2>/dev/null >"$tmp/$place/rest" || sync -f "$tmp/$place"
        while dd if=/dev/zero of="$tmp/$place/rest" bs=1k count=64 oflag=direct,append conv=notrunc status=none 2>/dev/null; do :; done
        while dd if=/dev/zero of="$tmp/$place/rest" bs=1k count=1 oflag=direct,append conv=notrunc status=none 2>/dev/null; do :; done
        equal "a write to a full $place by $engine" "$(write 0040 b)" 41040161
        grep -q "e7.3: .*: No space left on device" "$tmp/log" || fail "$(cat "$tmp/log")"
        equal "what was there" "$(read_back 03 0100)" 40000040aa
        equal "a full disk is healthy" "$(health)" 4fc2
        rm "$tmp/$place/rest"
        equal "once there is room" "$(write 0040 b)" 41000040
        equal "read back" "$(read_back 03 0040)" 40000040bb
        ended
        rm "$tmp/$place/disk"
    done
done

disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"
start_target "$disk" threads strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:error=EIO
equal "before" "$(health)" 4fc2
equal "a write that fails" "$(write 0200 a)" 41040161
equal "the disk is failing" "$(health)" f42c
grep -q "e7.3: write of 1 sectors at 2: Input/output error (os error 5) (1 errors so far)" "$tmp/log" || fail "$(cat "$tmp/log")"
equal "a read" "$(read_back 03 0200)" 4000004000
equal "another" "$(write 0200 a)" 41040161
equal "and stays so" "$(health)" f42c
ended

# Without memory to share with the kernel frames come one by one. Which call that is refused by:
serve strace -f -qq -o "$tmp/trace" -e trace=setsockopt "$BIN/aoe-vblade" 7 3 eth1 "$disk"
ended
at=$(grep setsockopt "$tmp/trace" | sed -n '/PACKET_RX_RING/=' | head -n 1)
start_target "$disk" io_uring strace -f -qq -o "$tmp/trace" -e trace=setsockopt -e "inject=setsockopt:error=ENOMEM:when=$at+"
equal "a write" "$(write 0300 c)" 41000040
equal "read back" "$(read_back 03 0300)" 40000040cc
grep -q "eth1: no memory to share with the kernel: .*Cannot allocate memory" "$tmp/log" || fail "$(cat "$tmp/log")"
ended

# The signal comes while a write is under way; its answer comes all the same.
start_target "$disk" threads strace -f -qq -o "$tmp/trace" -e trace=pwritev2 -e inject=pwritev2:delay_enter=1000000
write 0300 c >"$tmp/answer" &
client=$!
wait_for 10 grep -q pwritev2 "$tmp/trace"
equal "opened again" "$(health)" 4fc2
ended
wait $client
equal "the answer" "$(cat "$tmp/answer")" 41000040
equal "on the disk" "$(dd if="$disk" bs=512 skip=3 count=1 status=none | od -An -v -tx1 -w512 | tr -d ' \n' | cut -c 1-4)" cccc
