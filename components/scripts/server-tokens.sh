# shellcheck shell=sh
# Tokens and credentials of a server, and their change.
# shellcheck disable=SC2034,SC2154

# known_ca_hash: as this server's own token file has it.
known_ca_hash() { sed -n 's/^K10\([0-9a-f]\{64\}\)::.*/\1/p' "$DATA/server/token" 2>/dev/null; }

# The first server in the chain changes the cluster's token; the others start with what has been changed. The file that
# this program wrote tells what is in use: k3s changes its own before the datastore, also when that fails
# (pkg/server/handlers/token.go).
rotate_token() {
    if [ ! -s "$CONF/token" ] || [ "$(password "$CONF/token")" = "$(cat "$SECRETS/server-token")" ]; then return 0; fi
    if [ "$(setting rotates)" = yes ]; then
        printf '{"newToken":"%s"}' "$(escaped <"$SECRETS/server-token")" >"$WORK/new-token"
        code=$(supervisor server "$CONF/token" https://127.0.0.1:6443/v1-k3s/token -X PUT \
            -H 'Content-Type: application/json' \
            --data-binary "@$WORK/new-token" -o "$WORK/answer" -w '%{http_code}') ||
            code="none: $(tail -n 1 "$WORK/curl.err")"
        [ "$code" = 200 ] ||
            fail "k3s did not take the new server token (answer $code: $(mask <"$WORK/answer" | head -c 300))" \
                "the old token stays in use; check whether all servers are ready, and run pulumi up again"
        say "$NODE: the cluster's server token was changed"
    fi
    RESTART=1
    # k3s reads the new one at its start, which a later part of this step may refuse: until then nothing counts as
    # started.
    [ ! -s "$STARTED" ] || echo "with the former token" >"$STARTED"
}

write_tokens() {
    if [ "$mode" = found ] || [ "$mode" = restore ]; then ca_hash=""; fi
    if [ "$mode" = member ] && [ -z "$ca_hash" ]; then ca_hash=$(known_ca_hash); fi
    put_token server-token "$CONF/token" server
    before=$CHANGED
    put "$SECRETS/agent-token" "$CONF/agent-token" 0600
    [ "$CHANGED" = "$before" ] || RESTART=1
    write_s3_credentials
}

# Credentials are in no file that a preview shows; k3s reads them from a drop-in next to the public settings.
write_s3_credentials() {
    if [ ! -s "$SECRETS/s3-access-key" ]; then
        if [ -f "$S3_KEYS" ]; then
            rm -f "$S3_KEYS"
            RESTART=1
        fi
        return 0
    fi
    printf '"etcd-s3-access-key": "%s"\n"etcd-s3-secret-key": "%s"\n' "$(cat "$SECRETS/s3-access-key")" \
        "$(cat "$SECRETS/s3-secret-key")" >"$WORK/s3"
    before=$CHANGED
    put "$WORK/s3" "$S3_KEYS" 0600
    [ "$CHANGED" = "$before" ] || RESTART=1
}
