/** docs/from-ansible.md: every variable of the role is there, and every example is accepted and changes what hosts get. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { haproxyBundle } from "../../components/steps/haproxy";
import { k3sBundle } from "../../components/steps/k3s";
import { manifestsBundle } from "../../components/steps/manifests";
import { prepareBundle } from "../../components/steps/prepare";
import { stageBundle } from "../../components/steps/stage";
import { renderBundle } from "../../components/remote/bundle";
import type { ClusterSpec } from "../../components/model/cluster";
import { spec } from "./helpers/settings";

/** Of rlex/ansible-role-k3s 2.0.0, defaults/main.yml. */
const VARIABLES =
    `version systemd_dir master_ip master_port install_mode flannel_backend master_disable master_extra_args
mount_bpffs agent_extra_args agent_extra_config master_extra_config kubelet_extra_config master agent bpffs external_ip internal_ip
extra_packages extra_services extra_config_files extra_manifests extra_env containerd_template agent_group master_group
cronjob_prune_images gvisor gvisor_platform gvisor_create_runtimeclass gvisor_config gvisor_version crun crun_version sysctl_config
registries kubeconfig kubeconfig_server kubeconfig_context kubeconfig_target`
        .split(/\s+/)
        .map((name) => `k3s_${name}`);

const rows = readFileSync(join(__dirname, "../../docs/from-ansible.md"), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| `k3s_"))
    .map((line) => line.split(/ *\| */).slice(1, -1) as [names: string, here: string, example: string]);

/** All that the hosts are given, and the kubeconfig's settings. */
function plan(s: ClusterSpec): string {
    const bundles = s.nodes.flatMap((node) => [
        prepareBundle(s, node, "0011223344556677", {}),
        haproxyBundle(s, node),
        stageBundle(s, node),
        manifestsBundle(s, node),
        k3sBundle(s, node),
    ]);
    return [...bundles.map(renderBundle), JSON.stringify(s.kubeconfig)].join("\n");
}

describe("from the Ansible role", () => {
    it("every variable of the role has its row, once", () => {
        const named = rows.flatMap(([names]) => [...names.matchAll(/`(k3s_\w+)`/g)].map((m) => m[1] as string));
        assert.deepEqual([...named].sort(), [...VARIABLES].sort());
    });

    it("a row has a setting with an example, or says what to do instead", () => {
        for (const [names, here] of rows) assert.ok(here.length > 6, names);
        assert.ok(rows.filter(([, , example]) => example !== "").length >= 20);
    });

    for (const [names, , example] of rows.filter((row) => row[2] !== ""))
        it(`${names}: ${example.slice(0, 60)} is accepted, and changes what hosts get`, () => {
            const settings = parse(example.replace(/^`|`$/g, "")) as { nodes?: Record<string, unknown>[] };
            // The documents leave out what is the same for every node.
            for (const node of settings.nodes ?? []) node["ssh"] ??= { hostKey: "ssh-ed25519 AAAA" };
            assert.notEqual(plan(spec(settings)), plan(spec()));
        });
});
