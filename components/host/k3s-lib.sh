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
RESTART=0
. "$KIT/k3s-files.sh"
. "$KIT/k3s-ask.sh"
. "$KIT/k3s-start.sh"
. "$KIT/k3s-pods.sh"
. "$KIT/k3s-end.sh"
. "$KIT/clear.sh"
. "$KIT/diagnose.sh"
. "$KIT/flannel.sh"
. "$KIT/show-stat.sh"
# MainPID that a restart ends, and when the new one was first seen.
old_pid=""
up_since=0
