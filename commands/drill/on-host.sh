# shellcheck shell=sh
# What `npm run drill` asks of a host; read by sh from stdin after show-stat.sh, so that nothing is written there.
# look BACKEND: read-only: lines `up NAME` (servers that its proxy sees up), on a server `unit STATE`, `voter NAME`,
# `ready NODE`.
# ask SECONDS PORT: opens a new connection to the API through the local proxy ten times a second; a line `BEGIN END
# CODE` each, in
#   ms since the epoch, code 000 when there was no answer within 15 s.
# stop SECONDS: stops k3s on this server as planned and starts it again, by a unit of its own that needs no session.
set -eu
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

kubectl_admin() {
    HOME=/nonexistent timeout 20 k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml \
        --cache-dir=/dev/null --request-timeout=10s "$@"
}

look() {
    local_servers_up "$1" | sed 's/^/up /'
    [ -s /etc/rancher/k3s/k3s.yaml ] || return 0
    echo "unit $(systemctl show -p ActiveState --value k3s)"
    # shellcheck disable=SC2016
    kubectl_admin get nodes -o \
        'go-template={{range .items}}{{$name := .metadata.name}}{{range .status.conditions}}
            {{- if and (eq .type "Ready") (eq .status "True")}}ready {{$name}}{{"\n"}}{{end}}{{end}}{{end}}'
    kubectl_admin get --raw /db/info | sed 's/},{/}\n{/g' | grep -v '"isLearner":true' |
        sed -n 's/.*"name":"\([^"]*\)-[0-9a-f]*".*/voter \1/p'
}

milliseconds() { date +%s%3N; }

one() {
    begun=$(milliseconds)
    code=$(curl -sk -o /dev/null -w '%{http_code}' --max-time 15 "https://127.0.0.1:$1/readyz") || true
    echo "$begun $(milliseconds) ${code:-000}"
}

ask() {
    until=$(($(date +%s) + $1))
    while [ "$(date +%s)" -lt "$until" ]; do
        one "$2" &
        sleep 0.1
    done
    wait
}

case $1 in
    look) look "$2" ;;
    ask) ask "$2" "$3" ;;
    stop) systemd-run -q --unit=k3s-ha-drill --collect sh -c \
        "systemctl stop k3s; sleep $2; systemctl start --no-block k3s" ;;
esac
exit
