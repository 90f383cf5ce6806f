#!/bin/sh
# Called by k3s.service when it stops and when it is ready. k3s closes 6443 at once, requests under way included; so first only
# new connections are refused, which every proxy then sends to another master, and k3s is told to end when the proxies have
# taken this one out. They stay refused until k3s is ready again: its port opens seconds earlier and answers 503 (or the 401
# of readiness `unauthorized`) meanwhile.
# begin NODE ADDRESS BACKEND; end ADDRESS. Never in the way of a stop: without iptables or a proxy it does nothing.
set -u
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/var/lib/rancher/k3s/data/current/bin/aux
export LC_ALL PATH

# rule -I|-D ADDRESS: answers a new connection to the API by a reset; what is open stays open.
rule() {
    case $2 in *:*) tables=ip6tables ;; *) tables=iptables ;; esac
    "$tables" -w 5 "$1" INPUT -p tcp -d "$2" --dport 6443 --syn -j REJECT --reject-with tcp-reset 2>/dev/null
}

# The proxy of this host sees what all others see: this master's port refuses.
out_of_rotation() {
    ! echo "show stat" | timeout 2 socat -t 2 - /run/haproxy/admin.sock 2>/dev/null |
        awk -F, -v be="$2" -v me="$1" '$1 == be && $2 == me && $18 ~ /^UP/ { up = 1 } END { exit !up }'
}

case ${1-} in
    begin)
        # systemd calls this also when k3s has ended by itself.
        { [ -n "${MAINPID-}" ] && kill -0 "$MAINPID" 2>/dev/null; } || exit 0
        rule -I "$3" || { echo "drain: no iptables, requests under way are cut"; exit 0; }
        tries=0
        until out_of_rotation "$2" "$4" || [ "$tries" -ge 20 ]; do
            tries=$((tries + 1))
            sleep 0.25 2>/dev/null || sleep 1
        done
        ;;
    end)
        tries=0
        while [ "$tries" -lt 5 ] && rule -D "$2"; do tries=$((tries + 1)); done
        ;;
    *) echo "usage: drain.sh begin NODE ADDRESS BACKEND | drain.sh end ADDRESS" >&2; exit 2 ;;
esac
exit 0
