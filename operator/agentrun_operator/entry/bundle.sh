#!/bin/sh
# bundle.sh VOLUME STORE LINK INSTRUCTIONS KEEP_DAYS [NAME=SOURCE]...     POSIX sh (dash, bash, busybox ash); coreutils or busybox
#  - Makes STORE/<key>/ of the skills (.claude/skills/NAME/) and of the file INSTRUCTIONS ("": none; agent-instructions.md), and the
#    symbolic link LINK to it. The key is the hash of everything in that folder, so anybody can check a bundle against its name.
#  - STORE is a folder below the mount point VOLUME. Many pods share it and do this at once: what has its final name there is
#    whole and read-only, and got that name by one rename. STORE/<key>.used is touched at each use; a bundle that was not used
#    for KEEP_DAYS days is removed (0: never).
#  - A skill is a folder below VOLUME or below $SKILL_MOUNTS. One that is missing or not safe is left out; the others go on.
#  - $TERMINATION_LOG gets `bundle=<key> skills=<count> instructions=<0|1>` and a line for each skill left out. The exit status is
#    not 0 only when there can be no bundle at all; then the sentence that says why stands there and on stderr.
# shellcheck disable=SC2015,SC2016      `a && b || die` is meant; what stands in '' is for an inner shell
set -eu; umask 027; export LC_ALL=C; unset CDPATH
cd /                                           # a link to /proc/self/cwd has to mean the same to all of us
TERMINATION_LOG=${TERMINATION_LOG:-/dev/termination-log} SKILL_MOUNTS=${SKILL_MOUNTS:-/run/agentrun-skills}
MAX_FILES=2000 MAX_BYTES=67108864 MAX_ENTRIES=5000         # entries: files, folders and links; bounds what looking costs
stage='' build='' store='' key='' report='' count=0 given=0
many="it has more than $MAX_FILES files, or $MAX_ENTRIES files, folders and links"
nl=$(printf '\n.') nl=${nl%.}

die() {
    printf 'bundle.sh: %s\n' "$1" >&2
    printf '%s\n' "$1" 2>/dev/null >"$TERMINATION_LOG" || :
    [ -z "$key" ] || [ -e "$store/$key" ] || rm -f "$store/$key.used" 2>/dev/null || :
    exit 1
}
remove() {                                     # a file, link or read-only folder; neither find nor rm -r follows a link
    find "$1" -type d ! -perm -700 -exec chmod u+rwx {} + 2>/dev/null || :
    rm -rf "$1" 2>/dev/null || :
}
cleanup() { if [ -n "$stage" ]; then remove "$stage"; fi; if [ -n "$build" ]; then remove "$build"; fi; }
exists() { [ -e "$1" ] || [ -L "$1" ]; }
real() { ( cd -P "$1" 2>/dev/null && pwd -P ); }
left_out() {                                   # NAME REASON; both may quote strangers: keep them short, ASCII and on one line
    report=$report$(printf 'skill %.63s: %.300s' "$1" "$2" | tr -c ' -~' '?')$nl
}
key_of() (                                     # FOLDER [-L]; every path with its type, executable bit and content in one hash
    cd "$1" || exit
    { echo 'version agentrun-bundle-1'
      find ${2:+"$2"} . -type d -exec printf 'folder %s\n' {} + \
          -o -type f -perm -100 -exec printf 'executable %s\n' {} + -exec sha256sum {} + \
          -o -type f -exec sha256sum {} + -o -exec printf 'other %s\n' {} + || echo incomplete
    } | sort | sha256sum | { read -r sum _; echo "$sum"; }
)

too_many() { [ -n "$(find "$@" | sed -n "$((MAX_ENTRIES + 1)){p;q;}")" ]; }          # sed ends a find that would go on and on
fault() {                                      # FOLDER, resolved; says why it cannot be a skill, nothing if it can
    [ -r "$1" ] || { echo 'its folder cannot be read'; return; }
    for entry in "$1"/* "$1"/.[!.]* ''; do if exists "$entry"; then break; fi; done
    [ -n "$entry" ] || { echo 'its folder is empty'; return; }
    exists "$1/SKILL.md" || { echo 'there is no SKILL.md'; return; }
    if too_many "$1"; then echo "$many"; return; fi
    # All the rest works line by line, and sha256sum has a way of its own to write a name with a backslash.
    [ -z "$(find "$1" -name '*[[:cntrl:]\\]*')" ] || { echo 'a name in it has a control character or a backslash'; return; }
    find "$1" ! -type d ! -type f -exec sh -c '
        for path; do
            if [ ! -e "$path" ]; then echo "a symbolic link leads nowhere or to itself: ${path#"$0"/}"; exit; fi
            if [ ! -L "$path" ]; then echo "neither a file nor a folder: ${path#"$0"/}"; exit; fi
        done
        realpath "$@" | for path; do           # one process for all links: one for each would be slow
            target=; IFS= read -r target || :
            case $target in "$0" | "$0"/*) ;; *) echo "a symbolic link leads out of the folder: ${path#"$0"/}"; exit;; esac
            case $path in "$target"/*) echo "a symbolic link leads to a folder that it is in: ${path#"$0"/}"; exit;; esac
        done' "$1" {} + | head -n 1
}
excess() {                                     # FOLDER of links to what is in a skill; fault has seen it once, links show it many times
    if too_many -L "$1"; then echo "$many"; return; fi                 # or go round in a circle
    [ -f "$1/SKILL.md" ] || { echo 'SKILL.md is not a file'; return; }
    { find -L "$1" -type f -exec sh -c '
          for path; do [ -r "$path" ] || echo unreadable; done; ls -dnL "$@"' sh {} + || echo unreadable; } | {
        files=0 bytes=0
        while read -r mode _ _ _ size _; do
            [ "$mode" != unreadable ] || { echo 'something in it cannot be read, or symbolic links go round in a circle'; exit; }
            files=$((files + 1)) bytes=$((bytes + size))
            [ "$files" -le "$MAX_FILES" ] || { echo "$many"; exit; }
            [ "$bytes" -le "$MAX_BYTES" ] || { echo "it has more than $((MAX_BYTES / 1048576)) MiB"; exit; }
        done
    }
}
add_skill() {                                  # NAME SOURCE; with links to what is in the folder
    case $1 in '' | [!a-zA-Z0-9]* | *[!a-zA-Z0-9._-]*) left_out "$1" 'its name is not allowed'; return 0;; esac
    [ ${#1} -le 253 ] || { left_out "$1" 'its name is too long'; return 0; }
    case $names in *" $1 "*" $1 "*)            # both: which of them is meant must not depend on the order
        case $nl$report in *"${nl}skill $1: "*) ;; *) left_out "$1" 'its name is given twice';; esac
        return 0;;
    esac
    case $2 in *[[:cntrl:]]* | [!/]* | '') left_out "$1" 'its folder is not an absolute path'; return 0;; esac
    exists "$2" || { left_out "$1" 'its folder does not exist'; return 0; }
    folder=$(real "$2") || { left_out "$1" 'it is not a folder that can be read'; return 0; }
    case $folder in "$volume"/* | "$mounts"/*) ;;
        *) left_out "$1" 'its folder is neither on the shared volume nor a mounted ConfigMap'; return 0;;
    esac
    reason=$(fault "$folder" 2>/dev/null) || :
    [ -z "$reason" ] || { left_out "$1" "$reason"; return 0; }
    skill=$stage/.claude/skills/$1
    mkdir "$skill" || return 1
    # The globs leave out `..*`: these are no keys of a ConfigMap, but how the kubelet changes all of its files at once.
    set -- "$folder"/.[!.]*; exists "$1" || shift                      # a glob without a match stays as it is
    set -- "$folder"/* "$@"; exists "$1" || shift
    if ln -s "$@" "$skill/"; then reason=$(excess "$skill" 2>/dev/null) || :; else reason=$many; fi
    if [ -n "$reason" ]; then remove "$skill"; left_out "${skill##*/}" "$reason"; else count=$((count + 1)); fi
}
set_stage() {                                  # NAME=SOURCE...; a pod-local folder of links: what find -L sees in it is the bundle
    report='' count=0 names=''
    remove "$stage"
    mkdir -p "$stage/.claude/skills" || return 1
    [ "$given" -eq 0 ] || {
        cat "$instructions" && { [ -z "$(tail -c 1 "$instructions")" ] || echo; } &&
        printf '\nRelative paths in these instructions are relative to %s: use it as their base directory.\n' "$link"
    } >"$stage/agent-instructions.md" || return 1
    for skill; do names="$names ${skill%%=*} "; done
    for skill; do add_skill "${skill%%=*}" "${skill#*=}" || return 1; done
}

aside() {                                      # KEY; sets trash. With a new time, or others would take it for a crash's leftover
    trash=$(mktemp -u "$store/.tmp-XXXXXXXXXX") # only the name: mv makes it; taken already, mv fails or puts it inside, trash, too
    [ -L "$store/$1" ] || touch -c "$store/$1" 2>/dev/null || :
    mv "$store/$1" "$trash" 2>/dev/null        # beside it: a read-only folder cannot be moved into another one
}
place() {                                      # FOLDER KEY; one rename, or nothing when somebody was quicker
    if ! mv -T "$1" "$store/$2" 2>/dev/null && ! exists "$store/$2"; then      # an old busybox does not know -T
        mv "$1" "$store/$2" 2>/dev/null || :
        remove "$store/$2/${1##*/}"            # quicker by a hair: without -T ours has then become a part of theirs
    fi
    remove "$1"
}
usable() {                                     # the mark comes before the look, since collect renames before it looks at the mark
    touch "$store/$key.used" 2>/dev/null || :
    [ ! -L "$store/$key" ] && [ -d "$store/$key" ] && [ "$(key_of "$store/$key" 2>/dev/null)" = "$key" ]
}
write() {
    build=$(mktemp -d "$store/.tmp-XXXXXXXXXX") || return 1
    if ! cp -RL "$stage/." "$build/" || ! chmod -R u-w,g=u,o= "$build"; then remove "$build"; return 1; fi
    key=$(key_of "$build") || return 1         # of the copy, for a skill may have changed since we looked at it
    if usable; then remove "$build"; return 0; fi
    if exists "$store/$key" && aside "$key"; then
        if [ ! -L "$trash" ] && [ "$(key_of "$trash" 2>/dev/null)" = "$key" ]; then
            place "$trash" "$key"              # it was damaged when we looked, but somebody has replaced it since
        else
            echo "bundle.sh: bundle $key was damaged and is made again" >&2
            remove "$trash"
        fi
    fi
    place "$build" "$key"
    usable
}
stale() { find "$1" -maxdepth "$2" -type f -name '*.used' -mtime "+$((keep_days - 1))" 2>/dev/null || :; }
collect() {
    for old in "$store"/.tmp-*; do             # a crash's leftovers
        [ -z "$(find "$old" -maxdepth 0 -mtime +0 2>/dev/null)" ] || remove "$old"
    done
    [ "$keep_days" -gt 0 ] || return 0
    marks=$nl$(stale "$store" 1)$nl
    for old in "$store"/*; do
        name=${old##*/}; name=${name%.used} mark=$store/${name%.used}.used
        case $name in "$key" | *[!0-9a-f]*) continue;; esac
        [ ${#name} -eq 64 ] || continue
        if [ -d "$store/$name" ] && [ ! -e "$mark" ]; then touch "$mark"; continue; fi     # its days count from now on
        case $marks in *"$nl$mark$nl"*) ;; *) continue;; esac
        if ! exists "$store/$name" && [ -z "$(find "$store" -maxdepth 1 -name '.tmp-*')" ]; then
            rm -f "$mark"                      # nobody has moved the bundle aside either, to look at its mark once more
        elif [ -d "$store/$name" ] && [ ! -L "$store/$name" ] && aside "$name"; then
            ( exec <"$mark" ) 2>/dev/null || : # opening it makes an NFS client ask the server for its time
            if [ -n "$(stale "$mark" 0)" ]; then rm -f "$mark"; remove "$trash"; else place "$trash" "$name"; fi
        fi
    done
}

[ $# -ge 5 ] || die 'the arguments are VOLUME STORE LINK INSTRUCTIONS KEEP_DAYS [NAME=SOURCE]...'
volume=$1 wanted=$2 link=$3 instructions=$4 keep_days=$5; shift 5
for path in "$volume" "$wanted" "$link"; do
    case $path in *[[:cntrl:]]* | [!/]* | '') die 'VOLUME, STORE and LINK have to be absolute paths without control characters';; esac
done
case $keep_days in '' | *[!0-9]* | 0?* | ?????*) die 'KEEP_DAYS has to be a number of days from 0 to 9999';; esac
if [ -n "$instructions" ]; then [ -f "$instructions" ] && [ -r "$instructions" ] || die 'INSTRUCTIONS is not a file that can be read'; fi
[ ! -s "$instructions" ] || given=1
for skill; do case $skill in *=*) ;; *) die 'what comes after KEEP_DAYS has to be NAME=SOURCE';; esac; done
volume=$(real "$volume") && [ "$volume" != / ] || die 'VOLUME is not the folder of a volume'
mounts=$(real "$SKILL_MOUNTS") && [ "$mounts" != / ] || mounts=$volume
case $wanted/ in */../* | */./*) die 'STORE must not have . or .. in its path';; esac
above=$wanted
while ! exists "$above"; do above=${above%/*}; above=${above:-/}; done         # look before anything is made outside of VOLUME
above=$(real "$above") || die 'STORE is not a folder that can be read'
case $above/ in "$volume"/*) ;; *) die 'STORE is not below VOLUME';; esac
mkdir -p "$wanted" && store=$(real "$wanted") || die 'STORE cannot be made; is the volume full or read-only?'
case $store in "$volume"/*) ;; *) die 'STORE is not below VOLUME';; esac

trap cleanup EXIT
trap 'exit 143' TERM INT HUP
stage=$link.$$ attempts=1
while :; do
    set_stage "$@" || die 'the folder of LINK cannot be written'
    key=$(key_of "$stage" -L 2>/dev/null) || die 'sha256sum cannot be run'
    if usable || write; then break; fi
    [ "$attempts" -lt 4 ] || die 'no bundle can be written to STORE; is the volume full or read-only?'
    attempts=$((attempts + 1))                 # a file vanished, the volume is full, or there is a crowd at this bundle
    collect || :
done
rm -f "$link" && ln -s "$wanted/$key" "$link" || die 'LINK cannot be made'
printf 'bundle=%s skills=%d instructions=%d\n%s' "$key" "$count" "$given" "$report" | head -c 4096 | tee "$TERMINATION_LOG" 2>/dev/null || :
collect || :
