#!/bin/sh
# A write is answered when it is on stable storage: it is durable by itself (RWF_DSYNC) or a flush
# follows it, and both come before the answer. --write-back has neither, and then FLUSH CACHE does
# it. With threads, whose system calls strace(1) sees; io_uring is given the same jobs.
. "$(dirname -- "$0")/lib.sh"
requires strace
. "$(dirname -- "$0")/aoe/lib.sh"
truncate -s 1M "$tmp/disk"

# On a disk where there is one: a RAM file system may know no direct I/O.
disk=$(mktemp /var/tmp/fivenines-test.XXXXXX)
cleanup "rm -f '$disk'"
truncate -s 1M "$disk"

# traced ARGUMENT...: write a sector, flush, read it; the system calls are in $tmp/trace.
traced() {
    serve strace -f -qq -o "$tmp/trace" \
        -e trace=openat,pwritev,pwritev2,pread64,preadv,preadv2,fdatasync,fsync,sendto,sendmmsg \
        "$BIN/aoe-vblade" --engine threads "$@" 7 3 eth1 "$disk"
    answers=$({
        printf '10 00 0007 03 00 00000001 41 00 01 34 0700 0000 0000 0000 %01024d\n' 0
        echo '10 00 0007 03 00 00000002 00 00 00 e7 0000 0000 0000 0000'
        echo '10 00 0007 03 00 00000003 40 00 01 24 0700 0000 0000 0000'
    } | in_ns client "$send" -t "$to" -w 10000 eth1 | cut -c 21-28 | tr '\n' ' ')
    ended
    equal "flags, error, count and status of the answers" "$answers" "41000040 00000040 40000040 "
    opened=$(grep -F -e "\"$disk\"" -e '"/proc/self/fd/' "$tmp/trace" | sed 's/^[0-9]* *//')
    # From there on: the program's start has calls of its own.
    calls=$(sed -n "\\#\"$disk\"#,\$ p" "$tmp/trace" |
        sed -n -e 's/.* pwritev2(.*RWF_DSYNC.*/durable-write/p' -e 's/^[0-9]* *\(pwritev\|pwritev2\|pread64\|preadv\|preadv2\|fdatasync\|fsync\|sendto\)(.*/\1/p' | tr '\n' ' ')
}
traced
equal "calls, one sector read to try" "$calls" "pread64 sendto durable-write sendto fdatasync sendto preadv2 preadv sendto "
case $opened in *O_DIRECT*O_DIRECT*) fail "reads past the page cache without -d: $opened" ;; *O_DIRECT*) ;; *) fail "no O_DIRECT for writes: $opened" ;; esac
traced -s
case $opened in *O_SYNC*O_SYNC*) ;; *) fail "-s is not O_SYNC: $opened" ;; esac
traced --write-back
equal "calls" "$calls" "sendto pwritev sendto fdatasync sendto preadv2 sendto "
case $opened in *SYNC* | *O_DIRECT*) fail "--write-back is synchronous: $opened" ;; esac
traced -d
case $opened in *O_DIRECT*) ;; *) fail "-d is not O_DIRECT: $opened" ;; esac
equal "calls, one sector read to try" "$calls" "pread64 sendto durable-write sendto fdatasync sendto preadv sendto "

# A file system without direct I/O: a flush between the write and its answer.
mkdir "$tmp/ram"
mount -t ramfs ramfs "$tmp/ram"
cleanup "umount '$tmp/ram'"
disk=$tmp/ram/disk
truncate -s 1M "$disk"
traced
equal "calls" "$calls" "sendto pwritev fdatasync sendto fdatasync sendto preadv2 preadv2 sendto "
