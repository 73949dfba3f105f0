#!/bin/sh
# A domain is started, listed and stopped under its lock and on its volumes; whatever fails, both
# are given back, and a second host never starts it.
. "$(dirname -- "$0")/lib.sh"
. "$(dirname -- "$0")/xen/hosts.sh"
cfg=$tmp/$domain.cfg

at a xen-domctl create "$cfg"
runs_on a
grep -q '^cmdline = "root=/dev/md0 ro ip=10.0.0.10 console=hvc0"$' "$tmp/a/run/$domain.cfg" || fail "resolved: $(cat "$tmp/a/run/$domain.cfg")"
equal "mode of the resolved file" "$(stat -c %a "$tmp/a/run/$domain.cfg")" 600

echo 'a running domain is not started again, here or elsewhere'
fails 1 at a xen-domctl create "$cfg"
grep -q 'runs here already' "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at b xen-domctl create "$cfg"
grep -q "$domain: runs on 10.77.0.1 since 2.* UTC; see xen-domctl list --cluster" "$tmp/err" || fail "$(cat "$tmp/err")"
fails 1 at b xen-domctl destroy "$domain"
grep -q 'runs on 10.77.0.1' "$tmp/err" || fail "$(cat "$tmp/err")"
runs_on a

echo 'lists'
equal "xm's table" "$(at a xen-domctl list | awk '{ print $1, $5 }')" "Name State
Domain-0 r-----
$domain -b----"
equal "json" "$(at a xen-domctl list --json | jq -r 'select(.id > 0) | "\(.name) \(.memory) \(.state)"')" "$domain 64 -b----"
equal "from the other host" "$(at b xen-domctl list --cluster | awk 'NR > 1 { print $1, $2 }')" "$domain 10.77.0.1"

echo 'a domain that stopped by itself is started again, or cleaned away'
rm "$tmp/a/xl/domains/$domain"
equal "ended" "$(at a xen-domctl list --cluster --json | jq -r .running)" false
at a xen-domctl create "$cfg"
runs_on a
rm "$tmp/a/xl/domains/$domain"
at a xen-domctl shutdown "$domain"
nowhere || fail "something is left"

echo 'shutdown waits for the guest, and says when it does not obey'
at b xen-domctl create "$cfg"
runs_on b
: >"$tmp/b/xl/hold-shutdown"
fails 2 at b xen-domctl shutdown "$domain" --wait 1
grep -q "still runs after 1 s; xen-domctl destroy ends it" "$tmp/err" || fail "$(cat "$tmp/err")"
rm "$tmp/b/xl/hold-shutdown"
runs_on b
at b xen-domctl shutdown "$domain"
nowhere || fail "something is left"

echo 'a start that fails gives back what it took'
: >"$tmp/a/xl/fail-create"
fails 2 at a xen-domctl create "$cfg"
rm "$tmp/a/xl/fail-create"
nowhere || fail "something is left"
sed "s/_mirror1/_mirror2/" "$cfg" >"$tmp/bad.cfg"
fails 2 at a xen-domctl create "$tmp/bad.cfg"
grep -q 'vg/blenke-web-00_mirror2: the volume group has no such volume' "$tmp/err" || fail "$(cat "$tmp/err")"
nowhere || fail "something is left"

echo 'an interrupted start is undone'
: >"$tmp/a/xl/hold-create"
start create.log at a sh -c "echo \$\$ >'$tmp/create.pid'; exec xen-domctl create '$cfg'"
creating=$pid
wait_for 10 test -e "$tmp/a/xl/at-create"
kill -INT "$(cat "$tmp/create.pid")"
status=0
wait "$creating" || status=$?
rm "$tmp/a/xl/hold-create"
equal "exit status" "$status" 2
nowhere || fail "something is left"

echo 'errors name the place'
printf 'name = "x"\nmemory = many\n' >"$tmp/bad.cfg"
fails 2 at a xen-domctl create "$tmp/bad.cfg"
equal "error" "$(cat "$tmp/err")" "xen-domctl: $tmp/bad.cfg:2:10: \`many' where a string, a number or a list belongs"
fails 1 at a xen-domctl create no-such-domain
fails 1 at a xen-domctl destroy no-such-domain

echo 'without cluster-join nothing starts'
fails 2 at a xen-domctl --socket "$tmp/nothing" create "$cfg"
grep -q 'is cluster-join running?' "$tmp/err" || fail "$(cat "$tmp/err")"
