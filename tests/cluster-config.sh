#!/bin/sh
# The configuration changes while others change it too and while daemons die at any moment of it:
# every node ends with the same text of the same version, and who was told that it is stored was told
# the truth. A node that was away gets it when it comes back.
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
requires cluster-conf python3

token=500
conf 3
for number in 1 2 3; do cp "$tmp/cluster.conf" "$tmp/$number.conf"; done
for number in 1 2 3; do join "$number"; done
quorate 1 2 3
# text VERSION SECONDS: the configuration with another number in it, in $tmp/VERSION-SECONDS.
text() {
    sed -e "s/config_version=\"[0-9]*\"/config_version=\"$1\"/" -e "s|<clusternodes>|<fence_daemon post_fail_delay=\"$2\"/><clusternodes>|" \
        "$tmp/cluster.conf" >"$tmp/$1-$2"
    printf '%s\n' "$tmp/$1-$2"
}
update() { cluster-conf --socket "$tmp/$1.sock" update "$2"; }
version() { sed -n 's/.*config_version="\([0-9]*\)".*/\1/p' "$tmp/$1.conf"; }
# agree: all three files are the same and what their daemons take for the configuration.
agree() {
    cmp -s "$tmp/1.conf" "$tmp/2.conf" && cmp -s "$tmp/2.conf" "$tmp/3.conf" || return 1
    for at in 1 2 3; do
        cluster-conf --socket "$tmp/$at.sock" show >"$tmp/shown" 2>/dev/null && cmp -s "$tmp/shown" "$tmp/1.conf" || return 1
    done
}

# Two at once, on two nodes, with the same version and different texts: one of them.
start one.log update 1 "$(text 2 11)"
one=$pid
start two.log update 2 "$(text 2 22)"
two=$pid
got_one=0 got_two=0
wait "$one" || got_one=$?
wait "$two" || got_two=$?
case "$got_one $got_two" in
    '0 0') fail "both of two different texts were stored as version 2: $(cat "$tmp/one.log" "$tmp/two.log")" ;;
    '0 '*) winner=$tmp/2-11 ;;
    *' 0') winner=$tmp/2-22 ;;
    *) fail "neither of two updates at once was stored: $(cat "$tmp/one.log" "$tmp/two.log")" ;;
esac
wait_for 20 agree
cmp "$winner" "$tmp/1.conf" || fail 'what is stored is not the text of the one that was told so'

# One after another while a daemon dies: the one that was asked, or the leader, at some moment of it.
number=3
for pause in 0 0.005 0.01 0.02 0.05 0.1; do
    for which in leader follower; do
        leads=$(leader 1)
        [ -n "$leads" ] || leads=1
        follows=$((leads % 3 + 1))
        case $which in leader) victim=$leads ;; follower) victim=$follows ;; esac
        new=$(text "$number" 5)
        start update.log update "$follows" "$new"
        updating=$pid
        sleep "$pause"
        down "$victim"
        got=0
        wait "$updating" || got=$?
        # Who died leads next time, now and then, with what it had of the update.
        join "$victim"
        quorate 1 2 3
        wait_for 20 agree
        now=$(version 1)
        case "$got $now" in
            "0 $number") ;;
            "0 "*) fail "stored, it said, and the version is $now, not $number: $(cat "$tmp/update.log")" ;;
            *" $number" | *" $((number - 1))") ;;
            *) fail "version $now after an update from $((number - 1)) to $number" ;;
        esac
        number=$((now + 1))
    done
done

# A node that was away gets what it missed; its old file is kept.
down 3
fails 1 update 1 "$(text "$number" 7)"
grep -q "^$net.3	not-stored	" "$tmp/out" || fail "$(cat "$tmp/out")"
join 3
quorate 3
wait_for 20 agree
[ -e "$tmp/cluster.conf.old" ] || [ -e "$tmp/3.conf.old" ] || fail "the old file is gone: $(ls "$tmp")"
