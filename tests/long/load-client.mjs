// Load on one proxy: WATCHES open watches, and RATE new TLS connections a second with one request each, until stdin ends. Says when all
// watches are open; prints one JSON line at the end.
// usage: load-client.mjs KUBECONFIG URL WATCHES RATE
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { parse } from "yaml";

const [file, url, watches, rate] = process.argv.slice(2);
const config = parse(readFileSync(file, "utf8"));
const data = (text) => Buffer.from(text, "base64");
const tls = {
    ca: data(config.clusters[0].cluster["certificate-authority-data"]),
    cert: data(config.users[0].user["client-certificate-data"]),
    key: data(config.users[0].user["client-key-data"]),
};
// Connections are new ones; their TLS sessions may be resumed, as Go's clients do.
const agent = new Agent({ ...tls, keepAlive: false, maxCachedSessions: 100 });

let [requests, failed, open, breaks, opened, ending] = [0, 0, 0, 0, 0, false];
const errors = {};
const fail = (error) => {
    failed++;
    errors[error] = (errors[error] ?? 0) + 1;
};

function ask() {
    requests++;
    open++;
    let over = false;
    const end = (error) => {
        if (over) return;
        over = true;
        open--;
        if (error) fail(error);
    };
    const req = request(new URL("/version", url), { agent, timeout: 15000 }, (res) => {
        res.resume();
        res.on("end", () => end(res.statusCode === 200 ? undefined : `HTTP ${res.statusCode}`));
        res.on("error", (e) => end(e.message));
    });
    req.on("timeout", () => req.destroy(new Error("no answer within 15 s")));
    req.on("error", (e) => end(e.code ?? e.message));
    req.end();
}

const watching = [];
function watch() {
    const req = request(new URL("/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3000", url), {
        ...tls,
        agent: false,
    });
    req.on("response", (res) => {
        res.resume();
        if (++opened === Number(watches)) console.log("watching");
        res.on("close", () => ending || breaks++);
    });
    req.on("error", () => ending || breaks++);
    req.end();
    watching.push(req);
}

const started = Date.now();
for (let i = 0; i < Number(watches); i++) setTimeout(watch, i * 10);
// Timers have milliseconds: as many as are due, every 10 ms.
let asked = 0;
const timer = setInterval(() => {
    const due = ((Date.now() - started) / 1000) * Number(rate);
    while (asked < due) {
        asked++;
        ask();
    }
}, 10);
process.stdin.resume().on("end", () => {
    clearInterval(timer);
    const seconds = (Date.now() - started) / 1000;
    const finish = setInterval(() => {
        if (open > 0) return;
        clearInterval(finish);
        ending = true;
        for (const req of watching) req.destroy();
        console.log(
            JSON.stringify({ requests, failed, errors, perSecond: requests / seconds, watches: opened, breaks }),
        );
    }, 50);
});
