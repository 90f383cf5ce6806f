#!/bin/sh
# What `npm run etcd-space` does on a server; on stdin of sh, as root. etcd-space/main.ts has the order.
# status: a line of JSON with the member's status. compact: forgets what is older than now, on all members. defragment:
# gives the room of it back, on this member, which does not serve meanwhile. disarm: takes the alarm NOSPACE off.
DATA=/var/lib/rancher/k3s
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

# etcd PATH BODY SECONDS: etcd's own HTTP API; k3s has it on port 2382, older releases on 2379. JSON in one line.
etcd() {
    for port in 2382 2379; do
        if curl -s --fail --max-time "$3" --cacert $DATA/server/tls/etcd/server-ca.crt \
            --cert $DATA/server/tls/etcd/client.crt --key $DATA/server/tls/etcd/client.key \
            -d "$2" "https://127.0.0.1:$port/v3/$1" 2>/dev/null; then
            echo
            return 0
        fi
    done
    echo "etcd of this server does not answer to $1 within $3 s; is k3s up? systemctl status k3s" >&2
    return 1
}

ready() { [ "$(k3s kubectl get --raw /readyz --kubeconfig /etc/rancher/k3s/k3s.yaml 2>/dev/null)" = ok ]; }

case ${1-} in
    status) etcd maintenance/status '{}' 10 ;;
    compact)
        status=$(etcd maintenance/status '{}' 10) || exit 1
        revision=$(printf '%s' "$status" | sed -n 's/.*"revision":"\([0-9]*\)".*/\1/p')
        [ -n "$revision" ] || {
            echo "etcd's status has no revision" >&2
            exit 1
        }
        # k3s compacts every five minutes too: then nothing is left to do, which etcd calls an error.
        etcd kv/compaction "{\"revision\":\"$revision\",\"physical\":true}" 120 2>/dev/null ||
            etcd maintenance/status '{}' 10 >/dev/null || exit 1
        echo "{}"
        ;;
    defragment)
        etcd maintenance/defragment '{}' 300 || exit 1
        end=$(($(date +%s) + 60))
        until ready; do
            [ "$(date +%s)" -lt "$end" ] || {
                echo "the API of this server is not ready 60 s after it; look at journalctl -u k3s" >&2
                exit 1
            }
            sleep 1
        done
        ;;
    disarm) etcd maintenance/alarm '{"action":"DEACTIVATE","memberID":"0","alarm":"NOSPACE"}' 10 ;;
    *)
        echo "usage: etcd-space status|compact|defragment|disarm" >&2
        exit 2
        ;;
esac
