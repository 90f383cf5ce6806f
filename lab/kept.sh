# shellcheck shell=bash
# For the scripts that build the lab's programs: what was built is kept in LAB_CACHE, by a hash of what it is made of.

# keep_in FOLDER [LOCK]: FOLDER of LAB_CACHE is where programs are kept; one build at a time by this lock.
keep_in() {
    KEPT=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/k3s-ha-lab}/$1
    mkdir -p -- "$KEPT"
    exec 9>"$KEPT/${2:-lock}"
    flock 9
}

# digest: of what it reads.
digest() { sha256sum | cut -c1-16; }

# -s -w drops debugging data, so the compiler makes none. A larger GOGC trades memory for time. Together they save a fifth of the
# processor time: versitygw took 132 s in place of 168 (`time go build` with an empty GOCACHE). tests/run.mjs sources this, too.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:+$GOFLAGS }-gcflags=all=-dwarf=false" GOGC=${GOGC:-400}

# kept NAME DIGEST VERSION PACKAGE FLAG…: prints the path of the program, built by `go build FLAG… PACKAGE` when it is not kept.
kept() {
    local file=$KEPT/$1-$2
    if [ ! -x "$file" ]; then
        echo "building $1 $3" >&2
        nice go build "${@:5}" -o "$file.new" "$4" || return
        mv -- "$file.new" "$file"
        # Only the last few builds of a program are of use.
        find "$KEPT" -maxdepth 1 -name "$1-????????????????" -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- |
            xargs -r -d '\n' rm -f --
    fi
    echo "$file"
}

# put FILE DEST [--link]: a copy, or a link where that can be; not in place, since the old one may be running.
put() {
    [ ! "$1" -ef "$2" ] || return 0
    mkdir -p -- "${2%/*}"
    cp --force ${3:+"$3"} -- "$1" "$2.new.$$" 2>/dev/null || cp --force -- "$1" "$2.new.$$"
    mv -- "$2.new.$$" "$2"
}
