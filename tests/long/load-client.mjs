// Load on one proxy: WATCHES open watches, REQUESTS new TLS connections a second with one request each, and PLAIN new connections a second that
// a master answers without TLS ("Client sent an HTTP request to an HTTPS server"), until stdin ends. Says when all watches are open; prints
// one JSON line at the end.
// usage: load-client.mjs KUBECONFIG URL WATCHES REQUESTS PLAIN
import { Agent, request } from "node:https";
import { connect } from "node:net";
import { credentials } from "../cluster/credentials.mjs";

const [file, url, watches, rate, plainRate] = process.argv.slice(2);
const tls = credentials(file);
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

function knock() {
    requests++;
    open++;
    let [text, error] = ["", ""];
    const { hostname: host, port } = new URL(url);
    const socket = connect({ host, port, timeout: 15000 }, () => socket.write("GET / HTTP/1.0\r\n\r\n"));
    socket.setEncoding("utf8").on("data", (chunk) => (text += chunk));
    socket.on("timeout", () => socket.destroy(new Error("no answer within 15 s")));
    socket.on("error", (e) => (error = e.code ?? e.message));
    socket.on("close", () => {
        open--;
        if (error || !text.startsWith("HTTP/1.0 400")) fail(error || `answer ${JSON.stringify(text.slice(0, 40))}`);
    });
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
const done = { asked: 0, knocked: 0 };
const timer = setInterval(() => {
    const seconds = (Date.now() - started) / 1000;
    for (; done.asked < seconds * Number(rate); done.asked++) ask();
    for (; done.knocked < seconds * Number(plainRate); done.knocked++) knock();
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
