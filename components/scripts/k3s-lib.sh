# shellcheck shell=sh
# What the steps on k3s share: paths, and the libraries for files, questions, start, pods and end.
# ROLE is server or agent; UNIT its systemd unit. A step defines kube: kubectl as this node may use it.
# shellcheck disable=SC2034,SC2154
BIN=/usr/local/bin/k3s
CONF=/etc/rancher/k3s
DATA=/var/lib/rancher/k3s
CA=$DATA/server/tls/server-ca.crt
MEMBERSHIP=$CONF/config.yaml.d/50-membership.yaml
REGISTRATION=$CONF/config.yaml.d/40-registration.yaml
# Keys of the bucket for snapshots, on servers; written from secrets, in no bundle.
S3_KEYS=$CONF/config.yaml.d/60-s3.yaml
# What k3s was last started with.
STARTED=$STATE/k3s-started

# What the files of a step share: one sets it, others read it. ROLE and UNIT are the step's own, set before this file.
command=""        # what the step is called for: its first argument
ca_hash=""        # of the cluster's CA, from the command line
other_servers=""  # server: NAME@ADDRESS=DATA,… from the command line: what the others said of their etcd data
restore=""        # server: the snapshot to found from, from the command line
mode=""           # server: found, join, restore, convert or member (server-membership.sh)
RESTART=0         # 1: k3s reads something at its start that has changed
RENEW=0           # 1: its certificates are renewed at that restart
outcome=""        # what the start came to: started, restarted, unchanged; in the step's last line
start_time=0      # when the start began, in seconds since 1970
wait_seconds=300  # how long the start may take, and so
deadline=0        # when it has failed, in seconds since 1970
restarts_before=0 # how often systemd had restarted k3s before
old_pid=""        # MainPID that a restart ends
up_since=0        # when the new one was first seen
supervisor_ca=""  # CA of the servers for `supervisor`; empty: this server's own

. "$KIT/k3s-files.sh"
. "$KIT/k3s-ask.sh"
. "$KIT/k3s-start.sh"
. "$KIT/k3s-pods.sh"
. "$KIT/k3s-end.sh"
. "$KIT/clear.sh"
. "$KIT/diagnose.sh"
. "$KIT/flannel.sh"
. "$KIT/show-stat.sh"
