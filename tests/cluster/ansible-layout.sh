#!/bin/sh
# A node as the Ansible role leaves it (rlex/ansible-role-k3s and its kind): binary, config.yaml and a unit that is called k3s on agents
# too, the seed's haproxy beside it.
# usage: ansible-layout.sh server|agent URL-OF-THE-RELEASE; stdin: config.yaml, a line ---, haproxy.cfg
set -eu
role=$1
folder=$2
mkdir -p /etc/rancher/k3s
awk 'out { print > "/tmp/haproxy.cfg"; next } /^---$/ { out = 1; next } { print > "/etc/rancher/k3s/config.yaml" }'
chmod 0600 /etc/rancher/k3s/config.yaml
apt-get -qq update && apt-get -qq install -y haproxy curl openssl socat </dev/null >/dev/null 2>&1
cp /tmp/haproxy.cfg /etc/haproxy/haproxy.cfg
systemctl restart haproxy
curl -fsS -o /usr/local/bin/k3s "$folder/k3s"
chmod 0755 /usr/local/bin/k3s
cat >/etc/systemd/system/k3s.service <<END
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
After=network-online.target

[Service]
Type=notify
ExecStart=/usr/local/bin/k3s $role --config /etc/rancher/k3s/config.yaml
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl -q enable k3s
systemctl start --no-block k3s
END=$(($(date +%s) + 120))
until systemctl -q is-active k3s; do
    [ "$(date +%s)" -lt "$END" ] || { journalctl -u k3s -n 20 --no-pager -o cat >&2; exit 1; }
    sleep 0.5
done
