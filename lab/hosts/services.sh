# shellcheck shell=bash
# What the hosts and the deployer share: SSH key and agent, the router, the HTTP server, the deployer's environment.

ssh_up() {
    install -d -m 700 "$LAB_DIR/ssh"
    [[ -s $LAB_DIR/ssh/id_ed25519.pub ]] || {
        rm -f "$LAB_DIR/ssh/id_ed25519"
        ssh-keygen -q -t ed25519 -N '' -C "$LAB_NAME" -f "$LAB_DIR/ssh/id_ed25519"
    }
    # For people: ssh -F .lab/ssh/config 10.90.0.11, inside the lab's network.
    printf 'IdentityFile %s\nUserKnownHostsFile %s\nStrictHostKeyChecking yes\nUser root\n' \
        "$LAB_DIR/ssh/id_ed25519" "$LAB_DIR/ssh/known_hosts" >"$LAB_DIR/ssh/config"
    if ! process_alive "$LAB_DIR/ssh/agent.pid"; then
        rm -f "$LAB_DIR/ssh/agent.sock"
        process_start "$LAB_DIR/ssh/agent.pid" "$LAB_DIR/ssh/agent.log" ssh-agent -D -a "$LAB_DIR/ssh/agent.sock"
        wait_for 5 test -S "$LAB_DIR/ssh/agent.sock" || fail "ssh-agent does not start, see $LAB_DIR/ssh/agent.log"
    fi
    SSH_AUTH_SOCK=$LAB_DIR/ssh/agent.sock ssh-add -q -T "$LAB_DIR/ssh/id_ed25519.pub" 2>/dev/null ||
        SSH_AUTH_SOCK=$LAB_DIR/ssh/agent.sock ssh-add -q "$LAB_DIR/ssh/id_ed25519"
}

_listening() { nsenter --net="/run/netns/$ROUTER_NETNS" bash -c "exec 3<>/dev/tcp/$ROUTER_ADDRESS/$1" 2>/dev/null; }

services_up() {
    [[ -d $(base_image) && -d $(repository) ]] || fail "no base image or apt repository yet: lab/lab setup"
    mkdir -p "$LAB_DIR/artifacts" "$LAB_DIR/state" "$LAB_DIR/pulumi-home" "$LAB_DIR/bin" "$HOSTS_DIR"
    chmod 700 "$LAB_DIR/state" "$LAB_DIR/pulumi-home"
    cgroup_make router # before inotify_raise: another lab's end must see this one
    inotify_raise
    ssh_up
    if ! netns_exists "$ROUTER_NETNS"; then # they would serve nobody
        process_end "$LAB_DIR/serve.pid"
        process_end "$LAB_DIR/s3/server.pid"
    fi
    router_up
    pulumi_stage
    k3s_stage
    ln -sfn "$(repository)" "$LAB_DIR/debs"
    if ! process_alive "$LAB_DIR/serve.pid"; then
        process_start "$LAB_DIR/serve.pid" "$LAB_DIR/serve.log" nsenter --net="/run/netns/$ROUTER_NETNS" \
            node "$LAB_ROOT/lab/hosts/serve.mjs" "$ROUTER_ADDRESS" "$LAB_DIR/http.log" \
            "8080=$LAB_DIR/artifacts" "8081=$LAB_DIR/debs"
    fi
    local port
    for port in 8080 8081; do
        wait_for 10 _listening "$port" || fail "the lab's HTTP server does not answer, see $LAB_DIR/serve.log"
    done
    # The k3s of the lab is also its kubectl. The official one unpacks itself: below the lab's folder, not /var/lib.
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nset -- kubectl "$@"\nfor k3s in "%s"/artifacts/k3s-io/k3s/releases/download/*/k3s; do\n    K3S_DATA_DIR="%s/k3s-cli" exec "$k3s" "$@"\ndone\n' \
        "$LAB_DIR" "$LAB_DIR" >"$LAB_DIR/bin/kubectl.$$"
    chmod 755 "$LAB_DIR/bin/kubectl.$$" && mv "$LAB_DIR/bin/kubectl.$$" "$LAB_DIR/bin/kubectl"
}

# stack_name: of the stack file as it is, or of the one derived for this lab's name, addresses and folder.
stack_derived() {
    [[ $LAB_NAME != k3s-ha || $LAB_NET != 10.90.0 || $LAB_DIR != "$LAB_ROOT/.lab" || $LAB_STACK_FILE == */* ||
        $LAB_STACK_FILE != Pulumi.*.yaml ]]
}
stack_file() { if [[ $LAB_STACK_FILE == /* ]]; then echo "$LAB_STACK_FILE"; else echo "$LAB_ROOT/$LAB_STACK_FILE"; fi; }
stack_name() {
    if stack_derived; then
        echo "lab-$LAB_NAME"
    else
        LAB_STACK_FILE=${LAB_STACK_FILE#Pulumi.}
        echo "${LAB_STACK_FILE%.yaml}"
    fi
}
# stack_derive: written again only when its source changed, since "pulumi config set" writes to it, too.
stack_derive() {
    local file source
    stack_derived || return 0
    file=$LAB_ROOT/Pulumi.lab-$LAB_NAME.yaml
    source=$(sha256sum <"$(stack_file)")
    [[ -e $file && $(cat "$LAB_DIR/stack.source" 2>/dev/null) == "$source" ]] && return 0
    node "$LAB_ROOT/lab/hosts/stack.mjs" derive "$(stack_file)" "$LAB_NET" "$LAB_DIR" >"$file.new"
    mv "$file.new" "$file"
    mkdir -p "$LAB_DIR"
    echo "$source" >"$LAB_DIR/stack.source"
}

stack_hosts() { node "$LAB_ROOT/lab/hosts/stack.mjs" hosts "$(stack_file)" "$LAB_NET" "${LAB_HOSTS:-}"; }

# hosts_refresh: hosts.list from the stack file, keeping those that exist and have left it.
hosts_refresh() {
    local wanted name role address old_role old_address
    wanted=$(stack_hosts)
    if [[ -e $HOSTS_LIST ]]; then
        while read -r name old_role old_address; do
            [[ -e $HOSTS_DIR/$name/created ]] || continue
            read -r _ role address < <(awk -v name="$name" '$1 == name' <<<"$wanted") || true
            if [[ -z ${role:-} ]]; then
                wanted+=$'\n'"$name $old_role $old_address"
            elif [[ $address != "$old_address" ]]; then
                fail "$name has address $old_address and should get $address: lab/lab hosts down $name first"
            fi
            role=
        done <"$HOSTS_LIST"
    fi
    printf '%s\n' "$wanted" >"$HOSTS_LIST.new"
    mv "$HOSTS_LIST.new" "$HOSTS_LIST"
}

# lab_environment: exports what the deployer needs. The passphrase guards nothing but a lab's state.
lab_environment() {
    export PULUMI_BACKEND_URL=file://$LAB_DIR/state PULUMI_HOME=$LAB_DIR/pulumi-home PULUMI_SKIP_UPDATE_CHECK=true
    export PULUMI_CONFIG_PASSPHRASE=${PULUMI_CONFIG_PASSPHRASE-k3s-ha-lab}
    export SSH_AUTH_SOCK=$LAB_DIR/ssh/agent.sock
    LAB_STACK=$(stack_name)
    export LAB_STACK
    [[ :$PATH: == *:"$LAB_DIR/pulumi/bin:$LAB_DIR/bin":* ]] || PATH=$LAB_DIR/pulumi/bin:$LAB_DIR/bin:$PATH
    export PATH
}
# shellcheck disable=SC2034
LAB_ENVIRONMENT=(PULUMI_BACKEND_URL PULUMI_HOME PULUMI_SKIP_UPDATE_CHECK PULUMI_CONFIG_PASSPHRASE SSH_AUTH_SOCK PATH
    LAB_STACK LAB_NAME LAB_DIR LAB_CACHE LAB_NET LAB_STACK_FILE LAB_DISK LAB_SUITE)
