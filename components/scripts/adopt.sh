# shellcheck shell=sh
# A k3s that ran before this program knew the host (k3s-ha:allow: [adopt]; prepare.sh has looked that it is this
# cluster's): it is given this program's files, and is restarted only where they say something else than what it was
# started with.
# shellcheck disable=SC2034,SC2154
ADOPTED=$STATE/adopted
ADOPTING=0

# Settings that say nothing of how a running k3s works: the token (tried by itself), what counts for the first start
# only, names of files.
NO_SETTING='^(t|token|token-file|agent-token|agent-token-file|cluster-init|node-name|node-label|node-taint'
NO_SETTING="$NO_SETTING|c|config|kubeconfig-output|data-dir)="

# adopt_unit: an agent keeps the name of its unit, since a unit that runs cannot be renamed. Sets UNIT.
adopt_unit() {
    [ "$ROLE" = agent ] || return 0
    if [ ! -e "$STATE/k3s-unit" ] && [ ! -s "$STARTED" ] &&
        grep -qs '^ExecStart=.*k3s agent' /etc/systemd/system/k3s.service; then
        echo k3s.service >"$STATE/k3s-unit"
    fi
    if [ -s "$STATE/k3s-unit" ]; then UNIT=$(cat "$STATE/k3s-unit"); fi
}

# canonical: `key=value` lines of stdin with k3s's aliases, lists and switches written in one way.
canonical() {
    awk '
        { key = $0; sub(/=.*/, "", key); value = substr($0, length(key) + 2) }
        key == "s" { key = "server" }
        key == "i" { key = "node-ip" }
        value == "false" { next }
        key ~ /^(disable|tls-san|node-ip|node-external-ip)$/ {
            n = split(value, part, ",")
            for (i = 1; i <= n; i++) print key "=" part[i]
            next
        }
        { print key "=" value }' | grep -Ev "$NO_SETTING" |
        if [ "$ROLE" = server ]; then grep -v '^server='; else cat; fi | sort -u
}

annotation() { kube get node "$NODE" -o "go-template={{with index .metadata.annotations \"k3s.io/$1\"}}{{.}}{{end}}"; }

# json_strings: the strings of a flat JSON list or map, one per line.
json_strings() { sed 's/^[[{]"//; s/"[]}]$//; s/","/\n/g; s/":"/=/g; s/\\u003c/</g; s/\\u003e/>/g; s/\\u0026/\&/g'; }

# What k3s was started with, files and arguments and environment, as it says on its Node.
running_settings() {
    annotation node-args >"$WORK/node-args" && annotation node-env >"$WORK/node-env" || return 1
    [ -s "$WORK/node-args" ] || return 1
    {
        json_strings <"$WORK/node-args" | awk '
            NR == 1 { next }
            /^-/ {
                if (key != "") print key "=true"
                key = $0
                sub(/^-+/, "", key)
                if (index(key, "=") > 0) { print key; key = "" }
                next
            }
            key != "" { print key "=" $0; key = "" }
            END { if (key != "") print key "=true" }'
        json_strings <"$WORK/node-env" | awk -F= '
            /^K3S_/ { name = tolower(substr($1, 5)); gsub(/_/, "-", name); value = substr($0, length($1) + 2) }
            name == "url" { name = "server" }
            name ~ /^kubeconfig-/ { name = "write-" name }
            name != "" { print name "=" value }'
        grep -Eq '"-*(i|node-ip)[=\"]' "$WORK/node-args" || annotation internal-ip | tr ',' '\n' | sed 's/.*/node-ip=&/'
    } | canonical
}

# The same of our config.yaml, whose form is known (quotedYaml in config.ts).
wanted_settings() {
    awk '
        function text(v) { return v ~ /^".*"$/ ? substr(v, 2, length(v) - 2) : v }
        /^  - / { print key "=" text(substr($0, 5)); next }
        {
            key = $0
            sub(/:.*/, "", key)
            value = substr($0, length(key) + 3)
            if (value != "") print key "=" text(value)
        }' "$1" | canonical
}

# What else is read at the start.
other_files() {
    cat "$BIN" "$CONF/registries.yaml" "$CONF/authn.yaml" "$S3_KEYS" "$CONF/k3s-ha.env" \
        "$CONF/cis-audit.yaml" "$CONF/cis-admission.yaml" \
        "$DATA/agent/etc/kubelet.conf.d/50-k3s-ha.conf" 2>/dev/null | sha256sum
}

# refuse WHAT REMEDY…
refuse() {
    refusal=$1
    shift
    fail "$refusal" "$*; nothing was changed here, k3s runs on"
}

# try_password USER SECRET PATH: what k3s would refuse at its next start is refused now.
try_password() {
    code=$(supervisor "$1" "$SECRETS/$2" "$adopt_url$3" -o /dev/null -w '%{http_code}') ||
        code="none: $(tail -n 1 "$WORK/curl.err")"
    [ "$code" = 200 ] || refuse "the running cluster does not accept the stack's $2 (HTTP $code)" \
        "set it: pulumi config set --secret k3s-ha:$([ "$2" = agent-token ] && echo agentToken || echo token);" \
        "without an agent token of its own a cluster takes the server token for both"
}

# adopt_begin: before the first file changes.
adopt_begin() {
    if [ -s "$STARTED" ] || unit_is MainPID 0; then return 0; fi
    ADOPTING=1
    if [ "$ROLE" = server ]; then
        adopt_url=https://127.0.0.1:6443
    else
        adopt_url=$(setting join-url) supervisor_ca=$DATA/agent/server-ca.crt
    fi
    runs=$(installed_version)
    [ "$runs" = "$(setting version)" ] ||
        refuse "k3s ${runs:-of an unknown release} runs here and the stack wants $(setting version)" \
            "set k3s-ha:version to what runs, and upgrade when the cluster is taken over"
    if [ "$ROLE" = server ]; then
        try_password server server-token /v1-k3s/server-bootstrap
        if [ "$(cat "$SECRETS/server-token")" != "$(cat "$SECRETS/agent-token")" ]; then
            try_password node agent-token /v1-k3s/readyz
        fi
    else
        try_password node agent-token /v1-k3s/readyz
    fi
    running_settings >"$WORK/running" ||
        refuse "k3s reports no settings on a Node called $NODE ($(tail -n 1 "$WORK/kubectl.err"))" \
            "the name of a node in the stack file must be its Node's name"
    other_files >"$WORK/others-before"
    adopt_keep
}

# adopt_keep: what stood there, for people; drop-ins of others would go on deciding, and a token in the environment
# would outlive its change.
adopt_keep() {
    mkdir -p "$ADOPTED"
    for path in "$CONF/config.yaml" "$CONF/config.yaml.d"/*.yaml "$CONF/config.yaml.d"/*.yml \
        "/etc/systemd/system/$UNIT" "/etc/systemd/system/$UNIT.env"; do
        kept=$ADOPTED/$(echo "$path" | tr / %)
        if [ ! -f "$path" ] || [ -e "$kept" ]; then continue; fi
        cp -p "$path" "$kept"
        case $path in
            "$MEMBERSHIP" | "$REGISTRATION") ;;
            */config.yaml.d/*) rm -f "$path" ;;
        esac
    done
    if grep -qs '^K3S_' "/etc/systemd/system/$UNIT.env"; then
        grep -v '^K3S_' "/etc/systemd/system/$UNIT.env" >"$WORK/env" || true
        put "$WORK/env" "/etc/systemd/system/$UNIT.env" 0600
    fi
}

# adopt_decide: after the last file; says what differs.
adopt_decide() {
    [ "$ADOPTING" = 1 ] || return 0
    wanted_settings "$CONF/config.yaml" >"$WORK/wanted"
    {
        comm -23 "$WORK/running" "$WORK/wanted" | sed 's/^/no longer /'
        comm -13 "$WORK/running" "$WORK/wanted" | sed 's/^/from now on /'
        other_files | cmp -s - "$WORK/others-before" ||
            echo "another binary, registries, authentication, S3, environment or kubelet file"
    } >"$WORK/differences"
    if [ -s "$WORK/differences" ]; then
        RESTART=1
        mask <"$WORK/differences" | sed "s/^/$NODE: restarts for: /" >&2
    else
        RESTART=0
        say "$NODE: taken over as it runs"
    fi
}
