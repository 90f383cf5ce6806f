#!/bin/sh
# What `npm run etcd-space` does on a server; on stdin of sh, as root. etcd-space/main.ts has the order.
# status: a line of JSON with the member's status. compact: forgets what is older than now, on all members. defragment:
# gives the room of it back, on this member, which does not serve meanwhile. disarm: takes the alarm NOSPACE off, for
# every member that raised it.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
DATA=/var/lib/rancher/k3s
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

# etcd PATH BODY SECONDS: etcd's own HTTP API; k3s has it on port 2382, older releases on 2379. JSON in one line. On
# failure $why has what was said: by etcd itself (its answer is JSON), else by curl.
etcd() {
    why=""
    for port in 2382 2379; do
        answer=$(curl -sS --max-time "$3" --cacert $DATA/server/tls/etcd/server-ca.crt \
            --cert $DATA/server/tls/etcd/client.crt --key $DATA/server/tls/etcd/client.key \
            -d "$2" "https://127.0.0.1:$port/v3/$1" 2>&1) || {
            why=${why:-$answer}
            continue
        }
        case $answer in
            *'"error":'*'"code":'*) why=$answer ;;
            "{"*)
                printf '%s\n' "$answer" | tr -d '\n'
                echo
                return 0
                ;;
        esac
    done
    return 1
}

# must PATH BODY SECONDS: etcd, or the run ends with the reason.
must() {
    etcd "$@" || {
        echo "etcd of this server does not do $1: $why (is k3s up? systemctl status k3s)" >&2
        exit 1
    }
}

ready() {
    [ "$(timeout 10 k3s kubectl --request-timeout=5s --kubeconfig /etc/rancher/k3s/k3s.yaml get --raw /readyz \
        2>/dev/null)" = ok ]
}

case ${1-} in
    status) must maintenance/status '{}' 10 ;;
    compact)
        must maintenance/status '{}' 10 >/dev/null
        revision=$(printf '%s' "$answer" | tr -d ' \n' | sed -n 's/.*"revision":"\([0-9]*\)".*/\1/p')
        [ -n "$revision" ] || {
            echo "etcd's status has no revision: $answer" >&2
            exit 1
        }
        # k3s compacts every five minutes too. Then nothing is left to do, which etcd calls an error.
        etcd kv/compaction "{\"revision\":\"$revision\",\"physical\":true}" 120 || case $why in
            *"has been compacted"*) echo "{}" ;;
            *)
                echo "etcd does not compact: $why" >&2
                exit 1
                ;;
        esac
        ;;
    defragment)
        must maintenance/defragment '{}' 300
        end=$(($(date +%s) + 60))
        until ready; do
            [ "$(date +%s)" -lt "$end" ] || {
                echo "the API of this server is not ready 60 s after it; look at journalctl -u k3s" >&2
                exit 1
            }
            sleep 1
        done
        ;;
    disarm)
        must maintenance/alarm '{"action":"GET","memberID":"0","alarm":"NOSPACE"}' 10 >/dev/null
        # An alarm is of the member that raised it: one of nobody takes none off.
        for member in $(printf '%s' "$answer" | grep -o '"memberID": *"[0-9]*"' | tr -dc '0-9\n'); do
            must maintenance/alarm "{\"action\":\"DEACTIVATE\",\"memberID\":\"$member\",\"alarm\":\"NOSPACE\"}" 10
        done
        ;;
    *)
        echo "usage: etcd-space status|compact|defragment|disarm" >&2
        exit 2
        ;;
esac
