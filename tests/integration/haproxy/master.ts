/**
 * A stand-in for one kube-apiserver: HTTPS, /readyz with a code that the test chooses, /watch that never ends, /slow that
 * is silent for 3 s, all else 200.
 * k3s's file /static/k3s-ha/serving is there or is not. Like the real one it answers 400 to HTTP/1.1 without a Host. Arguments: name, address, port, key file, certificate file.
 * Messages from the parent: { ready: number }, with delay: milliseconds that each check takes, and hold: milliseconds in which no
 * check is answered, as an apiserver's are while its etcd does not answer; or { serving: boolean }. To the parent: "done", and
 * "checked" after each check that was passed, which is /readyz and the file after it.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [name = "", address = "", port = "", keyFile = "", certFile = ""] = process.argv.slice(2);
let ready = 200;
let delay = 0;
let heldUntil = 0;
let serving = true;
/** A check has asked /readyz and not yet for the file; a probe asks for that alone. */
let begun = false;

process.on("message", (message: { ready?: number; delay?: number; hold?: number; serving?: boolean }) => {
    ready = message.ready ?? ready;
    delay = message.delay ?? 0;
    heldUntil = Date.now() + (message.hold ?? 0);
    serving = message.serving ?? serving;
    process.send?.("done");
});
process.on("disconnect", () => process.exit(0));

const server = createServer(
    { key: readFileSync(keyFile), cert: readFileSync(certFile), requireHostHeader: true },
    (request, response) => {
        if (request.url === "/readyz") {
            begun = true;
            setTimeout(
                () => {
                    response.statusCode = ready;
                    response.end("readyz");
                },
                Math.max(delay, heldUntil - Date.now()),
            );
            return;
        }
        if (request.url === "/static/k3s-ha/serving") {
            response.statusCode = serving ? 200 : 404;
            const check = begun;
            begun = false;
            response.end(() => check && process.send?.("checked"));
            return;
        }
        response.setHeader("x-master", name);
        if (request.url === "/slow") {
            setTimeout(() => response.end(name), 3000);
            return;
        }
        if (request.url === "/watch") {
            const timer = setInterval(() => response.write("."), 100);
            response.on("close", () => clearInterval(timer));
            return;
        }
        response.end(name);
    },
);
// A cut check or client is no matter here.
server.on("clientError", (_, socket) => socket.destroy());
server.on("tlsClientError", () => undefined);
server.listen(Number(port), address, () => process.send?.("listening"));
