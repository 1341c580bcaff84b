#!/bin/sh
# Take the operator's finalizers off AgentRuns and Jobs that are being deleted, when there is no operator any more to do
# it. docs/operations.md says when; `agentrun release` does the same with more care. Needs kubectl, and the rights to get,
# list and patch agentruns.paperclip.io and jobs. Only our own go: those of others are neither removed nor waited for.
set -eu

usage() {
    cat <<END
usage: $0 [-n NAMESPACE | -A] [--all] [--dry-run]
  -n NAMESPACE  the AgentRuns and Jobs of this namespace (default: that of kubectl's context)
  -A            those of all namespaces
  --all         also those that nobody deletes: they stay, and lose the finalizer
  --dry-run     only say what would be done
Make sure that no operator runs. The environment variable KUBECTL names another kubectl.
Exit code: 0 nothing waits any more, 1 something could not be changed, 2 wrong usage.
END
}

KUBECTL=${KUBECTL:-kubectl}
all='' dry_run='' scope='' namespace=''
while [ $# -gt 0 ]; do
    case $1 in
        -n) [ $# -gt 1 ] || { usage >&2; exit 2; }; scope=-n namespace=$2; shift ;;
        -A) scope=-A namespace='' ;;
        --all) all=1 ;;
        --dry-run) dry_run=1 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

# The kinds that carry a finalizer of ours, and which one: a Job does from its adoption until that is recorded.
look_at() { # kind
    kind=$1
    case $kind in
        agentruns.paperclip.io) finalizer=paperclip.io/agentrun-operator prefix='' ;;
        jobs.batch) finalizer=paperclip.io/adoption prefix='Job ' ;;
    esac
    # One line for each place where it stands: namespace, name, uid, place, when its deletion began.
    # shellcheck disable=SC2016 # the dollars are the template's
    one='{{$m := .metadata}}{{range $i, $f := $m.finalizers}}{{if eq $f "'$finalizer'"}}'
    # shellcheck disable=SC2016 # as above
    one=$one'{{$m.namespace}} {{$m.name}} {{$m.uid}} {{$i}} {{or $m.deletionTimestamp "-"}}{{"\n"}}{{end}}{{end}}'
}

waiting() {
    $KUBECTL get "$kind" ${scope:+"$scope"} ${namespace:+"$namespace"} -o go-template="{{range .items}}$one{{end}}"
}

# Whether the run has let go of it; a place that moved since it was read is read again.
release() { # namespace name uid place
    for _ in 1 2 3 4 5; do
        patch='[{"op":"test","path":"/metadata/uid","value":"'$3'"},'
        patch=$patch'{"op":"test","path":"/metadata/finalizers/'$4'","value":"'$finalizer'"},'
        patch=$patch'{"op":"remove","path":"/metadata/finalizers/'$4'"}]'
        if said=$($KUBECTL patch "$kind" "$2" -n "$1" --type=json -p "$patch" 2>&1); then
            return 0
        fi
        now=$($KUBECTL get "$kind" "$2" -n "$1" --ignore-not-found -o go-template="$one") || return 1
        # shellcheck disable=SC2086 # five words, none of them with a space
        set -- "$1" "$2" "$3" $now
        if [ $# -le 3 ] || [ "$6" != "$3" ]; then
            return 0 # gone, another one by now, or released by somebody else
        fi
        set -- "$1" "$2" "$3" "$7"
    done
    return 1
}

failed=0
for each in agentruns.paperclip.io jobs.batch; do
    look_at "$each"
    listed=$(waiting)
    while read -r ns name uid place deleted; do
        [ -n "$ns" ] || continue
        [ "$deleted" != - ] || [ -n "$all" ] || continue
        if [ -n "$dry_run" ]; then
            echo "$prefix$ns/$name: would be released"
        elif release "$ns" "$name" "$uid" "$place" </dev/null; then
            echo "$prefix$ns/$name: released"
        else
            echo "$prefix$ns/$name: left as it is: $said" >&2
            failed=1
        fi
    done <<END
$listed
END
done
exit $failed
