# What guests of ring.sh say on their consoles, looked at on the host where they are. Sourced there, after
# lib.sh.

WRONG='BROKEN\|LOST\|DOUBLED\|REORDERED\|CHANGED\|CORRUPT'

# last_of NAME WORD: the last number of the guest's lines that begin with this word.
last_of() {
    tail -n 400 "$(console "$1")" | tr -d '\r' |
        awk -v word="$2" '$1 == word && $2 + 0 == $2 { n = $2 } END { print n + 0 }'
}
past() { [ "$(last_of "$1" "$2")" -gt "$3" ]; }

# await_past NAME WORD N: waits until a number above N comes; whatever is wrong ends the wait at once.
await_past() {
    local end=$(($(date +%s) + 180))
    until past "$1" "$2" "$3"; do
        right_in "$1"
        [ "$(date +%s)" -lt $end ] || fail "$1 says no '$2' past $3, and nothing else that is wrong"
        sleep 0.2
    done
}
right_in() { ! grep -h "$WRONG" "$(console "$1")" || fail "in the words of $1"; }

# go_on NAME...
go_on() {
    for guest in "$@"; do
        eval "n_$guest=$(last_of $guest ring)"
        case $guest in
        a) journal=$(last_of a journal) ;;
        d) datagrams=$(last_of d datagrams) ;;
        esac
    done
    for guest in "$@"; do
        await_past $guest ring $((n_$guest + 10))
        case $guest in
        a) await_past a journal "$journal" ;;
        d) await_past d datagrams $((datagrams + 20)) ;;
        esac
        right_in $guest
    done
}
