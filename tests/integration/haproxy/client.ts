/**
 * Load on the proxy's frontend: RATE new TLS connections with one request each a second, and WATCHES streams that are
 * opened again when they break. Runs until its stdin ends, then prints one line of JSON (Report).
 * Arguments: address, port, rate, watches.
 */
import { request, Agent } from "node:https";

export interface Report {
    made: number;
    failed: number;
    /** Milliseconds of the slowest request that was answered. */
    slowest: number;
    /** Streams that ended, and the longest silence on any before it ended or went on. */
    broken: number;
    silence: number;
    errors: Record<string, number>;
}

const [host = "", port = "", rate = "", watches = ""] = process.argv.slice(2);
const report: Report = { made: 0, failed: 0, slowest: 0, broken: 0, silence: 0, errors: {} };
const common = { host, port: Number(port), rejectUnauthorized: false, servername: "kubernetes" };
let running = true;
let open = 0;

function once(): void {
    const start = Date.now();
    let over = false;
    open++;
    report.made++;
    const end = (error?: Error & { code?: string }) => {
        if (over) return;
        over = true;
        open--;
        if (error) {
            report.failed++;
            const what = error.code ?? error.message;
            report.errors[what] = (report.errors[what] ?? 0) + 1;
        } else report.slowest = Math.max(report.slowest, Date.now() - start);
    };
    const call = request(
        { ...common, path: "/api", agent: new Agent({ maxCachedSessions: 0 }), timeout: 20000 },
        (response) => {
            response.on("error", end);
            response.on("end", () =>
                end(response.statusCode === 200 ? undefined : new Error(`${response.statusCode}`)),
            );
            response.resume();
        },
    );
    call.on("timeout", () => call.destroy(new Error("timeout")));
    call.on("error", end);
    call.end();
}

/** `opened` is called at each answer. */
function watch(opened: () => void): void {
    let last = Date.now();
    let over = false;
    const heard = () => {
        report.silence = Math.max(report.silence, Date.now() - last);
        last = Date.now();
    };
    const timer = setInterval(() => (report.silence = Math.max(report.silence, Date.now() - last)), 100);
    const again = () => {
        if (over) return;
        over = true;
        clearInterval(timer);
        heard();
        if (!running) return;
        report.broken++;
        setTimeout(() => watch(opened), 200);
    };
    const call = request({ ...common, path: "/watch", agent: new Agent({ maxCachedSessions: 0 }) }, (response) => {
        opened();
        response.on("data", heard);
        response.on("error", again);
        response.on("close", again);
    });
    call.on("error", again);
    call.end();
}

const every = 1000 / Number(rate);
let ticker: NodeJS.Timeout | undefined;
function begin(): void {
    if (ticker !== undefined) return;
    let next = Date.now() + every;
    ticker = setInterval(() => {
        for (; next <= Date.now(); next += every) once();
    }, 5);
    setTimeout(() => console.log("running"), 300);
}

// Requests come when the streams stand: those under way would make the share of streams uneven. Not all may come to stand.
let waiting = Number(watches);
setTimeout(begin, waiting > 0 ? 2000 : 0);
for (let i = Number(watches); i > 0; i--)
    watch(() => {
        if (--waiting === 0) begin();
    });

process.stdin.resume();
process.stdin.on("end", () => {
    running = false;
    clearInterval(ticker);
    const finish = setInterval(() => {
        if (open > 0) return;
        clearInterval(finish);
        console.log(JSON.stringify(report));
        process.exit(0);
    }, 20);
});
