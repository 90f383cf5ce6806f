#!/bin/sh
# Step surface: proves what an anonymous client gets from every master, by asking. Read only.
# Each line `expect: PATH CODE` of the data is tried against each `master: NAME ADDRESS`.
. "${KIT:-/usr/local/lib/k3s-ha}/lib.sh"
CA=/var/lib/rancher/k3s/server/tls/server-ca.crt
ask() {
    curl -s -o "$WORK/answer" -w '%{http_code}' --max-time 10 --cacert "$CA" "https://$2:6443$1" \
        2>"$WORK/curl.err" || true
}
as_expected() { [ "$(ask "$1" "$3")" = "$2" ]; }

main() {
    begin
    unpack
    setting master >"$WORK/masters"
    setting expect >"$WORK/expect"
    : >"$WORK/wrong"
    while read -r name address; do
        url_host=$address
        case $address in *:*) url_host="[$address]" ;; esac
        while read -r path code; do
            # A master that has just become ready may need a moment to see the changed role.
            if wait_for 15 as_expected "$path" "$code" "$url_host"; then
                echo "$name $path $code"
            else
                echo "$name $path: $(ask "$path" "$url_host"), not $code" >>"$WORK/wrong"
            fi
        done <"$WORK/expect"
    done <"$WORK/masters"
    wrong=$(tr '\n' ';' <"$WORK/wrong")
    [ -z "$wrong" ] ||
        fail "anonymous clients get something else than readiness $(setting readiness) allows: $wrong" \
            "look at the kube-apiserver flags on that master and at: k3s kubectl get clusterrole" \
            "system:public-info-viewer -o yaml"
}

# Tests source this file.
if [ "${0##*/}" = surface.sh ]; then main "$@"; fi
