#!/bin/sh
# Step anonymous-check: checks what an anonymous client gets from every server, by asking. Read only.
# Each line `expect: PATH CODE` of the data is tried against each `server: NAME ADDRESS`.
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
    setting server >"$WORK/servers"
    setting expect >"$WORK/expect"
    : >"$WORK/wrong"
    while read -r name address; do
        url_host=$address
        case $address in *:*) url_host="[$address]" ;; esac
        while read -r path code; do
            # A server that has just become ready may need a moment to see the changed role.
            if wait_for 15 as_expected "$path" "$code" "$url_host"; then
                echo "$name $path $code"
            else
                answer=$(ask "$path" "$url_host")
                [ "$answer" != 000 ] || answer="no answer ($(tail -n 1 "$WORK/curl.err"))"
                echo "$name $path: $answer, not $code" >>"$WORK/wrong"
            fi
        done <"$WORK/expect"
    done <"$WORK/servers"
    wrong=$(tr '\n' ';' <"$WORK/wrong")
    case $wrong in
        "") ;;
        *": no answer"*)
            fail "anonymous clients get something else than readiness $(setting readiness) allows: $wrong" \
                "check whether k3s runs there (systemctl status k3s) and whether this host reaches port 6443 of that" \
                "server; then run pulumi up again"
            ;;
        *)
            fail "anonymous clients get something else than readiness $(setting readiness) allows: $wrong" \
                "look at the kube-apiserver flags on that server and at: k3s kubectl get clusterrole" \
                "system:public-info-viewer -o yaml"
            ;;
    esac
}

# Tests source this file.
if [ "${0##*/}" = anonymous-check.sh ]; then main "$@"; fi
