# shellcheck shell=bash
# The lab's S3 server (versitygw, lab/s3) for etcd snapshots: ROUTER_ADDRESS:8082, TLS by a CA of its own, signatures checked.
# In LAB_DIR/s3: ca.pem, keys ("ACCESS SECRET"), data/BUCKET/… with every object as a file.

S3_BUCKET=backups

setup_s3() {
    say "S3 server"
    "$LAB_ROOT/lab/s3/build.sh" "$LAB_CACHE/s3/server" >&2
}

# _s3_certificates: of a CA and of a server at the router's address, made once per lab.
_s3_certificates() {
    local folder=$LAB_DIR/s3 new=(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    [[ ! -s $folder/server.pem ]] || return 0
    {
        openssl "${new[@]}" -x509 -days 3650 -subj "/CN=$LAB_NAME s3" -keyout "$folder/ca.key" -out "$folder/ca.pem" &&
            openssl "${new[@]}" -subj "/CN=s3" -keyout "$folder/server.key" -out "$folder/server.csr" &&
            openssl x509 -req -days 3650 -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
                -extfile <(echo "subjectAltName=IP:$ROUTER_ADDRESS") -out "$folder/server.pem.new"
    } 2>"$folder/openssl.log" || fail "no certificate for the S3 server: $(tail -n 2 "$folder/openssl.log")"
    mv "$folder/server.pem.new" "$folder/server.pem"
}

# s3_up: after router_up. The bucket is made by a signed request, as any other client would.
s3_up() {
    local folder=$LAB_DIR/s3 access secret code empty
    install -d -m 700 "$folder" "$folder/data" "$folder/meta"
    _s3_certificates
    if [[ ! -s $folder/keys ]]; then
        (umask 077 && echo "LAB$(openssl rand -hex 8) $(openssl rand -hex 20)" >"$folder/keys.new")
        mv "$folder/keys.new" "$folder/keys"
    fi
    read -r access secret <"$folder/keys"
    if ! process_alive "$folder/server.pid"; then
        ROOT_ACCESS_KEY_ID=$access ROOT_SECRET_ACCESS_KEY=$secret process_start "$folder/server.pid" "$folder/server.log" \
            nsenter --net="/run/netns/$ROUTER_NETNS" "$LAB_CACHE/s3/server" --port "$ROUTER_ADDRESS:8082" \
            --cert "$folder/server.pem" --key "$folder/server.key" posix --sidecar "$folder/meta" "$folder/data"
    fi
    wait_for 10 _listening 8082 || fail "the lab's S3 server does not answer, see $folder/server.log"
    [[ ! -d $folder/data/$S3_BUCKET ]] || return 0
    empty=$(sha256sum </dev/null)
    code=$(printf 'user = "%s:%s"\n' "$access" "$secret" | nsenter --net="/run/netns/$ROUTER_NETNS" \
        curl -sS -K - --noproxy '*' --aws-sigv4 aws:amz:us-east-1:s3 --cacert "$folder/ca.pem" \
        -H "x-amz-content-sha256: ${empty%% *}" -X PUT -o "$folder/answer" -w '%{http_code}' \
        "https://$ROUTER_ADDRESS:8082/$S3_BUCKET") || true
    [[ $code == 200 ]] || fail "the lab's bucket cannot be made (answer ${code:-none}: $(head -c 300 "$folder/answer" 2>/dev/null))"
}
