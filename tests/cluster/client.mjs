// A client that opens a new TLS connection for every request, RATE times a second, until stdin ends. Beside that it keeps a watch
// open, and looks twice a second at the Nodes and at Deployment default/web. Prints one JSON line.
// The watch tells when it first saw each number that ConfigMap default/beat counts (tests/long/drill.test.ts), if that is there.
// With `beat` it counts that ConfigMap itself, twice a second, and says when the API had taken each number.
// usage: client.mjs KUBECONFIG URL RATE PATH PATIENCE [beat]; PATIENCE: seconds after which a request has failed
import { request } from "node:https";
import { credentials } from "./credentials.mjs";

const [file, url, rate, path, patience, beating] = process.argv.slice(2);
const tls = credentials(file);

const started = performance.now();
const began = Date.now();
const since = () => Math.round(performance.now() - started);
const failures = [];
let requests = 0;
let open = 0;
let lastOk = started;
let longestGap = 0;
let slowest = 0;
let answered = 0;

function ask() {
    requests++;
    open++;
    const at = since();
    const begin = performance.now();
    let over = false;
    const end = (error) => {
        if (over) return;
        over = true;
        open--;
        const now = performance.now();
        const ms = Math.round(now - begin);
        if (error) failures.push({ at, ms, error });
        else {
            longestGap = Math.max(longestGap, Math.round(now - lastOk));
            lastOk = now;
            slowest = Math.max(slowest, ms);
            if (++answered === 10) console.log("running");
        }
    };
    const req = request(new URL(path, url), { ...tls, agent: false, timeout: patience * 1000 }, (res) => {
        let text = "";
        res.setEncoding("utf8").on("data", (chunk) => (text += text.length < 300 ? chunk : ""));
        res.on("end", () => end(res.statusCode === 200 ? undefined : `HTTP ${res.statusCode} ${text.slice(0, 300)}`));
        res.on("error", (e) => end(e.message));
    });
    req.on("timeout", () => req.destroy(new Error(`no answer within ${patience} s`)));
    req.on("error", (e) => end(e.code ?? e.message));
    req.end();
}

let ending = false;
let watchBreaks = -1;

/** [number of the beat, milliseconds since the epoch] as the watch learned of it. */
const beats = [];
function learn(line) {
    const data = /"beat":"(\d+)"/.exec(line);
    if (data) beats.push([Number(data[1]), Date.now()]);
}

/** One watch, opened again when it breaks. */
function watch() {
    if (ending) return;
    watchBreaks++;
    const again = () => setTimeout(watch, 200);
    const req = request(new URL("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3000", url), {
        ...tls,
        agent: false,
    });
    req.on("response", (res) => {
        let rest = "";
        res.setEncoding("utf8").on("data", (chunk) => {
            const lines = (rest + chunk).split("\n");
            rest = lines.pop();
            lines.forEach(learn);
        });
        res.on("close", again);
    });
    req.on("error", again);
    req.end();
    watching = req;
}
let watching;

const get = (path) =>
    new Promise((resolve) => {
        const req = request(new URL(path, url), { ...tls, agent: false, timeout: 5000 }, (res) => {
            let text = "";
            res.setEncoding("utf8").on("data", (chunk) => (text += chunk));
            res.on("end", () => resolve(res.statusCode === 200 ? JSON.parse(text) : undefined));
            res.on("error", () => resolve(undefined));
        });
        req.on("timeout", () => req.destroy());
        req.on("error", () => resolve(undefined));
        req.end();
    });

const notReady = new Set();
let leastReady = null;
async function look() {
    if (ending) return;
    const nodes = await get("/api/v1/nodes");
    for (const node of nodes?.items ?? []) {
        const ready = node.status.conditions?.find((c) => c.type === "Ready");
        // A Node that is just being made has no condition yet, or a first one that is False.
        if (ready && ready.status !== "True" && Date.now() - Date.parse(node.metadata.creationTimestamp) > 30_000)
            notReady.add(node.metadata.name);
    }
    const web = await get("/apis/apps/v1/namespaces/default/deployments/web");
    if (web) leastReady = Math.min(leastReady ?? Infinity, web.status.readyReplicas ?? 0);
    setTimeout(look, 500);
}

/** [number of the beat, milliseconds since the epoch] as the API had taken it. */
const taken = [];
let beat = 0;
function count() {
    if (ending) return;
    const number = ++beat;
    const next = () => setTimeout(count, 500);
    const patch = { ...tls, agent: false, timeout: 15000, method: "PATCH" };
    const headers = { "content-type": "application/merge-patch+json" };
    const target = new URL("/api/v1/namespaces/default/configmaps/beat", url);
    const req = request(target, { ...patch, headers }, (res) => {
        res.resume();
        res.on("end", () => {
            if (res.statusCode === 200) taken.push([number, Date.now()]);
            next();
        });
        res.on("error", next);
    });
    req.on("timeout", () => req.destroy());
    req.on("error", next);
    req.end(JSON.stringify({ data: { beat: String(number) } }));
}

const timer = setInterval(ask, 1000 / Number(rate));
watch();
void look();
if (beating) count();
process.stdin.resume().on("end", () => {
    clearInterval(timer);
    ending = true;
    watching?.destroy();
    const finish = setInterval(() => {
        if (open > 0) return;
        clearInterval(finish);
        const seen = { notReady: [...notReady], leastReady, watchBreaks, beats, taken, began };
        console.log(JSON.stringify({ requests, failed: failures.length, failures, longestGap, slowest, ...seen }));
    }, 50);
});
