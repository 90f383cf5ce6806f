// A static HTTP server: node serve.mjs ADDRESS LOG PORT=FOLDER…; GET and HEAD, one log line per answer.
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { join, normalize } from "node:path";
import { pipeline } from "node:stream";

const [address, logFile, ...sites] = process.argv.slice(2);
const log = createWriteStream(logFile, { flags: "a" });

async function answer(folder, request, response) {
    const head = (status, headers = {}) => response.writeHead(status, headers);
    if (!["GET", "HEAD"].includes(request.method)) return head(405, { allow: "GET, HEAD" }).end();
    let path;
    try {
        // %2B is a plus (k3s versions have one) and a plus is a plus: this is a path, not a form.
        path = decodeURIComponent(request.url.split("?")[0]);
    } catch {
        return head(400).end();
    }
    // normalize of an absolute path cannot climb above it.
    const file = join(folder, normalize(`/${path}`));
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) return head(404, { "content-type": "text/plain" }).end("not found\n");
    const modified = new Date(Math.floor(found.mtimeMs / 1000) * 1000);
    const since = Date.parse(request.headers["if-modified-since"] ?? "");
    if (since >= modified.getTime()) return head(304).end();
    head(200, {
        "content-type": "application/octet-stream",
        "content-length": found.size,
        "last-modified": modified.toUTCString(),
    });
    if (request.method === "HEAD") return response.end();
    pipeline(createReadStream(file), response, () => {});
}

for (const site of sites) {
    const [port, folder] = site.split("=");
    createServer((request, response) => {
        response.on("close", () => {
            const state = response.writableFinished ? response.statusCode : `${response.statusCode} aborted`;
            log.write(
                `${new Date().toISOString()} ${request.socket.remoteAddress ?? "-"} :${port} ${request.method} ${request.url} ${state}\n`,
            );
        });
        answer(folder, request, response).catch((error) => response.destroy(error));
    }).listen(Number(port), address);
}
