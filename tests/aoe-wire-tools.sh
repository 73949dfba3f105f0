#!/bin/sh
# aoeping, aoecfg and aoe-sancheck, which speak AoE themselves, against our target and Debian's
# vblade; then aoe-discover and aoe-stat without a driver. ORIGINAL=1 runs the same checks on
# Debian's aoetools, as far as those hear the target: they overlook answers of less than 60 bytes.
. "$(dirname -- "$0")/lib.sh"
requires_root
fake=$BIN/examples/aoe-fake
[ -x "$fake" ] || skip "needs cargo build -p aoe-tools --examples"
if [ -n "${ORIGINAL-}" ]; then
    bin=/usr/sbin
    requires /usr/sbin/aoeping /usr/sbin/aoecfg /usr/sbin/aoe-sancheck
else
    # The names of the originals, as scripts/install links them.
    bin=$tmp/bin
    mkdir "$bin"
    ln -s "$BIN/aoe-ping" "$bin/aoeping"
    ln -s "$BIN/aoe-cfg" "$bin/aoecfg"
    ln -s "$BIN/aoe-sancheck" "$bin/aoe-sancheck"
fi
netns target
netns client
veth target client
truncate -s 3M "$tmp/disk"
mac=$(in_ns target cat /sys/class/net/eth1/address | tr -d :)
colons=$(in_ns target cat /sys/class/net/eth1/address)
client_mac=$(in_ns client cat /sys/class/net/eth1/address | tr -d :)
label="a label that is longer than the padding of a frame"

# outcome PROGRAM ARGUMENT...: its status; $tmp/out and $tmp/err have the rest.
outcome() {
    program=$1
    shift
    status=0
    in_ns client "$bin/$program" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
}
# expect WHAT STATUS STDOUT [STDERR], after outcome.
expect() {
    equal "$1 ($target): status" "$status" "$2"
    equal "$1 ($target): stdout" "$(cat "$tmp/out")" "$3"
    [ $# -lt 4 ] || equal "$1 ($target): stderr" "$(cat "$tmp/err")" "$4"
}
# survey INTERFACES DEVICES: what aoe-sancheck prints, with these lines.
survey() {
    rule='=========================================='
    printf '%s\n' "Probing...done." "$rule" "INTERFACE SUMMARY" "$rule" "Name	Status	MTU	PCI ID" "$1" \
        "$rule" "DEVICE SUMMARY" "$rule" "Device	Macs	Payload	Local Interfaces" "$2"
}
# spaced HEX: as the tools dump it.
spaced() { printf %s "$1" | sed 's/../& /g'; }

ping_usage="usage:	aoeping [options] {shelf} {slot} {netif}
options:
	-i	do ATA device identify dump as raw hex
	-I	do ATA device identify print fields
	-v	be verbose
	-h	show this usage summary
options taking arguments:
	-s	timeout in seconds
	-S	perform SMART command
	-t	specify number for starting AoE tag"
cfg_usage="usage: aoecfg [-c cmd] [-s cfgstr] [-t timeout] [shelf slot] [net]"
target=none
outcome aoeping
expect "aoeping alone" 1 "" "$ping_usage"
outcome aoeping -h
expect "aoeping -h" 0 "" "$ping_usage"
outcome aoeping 7 3 eth1 more
expect "aoeping with one more" 1 "" "$ping_usage"
outcome aoeping -s 0 7 3 eth1
expect "no time" 1 "" "aoeping Error: timeout seconds must be one or more"
outcome aoeping -x
equal "aoeping -x: status" "$status" 1
grep -q "aoeping: invalid option -- 'x'\$" "$tmp/err" || fail "aoeping -x: $(cat "$tmp/err")"
grep -qx "aoeping Error: unrecognized option: x" "$tmp/err" || fail "aoeping -x: $(cat "$tmp/err")"
outcome aoeping 7 3 nosuch
expect "no interface" 1 ""
outcome aoecfg 1 2 3 4
expect "aoecfg with one more" 1 "" "$cfg_usage"
outcome aoecfg -c nonsense
expect "no such command" 1 "" "$cfg_usage"
outcome aoecfg -t
equal "-t alone: status" "$status" 1
grep -q "aoecfg: option requires an argument -- 't'\$" "$tmp/err" || fail "aoecfg -t: $(cat "$tmp/err")"
outcome aoecfg 7 3 nosuch
expect "no interface" 1 ""
# A caller sees an alarm(2) that was not caught.
outcome aoeping -s 1 7 3 eth1
expect "nobody there" 142 ""
outcome aoecfg -t 1 7 3 eth1
expect "nobody there" 0 "" ""
outcome aoe-sancheck
expect "nobody there" 0 "$(survey "eth1	UP	1500	" "")" ""

for target in aoe-vblade vblade; do
    [ "$target" != vblade ] || command -v vblade >/dev/null || continue
    # ip execs the program: no shell in between, so this is its process.
    ip netns exec "$(ns target)" "$target" 7 3 eth1 "$tmp/disk" >"$tmp/line" 2>"$tmp/log" </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null"
    wait_for 10 test -s "$tmp/line"

    if [ "$target" = aoe-vblade ] || [ -z "${ORIGINAL-}" ]; then
        # 32 bytes, and padding from a target that pads.
        outcome aoeping 7 3 eth1
        expect "a short answer" 0 "" ""
        outcome aoecfg 7 3 eth1
        expect "an empty string" 0 "" ""
        equal "an empty string is a line ($target)" "$(wc -l <"$tmp/out")" 1
    fi
    outcome aoecfg -t 5 -c fset -s "$label" 7 3 eth1
    expect "set by force" 0 "$label" ""
    outcome aoecfg 0x7 03 eth1
    expect "numbers as C writes them" 0 "$label" ""
    outcome aoecfg -t 1 eth1
    expect "everybody's" 0 "7.3	$label" ""
    outcome aoecfg -t 1 7 255 eth1
    expect "a shelf's" 0 "7.3	$label" ""
    outcome aoecfg -t 1 -c prefix -s "a label" eth1
    expect "those that begin so" 0 "7.3	$label" ""
    outcome aoecfg -t 1 -c test -s "a label" 7 3 eth1
    expect "another string" 0 "" ""
    outcome aoecfg -t 5 -c test -s "$label" 7 3 eth1
    expect "that string" 0 "$label" ""
    outcome aoecfg -t 5 -c set -s "another" 7 3 eth1
    expect "one is set" 0 "*badcfg*" ""
    outcome aoecfg -t 1 -c set -s "another"  65535 3 eth1
    expect "one is set somewhere" 0 "7.3	*badcfg*" ""

    outcome aoeping -s 5 7 3 eth1
    expect "there" 0 "" ""
    outcome aoeping 7 3 eth1 -vs 5 -t 9
    sed '/^\([0-9a-f][0-9a-f] \)\{1,16\}$/d' "$tmp/out" >"$tmp/rest"
    equal "-v ($target)" "$(cat "$tmp/rest")" "tag: 80000009
eth: eth1
shelf: 7
slot: 3
config query response:
found e7.3 with mac $mac"
    sed -n '6,7p' "$tmp/out" | grep -q "^$(spaced "$client_mac" | cut -c1-17) $(spaced "$mac" | cut -c1-11)" || fail "-v: $(cat "$tmp/out")"
    outcome aoeping -s 5 -I 7 3 eth1
    equal "-I ($target)" "$(cut -d: -f1 "$tmp/out" | tr '\n' ' ')" \
        "device identify fields vendor_specific_0 vendor_specific_1 vendor_specific_2 serial_number firmware_rev model "
    grep -qE "^serial_number: 7.3:.{16}\$" "$tmp/out" || fail "-I ($target): $(cat "$tmp/out")"
    outcome aoeping -s 5 -i 7 3 eth1
    equal "-i ($target)" "$(sed -n '1p;2,33s/^\([0-9a-f][0-9a-f] \)\{16\}$/x/p' "$tmp/out" | tr -d '\n')" \
        "device identify response:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    equal "-i: lines ($target)" "$(wc -l <"$tmp/out")" 33
    if ! grep -q "5[0-9a-f] 40\|SMART" "$tmp/out" && [ "$target" = vblade ]; then
        outcome aoeping -s 5 -S read_data 7 3 eth1
        expect "no SMART" 1 "" "Error: e7.3 does not support SMART"
    fi
    outcome aoeping -s 1 7 4 eth1
    expect "another slot" 142 ""

    outcome aoe-sancheck -v
    expect sancheck 0 "$(survey "eth1	UP	1500	" "e7.3	   1	1024	eth1
eth1:
e7.3 $mac 2")" ""
    if [ -z "${ORIGINAL-}" ]; then
        outcome aoecfg -c fset -s "" 7 3 eth1
        expect "set to none" 0 "" ""
        equal "discover ($target)" "$(in_ns client aoe-discover --interface eth1 --timeout 0.3 | cut -f 1-4)" \
            "e7.3	eth1	$colons	1024"
        equal "stat ($target)" "$(in_ns client aoe-stat --interface eth1 --timeout 0.3)" \
            "      e7.3         0.003GB       eth1 1024  up            "
        equal "stat --json ($target)" "$(in_ns client aoe-stat --interface=eth1 --json)" \
            '{"device":"e7.3","bytes":3145728,"netif":"eth1","payload":1024,"state":"up"}'
    fi
    kill "$pid"
    wait "$pid" || :
done

# fake NAME ARGUMENT...: a target out of the ordinary; $pid is its process.
fake() {
    log=$tmp/$1
    shift
    ip netns exec "$(ns target)" "$fake" "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null"
    wait_for 10 grep -q ready "$log"
}
target=aoe-fake
fake smart eth1 8 1 smart
registers="ATA registers:
            Features: 0x00
        Sector Count: 0x0N
             LBA Low: 0x0L
             LBA Mid: 0x4f
            LBA High: 0xc2
              Status: 0x40"
# smart COMMAND COUNT LOW: its registers, and what comes behind.
smart() {
    outcome aoeping -s 5 -S "$1" 8 1 eth1
    equal "$1: status" "$status" 0
    equal "$1" "$(head -n 7 "$tmp/out")" "$(echo "$registers" | sed "s/0x0N/0x0$2/; s/0x0L/0x0$3/")"
}
smart read_data 1 0
equal "its data" "$(sed -n '8p;$p' "$tmp/out")" "SMART data:
$(spaced a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5)"
equal "all of it" "$(wc -l <"$tmp/out")" 40
smart read_log:3 1 3
equal "a log" "$(wc -l <"$tmp/out")" 40
for command in offline_immediate enable disable return_status; do
    smart $command 0 0
    equal "$command: nothing behind" "$(wc -l <"$tmp/out")" 7
done
printf x >"$tmp/in"
in_ns client "$bin/aoeping" -s 5 -S write_log:4 8 1 eth1 <"$tmp/in" >"$tmp/out"
grep -q "ata b0 d6 flags . data 78" "$tmp/smart" || fail "write_log sent: $(cat "$tmp/smart")"
outcome aoeping -s 5 -S nonsense 8 1 eth1
expect "no such command" 1 "" "aoeping Error: no such SMART command: nonsense"
kill "$pid"
fake aborts eth1 8 2 aborts
outcome aoeping -s 5 -S read_data 8 2 eth1
expect aborted 1 "" "SMART command aborted on target."
kill "$pid"
fake refuses eth1 8 3 refuses=2
outcome aoecfg -t 1 8 3 eth1
expect "refused" 0 "*badarg*" ""
kill "$pid"

# Two cables, MTUs that differ, and a path that carries less than its ends.
ip link add name eth2 netns "$(ns target)" type veth peer name eth2 netns "$(ns client)"
for end in target client; do
    ip -n "$(ns $end)" link set eth2 mtu 9000 up
done
far=$(in_ns target cat /sys/class/net/eth2/address | tr -d :)
fake near eth1 9 0 sectors=2
near=$pid
fake jumbo eth2 9 0 sectors=17
jumbo=$pid
fake narrow eth2 9 1 sectors=17 hears=4000
narrow=$pid
outcome aoe-sancheck
expect "unequal paths" 0 "$(survey "eth1	UP	1500	
eth2	UP	9000	" "e9.0	   2	8704	eth1,eth2
   eth1: MTU (1500) not set optimally for device's capable payload
   eth1: MTU different from other interfaces (1500 vs. 9000)
e9.1	   1	8704	eth2
   The path eth2->$far is only capable of 3584 byte payloads")" ""
kill "$narrow"
ip -n "$(ns client)" link set eth1 down
outcome aoe-sancheck
expect "an interface that is down" 0 "$(survey "eth1	DN	1500	
eth2	UP	9000	" "e9.0	   1	8704	eth2")"
grep -q "skipping eth1, discover failure: Network is down" "$tmp/err" || fail "down: $(cat "$tmp/err")"
[ -z "${ORIGINAL-}" ] || exit 0
ip -n "$(ns client)" link set eth1 up

# --- ours alone: two disks under one address, exit statuses of our own names, hostile answers
in_ns client aoe-stat --interface eth1 --interface eth2 >"$tmp/out" 2>"$tmp/err"
equal "two paths" "$(cat "$tmp/out")" "      e9.0         0.001GB  eth1,eth2 1024  up            "
grep -q "^aoe-stat: e9.0: two targets with this address, .* give one another slot" "$tmp/err" || fail "doubles: $(cat "$tmp/err")"
fails 1 in_ns client aoe-stat --interface eth1 nothing
fails 1 in_ns client aoe-stat --interface nosuch
equal "no such interface" "$(cat "$tmp/err")" "aoe-stat: nosuch: No such device"
kill "$near" "$jumbo"
fails 1 in_ns client aoe-discover --interface eth1 --timeout 0.2
fails 1 in_ns client aoe-ping -s 1 7 3 eth1
equal "aoe-ping says why" "$(cat "$tmp/err")" "aoe-ping: e7.3: no answer on eth1 within 1 s"
fails 1 in_ns client aoe-cfg -t 1 7 3 eth1
fails 1 in_ns client aoe-ping 65535 3 eth1
grep -q "shelf: .65535': not a number from 0 to 65534" "$tmp/err" || fail "wild: $(cat "$tmp/err")"
fails 1 in_ns client aoe-cfg -s "$(head -c 1025 /dev/zero | tr '\0' a)" 7 3 eth1
equal "a string too long" "$(cat "$tmp/err")" "aoe-cfg: -s: config string of 1025 bytes, more than 1024"
fails 1 in_ns client aoe-cfg 7 3 an-interface-with-a-long-name
fake refuses eth1 8 3 refuses=2
fails 1 in_ns client aoe-cfg 8 3 eth1
equal "a refusal" "$(cat "$tmp/out")" "*badarg*"
fails 1 in_ns client aoe-ping 8 3 eth1
equal "a refusal" "$(cat "$tmp/err")" "aoe-ping: e8.3: refused: bad argument"
kill "$pid"
fake garbage eth1 8 4 smart garbage
[ "$(in_ns client aoe-ping -s 5 -S read_log:1 8 4 eth1 | wc -l)" = 40 ] || fail "aoe-ping among garbage"
equal "aoe-stat among garbage" "$(in_ns client aoe-stat --interface eth1 'e8\.4')" \
    "      e8.4         0.001GB       eth1 1024  up            "
equal "aoe-cfg among garbage" "$(in_ns client aoe-cfg --json 8 4 eth1 | cut -d, -f 1,2,4)" '{"shelf":8,"slot":4,"string":""'
in_ns client aoe-sancheck --json --interface eth1 >"$tmp/out"
grep -q '^{"device":"e8.4","macs":\["..:..:..:..:..:.."\],"payload":1024,' "$tmp/out" || fail "sancheck: $(cat "$tmp/out")"
