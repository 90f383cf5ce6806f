// A client that opens a new TLS connection for every request, RATE times a second, until stdin ends. Prints one JSON line.
// usage: client.mjs KUBECONFIG URL RATE PATH
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { parse } from "yaml";

const [file, url, rate, path] = process.argv.slice(2);
const config = parse(readFileSync(file, "utf8"));
const data = (text) => Buffer.from(text, "base64");
const tls = {
    ca: data(config.clusters[0].cluster["certificate-authority-data"]),
    cert: data(config.users[0].user["client-certificate-data"]),
    key: data(config.users[0].user["client-key-data"]),
};

const started = performance.now();
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
    // The time limit is a user's patience: longer than any fail-over that we promise.
    const req = request(new URL(path, url), { ...tls, agent: false, timeout: 15000 }, (res) => {
        res.resume();
        res.on("end", () => end(res.statusCode === 200 ? undefined : `HTTP ${res.statusCode}`));
        res.on("error", (e) => end(e.message));
    });
    req.on("timeout", () => req.destroy(new Error("no answer within 15 s")));
    req.on("error", (e) => end(e.code ?? e.message));
    req.end();
}

const timer = setInterval(ask, 1000 / Number(rate));
process.stdin.resume().on("end", () => {
    clearInterval(timer);
    const finish = setInterval(() => {
        if (open > 0) return;
        clearInterval(finish);
        console.log(JSON.stringify({ requests, failed: failures.length, failures, longestGap, slowest }));
    }, 50);
});
