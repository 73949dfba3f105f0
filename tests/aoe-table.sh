#!/bin/sh
# A table of exports on two interfaces: each has its own size and address, one way more than one
# interface; SIGHUP takes lines in and out and sees a file that has grown, while what is served
# goes on being served; a table with an error changes nothing.
. "$(dirname -- "$0")/lib.sh"
requires jq python3
. "$(dirname -- "$0")/aoe/lib.sh"
ip link add name eth2 netns "$(ns target)" type veth peer name eth2 netns "$(ns client)"
ip -n "$(ns target)" link set eth2 up
ip -n "$(ns client)" link set eth2 up
for disk in a b c; do truncate -s 1M "$tmp/$disk"; done
cat >"$tmp/exports" <<END
# shelf slot netif file
7 1 eth1,eth2 $tmp/a
7 2 eth2 $tmp/b -r
END
serve aoe-vblade --config "$tmp/exports" --control "$tmp/control"
wait_for 10 grep -q e7.2 "$tmp/line"
equal "the lines" "$(cat "$tmp/line")" "pid $pid: e7.1, 2048 sectors O_RDWR
pid $pid: e7.2, 2048 sectors O_RDONLY"

exported() { ask '{"request":"exports"}' | jq -r '.exports[] | "\(.export) \(.sectors) \(.interfaces | join(","))"' | tr '\n' ';'; }
equal "exports" "$(exported)" "e7.1 2048 eth1,eth2;e7.2 2048 eth2;"

# who INTERFACE: the targets that answer there.
who() { in_ns client aoe-stat --interface "$1" | awk '{ print $1 }' | tr '\n' ' '; }
equal "on eth1" "$(who eth1)" "e7.1 "
equal "on eth2" "$(who eth2)" "e7.1 e7.2 "
# write INTERFACE SLOT SECTOR DIGIT: one sector; prints flags, error, count and status.
write() { written "$2" "${3}00" "$4" "$1"; }
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
writes=$!
kill -HUP "$pid"
wait $writes
equal "answers" "$(sort -u "$tmp/answers")" 41000040
wait_for 10 grep -q "e7.3: served now" "$tmp/log"
wait_for 10 grep -q "e7.2: served now" "$tmp/log"
equal "exports" "$(exported)" "e7.1 4096 eth1,eth2;e7.2 2048 eth1;e7.3 2048 eth1;"
grep -q "e7.1: 4096 sectors now" "$tmp/log" || fail "$(cat "$tmp/log")"
equal "on eth2" "$(who eth2)" "e7.1 "
equal "writable now" "$(write eth1 02 05 a)" 41000040

# Who is denied stays so when its line changes, without --state too.
equal "denied" "$(ask "{\"request\":\"deny\",\"export\":\"e7.2\",\"mac\":\"$mac\"}")" '{"answer":"done"}'
sed -i '/^7 2/s/$/ -b 32/' "$tmp/exports"
kill -HUP "$pid"
again() { [ "$(ask '{"request":"exports"}' | jq -r '.exports[] | select(.export == "e7.2") | .buffers')" = 32 ]; }
wait_for 10 again
equal "still denied" "$(ask '{"request":"exports"}' | jq -r '.exports[] | select(.export == "e7.2") | .denied[]')" "$mac"

# Who is denied every export is denied what comes later too, but where it has been admitted since.
denied_at() { ask '{"request":"exports"}' | jq -r --arg export "$1" '.exports[] | select(.export == $export) | .denied | join(" ")'; }
reload() {
    kill -HUP "$pid"
    wait_for 10 "$@"
}
truncate -s 1M "$tmp/d"
equal "denied everywhere" "$(ask '{"request":"deny","mac":"02:00:00:00:00:77"}')" '{"answer":"done"}'
echo "7 5 eth1 $tmp/d" >>"$tmp/exports"
reload grep -q "e7.5: served now" "$tmp/log"
equal "denied where it was not" "$(denied_at e7.5)" 02:00:00:00:00:77
equal "admitted to one" "$(ask '{"request":"admit","export":"e7.5","mac":"02:00:00:00:00:77"}')" '{"answer":"done"}'
twice() { [ "$(grep -c "e7.5: served now" "$tmp/log")" = 2 ]; }
sed -i '/^7 5/s/$/ -b 32/' "$tmp/exports"
reload twice
equal "still admitted" "$(denied_at e7.5)" ""
equal "and nowhere else" "$(denied_at e7.3)" 02:00:00:00:00:77
away() { [ "$(exported)" = "e7.1 4096 eth1,eth2;e7.2 2048 eth1;e7.3 2048 eth1;" ]; }
sed -i '/^7 5/d' "$tmp/exports"
reload away

# An export whose interface is missing is served when that is there.
echo "7 6 eth1,eth3 $tmp/d" >>"$tmp/exports"
reload grep -q "e7.6: not served: eth3: No such device; served as soon as it is there" "$tmp/log"
equal "not by one of its interfaces alone" "$(who eth1)" "e7.1 e7.3 "
ip link add name eth3 netns "$(ns target)" type veth peer name eth3 netns "$(ns client)"
wait_for 10 grep -q "e7.6: served now" "$tmp/log"
ip -n "$(ns target)" link set eth3 up
ip -n "$(ns client)" link set eth3 up
on_eth3() { [ "$(who eth3)" = "e7.6 " ]; }
wait_for 10 on_eth3
equal "denied, as everywhere" "$(denied_at e7.6)" 02:00:00:00:00:77
sed -i '/^7 6/d' "$tmp/exports"
reload away

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
ended

# The same over a restart: an export that was not there when the host was denied, and a table whose
# interface is missing from the start.
mkdir "$tmp/state"
state() { serve aoe-vblade --config "$tmp/exports" --control "$tmp/control" --state "$tmp/state"; }
state
equal "denied everywhere" "$(ask '{"request":"deny","mac":"02:00:00:00:00:77"}')" '{"answer":"done"}'
ended
ip -n "$(ns target)" link del eth3
printf '%s\n' "7 5 eth1 $tmp/a" "7 6 eth3 $tmp/d" >>"$tmp/exports"
state
equal "denied after a restart" "$(denied_at e7.5)" 02:00:00:00:00:77
ip link add name eth3 netns "$(ns target)" type veth peer name eth3 netns "$(ns client)"
wait_for 10 grep -q "e7.6: served now" "$tmp/log"
equal "denied as it comes" "$(denied_at e7.6)" 02:00:00:00:00:77
equal "admitted" "$(ask '{"request":"admit","mac":"02:00:00:00:00:77"}')" '{"answer":"done"}'
ended
state
equal "admitted after a restart" "$(denied_at e7.3)$(denied_at e7.5)$(denied_at e7.6)" ""
ended
