#!/bin/sh
# Two links between nodes: losing one is shown and changes nothing, losing both is losing the node.
. "$(dirname -- "$0")/lib.sh"
token=${token:-500}
# shellcheck source=tests/cluster/lib.sh
. "$(dirname -- "$0")/cluster/lib.sh"
# shellcheck source=tests/cluster/links.sh
. "$(dirname -- "$0")/cluster/links.sh"
requires_root

states_in_memory
two_networks 3
quorate 1 2 3
# whole NODE...: wait until each hears every other one over both networks.
whole() {
    for at in "$@"; do
        sees "$at" "all(m['state'] == 'member' and
            (m['id'] == $at or [l['up'] for l in m['links']] == [True, True]) for m in s['members']) and not s.get('notes')"
    done
}
whole 1 2 3
before=$(standing 1)
leads=$(ask 1 's["leader"].rsplit(".", 1)[1]')
for number in 1 2 3; do work "$number"; done

# deaf FROM TO NETWORK ADDRESS: wait until node FROM hears node TO over the other network only, and
# says so.
deaf() {
    sees "$1" "[[l['up'] for l in m['links']] == [$3 == 2, $3 == 1] for m in s['members'] if m['id'] == $2] == [True] and
        any('nothing is heard over link $4' in n['what'] for n in s.get('notes', []))"
}
# told NODE TEXT COUNT: its log has that so many times.
told() { equal "node $1 logs '$2'" "$(grep -c "$2" "$tmp/join$1.log" || :)" "$3"; }

# Each network at the leader, then one at another node.
follows=$((leads % 3 + 1))
watches=$((follows % 3 + 1))
for victim in "$leads" "$follows"; do
    for ring in 1 2; do
        [ "$victim-$ring" != "$follows-2" ] || continue
        [ "$ring" = 1 ] && address=$net.$victim || address=$second.$victim
        unplug "$victim" "$ring"
        deaf "$watches" "$victim" "$ring" "$address"
        [ "$ring" = 1 ] && mirror=$net.$watches || mirror=$second.$watches
        deaf "$victim" "$watches" "$ring" "$mirror"
        plug "$victim" "$ring"
        whole "$watches" "$victim"
        told "$watches" "link $address:$port is lost" 1
        told "$watches" "link $address:$port is back" 1
    done
done
equal 'after losing one link at a time' "$(standing "$watches")" "$before"

# One direction of one link: what goes from the leader to a wrong hardware address goes nowhere.
ip -n "$(ns "node$leads")" neigh replace "$second.$watches" lladdr 02:00:00:00:00:99 dev eth2 nud permanent
deaf "$watches" "$leads" 2 "$second.$leads"
ip -n "$(ns "node$leads")" neigh del "$second.$watches" dev eth2
whole 1 2 3
equal 'after losing one direction' "$(standing "$watches")" "$before"

# A network on which two nodes come and go around the token; then the other network.
until=$(($(date +%s) + ${FLAP_SECONDS:-6}))
ring=1
while [ "$(date +%s)" -lt "$until" ]; do
    ring=$((3 - ring))
    for tenths in 5 8 10 12 15; do
        for change in unplug plug; do
            "$change" "$leads" "$ring"
            "$change" "$follows" "$ring"
            # The time the link stays so is what this is about.
            sleep "$(awk "BEGIN { print $token * $tenths / 10000 }")"
        done
    done
    whole 1 2 3
done
for number in 1 2 3; do
    equal "node $number after a flapping link" "$(standing "$number")" "$before"
    told "$number" 'is lost; its locks' 0
    told "$number" 'no leader' 0
done
# Each round is much shorter than that; a busy machine is no link that is lost.
for number in 1 2 3; do worked "$number" $((6 * token)); done

# Both links: the node is lost, and comes back with both.
unplug "$follows" 1
unplug "$follows" 2
sees "$watches" "[m for m in s['members'] if m['id'] == $follows][0]['state'] == 'lost'"
plug "$follows" 2
plug "$follows" 1
whole 1 2 3
quorate 1 2 3
