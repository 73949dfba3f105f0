#!/bin/sh
# AoE messages and their answers, byte for byte: config, mask, reserve, MTU arithmetic, ATA errors.
# ORIGINAL=1 sends the same to Debian's vblade, as far as it behaves; what ends or misleads vblade
# follows for ours alone.
. "$(dirname -- "$0")/lib.sh"
requires_root
send=$BIN/examples/aoe-send
[ -x "$send" ] || skip "needs cargo build -p nines-testkit --examples"
target=aoe-vblade
[ -z "${ORIGINAL-}" ] || { target=vblade && requires vblade; }
netns target
netns client
veth target client
ip -n "$(ns client)" link set eth1 mtu 9000
head -c 1048576 /dev/zero >"$tmp/disk"
serve() {
    rm -f "$tmp/line"
    ip netns exec "$(ns target)" "$target" "$@" 7 3 eth1 "$tmp/disk" >"$tmp/line" 2>"$tmp/log" </dev/null &
    pid=$!
    cleanup "kill $pid 2>/dev/null"
    wait_for 10 test -s "$tmp/line"
}
serve
me=02000000000a
other=02000000000b
# ask FROM MESSAGE: the answer from the version byte on; blanks are for reading only.
ask() { echo "$2" | in_ns client "$send" -f "$1" -w "${WAIT-5000}" eth1; }
# answer WHAT FROM MESSAGE WANTED: the answer's beginning, blanks left out.
answer() {
    wanted_bytes=$(echo "$4" | tr -d ' ')
    got_bytes=$(ask "$2" "$3")
    case $got_bytes in
        "$wanted_bytes"*) ;;
        *) fail "$1: got '$got_bytes', wanted '$wanted_bytes...'" ;;
    esac
}
silence() { equal "$1" "$(WAIT=300 ask "$2" "$3")" -; }

# --- MTU arithmetic: 36 bytes of a frame are not data, Ethernet's header among them.
for pair in 1500:02 4131:07 4132:08 8228:10 9000:11; do
    ip -n "$(ns target)" link set eth1 mtu "${pair%:*}"
    if [ -n "${ORIGINAL-}" ]; then
        # It looks at the MTU once.
        kill $pid
        wait $pid || :
        serve -b 64
    fi
    sectors=${pair#*:}
    wait_for 5 sh -c "echo '10 00 ffff ff 01 00000001 0000 0000 00 00 0000' | \
        ip netns exec $(ns client) '$send' -w 1000 eth1 | cut -c 21-32 | grep -q '^0040....${sectors}1'"
done

# --- config
answer "config read" $me "10 00 ffff ff 01 00000011 0000 0000 00 00 0000" "18 00 0007 03 01 00000011 0040"
answer "config set" $me "10 00 0007 03 01 00000012 0000 0000 00 03 0002 6162" "18 00 0007 03 01 00000012"
equal "config string" "$(ask $me "10 00 0007 03 01 00000013 0000 0000 00 00 0000" | cut -c 31-40)" 1000026162
answer "set again" $me "10 00 0007 03 01 00000014 0000 0000 00 03 0002 6162" "18 00"
answer "set another" $me "10 00 0007 03 01 00000015 0000 0000 00 03 0001 63" "1c 04"
answer "test" $me "10 00 ffff 03 01 00000016 0000 0000 00 01 0002 6162" "18 00"
silence "failed test" $me "10 00 0007 03 01 00000017 0000 0000 00 01 0001 61"
answer "prefix" $me "10 00 0007 ff 01 00000018 0000 0000 00 02 0001 61" "18 00"
answer "empty prefix" $me "10 00 0007 ff 01 00000019 0000 0000 00 02 0000" "18 00"
silence "failed prefix" $me "10 00 0007 03 01 0000001a 0000 0000 00 02 0001 62"
answer "force set" $me "10 00 0007 03 01 0000001b 0000 0000 00 04 0000" "18 00"
answer "unknown action" $me "10 00 0007 03 01 0000001c 0000 0000 00 0f 0000" "1c 02"
answer "unknown command" $me "10 00 0007 03 f5 0000001d" "1c 01 0007 03 f5 0000001d"
silence "another shelf" $me "10 00 0008 03 01 0000001e 0000 0000 00 00 0000"
silence "an answer" $me "18 00 0007 03 01 0000001f 0000 0000 00 00 0000"

# --- ATA
answer "read" $me "10 00 0007 03 00 00000021 40 00 01 24 0500 0000 0000 0000" \
    "18 00 0007 03 00 00000021 40 00 00 40 0500 0000 0000 0000 00000000"
answer "past the end" $me "10 00 0007 03 00 00000022 40 00 01 24 0008 0000 0000 0000" "18 00 0007 03 00 00000022 40 10 01 41"
answer "far past the end" $me "10 00 0007 03 00 00000023 40 00 01 24 ffff ffff ffff 0000" "18 00 0007 03 00 00000023 40 10 01 41"
answer "unknown command" $me "10 00 0007 03 00 00000024 00 00 00 ef 0000 0000 0000 0000" "18 00 0007 03 00 00000024 00 04 00 41"

# --- reserve
answer "reserve read" $me "10 00 0007 03 03 00000031 00 00" "18 00 0007 03 03 00000031 00 00"
answer "reserve set" $me "10 00 0007 03 03 00000032 01 01 $me" "18 00 0007 03 03 00000032 01 01 $me"
answer "by another" $other "10 00 0007 03 03 00000033 01 01 $other" "1c 06 0007 03 03 00000033 01 01 $me"
answer "read by another" $other "10 00 0007 03 00 00000034 40 00 01 24 0000 0000 0000 0000" "1c 06 0007 03 00"
answer "identify by another" $other "10 00 0007 03 00 00000035 00 00 01 ec 0000 00a0 0000 0000" "18 00 0007 03 00 00000035 00 00 00 40"
answer "config by another" $other "10 00 0007 03 01 00000036 0000 0000 00 00 0000" "18 00"
answer "read by the holder" $me "10 00 0007 03 00 00000037 40 00 01 24 0000 0000 0000 0000" "18 00 0007 03 00 00000037 40 00 00 40"
answer "force set" $other "10 00 0007 03 03 00000038 02 01 $other" "18 00 0007 03 03 00000038 02 01 $other"
answer "release" $other "10 00 0007 03 03 00000039 01 00" "18 00 0007 03 03 00000039 01 00"

# --- mask
answer "mask read" $me "10 00 0007 03 02 00000041 00 00 00 00" "18 00 0007 03 02 00000041 00 00 00 00"
answer "bad directive" $me "10 00 0007 03 02 00000042 00 01 00 01 00 07 $me" "18 00 0007 03 02 00000042 00 01 02 00"
answer "add" $me "10 00 0007 03 02 00000043 00 01 00 01 00 01 $me" "18 00 0007 03 02 00000043 00 01 00 01 0000 $me"
answer "mask read" $me "10 00 0007 03 02 00000044 00 00 00 00" "18 00 0007 03 02 00000044 00 00 00 01 0000 $me"
silence "a masked host" $other "10 00 0007 03 01 00000045 0000 0000 00 00 0000"
[ -z "${ORIGINAL-}" ] || exit 0

# --- what vblade does not survive or gets wrong
answer "delete" $me "10 00 0007 03 02 00000051 00 01 00 01 00 02 $me" "18 00 0007 03 02 00000051 00 01 00 00"
answer "unmasked again" $other "10 00 0007 03 01 00000052 0000 0000 00 00 0000" "18 00"
answer "three added" $me "10 00 0007 03 02 00000053 00 01 00 03 0001 $me 0001 $other 0001 02000000000c" \
    "18 00 0007 03 02 00000053 00 01 00 03 0000 $me 0000 $other 0000 02000000000c"
answer "the middle one deleted" $me "10 00 0007 03 02 00000054 00 01 00 02 0002 $other 0001 $me" \
    "18 00 0007 03 02 00000054 00 01 00 02 0000 $me 0000 02000000000c"
answer "all deleted" $me "10 00 0007 03 02 00000055 00 01 00 02 0002 $me 0002 02000000000c" "18 00 0007 03 02 00000055 00 01 00 00"
answer "directives that are not there" $me "10 00 0007 03 02 00000056 00 01 00 ff 0001 $me" "1c 02"
answer "a config longer than its frame" $me "10 00 0007 03 01 00000057 0000 0000 00 04 0020 61" "1c 02"
answer "an empty config still" $me "10 00 0007 03 01 00000058 0000 0000 00 00 0000" "18 00 0007 03 01 00000058 0040 0001 11 10 0000"
for version in 00 20 f0; do
    answer "version $version" $me "$version 00 0007 03 01 00000059 0000 0000 00 00 0000" "1c 05"
done
answer "flags and error are not echoed" $me "13 77 0007 03 01 0000005a 0000 0000 00 00 0000" "18 00 0007"
sector=$(printf '%01024d' 0 | tr 0 f)
answer "a write to everybody" $me "10 00 ffff ff 00 0000005b 41 00 01 34 0000 0000 0000 0000 $sector" "18 00 0007 03 00 0000005b 41 04 01 41"
answer "more sectors than a frame has" $me "10 00 0007 03 00 0000005c 40 00 ff 24 0000 0000 0000 0000" "18 00 0007 03 00 0000005c 40 04 ff 41"
answer "a short write" $me "10 00 0007 03 00 0000005d 41 00 02 34 0000 0000 0000 0000 $sector" "18 00 0007 03 00 0000005d 41 04 02 41"
cmp -s "$tmp/disk" /dev/zero -n 1048576 || fail "the disk was written"
answer "flush" $me "10 00 0007 03 00 0000005e 00 00 00 e7 0000 0000 0000 0000" "18 00 0007 03 00 0000005e 00 00 00 40"
answer "power mode" $me "10 00 0007 03 00 0000005f 00 00 01 e5 0000 0000 0000 0000" "18 00 0007 03 00 0000005f 00 00 ff 40"
# Padding to 60 bytes, all of it zero, right after an answer that filled the buffer.
ask $me "10 00 0007 03 01 00000060 0000 0000 00 04 0028 $(printf '%080d' 0 | tr 0 e)" >/dev/null
answer "cleared" $me "10 00 0007 03 01 00000061 0000 0000 00 04 0000" "18 00"
equal "padding" "$(ask $me "10 00 0007 03 03 00000062 00 00" | cut -c 25-)" "$(printf '%068d' 0)"

# --- the link goes and comes back, again and again
hears_us() { [ -n "$(WAIT=200 ask $me "10 00 0007 03 01 00000071 0000 0000 00 00 0000")" ]; }
for round in 1 2 3 4 5; do
    ip -n "$(ns target)" link set eth1 down
    ip -n "$(ns target)" link set eth1 up
    wait_for 10 hears_us
    answer "after flap $round" $me "10 00 0007 03 01 00000070 0000 0000 00 00 0000" "18 00"
done
kill $pid
status=0
wait $pid || status=$?
equal "status after SIGTERM" $status 0
