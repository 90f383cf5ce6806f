/** promote.sh: when a joining server asks etcd to make it a voter. curl is the real one; the etcds are servers that answer as told. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createSecureServer, type Http2SecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shell } from "../helpers/step-shell";

/** As etcd gives them: above what a shell's numbers hold. */
const LEARNER = 15700000000000000001n;
const VOTER = 16600000000000000002n;

const varint = (value: bigint): number[] =>
    value < 128n ? [Number(value)] : [Number(value % 128n) + 128, ...varint(value / 128n)];
const number = (field: number, value: bigint | number): number[] => [
    ...varint(BigInt(field * 8)),
    ...varint(BigInt(value)),
];
const text = (field: number, value: string | number[]): number[] => {
    const bytes = typeof value === "string" ? [...Buffer.from(value)] : value;
    return [...varint(BigInt(field * 8 + 2)), ...varint(BigInt(bytes.length)), ...bytes];
};
const frame = (message: number[]): Buffer =>
    Buffer.from([0, 0, 0, message.length >> 8, message.length & 255, ...message]);

/** An etcd's answer to Maintenance/Status; absent: it does not answer. */
interface Status {
    readonly id: bigint;
    readonly applied: number;
    readonly learner?: boolean;
    readonly error?: string;
}
/** A StatusResponse, whose header's fields have the same numbers as others of its own. */
const statusMessage = ({ id, applied, learner, error }: Status): number[] => [
    ...text(1, [...number(1, 3610000000000000003n), ...number(2, id), ...number(3, 9), ...number(4, 2)]),
    ...text(2, "3.6.14"),
    ...number(3, 20480),
    ...number(4, VOTER),
    ...number(5, applied + 5000),
    ...number(6, 2),
    ...number(7, applied),
    ...(error ? text(8, error) : []),
    ...number(9, 16384),
    ...(learner ? number(10, 1) : []),
];

interface Asked {
    readonly method: string;
    readonly body: Buffer;
}

describe("a joining server's promotion", () => {
    const folder = mkdtempSync(join(tmpdir(), "k3s-ha-promote-"));
    const pem = (name: string): string => readFileSync(join(folder, name), "utf8");
    before(() => {
        const line = `openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=etcd -addext subjectAltName=IP:127.0.0.1,IP:10.0.0.1,IP:::1 -keyout key -out crt`;
        assert.equal(spawnSync("sh", ["-c", line], { cwd: folder }).status, 0);
    });
    after(() => rmSync(folder, { recursive: true }));

    const servers: Http2SecureServer[] = [];
    afterEach(() => {
        for (const server of servers.splice(0)) server.close();
    });

    /** An etcd that wants a client certificate. */
    async function etcd(status: (asked: number) => Status | undefined, promoted: string | undefined = undefined) {
        const asked: Asked[] = [];
        const server = createSecureServer({
            key: pem("key"),
            cert: pem("crt"),
            ca: pem("crt"),
            requestCert: true,
            rejectUnauthorized: true,
        });
        servers.push(server);
        server.on("session", (session) => session.on("error", () => undefined));
        server.on("stream", (stream, headers) => {
            const chunks: Buffer[] = [];
            stream.on("data", (chunk: Buffer) => chunks.push(chunk));
            stream.on("end", () => {
                const method = headers[":path"] as string;
                const body = Buffer.concat(chunks);
                asked.push({ method, body });
                const known = status(asked.filter((a) => a.method === method).length);
                if (!known) return stream.close();
                const isStatus = method === "/etcdserverpb.Maintenance/Status";
                const error = isStatus ? undefined : promoted;
                stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
                stream.on("wantTrailers", () =>
                    stream.sendTrailers({
                        "grpc-status": error === undefined ? "0" : "9",
                        "grpc-message": error ?? "",
                    }),
                );
                stream.end(error === undefined ? frame(isStatus ? statusMessage(known) : []) : undefined);
            });
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        return { port: (server.address() as AddressInfo).port, asked };
    }
    type Etcd = Awaited<ReturnType<typeof etcd>>;

    /** A clock on which looks are 0.6 s apart and take no time, as on a machine that has nothing else to do. */
    const CLOCK = `ticks() { echo "$((look * 60))"; }`;

    /** Looks as the step does while it waits, until it has asked. A busy machine, where an answer may come too late, needs more than three. */
    async function wait(own: Etcd, voter: Etcd | undefined, { looks = 4, stubs = CLOCK } = {}) {
        const members = [
            { ID: 1, name: "master-1-aa", clientURLs: ["https://10.0.0.1:2379"] },
            { ID: 2, name: "master-2-bb", clientURLs: ["https://127.0.0.1:2379"], isLearner: true },
        ];
        const tls = "data/server/tls/etcd";
        const run = await shell(
            `members_elsewhere() { ${voter ? `echo '${JSON.stringify({ members })}' | per_line` : "return 7"}; }
curl() { command curl --connect-to 127.0.0.1:2379:127.0.0.1:${own.port} --connect-to 10.0.0.1:2379:127.0.0.1:${voter?.port ?? 9} "$@"; }
${stubs}
look=0; while [ $look -lt ${looks} ]; do look=$((look + 1)); [ -n "$promotion" ] || hasten_promotion || true; done; echo "end: $promotion"`,
            {
                [`${tls}/server-ca.crt`]: pem("crt"),
                [`${tls}/client.crt`]: pem("crt"),
                [`${tls}/client.key`]: pem("key"),
            },
        );
        assert.equal(run.code, 0, run.text);
        return { text: run.text, promotions: (voter?.asked ?? []).filter((a) => a.method.endsWith("/MemberPromote")) };
    }

    const learner = (applied: number) => etcd(() => ({ id: LEARNER, applied, learner: true }));
    const leader = (applied: number, promoted?: string) => etcd(() => ({ id: VOTER, applied }), promoted);

    it("is asked of a voter, once, by the member's own id, after it answered for a second", async () => {
        const own = await learner(70_000);
        const voter = await leader(70_010);
        const { text: said, promotions } = await wait(own, voter, { looks: 20 });
        assert.match(said, /master-1: etcd asked for promotion: done\nend: done\n$/);
        assert.deepEqual(
            promotions.map((p) => p.body),
            [frame(number(1, LEARNER))],
        );
        // The third look is the first that is a second after another one.
        assert.ok(own.asked.length >= 3, `asked after ${own.asked.length} answers`);
    });

    it("that k3s was first with is as good", async () => {
        const voter = await leader(1000, "etcdserver: can only promote a learner member");
        assert.match((await wait(await learner(1000), voter, { looks: 20 })).text, /end: done\n$/);
    });

    it("that etcd refuses is left to k3s", async () => {
        const voter = await leader(1000, "etcdserver: can only promote a learner member which is in sync with leader");
        const { text: said, promotions } = await wait(await learner(1000), voter, { looks: 20 });
        assert.match(said, /end: left to k3s \(etcdserver: can only promote .* in sync with leader\)\n$/);
        assert.equal(promotions.length, 1);
    });

    for (const [what, own, voter] of [
        ["is behind", () => learner(1000), () => leader(1011)],
        [
            "reports an error",
            () => etcd(() => ({ id: LEARNER, applied: 1000, learner: true, error: "etcdserver: no leader" })),
            () => leader(1000),
        ],
        ["is no learner", () => etcd(() => ({ id: LEARNER, applied: 1000 })), () => leader(1000)],
        ["does not answer", () => etcd(() => undefined), () => leader(1000)],
        [
            "answers once and then no more",
            () => etcd((n) => (n === 1 ? { id: LEARNER, applied: 1000, learner: true } : undefined)),
            () => leader(1000),
        ],
        [
            "answers every other time",
            () => etcd((n) => (n % 2 ? { id: LEARNER, applied: 1000, learner: true } : undefined)),
            () => leader(1000),
        ],
        ["finds a voter that does not answer", () => learner(1000), () => etcd(() => undefined)],
        [
            "finds another learner where a voter should be",
            () => learner(1000),
            () => etcd(() => ({ id: VOTER, applied: 1000, learner: true })),
        ],
    ] as const)
        it(`is not asked for while the member ${what}`, async () => {
            const { text: said, promotions } = await wait(await own(), await voter());
            assert.match(said, /end: \n$/);
            assert.deepEqual(promotions, []);
        });

    it("is not asked for where nobody lists members", async () =>
        assert.match((await wait(await learner(1000), undefined)).text, /^end: \n$/));

    for (const [ticks, end] of [
        [50, "done"],
        [51, ""],
    ] as const)
        it(`is ${end ? "" : "not "}asked for ${ticks} hundredths of a second after the last answer was asked for`, async () => {
            // Each look at the clock finds it so much later.
            const stubs = `ticks() { echo x >>"$WORK/looks"; echo "$(($(wc -l <"$WORK/looks") * ${ticks}))"; }`;
            const { text: said } = await wait(await learner(1000), await leader(1000), { looks: end ? 20 : 4, stubs });
            assert.match(said, new RegExp(`end: ${end}\n$`));
        });

    it("is left to k3s by a curl that has no HTTP/2", async () => {
        const own = await learner(1000);
        const voter = await leader(1000);
        const { text: said } = await wait(own, voter, { stubs: `${CLOCK}; curl() { return 2; }` });
        assert.match(said, /^end: \n$/);
    });
});
