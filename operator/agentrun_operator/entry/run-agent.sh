#!/bin/sh
# run-agent.sh OUT ERR PROMPT CMD [ARG...]      POSIX sh (dash, bash, busybox ash); may be PID 1
#  - CMD reads PROMPT on stdin; its stdout goes to our stdout (kubectl logs) and to the file OUT, its stderr to ours and to ERR.
#  - Our exit status is CMD's; 143/130/129 stands for a CMD that ended with 0 after we passed it a TERM/INT/HUP.
#  - On TERM/INT/HUP: CMD gets $STOP_SIGNAL once a second for $GRACE s, then TERM, then KILL after as long again.
#    INT makes the CLI write a last `result` event where it can; TERM makes it exit 143 at once without one.
#  - At the end the sizes of OUT and ERR go to $TERMINATION_LOG, so a reader of the shared volume knows when it has read
#    everything, however late the file system shows it; "incomplete" after them: OUT could not be written to its end.
set -u
out=$1 err=$2 prompt=$3; shift 3
STOP_SIGNAL=${STOP_SIGNAL:-INT} GRACE=${GRACE:-3} DRAIN=${DRAIN:-3} TERMINATION_LOG=${TERMINATION_LOG:-/dev/termination-log}
pid= guard= rc= hit= stop= incomplete=

forward() {                                    # trap action; $1 = exit status that stands for the signal
    hit=1
    if [ -z "$pid" ]; then [ -n "$rc" ] || stop=$1; return 0; fi    # before CMD: remember; after CMD: nothing to stop
    kill -"$STOP_SIGNAL" "$pid" 2>/dev/null || return 0
    stop=$1
    [ -n "$guard" ] && return 0
    ( trap '' INT HUP; trap - TERM; i=1
      while sleep 1; do
          kill -0 $$ || exit 0
          if   [ "$i" -lt "$GRACE" ];         then s=$STOP_SIGNAL    # again: the CLI ignores INT until it has loaded
          elif [ "$i" -lt $((GRACE * 2)) ];   then s=TERM
          else s=KILL; fi
          kill -"$s" "$pid" || exit 0
          i=$((i + 1))
      done ) </dev/null >/dev/null 2>&1 3>&- 4>&- &
    guard=$!
}
finish() {                                     # write the sizes (nothing if one is unknown), then exit with $1
    if o=$(wc -c 2>/dev/null <"$out") && e=$(wc -c 2>/dev/null <"$err"); then
        printf 'stdoutBytes=%d stderrBytes=%d%s\n' "$((o))" "$((e))" "$incomplete" 2>/dev/null >"$TERMINATION_LOG"
    fi
    exit "$1"
}
trap 'forward 143' TERM
trap 'forward 130' INT
trap 'forward 129' HUP

fifo=${TMPDIR:-/tmp}/run-agent.$$
rm -f "$fifo.out" "$fifo.err"
mkfifo -m 600 "$fifo.out" "$fifo.err" || exit 125
( trap '' TERM INT HUP; exec tee "$out" 2>/dev/null ) <"$fifo.out" & # outlives the signals; ends at EOF; its exit status tells
tee_out=$!
( trap '' TERM INT HUP; exec tee "$err" >&2 ) <"$fifo.err" &
tee_err=$!
exec 3>"$fifo.out" 4>"$fifo.err"                                   # we hold the write ends: EOF is certain even if CMD never starts
rm -f "$fifo.out" "$fifo.err"
if [ -n "$stop" ]; then exec 3>&- 4>&-; wait "$tee_out" "$tee_err"; finish "$stop"; fi
owner=${out%.ndjson}.owner                                         # a second pod of this run will not start another agent
if [ -e "$owner" ]; then { echo started >>"$owner"; } 2>/dev/null; fi
"$@" <"$prompt" >&3 2>&4 3>&- 4>&- &
pid=$!
exec 3>&- 4>&-
[ -n "$stop" ] && forward "$stop"                                  # the signal came just before pid was known

while :; do                                                        # a trapped signal ends wait early: wait again
    hit=
    wait "$pid"; r=$?
    if [ "$r" -ne 127 ] || [ -z "$rc" ]; then rc=$r; fi            # 127 on a repeated wait: already reaped, keep rc
    [ -n "$hit" ] || break
done
pid=
[ -n "$guard" ] && kill -TERM "$guard" 2>/dev/null
( trap - TERM; sleep "$DRAIN"; kill -0 $$ && kill -KILL "$tee_out" "$tee_err" ) </dev/null >/dev/null 2>&1 &
drain=$!                                                           # a stray child of CMD may hold the pipes open
for tee in "$tee_out" "$tee_err"; do
    while :; do hit=; wait "$tee"; t=$?; [ -n "$hit" ] || break; done
    if [ "$t" -eq 1 ] && [ "$tee" = "$tee_out" ]; then incomplete=' incomplete'; fi    # 1: a write failed, the disk may be full
done
kill -TERM "$drain" 2>/dev/null
if [ "$rc" -eq 0 ] && [ -n "$stop" ]; then rc=$stop; fi
finish "$rc"
