# Sourced after lib.sh by tests/xen-*.sh: two hosts of a real cluster, each a network namespace
# with its own cluster-join; only the hypervisor and the volumes are stood in for.
# shellcheck shell=sh disable=SC2154 # top, tmp and BIN are lib.sh's
requires_root
requires ip ss jq flock setsid
for program in cluster-join xen-domctl; do
    [ -x "$BIN/$program" ] || skip "needs $program in $BIN"
done
domain=blenke-web-00
address() { [ "$1" = a ] && echo 10.77.0.1 || echo 10.77.0.2; }
other() { [ "$1" = a ] && echo b || echo a; }

head -c 64 /dev/urandom >"$tmp/key"
chmod 600 "$tmp/key"
cat >"$tmp/cluster.conf" <<END
<cluster name="test" config_version="1">
  <cman keyfile="$tmp/key"/>
  <clusternodes>
    <clusternode name="10.77.0.1" nodeid="1"/>
    <clusternode name="10.77.0.2" nodeid="2"/>
  </clusternodes>
</cluster>
END
sed "s|/boot/vmlinuz-2.6-xenU|$tmp/vmlinuz|" "$top/crates/xen-domctl/tests/blenke-web-00.cfg" >"$tmp/$domain.cfg"
: >"$tmp/vmlinuz"

netns a
netns b
veth a b
for host in a b; do
    ip -n "$(ns $host)" addr add "$(address $host)/24" dev eth1
    mkdir -p "$tmp/$host/xl"
done

# at HOST COMMAND...: run it on that host.
at() {
    at_host=$1
    shift
    in_ns "$at_host" env CLUSTER_SOCKET="$tmp/$at_host/join.sock" CLUSTER_CONF="$tmp/cluster.conf" \
        XEN_DOMCTL_RUN="$tmp/$at_host/run" XL="$top/tests/xen/xl" XL_STATE="$tmp/$at_host/xl" \
        VG_TOOL="$top/tests/xen/vg-tool" VG_HOST="$at_host" VG_STATE="$tmp/vg" "$@"
}
start_join() {
    # shellcheck disable=SC2016 # expanded by that sh
    start "join-$1.log" at "$1" sh -c 'echo $$ >"$1/join.pid"; exec cluster-join --node "$2" --state "$1/state" --socket "$1/join.sock"' \
        sh "$tmp/$1" "$(address "$1")"
    # The shell between this one and the daemon does not hand a signal on.
    cleanup "kill \$(cat '$tmp/$1/join.pid') 2>/dev/null"
}
quorate() { at "$1" xen-domctl list --cluster 2>"$tmp/quorate" >/dev/null && ! grep -q 'not quorate' "$tmp/quorate"; }

# start_join HOST: $tmp/HOST/join.pid is its process; start_receive HOST: $tmp/HOST/receive.pid is its process.
start_receive() {
    rm -f "$tmp/$1/ready"
    mkfifo "$tmp/$1/ready"
    start "receive-$1-$(date +%s%N).log" at "$1" sh -c "echo \$\$ >'$tmp/$1/receive.pid'; exec xen-domctl receive --ready-fd 8 8>'$tmp/$1/ready'"
    cleanup "kill \$(cat '$tmp/$1/receive.pid') 2>/dev/null"
    timeout 120 head -c 1 "$tmp/$1/ready" >"$tmp/$1/is-ready"
    [ -s "$tmp/$1/is-ready" ] || { cat "$tmp"/receive-"$1"-*.log >&2; fail "receive on $1 is not ready"; }
}

start_join a
start_join b
wait_for 30 quorate a
wait_for 30 quorate b

# copies HOST: the domain's copies there, as "NAME STATE".
copies() { at "$1" "$top/tests/xen/xl" list | awk -v d="$domain" 'index($1, d) == 1 { print $1, $5 }'; }
# volumes HOST: what is active there, as "VOLUME MODE".
volumes() { (cd "$tmp/vg" && for f in *."$1"; do [ ! -e "$f" ] || echo "${f%."$1"} $(cut -d' ' -f2 "$f")"; done); }
# owner: who holds the domain's lock, as host a sees it.
owner() { at "${1:-a}" xen-domctl list --cluster --json 2>/dev/null | jq -r "select(.name == \"$domain\") | .host + (if .offered_to then \" offered\" else \"\" end)"; }

settled() {
    [ "$(copies "$1")" = "$domain -b----" ] && [ -z "$(copies "$(other "$1")")" ] &&
        [ "$(volumes "$1")" = "${domain}_mirror0 EX
${domain}_mirror1 EX" ] && [ -z "$(volumes "$(other "$1")")" ] &&
        [ "$(owner a)" = "$(address "$1")" ] && [ "$(owner b)" = "$(address "$1")" ]
}
# runs_on HOST: there once, with its lock and its volumes, and nothing of it on the other.
runs_on() {
    deadline=$(($(date +%s) + 160))
    until settled "$1"; do
        [ "$(date +%s)" -lt "$deadline" ] || {
            for host in a b; do
                echo "$host: copies '$(copies $host)' volumes '$(volumes $host)' owner '$(owner $host)'"
            done >&2
            tail -n 30 "$tmp"/*.log "$tmp/migrate.out" >&2
            fail "$domain does not run on $1 alone"
        }
        sleep 0.1
    done
}
nowhere() { [ -z "$(copies a)$(copies b)$(volumes a)$(volumes b)$(owner a)" ]; }
