#!/bin/sh
# A table of exports on two interfaces: each has its own size and address, one way more than one
# interface; SIGHUP takes lines in and out and sees a file that has grown, while what is served
# goes on being served; a table with an error changes nothing.
. "$(dirname -- "$0")/lib.sh"
requires_root
requires jq python3
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"
netns target
netns client
veth target client
ip link add name eth2 netns "$(ns target)" type veth peer name eth2 netns "$(ns client)"
ip -n "$(ns target)" link set eth2 up
ip -n "$(ns client)" link set eth2 up
for disk in a b c; do truncate -s 1M "$tmp/$disk"; done
cat >"$tmp/exports" <<END
# shelf slot netif file
7 1 eth1,eth2 $tmp/a
7 2 eth2 $tmp/b -r
END
# shellcheck disable=SC2016 # expanded by that sh
start log in_ns target sh -c 'echo $$ >"$1/pid"; exec aoe-vblade --config "$1/exports" --control "$1/control" >"$1/lines"' sh "$tmp"
wait_for 10 test -S "$tmp/control"
wait_for 10 grep -q e7.2 "$tmp/lines"
pid=$(cat "$tmp/pid")
cleanup "kill $pid 2>/dev/null"
equal "the lines" "$(cat "$tmp/lines")" "pid $pid: e7.1, 2048 sectors O_RDWR
pid $pid: e7.2, 2048 sectors O_RDONLY"

# ask JSON: one request, its answer.
ask() {
    python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall((sys.argv[2] + "\n").encode())
print(s.makefile().readline(), end="")' "$tmp/control" "$1"
}
exported() { ask '{"request":"exports"}' | jq -r '.exports[] | "\(.export) \(.sectors) \(.interfaces | join(","))"' | tr '\n' ';'; }
equal "exports" "$(exported)" "e7.1 2048 eth1,eth2;e7.2 2048 eth2;"

# who INTERFACE: the targets that answer there.
who() { in_ns client aoe-stat --interface "$1" | awk '{ print $1 }' | tr '\n' ' '; }
equal "on eth1" "$(who eth1)" "e7.1 "
equal "on eth2" "$(who eth2)" "e7.1 e7.2 "
# write INTERFACE SLOT SECTOR DIGIT: one sector; prints flags, error, count and status.
write() {
    printf '10 00 0007 %s 00 00000001 41 00 01 34 %s00 0000 0000 0000 %01024d\n' "$2" "$3" 0 | tr '\n' ' ' | sed "s/ 0\{1024\}/ $(printf '%01024d' 0 | tr 0 "$4")/" |
        in_ns client "$send" -t "$(ip -n "$(ns target)" -br link show "$1" | awk '{ print $3 }')" -w 10000 "$1" | cut -c 21-28
}
equal "written by one way" "$(write eth1 01 05 a)" 41000040
equal "and the other" "$(write eth2 01 06 b)" 41000040
equal "on the disk" "$(dd if="$tmp/a" bs=512 skip=5 count=2 status=none | od -An -v -tx1 | tr -d ' \n')" \
    "$(printf '%01024d' 0 | tr 0 a)$(printf '%01024d' 0 | tr 0 b)"
equal "read only" "$(write eth2 02 05 a)" 41040141

echo '7 3 eth1' >>"$tmp/exports"
kill -HUP "$pid"
wait_for 10 grep -q "exports: line 4: not .shelf slot netif filename. and options; serving as before" "$tmp/log"
equal "exports" "$(exported)" "e7.1 2048 eth1,eth2;e7.2 2048 eth2;"

# Under load: nothing that is asked of e7.1 goes unanswered.
truncate -s 2M "$tmp/a"
cat >"$tmp/exports" <<END
7 1 eth1,eth2 $tmp/a
7 3 eth1 "$tmp/c" -b 16
7 2 eth1 $tmp/b
END
(for round in 1 2 3 4 5 6 7 8; do write eth1 01 0$round c; done >"$tmp/answers") &
job=$!
kill -HUP "$pid"
wait $job
equal "answers" "$(sort -u "$tmp/answers")" 41000040
wait_for 10 grep -q "e7.3: served now" "$tmp/log"
wait_for 10 grep -q "e7.2: served now" "$tmp/log"
equal "exports" "$(exported)" "e7.1 4096 eth1,eth2;e7.2 2048 eth1;e7.3 2048 eth1;"
grep -q "e7.1: 4096 sectors now" "$tmp/log" || fail "$(cat "$tmp/log")"
equal "on eth2" "$(who eth2)" "e7.1 "
equal "writable now" "$(write eth1 02 05 a)" 41000040

# Who is denied stays so when its line changes, without --state too.
mac=$(ip -n "$(ns client)" -br link show eth1 | awk '{ print $3 }')
equal "denied" "$(ask "{\"request\":\"deny\",\"export\":\"e7.2\",\"mac\":\"$mac\"}")" '{"answer":"done"}'
sed -i '/^7 2/s/$/ -b 32/' "$tmp/exports"
kill -HUP "$pid"
again() { [ "$(ask '{"request":"exports"}' | jq -r '.exports[] | select(.export == "e7.2") | .buffers')" = 32 ]; }
wait_for 10 again
equal "still denied" "$(ask '{"request":"exports"}' | jq -r '.exports[] | select(.export == "e7.2") | .denied[]')" "$mac"

# One whose file is missing does not keep the others from being served.
echo "7 4 eth1 $tmp/none" >>"$tmp/exports"
kill -HUP "$pid"
wait_for 10 grep -q "e7.4: not served: $tmp/none: open: No such file or directory" "$tmp/log"
sed -i '/^7 [12]/d' "$tmp/exports"
kill -HUP "$pid"
gone() { [ "$(exported)" = "e7.3 2048 eth1;" ]; }
wait_for 10 gone
equal "on eth2" "$(who eth2)" ""
equal "on eth1" "$(who eth1)" "e7.3 "
