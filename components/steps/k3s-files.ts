/** What k3s reads on a node: config.yaml, kubelet and registry settings, the anonymous rules, the systemd unit. Pure. */
import { stringify } from "yaml";
import type { BundleFile } from "../remote/bundle";
import { AUTHN_FILE, KIT_DIR } from "../model/paths";
import type { ClusterSpec, K3sConfig, NodeSpec } from "../model/cluster";
import { ADMISSION, ADMISSION_FILE, AUDIT_FILE, AUDIT_POLICY, HARDENED_KEYS, hardenedArgs } from "../model/hardening";
import { backendName } from "../model/proxy";
import { PUBLIC_PATHS, READINESS } from "../model/readiness";

const CONF = "/etc/rancher/k3s";
/**
 * k3s writes it again from its tokens at each start, but ends ("newer than datastore") when it finds one that differs from the copy
 * in etcd and is younger, which is so from a change of the agent token on (k3s 1.36.3, pkg/cluster/bootstrap.go; seen).
 */
const PASSWD = "/var/lib/rancher/k3s/server/cred/passwd";
/** k3s leaves it when its etcd member was removed; with `server` set the next start would join again. */
const TOMBSTONE = "/var/lib/rancher/k3s/server/db/etcd/tombstone";

/** Variables of the user's; there only where some are set. */
const ENVIRONMENT_FILE = `${CONF}/k3s-ha.env`;

/** Where a joining server or agent finds the cluster: its own proxy, always. */
export function joinUrl(spec: ClusterSpec): string {
    return `https://127.0.0.1:${spec.proxy.port}`;
}

/**
 * YAML that a YAML 1.1 reader (k3s) understands as it was meant: every text quoted, so that "0644", "no" and "1e3" stay text;
 * keys sorted, so that the order in the stack file changes nothing.
 */
export function quotedYaml(value: unknown): string {
    const text = stringify(value, {
        version: "1.1",
        defaultStringType: "QUOTE_DOUBLE",
        defaultKeyType: "PLAIN",
        sortMapEntries: true,
        lineWidth: 0,
    });
    // In quotes by now (keys are ASCII). YAML 1.1 takes some for the end of a line and others for an error.
    return text.replace(
        /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
        (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
}

const list = (value: K3sConfig[string] | undefined): (string | number)[] =>
    value === undefined ? [] : Array.isArray(value) ? value : [value as string | number];

function certificateNames(spec: ClusterSpec): string[] {
    const host = new URL(spec.kubeconfig.server).hostname.replace(/^\[|\]$/g, "");
    const known =
        spec.nodes.some((n) => n.role === "server" && (n.address === host || n.externalAddress === host)) ||
        host === "127.0.0.1";
    return known ? [] : [host];
}

/** config.yaml of a node, as a value. The membership (cluster-init or server) is a file of its own that server.sh writes. */
export function nodeConfig(spec: ClusterSpec, node: NodeSpec): Record<string, unknown> {
    const own: Record<string, unknown> = {
        ...node.config,
        "node-name": node.name,
        "node-ip": node.address,
        "token-file": `${CONF}/token`,
    };
    Object.assign(own, hardened(spec, node));
    if (node.externalAddress !== undefined) own["node-external-ip"] = node.externalAddress;
    if (spec.vpn.interface !== undefined && node.config["flannel-iface"] === undefined)
        own["flannel-iface"] = spec.vpn.interface;
    if (node.role === "agent") {
        own["server"] = joinUrl(spec);
        if (node.throughProxy) own["disable-apiserver-lb"] = true;
        return own;
    }
    own["agent-token-file"] = `${CONF}/agent-token`;
    // Agents connect to what is advertised: the VPN address, whatever else the host has.
    if (node.externalAddress !== undefined) own["advertise-address"] = node.address;
    const names = [...new Set([...list(node.config["tls-san"]), ...certificateNames(spec)])];
    if (names.length > 0) own["tls-san"] = names;
    Object.assign(own, snapshotConfig(spec));
    const args = [
        ...new Set([
            ...list(own["kube-apiserver-arg"] as K3sConfig[string]),
            ...READINESS[spec.readiness].apiserverArgs,
        ]),
    ];
    if (args.length > 0) own["kube-apiserver-arg"] = args;
    return own;
}

/** What `hardening` adds; the user's arguments come behind it, so that they count. */
function hardened(spec: ClusterSpec, node: NodeSpec): Record<string, unknown> {
    if (spec.hardening === undefined) return {};
    const lists = HARDENED_KEYS.map((key) => [key, [...hardenedArgs(spec, node.role, key), ...list(node.config[key])]]);
    const used = lists.filter(([, args]) => (args as unknown[]).length > 0);
    return { "protect-kernel-defaults": true, ...Object.fromEntries(used) };
}

/** k3s's own snapshot settings; where credentials are needed they are in a file that only the host knows. */
function snapshotConfig({ snapshots }: ClusterSpec): Record<string, unknown> {
    const { s3 } = snapshots;
    const own: Record<string, unknown> = {
        "etcd-snapshot-schedule-cron": snapshots.schedule,
        "etcd-snapshot-retention": snapshots.retention,
        "etcd-snapshot-compress": snapshots.compress,
        "etcd-s3": s3 && true,
        "etcd-s3-bucket": s3?.bucket,
        "etcd-s3-endpoint": s3?.endpoint,
        "etcd-s3-region": s3?.region,
        "etcd-s3-folder": s3?.folder,
        // k3s takes a file, or PEM in base64.
        "etcd-s3-endpoint-ca": s3?.endpointCa && Buffer.from(s3.endpointCa).toString("base64"),
        "etcd-s3-bucket-lookup-type": s3?.lookup,
        "etcd-s3-insecure": s3?.insecure,
        "etcd-s3-retention": s3?.retention,
    };
    return Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
}

/** Labels of a node as `key=value`, sorted. */
export function nodeLabels(node: NodeSpec): string[] {
    return Object.entries(node.labels)
        .map(([k, v]) => `${k}=${v}`)
        .sort();
}

/**
 * What a Node is registered with. A file of its own: k3s reads it when the Node is made, later changes are made on the Node
 * itself (members.sh), so that a change of this file is no restart.
 */
export function registration(node: NodeSpec): Record<string, string[]> {
    const own: Record<string, string[]> = {};
    if (Object.keys(node.labels).length > 0) own["node-label"] = nodeLabels(node);
    if (node.taints.length > 0) own["node-taint"] = [...node.taints].sort();
    return own;
}

/**
 * Who may ask without credentials in mode `scoped`, and whose tokens are taken besides k3s's own: the three health paths, by exact match. Without the section `anonymous`
 * anonymous access would be fully on. The version of the API is v1 from Kubernetes 1.34.
 */
export function authenticationConfig(version: string, jwt: ClusterSpec["authentication"]["jwt"] = []): string {
    const minor = Number(/^v1\.(\d+)\./.exec(version)?.[1] ?? 0);
    return quotedYaml({
        apiVersion: `apiserver.config.k8s.io/${minor >= 34 ? "v1" : "v1beta1"}`,
        kind: "AuthenticationConfiguration",
        anonymous: { enabled: true, conditions: PUBLIC_PATHS.map((path) => ({ path })) },
        ...(jwt.length > 0 ? { jwt } : {}),
    });
}

/** Variables of k3s on a node, as systemd reads them: in double quotes nothing but these four means anything. */
export function environmentFile(spec: ClusterSpec, node: NodeSpec): string {
    return Object.entries(spec[node.role].environment)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, value]) => `${name}="${String(value).replace(/[\\"$`]/g, "\\$&")}"\n`)
        .join("");
}

/** The files below /etc/rancher/k3s and the kubelet's drop-in. */
export function k3sFiles(spec: ClusterSpec, node: NodeSpec): BundleFile[] {
    const files: BundleFile[] = [
        { path: `${CONF}/config.yaml`, mode: "0600", content: quotedYaml(nodeConfig(spec, node)) },
    ];
    if (Object.keys(registration(node)).length > 0) {
        files.push({
            path: `${CONF}/config.yaml.d/40-registration.yaml`,
            mode: "0600",
            content: quotedYaml(registration(node)),
        });
    }
    if (node.role === "server" && READINESS[spec.readiness].authenticationFile) {
        files.push({
            path: AUTHN_FILE,
            mode: "0600",
            content: authenticationConfig(spec.version, spec.authentication.jwt),
        });
    }
    if (node.role === "server" && spec.hardening !== undefined) {
        files.push({ path: AUDIT_FILE, mode: "0600", content: quotedYaml(AUDIT_POLICY) });
        files.push({ path: ADMISSION_FILE, mode: "0600", content: quotedYaml(ADMISSION) });
    }
    const environment = environmentFile(spec, node);
    if (environment !== "") files.push({ path: ENVIRONMENT_FILE, mode: "0600", content: environment });
    if (Object.keys(spec.registries).length > 0) {
        files.push({ path: `${CONF}/registries.yaml`, mode: "0600", content: quotedYaml(spec.registries) });
    }
    if (Object.keys(spec.kubelet).length > 0) {
        const kubelet = { ...spec.kubelet, apiVersion: "kubelet.config.k8s.io/v1beta1", kind: "KubeletConfiguration" };
        files.push({
            path: "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d/50-k3s-ha.conf",
            mode: "0600",
            content: quotedYaml(kubelet),
        });
    }
    return files;
}

/** Files that k3s reads at its start wherever nothing names them. */
const READ_AT_START =
    /^\/etc\/(default|sysconfig)\/k3s(-agent)?$|^\/etc\/systemd\/system\/k3s(-agent)?\.service\.d\/|^\/etc\/rancher\/k3s\/|^\/var\/lib\/rancher\/(k3s\/agent\/etc|credentialprovider)\//;

/** Folders that the kubelet is told to read whole: `config-dir=/etc/kubelet.d`, a provider's programs. */
const READ_FOLDER = /^(?:-{0,2}(?:config-dir|image-credential-provider-bin-dir)=)(\/.+?)\/?$/;

/** All texts in a value. */
function textsIn(value: unknown): string[] {
    if (typeof value === "string") return [value];
    return value !== null && typeof value === "object" ? Object.values(value).flatMap(textsIn) : [];
}

/**
 * Those of host.files that k3s on a node reads when it starts and not later, sorted: in its own places, or named by its settings,
 * `registries` or `kubelet` (an audit policy, a registry's CA), or by another one of them.
 */
export function filesReadAtStart(spec: ClusterSpec, node: NodeSpec): ClusterSpec["host"]["files"] {
    const named = (texts: readonly string[], path: string): boolean =>
        texts.some((text) => text.split(/[\s=,:"'[\]{}]+/).includes(path));
    let texts = textsIn([node.config, spec.registries, spec.kubelet, spec[node.role].environment]);
    const folders = [
        ...texts.map((text) => READ_FOLDER.exec(text)?.[1]),
        node.config["image-credential-provider-bin-dir"],
    ].filter((folder) => typeof folder === "string");
    const inFolder = (path: string): boolean => folders.some((folder) => path.startsWith(`${folder}/`));
    const read = new Set<ClusterSpec["host"]["files"][number]>();
    for (;;) {
        const more = spec.host.files.filter(
            (file) =>
                !read.has(file) && (READ_AT_START.test(file.path) || inFolder(file.path) || named(texts, file.path)),
        );
        if (more.length === 0) break;
        more.forEach((file) => read.add(file));
        texts = [...texts, ...more.map((file) => file.content)];
    }
    return [...read].sort((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * The unit k3s's own installer would write, named as it names it, and started after the proxy and the VPN. The line ExecStop tells the
 * scripts on the host, too, what the proxies call this server (proxy_name in k3s-lib.sh).
 */
export function k3sUnit(spec: ClusterSpec, node: NodeSpec, proxyName: string = node.name): BundleFile {
    const name = node.role === "server" ? "k3s" : "k3s-agent";
    const before = ["network-online.target", "haproxy.service", ...(spec.vpn.unit ? [spec.vpn.unit] : [])].join(" ");
    // A VPN that is restarted makes its interface again, and flannel's, which only k3s makes, goes with the old one. So k3s stops before it (a
    // server is drained while the VPN still carries), and starts with it.
    const partOf = spec.vpn.unit ? `PartOf=${spec.vpn.unit}\n` : "";
    const vpn = spec.vpn.unit ? ` ${spec.vpn.unit}` : "";
    // After the others: the last file that sets a variable counts. No line where nothing is set, which would be a restart.
    const environment = environmentFile(spec, node) === "" ? "" : `EnvironmentFile=-${ENVIRONMENT_FILE}\n`;
    // A server that stops as planned gets no new connections from then until it is ready again; see drain.sh.
    const script = `-/bin/sh ${KIT_DIR}/drain.sh`;
    const serverOnly =
        node.role === "server"
            ? `ExecStop=${script} begin ${proxyName} ${node.address} ${backendName(spec)}
ExecStartPre=${script} absent
ExecStartPre=-/bin/rm -f ${PASSWD}
ExecStartPost=${script} end ${node.address}
ExecCondition=/bin/sh -c 'test ! -e ${TOMBSTONE} || { echo "k3s-ha: this master was removed from its cluster and does not join again by itself"; exit 1; }'
`
            : "";
    return {
        path: `/etc/systemd/system/${name}.service`,
        mode: "0644",
        content: `[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=${before}
After=${before}
${partOf}
[Install]
WantedBy=multi-user.target${vpn}

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/${name}.service.env
${environment}KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s ${node.role}
${serverOnly}`,
    };
}
