# Sourced by every tests/*.sh: what a system test needs and how it cleans up behind itself.
# A test is a plain program: exit 0 passed, 77 skipped (with the reason on stderr), else failed.
# shellcheck shell=sh
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# Where the binaries under test are; scripts/test builds them before it runs this.
BIN=${BIN:-$top/target/debug}
PATH=$BIN:$PATH:/usr/sbin:/sbin
tmp=$(mktemp -d "${TMPDIR:-/tmp}/fivenines-test.XXXXXX")
export LC_ALL=C BIN

cleanups=
started=
# cleanup COMMAND: run it when the test ends, however it ends, last registered first.
cleanup() { cleanups="$1
$cleanups"; }

run_cleanups() {
    status=$?
    trap - EXIT
    # A second signal does not leave half of it behind.
    trap '' INT TERM
    set +e
    # All at once, before each is waited for.
    for command in $started; do kill "$command" && kill -CONT "$command"; done 2>/dev/null
    # Not in a pipe: only this shell can wait for what it started.
    while IFS= read -r command; do
        [ -z "$command" ] || eval "$command" </dev/null
    done >&2 <<COMMANDS
$cleanups
COMMANDS
    rm -rf "$tmp"
    exit "$status"
}
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# fail MESSAGE...: end the test as failed.
fail() {
    printf 'FAIL: %s\n' "$*" >&2
    exit 1
}

# skip REASON...: end the test as skipped.
skip() {
    printf 'skipped: %s\n' "$*" >&2
    exit 77
}

# requires PROGRAM...: skip unless every program is there.
requires() {
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "needs $program"
    done
}

requires_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# equal WHAT GOT WANTED: compare two strings exactly.
equal() {
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# fails STATUS COMMAND...: run it, expect that exit status; output goes to $tmp/out and $tmp/err.
fails() {
    wanted=$1
    shift
    got=0
    "$@" >"$tmp/out" 2>"$tmp/err" || got=$?
    [ "$got" = "$wanted" ] || {
        cat "$tmp/out" "$tmp/err" >&2
        fail "'$*' exited with $got, wanted $wanted"
    }
}

# wait_for SECONDS COMMAND...: run it until it succeeds. So many seconds are plenty where nothing else
# runs; the test ends as failed after four times as many, for on a busy machine all takes longer.
wait_for() {
    deadline=$(($(date +%s) + 4 * $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || fail "gave up waiting for: $*"
        sleep 0.05
    done
}

# netns NAME: a network namespace with loopback up, deleted at the end. Names are made unique to
# this test: use "$(ns NAME)" for the real one.
ns() { printf 'fn%s-%s' "$$" "$1"; }
netns() {
    requires_root
    requires ip
    ip netns add "$(ns "$1")"
    cleanup "ip netns del $(ns "$1")"
    ip -n "$(ns "$1")" link set lo up
}

# veth A B: two namespaces joined by one cable; both ends are called eth1.
veth() {
    ip link add name eth1 netns "$(ns "$1")" type veth peer name eth1 netns "$(ns "$2")"
    ip -n "$(ns "$1")" link set eth1 up
    ip -n "$(ns "$2")" link set eth1 up
}

# in_ns NAME COMMAND...: run it in that namespace.
in_ns() {
    name=$(ns "$1")
    shift
    ip netns exec "$name" "$@"
}

# start LOG COMMAND...: run it in the background with its output in $tmp/LOG; $pid is its
# process, which is ended with the test.
start() {
    log=$tmp/$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    started="$started $pid"
    cleanup "end $pid"
}

# end PID: have that process of this test end, stopped or deaf as it may be, and wait until it has.
end() {
    kill "$1" 2>/dev/null || return 0
    kill -CONT "$1" 2>/dev/null || :
    patience=60
    while [ "$patience" -gt 0 ] && running "$1"; do
        sleep 0.05
        patience=$((patience - 1))
    done
    kill -KILL "$1" 2>/dev/null || :
    wait "$1" 2>/dev/null || :
}
# running PID: it is there, and not only because nobody has waited for it.
running() {
    case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in '' | Z*) return 1 ;; esac
}

# private_mounts: the test starts over in a mount namespace of its own, and its mounts are gone with
# it however it ends. Before anything else: what was done so far is done again.
private_mounts() {
    requires_root
    requires unshare
    [ "${private-}" = "$0" ] || {
        rm -rf "$tmp"
        exec env private="$0" unshare -m "$0"
    }
}
