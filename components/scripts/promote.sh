# shellcheck shell=sh
# A server that joins is etcd's learner first. k3s has its leader promote learners every 15 s, living or not; here the
# learner asks for it sooner. A dead member promoted as the second voter is a quorum lost permanently, and etcd looks at
# its index only. So the learner itself asks, after it answered twice, a second apart, without errors and no more than
# 10 entries behind a voter. Whatever is not as expected leaves it to k3s.
# shellcheck disable=SC2034,SC2154

# None, or how the asking ended: it happens once.
promotion=""
# When the first good answer was there.
learner_since=""
voter=""

# Hundredths of a second since the machine's start: a clock that nobody sets.
ticks() {
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}

# etcd_grpc URL METHOD MESSAGE: etcd's own protocol. A message is a frame: a zero, four bytes of length, protobuf;
# MESSAGE has the last byte of the length and what follows, in printf's escapes. The answer is a frame in $WORK/grpc,
# $grpc_error what etcd said against it.
etcd_grpc() {
    # shellcheck disable=SC2059
    printf "\\000\\000\\000\\000$3" |
        curl -gs --http2 --connect-timeout 0.5 --max-time 2 --cacert "$DATA/server/tls/etcd/server-ca.crt" \
            --cert "$DATA/server/tls/etcd/client.crt" --key "$DATA/server/tls/etcd/client.key" \
            -H 'Content-Type: application/grpc' -H 'TE: trailers' \
            --data-binary @- -D "$WORK/grpc.head" -o "$WORK/grpc" "$1/etcdserverpb.$2" || {
        grpc_error="no answer"
        return 1
    }
    grep -q '^grpc-status: 0' "$WORK/grpc.head" || {
        grpc_error=$(tr -d '\r' <"$WORK/grpc.head" | sed -n 's/^grpc-message: //p')
        return 1
    }
}

# etcd_status URL: sets member (its id as protobuf has it, in printf's escapes), applied (its raft index), learner and
# errors (0 or 1).
etcd_status() {
    etcd_grpc "$1" Maintenance/Status '\000' || return 1
    od -An -v -t u1 "$WORK/grpc" | awk '
        function varint(  value, unit) {
            raw = ""; value = 0; unit = 1
            do {
                raw = raw sprintf("\\%03o", byte[at])
                value += byte[at] % 128 * unit
                unit *= 128
            } while (byte[at++] >= 128)
            return value
        }
        { for (i = 1; i <= NF; i++) byte[end++] = $i }
        END {
            at = 5; member = "-"; applied = learner = errors = header = 0
            while (at < end) {
                tag = varint(); field = int(tag / 8)
                # Its first field is a message with the id in it; of the others only numbers are looked at.
                if (tag % 8 == 2) {
                    size = varint()
                    if (field == 1) header = at + size; else at += size
                    if (field == 8) errors = 1
                    continue
                }
                if (tag % 8 != 0) exit 1
                value = varint()
                if (at <= header) {
                    if (field == 2) member = raw
                } else if (field == 7) applied = value
                else if (field == 10) learner = value
            }
            if (at != end) exit 1
            print member, applied, learner, errors
        }' >"$WORK/grpc.status" || return 1
    read -r member applied learner errors <"$WORK/grpc.status"
}

# The URL of an etcd voter, as the other servers list them.
a_voter() {
    members_elsewhere | grep -v '"isLearner":true' | sed -n 's/.*"clientURLs":\["\([^"]*\)".*/\1/p' | head -n 1
}

# own_status: asks the etcd of this host, and remembers when.
own_status() {
    asked=$(ticks)
    etcd_status https://127.0.0.1:2379
}

# After own_status: this learner answers now, and has nearly all that a voter has.
healthy_learner() {
    [ "$learner $errors" = "1 0" ] && [ "$member" != - ] || return 1
    own_member=$member own_applied=$applied
    [ -n "$voter" ] || voter=$(a_voter)
    if [ -n "$voter" ] && etcd_status "$voter" && [ "$learner" = 0 ] && [ "$own_applied" -ge "$((applied - 10))" ]; then
        return 0
    fi
    voter=""
    return 1
}

# Called again and again while the server waits to become a voter. True when the etcd of this host has to be waited for:
# it is a learner, or does not answer yet, which may last 15 s more (a learner whose first proposal came back in a
# snapshot waits so long before it serves).
hasten_promotion() {
    if ! own_status; then
        learner_since=""
    elif [ "$learner" = 0 ]; then
        return 1
    elif [ -n "$promotion" ]; then
        :
    elif ! healthy_learner; then
        learner_since=""
    elif [ -z "$learner_since" ]; then
        learner_since=$(ticks)
    # The answer of before is a second old, this one half a second at most, and connecting takes no more than the other
    # half.
    elif [ "$((asked - learner_since))" -ge 100 ] && [ "$(($(ticks) - asked))" -le 50 ]; then
        promote
    fi
}

promote() {
    # Field 1 of the message is the member's id, four characters a byte.
    size=$((${#own_member} / 4 + 1))
    if etcd_grpc "$voter" Cluster/MemberPromote "$(printf '\\%03o' "$size")\\010$own_member" ||
        [ "$grpc_error" = "etcdserver: can only promote a learner member" ]; then
        promotion="done"
    else
        promotion="left to k3s ($grpc_error)"
    fi
    say "$NODE: etcd asked for promotion: $promotion"
}
