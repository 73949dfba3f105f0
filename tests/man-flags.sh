#!/bin/sh
# Every long option a program's help shows is in its man page, and the other way round; the same
# for its subcommands. A page exists for every program and names the program's one line.
. "$(dirname -- "$0")/lib.sh"
requires mandoc

# The long options in a program's help, its subcommands' help included.
flags_of() {
    {
        "$@" --help
        for sub in $(subcommands_of "$@"); do
            "$@" "$sub" --help
        done
    } 2>&1 | grep -oE '(^|[ ,[|])--[a-z][a-z0-9-]*' | grep -oE -- '--[a-z0-9-]+' | sort -u
}

subcommands_of() {
    "$@" --help | awk '/^[A-Z]/ { on = /^Commands:/ } on && /^  [a-z]/ { print $1 }' | grep -vx help || true
}

bad=0
for page in "$top"/man/*.8; do
    program=$(basename "$page" .8)
    [ -x "$BIN/$program" ] || { echo "$page is about no program of ours"; bad=1; continue; }
    mandoc -T man "$page" >/dev/null
    grep -oE '^\.(Fl|It Fl|Op Fl|Op Oo Fl)? ?.*' "$page" | grep -oE 'Fl -[a-z][a-z0-9-]*' | sed 's/Fl -/--/' | sort -u >"$tmp/page"
    flags_of "$BIN/$program" >"$tmp/help"
    comm -23 "$tmp/help" "$tmp/page" >"$tmp/missing"
    comm -13 "$tmp/help" "$tmp/page" >"$tmp/unknown"
    if [ -s "$tmp/missing" ] || [ -s "$tmp/unknown" ]; then
        echo "$program: not in its page: $(tr '\n' ' ' <"$tmp/missing"); not in its help: $(tr '\n' ' ' <"$tmp/unknown")"
        bad=1
    fi
    for sub in $(subcommands_of "$BIN/$program"); do
        grep -qE "(Cm|Ic|Ar) $sub\\b" "$page" || { echo "$program: its page does not name the command $sub"; bad=1; }
    done
done
programs=$(sed -n 's/^programs="\(.*\)"/\1/p' "$top/scripts/install")
for program in $programs; do
    [ -e "$top/man/$program.8" ] || { echo "$program has no man page"; bad=1; }
    grep -q "^\.Xr $program 8" "$top/man/fivenines.7" || { echo "$program is not in fivenines(7)"; bad=1; }
done
[ "$bad" = 0 ] || fail "programs and pages differ"
