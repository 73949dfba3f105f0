#!/bin/sh
# Debian's own fence agents and ours through the path the daemon takes: options on stdin, exit
# status, deadline; and what their metadata say about a configuration.
. "$(dirname -- "$0")/lib.sh"
requires python3 xmllint
run=$BIN/examples/fence-run
[ -x "$run" ] || skip "needs cargo build -p fence --examples"
debian=${XDG_CACHE_HOME:-$HOME/.cache}/fivenines/fence-agents
[ -x "$debian/sbin/fence_dummy" ] || skip "needs scripts/install-deps"
export FENCE_PATH="$BIN:$debian/sbin"

# conf METHODS DEVICES [UNFENCE]: a cluster.conf whose node xen1 is fenced so.
conf() {
    cat >"$tmp/cluster.conf" <<XML
<cluster name="test" config_version="1">
<clusternodes><clusternode name="xen1" nodeid="1"><fence>$1</fence><unfence>${3-}</unfence></clusternode></clusternodes>
<fencedevices>$2</fencedevices>
</cluster>
XML
}
job() { "$run" "$tmp/cluster.conf" xen1 "$1"; }
plug=$tmp/plug
dummy="<fencedevice name=\"dummy\" agent=\"fence_dummy\" status_file=\"$plug\"/>"
device='<device name="dummy"/>'

# --- Debian's fence_dummy: a plug that is a file.
conf "<method name=\"1\">$device</method>" "$dummy" '<device name="dummy" action="on"/>'
echo on >"$plug"
printf on >"$plug"
equal "test" "$(job test)" "done status: dummy: on"
equal "reboot" "$(job fence)" "done 1: dummy (fence_dummy)"
equal "plug after a reboot" "$(cat "$plug")" on
conf '<method name="1"><device name="dummy" action="off"/></method>' "$dummy" '<device name="dummy" action="on"/>'
equal "off" "$(job fence)" "done 1: dummy (fence_dummy off)"
equal "plug" "$(cat "$plug")" off
equal "test" "$(job test)" "done status: dummy: off"
equal "unfence" "$(job unfence)" "done unfence: dummy (fence_dummy on)"
equal "plug" "$(cat "$plug")" on
equal "a real test" "$(job really)" "done 1: dummy (fence_dummy off)"
equal "plug after a real test" "$(cat "$plug")" on

# Two supplies: both go off before one comes on, and Debian's agent says itself that it reboots.
two="$dummy<fencedevice name=\"other\" agent=\"fence_dummy\" status_file=\"$plug.2\"/>"
printf on >"$plug.2"
conf '<method name="both"><device name="dummy"/><device name="other"/></method>' "$two"
equal "both" "$(job fence)" "done both: dummy (fence_dummy off), other (fence_dummy off)"
equal "plugs" "$(cat "$plug" "$plug.2")" onon

# A device that fails, and the method after it.
fail='<fencedevice name="bad" agent="fence_dummy" type="fail" port="x"/>'
conf "<method name=\"1\"><device name=\"bad\" power_timeout=\"2\"/></method>" "$fail$dummy"
fails 1 job fence
grep -q '^failed: method 1: device bad: fence_dummy exited [1-9]' "$tmp/out" || fail "$(cat "$tmp/out")"
conf "<method name=\"1\"><device name=\"bad\" power_timeout=\"2\"/></method><method name=\"2\">$device</method>" "$fail$dummy"
equal "the second method" "$(job fence)" "done 2: dummy (fence_dummy)"
# One that takes longer than it may. It sleeps 1 to 600 s before it does anything.
conf '<method name="1"><device name="dummy" random_sleep_range="600" timeout="1"/></method>' "$dummy"
fails 1 job fence
grep -q 'fence_dummy has not ended within 1 s and was killed' "$tmp/out" || fail "$(cat "$tmp/out")"

# --- What an agent of Debian's says about devices, under the names of both ages.
ipmi() { conf '<method name="1"><device name="ipmi"/></method>' "<fencedevice name=\"ipmi\" agent=\"fence_ipmilan\" $1/>"; }
ipmi 'ipaddr="10.0.9.1" login="fence" passwd="x" lanplus="1" delay="2"'
job check
ipmi 'ip="10.0.9.1" username="fence" password="x" lanplus="1"'
job check
ipmi 'ip="10.0.9.1" lanplsu="1" power_wait="soon" action="explode"'
fails 1 job check
for word in 'does not know lanplsu; it knows lanplus' 'power_wait="soon" is not a number of seconds' \
    'does not offer the action explode'; do
    grep -qF "$word" "$tmp/out" || fail "'$word' is not in: $(cat "$tmp/out")"
done
conf '<method name="1"><device name="none"/></method>' '<fencedevice name="none" agent="fence_no_such"/>'
fails 1 job check
grep -q 'fence_no_such is not in ' "$tmp/out" || fail "$(cat "$tmp/out")"
# An agent whose libraries are not here is a no, with its own words.
conf '<method name="1"><device name="aws"/></method>' '<fencedevice name="aws" agent="fence_aws" port="x"/>'
fails 1 job fence

# --- Ours: described in the shape of theirs, known by the same check.
xmllint --noout --relaxng "$debian/share/metadata.rng" - <"$debian/share/dummy.xml" 2>"$tmp/err" ||
    fail "Debian's own metadata are not valid: $(cat "$tmp/err")"
printf 'action=metadata\n' | fence_aoemask >"$tmp/aoemask.xml"
xmllint --noout --relaxng "$debian/share/metadata.rng" "$tmp/aoemask.xml" 2>"$tmp/err" || fail "$(cat "$tmp/err")"
mask='<fencedevice name="mask" agent="fence_aoemask" interface="no-such-if" plug="1.0"/>'
conf '<method name="1"><device name="mask" mac="00:16:3e:00:00:0a"/></method>' "$mask"
job check
fails 1 job fence
grep -q 'fence_aoemask exited 1: fence_aoemask: interface no-such-if' "$tmp/out" || fail "$(cat "$tmp/out")"
conf '<method name="1"><device name="mask"/></method>' "$mask"
fails 1 job check
grep -q 'fence_aoemask needs mac' "$tmp/out" || fail "$(cat "$tmp/out")"
