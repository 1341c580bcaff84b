#!/bin/sh
# Stands in for the CLI in a container: prints a transcript line by line and says in a ledger when it was at work.
# AGENT: whose agent it is, by which it is found among the processes of the machine.
# SCENARIO, PAUSE (seconds before each line), MUTE (keep back the last line), HANGS (do not exit), CODE (exit status)
ledger=/paperclip/stand-in/ledger
echo "start $HOSTNAME" >>"$ledger"
printed=0
trap 'echo "end $HOSTNAME $printed" >>"$ledger"; exit 143' TERM INT
left=$(wc -l <"/paperclip/stand-in/$SCENARIO")
[ -z "$MUTE" ] || left=$((left - 1))
while [ "$left" -gt 0 ] && IFS= read -r line; do
    sleep "$PAUSE"
    printf '%s\n' "$line"
    left=$((left - 1))
    printed=$((printed + 1))
done <"/paperclip/stand-in/$SCENARIO"
while [ -n "$HANGS" ]; do sleep 0.2; done
echo "end $HOSTNAME $printed" >>"$ledger"
exit "$CODE"
