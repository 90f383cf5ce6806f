// Runs the test suites one after the other with their output visible, adds up their results, ends with `N passed, N failed`.
// usage: node tests/run.mjs [SUITE…]; without names all of them but `long`.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

// A lab of the tests' own, so that a lab somebody works with stays as it is.
const lab = {
    LAB_NAME: process.env.LAB_NAME ?? "k3s-ha-test",
    LAB_DIR: process.env.LAB_DIR ?? join(root, ".lab-test"),
    LAB_NET: process.env.LAB_NET ?? "10.91.0",
};

const grep = process.env.ONLY ? ["--grep", process.env.ONLY] : [];
// --exit: a handle that a failed test leaves open would keep mocha from ending.
const mocha = (...files) => ["npx", "mocha", "--exit", ...files];

/** Scenarios in a lab that the suite removes at its end. */
const scenarios = (name, ...files) => ({
    name,
    command: [...mocha(...files), ...grep],
    env: { LAB_STACK_FILE: process.env.LAB_STACK_FILE ?? "tests/cluster/hosts.yaml" },
    after: ["lab/lab", "down"],
});
const SHORT = "tests/cluster/*.test.ts";
const LONG = "tests/long/*.test.ts";

/** As lab/kept.sh compiles for the lab: what that has compiled is not compiled again. */
const goTest = (...flags) => [
    "bash",
    "-c",
    '. ../kept.sh && exec go test "$@"',
    "go-test",
    ...flags,
    "-v",
    "-count=1",
    "./...",
];

const CHROMIUM =
    "(apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends chromium)";

/** name, command; `tests: false` counts as one test that passes when the command does. */
const suites = [
    { name: "setup", command: ["lab/lab", "setup", "tests"], counts: false },
    { name: "check", command: ["make", "-s", "check"], counts: false },
    { name: "unit", command: mocha("tests/unit/**/*.test.ts") },
    {
        name: "lab-k3s",
        // It waits for most of its time, and the unit tests use one processor.
        beside: "unit",
        command: goTest(),
        cwd: "lab/k3s",
    },
    { name: "lab-pulumi", command: goTest("-trimpath"), cwd: "lab/pulumi" },
    { name: "integration", command: mocha("tests/integration/**/*.test.ts") },
    // A scenario that is asked for by its name may be of either kind.
    scenarios("cluster", SHORT, ...(process.env.ONLY ? [LONG] : [])),
    { ...scenarios("long", LONG), onDemand: true },
    {
        // Only this suite needs a browser.
        name: "browser",
        command: [
            "sh",
            "-c",
            `command -v chromium >/dev/null || ${CHROMIUM} >&2; exec ${mocha("tests/browser/*.test.ts").join(" ")}`,
        ],
        onDemand: true,
    },
    ...["trixie", "bullseye"].map((debian) => ({
        name: debian,
        command: ["sh", "-c", "lab/lab setup && exec npx mocha tests/long/hosts.test.ts"],
        env: { ...scenarios("").env, LAB_SUITE: debian },
        after: ["lab/lab", "down"],
        onDemand: true,
    })),
];

const wanted = process.argv.slice(2);
for (const name of wanted)
    if (!suites.some((s) => s.name === name))
        throw new Error(`no suite is called ${name}; there are: ${suites.map((s) => s.name).join(", ")}`);

/** `quiet`: what it prints is only given back. */
function run(command, { cwd = ".", env = {}, quiet = false } = {}) {
    return new Promise((resolve) => {
        const child = spawn(command[0], command.slice(1), {
            cwd: join(root, cwd),
            env: { ...process.env, ...lab, ...env },
            stdio: ["ignore", "pipe", "inherit"],
        });
        let text = "";
        child.stdout.on("data", (chunk) => {
            if (!quiet) process.stdout.write(chunk);
            text += chunk;
        });
        child.on("error", (error) => resolve({ code: 127, text: String(error) }));
        // Something that a suite leaves behind must not hold up all others: it is a failure.
        child.on("exit", (code, signal) => {
            const left = setTimeout(() => {
                child.stdout.destroy();
                resolve({ code: 1, text: `${text}\nA process that ${command.join(" ")} started still runs\n` });
            }, 10_000);
            child.on("close", () => {
                clearTimeout(left);
                resolve({ code: code ?? `signal ${signal}`, text });
            });
        });
    });
}

/** Results in the output of mocha or of `go test -v`. */
function count(text) {
    const mochaPassed = /^ {2}(\d+) passing/m.exec(text);
    if (mochaPassed)
        return { passed: Number(mochaPassed[1]), failed: Number(/^ {2}(\d+) failing/m.exec(text)?.[1] ?? 0) };
    return { passed: (text.match(/^\s*--- PASS/gm) ?? []).length, failed: (text.match(/^\s*--- FAIL/gm) ?? []).length };
}

/** What a suite that failed says of it, to be read at the end of a long log too: mocha's list; of go all that its tests said. */
function reasons(text) {
    const listed = text.search(/^ {2}\d+ failing/m);
    if (listed >= 0) return text.slice(listed);
    const said = text.match(/^\s+\w+_test\.go:\d+: .*|^\s*--- FAIL.*|^(panic|FAIL).*/gm);
    return (said ?? text.split("\n").slice(-20)).join("\n");
}

/** One line for each failure, since a CI that keeps only the end of a log keeps these. */
function headlines(text) {
    const list = reasons(text);
    if (!/^ {2}\d+ failing/m.test(list))
        return list.split("\n").flatMap((line) => (/--- FAIL: (\S+)/.exec(line) ?? []).slice(1));
    return list
        .split(/^ {2}\d+\) /m)
        .slice(1)
        .map((block) => {
            const [title, error] = block.split("\n\n");
            const path = title
                .split("\n")
                .map((line) => line.trim())
                .join(" ");
            return `${path.slice(0, 110)} ${(error ?? "").trim().split("\n", 1)[0]}`.slice(0, 400);
        });
}

let passed = 0;
let failed = 0;
const failedTests = [];
const summary = [];
const failures = [];
const begun = Date.now();
const seconds = (since) => ((Date.now() - since) / 1000).toFixed(0);
let current;

function tell() {
    if (failures.length > 0) console.log(failures.join("\n"));
    if (failedTests.length > 0) console.log(`\nFailed:\n${failedTests.join("\n")}`);
    console.log(`\n${summary.join("\n")}\n`);
}
// A CI that gives up still learns where the time went.
process.on("SIGTERM", () => {
    tell();
    console.log(`ended by SIGTERM after ${seconds(begun)} s, ${seconds(current.started)} s of them in ${current.name}`);
    process.exit(1);
});

const isWanted = ({ name, onDemand }) => (wanted.length > 0 ? wanted.includes(name) : !onDemand);
const chosen = suites.filter(isWanted);
const started = new Map();
function begin(suite, quiet = false) {
    const entry = { since: Date.now(), quiet, ended: run(suite.command, { ...suite, quiet }) };
    entry.ended.then(() => (entry.took = seconds(entry.since)));
    started.set(suite.name, entry);
}

for (const suite of chosen) {
    console.log(`\n=== ${suite.name}, ${seconds(begun)} s after the begin: ${suite.command.join(" ")}`);
    if (!started.has(suite.name)) begin(suite);
    // Its result comes in its turn.
    for (const other of chosen.filter(({ beside }) => beside === suite.name)) begin(other, true);
    const entry = started.get(suite.name);
    current = { name: suite.name, started: entry.since };
    const { code, text } = await entry.ended;
    if (entry.quiet) process.stdout.write(text);
    const result = suite.counts === false ? { passed: code === 0 ? 1 : 0, failed: 0 } : count(text);
    // A suite that broke off, or ran nothing, has failed even when no test says so.
    if (code !== 0 && result.failed === 0) result.failed = 1;
    if (code === 0 && result.passed === 0) result.failed = 1;
    if (suite.after && !process.env.KEEP) await run(suite.after, { env: suite.env });
    passed += result.passed;
    failed += result.failed;
    if (result.failed > 0) {
        failures.push(`\n=== ${suite.name} failed:\n${reasons(text)}`);
        failedTests.push(...headlines(text).map((line) => `${suite.name}: ${line}`));
    }
    summary.push(
        `${suite.name.padEnd(12)} ${String(result.passed).padStart(4)} passed ${String(result.failed).padStart(3)} failed ${entry.took.padStart(5)} s`,
    );
    // Nothing else can work without the set-up.
    if (suite.name === "setup" && code !== 0) break;
}
tell();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
