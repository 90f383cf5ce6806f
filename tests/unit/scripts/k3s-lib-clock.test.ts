import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { shell, type Run } from "../helpers/step-shell";

/** check_clock of k3s-lib.sh against a server whose clock is off by this many seconds; without one nobody answers. */
async function checkClock(off?: number): Promise<Run> {
    const server = createServer((_, response) => {
        response.sendDate = false;
        response.setHeader("date", new Date(Date.now() + (off ?? 0) * 1000).toUTCString()).end("pong");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    if (off === undefined) await new Promise((resolve) => server.close(resolve));
    const run = await shell(`NODE=agent-9 STEP=agent
setting() { echo http://127.0.0.1:${port}; }
check_clock`);
    server.close();
    return run;
}

describe("clocks are compared before a join", () => {
    it("agreeing ones, and a server that does not answer, are no obstacle", async () => {
        for (const off of [0, 20, -20, undefined]) assert.deepEqual(await checkClock(off), { code: 0, text: "" });
    });

    for (const [off, words] of [
        [300, "behind"],
        [-300, "ahead of"],
    ] as const) {
        it(`a host whose clock is 300 s ${words} the servers' is refused by name`, async () => {
            const { code, text } = await checkClock(off);
            assert.equal(code, 1);
            assert.match(
                text,
                new RegExp(
                    `FAILED on node agent-9, step agent: the clock of this host is (299|300|301) s ${words} the servers'`,
                ),
            );
            assert.match(text, /layer: clock[^]*next: set the clocks/);
        });
    }
});
