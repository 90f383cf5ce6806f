# shellcheck shell=sh
# New keys for the Secrets in etcd (rotate.secretsEncryption), for server.sh and lost-nodes.sh. The first server makes a
# new key and writes all Secrets again with it; the others read it when they start, one after another, and have the old
# one until then: they cannot read what was written again, and what they would write nobody could read later. So nobody
# may write Secrets from the rotation until all servers have the new key (guard_secrets).
# k3s: pkg/server/handlers/secrets-encrypt.go, pkg/cluster/bootstrap.go.
# shellcheck disable=SC2034,SC2154

# The counter of the last rotation that came to its end here; and of one that was begun, with the key before it.
ENCRYPTION_DONE=$STATE/encryption-done
ENCRYPTION_BEGUN=$STATE/encryption-begun
GUARD=k3s-ha-secrets-encryption

encryption_wanted() { setting encryption | cut -d ' ' -f 1; }
encryption_first() { setting encryption | cut -s -d ' ' -f 2; }

encryption_due() {
    [ -n "$(encryption_wanted)" ] && [ "$(encryption_wanted)" -gt "$(cat "$ENCRYPTION_DONE" 2>/dev/null || echo 0)" ]
}

encryption_status() {
    timeout 30 "$BIN" secrets-encrypt status --output json >"$WORK/encryption" 2>"$WORK/encryption.err"
}
# encryption_says KEY: of the last status.
encryption_says() {
    sed -n "s/^[[:space:]]*\"$1\": \"\{0,1\}\([^\"]*[^\",]\)\"\{0,1\},\{0,1\}\$/\1/p" "$WORK/encryption"
}

# note_encryption: before the restart of a server that has the old key.
note_encryption() {
    encryption_due && [ "$mode" = member ] || return 0
    if [ "$NODE" != "$(encryption_first)" ] && unit_is ActiveState active; then
        say "$NODE: restarts for: the new key of the Secrets"
        RESTART=1
    fi
}

# guarded ADDRESS: this server refuses to write a Secret for the reason of the guard.
guarded() {
    ! kube --server "https://$1" -n kube-system create secret generic "$GUARD" --dry-run=server >/dev/null || return 1
    grep -q 'k3s-ha: the keys of Secrets are being rotated' "$WORK/kubectl.err"
}

# guard_secrets: on all servers, by Kubernetes' own admission. k3s itself writes the Secrets again, as its supervisor.
guard_secrets() {
    cat >"$WORK/guard.yaml" <<END
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: $GUARD }
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [""], apiVersions: [v1], resources: [secrets], operations: [CREATE, UPDATE] }
  matchConditions:
    - { name: not-k3s, expression: 'request.userInfo.username != "system:k3s-supervisor"' }
    # Step lost-nodes locks the names of lost nodes by them, on the first server, which has the new key.
    - { name: no-node-password, expression: '!request.name.endsWith(".node-password.k3s")' }
  validations:
    - expression: "false"
      message: "k3s-ha: the keys of Secrets are being rotated, which takes some minutes; try again then"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: $GUARD }
spec: { policyName: $GUARD, validationActions: [Deny] }
END
    kube apply -f "$WORK/guard.yaml" >/dev/null ||
        fail "writes of Secrets could not be stopped for the rotation: $(tail -n 1 "$WORK/kubectl.err")" \
            "check whether the API answers and run pulumi up again; nothing was rotated"
    servers_known | cut -d ' ' -f 2 | sort -u >"$WORK/guarded"
    while read -r address; do
        wait_for 60 guarded "$address" || {
            why=$(tail -n 1 "$WORK/kubectl.err")
            lift_guard
            fail "the server $address still writes Secrets ($why)" \
                "every server must be up for a rotation: look at it and run pulumi up again; nothing was rotated"
        }
    done <"$WORK/guarded"
}

lift_guard() {
    kube delete "validatingadmissionpolicybinding/$GUARD" "validatingadmissionpolicy/$GUARD" --ignore-not-found \
        >/dev/null
}

# keys_settled: what this server's Node tells is of the keys that it has. A k3s that was restarted within a rotation
# tells the stage of before, with the hash of before, and does not carry on.
keys_settled() {
    keys_hash=$(sha256sum <"$DATA/server/cred/encryption-config.json" | cut -d ' ' -f 1)
    [ "$(kube get node "$NODE" -o 'jsonpath={.metadata.annotations.k3s\.io/encryption-config-hash}')" = \
        "$(encryption_says stage)-$keys_hash" ]
}

# keys_rotated KEY-BEFORE
keys_rotated() {
    sleep 1
    encryption_status && [ "$(encryption_says stage)" = reencrypt_finished ] &&
        [ "$(encryption_says activekey)" != "$1" ] && keys_settled
}

# write_again: with the new key that is there already.
write_again() {
    timeout 60 "$BIN" secrets-encrypt reencrypt --force >"$WORK/rotate-keys" 2>&1 ||
        fail "k3s was restarted meanwhile, and does not go on: $(tail -n 1 "$WORK/rotate-keys" | mask)" \
            "see docs/runbooks/secrets-encryption.md"
}

# begin_rotation: nothing has been changed yet.
begin_rotation() {
    [ "$(encryption_says hashmatch)" = true ] ||
        fail "the servers have different keys for Secrets: $(encryption_says hasherror)" \
            "restart k3s on the server that 'k3s secrets-encrypt status' shows another stage of, then run pulumi up" \
            "again; nothing was rotated"
    case $(encryption_says stage) in
        start | reencrypt_finished) ;;
        *) fail "the encryption of Secrets is in stage $(encryption_says stage) already" \
            "end that first (docs/runbooks/secrets-encryption.md), then run pulumi up again; nothing was rotated" ;;
    esac
    down=$(servers_down)
    [ -z "$down" ] ||
        fail "these servers are not up, and all must be for a rotation: $down" \
            "bring them back or mark them as lost, then run pulumi up again; nothing was rotated"
    guard_secrets
    printf '%s %s\n' "$(encryption_wanted)" "$key_before" >"$WORK/begun"
    put "$WORK/begun" "$ENCRYPTION_BEGUN" 0600
    timeout 120 "$BIN" secrets-encrypt rotate-keys >"$WORK/rotate-keys" 2>&1 && return 0
    # k3s's client gives up after 90 s; the server goes on. Else it has begun nothing.
    encryption_status || return 0
    if [ "$(encryption_says stage)" != reencrypt_active ] && [ "$(encryption_says activekey)" = "$key_before" ]; then
        lift_guard || true
        rm -f "$ENCRYPTION_BEGUN"
        fail "k3s made no new key for Secrets: $(tail -n 1 "$WORK/rotate-keys" | mask)" \
            "the reason is in k3s's log (journalctl -u k3s | grep secret-encrypt); then run pulumi up again"
    fi
}

# rotate_encryption: on the first server. A run that was cut off is carried on.
rotate_encryption() {
    encryption_status ||
        fail "k3s does not tell how Secrets are encrypted: $(tail -n 1 "$WORK/encryption.err" | mask)" \
            "look at 'k3s secrets-encrypt status' on this host and run pulumi up again"
    [ "$(encryption_says enable)" = true ] ||
        fail "Secrets are not encrypted in this cluster" \
            "take k3s-ha:rotate.secretsEncryption out; encryption begins only when a cluster is founded"
    key_before=$(encryption_says activekey)
    begun=$(cat "$ENCRYPTION_BEGUN" 2>/dev/null) || begun=""
    if [ "${begun%% *}" = "$(encryption_wanted)" ]; then
        key_before=${begun#* }
        case $(encryption_says stage):$(encryption_says activekey) in
            reencrypt_active:*) ;;
            *:"$key_before") begin_rotation ;;
            *) keys_settled || write_again ;;
        esac
    else
        begin_rotation
    fi
    wait_for "$wait_seconds" keys_rotated "$key_before" ||
        fail "the Secrets were not all written again within $wait_seconds s (stage $(encryption_says stage))" \
            "look at k3s's log, then docs/runbooks/secrets-encryption.md; until then nobody can write Secrets"
    say "$NODE: Secrets have a new key: $(encryption_says activekey)"
}

encryption_hashes() {
    kube get node "$NODE" "$(encryption_first)" \
        -o 'jsonpath={range .items[*]}{.metadata.annotations.k3s\.io/encryption-config-hash}{"\n"}{end}'
}
same_keys() {
    sleep 1
    encryption_hashes >"$WORK/hashes" && [ "$(grep -c . "$WORK/hashes")" = 2 ] &&
        [ "$(sort -u "$WORK/hashes" | wc -l)" = 1 ]
}

# settle_encryption: at the end of the step, when k3s runs and is ready.
settle_encryption() {
    encryption_due || {
        # Of a rotation that was given up: the same counter, raised later, is another one.
        rm -f "$ENCRYPTION_BEGUN"
        return 0
    }
    if [ "$mode" = member ]; then
        if [ "$NODE" = "$(encryption_first)" ]; then
            rotate_encryption
        else
            wait_for 120 same_keys ||
                fail "this server did not read the new key of the Secrets at its start" \
                    "run 'systemctl restart k3s' here until 'k3s secrets-encrypt status' shows the stage that" \
                    "$(encryption_first) has, then pulumi up again; until then nobody can write Secrets"
        fi
    fi
    # A server that has just come may be the last one that lacked the key.
    if encryption_status && [ "$(encryption_says hashmatch)" = true ] && keys_settled; then
        lift_guard ||
            fail "the guard against writes of Secrets could not be taken away: $(tail -n 1 "$WORK/kubectl.err")" \
                "run pulumi up again"
    fi
    encryption_wanted >"$ENCRYPTION_DONE"
    rm -f "$ENCRYPTION_BEGUN"
}
