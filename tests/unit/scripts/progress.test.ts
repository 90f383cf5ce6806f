/** Long waits show progress: what for, since when, how long at most. */
import assert from "node:assert/strict";
import { stepShell } from "../helpers/step-shell";

/** A clock that is 5 s later at each look. */
const CLOCK = `now() { n=$(($(cat "$STATE/clock") + 5)); echo "$n" | tee "$STATE/clock"; }; echo 1000 >"$STATE/clock"`;
const server = stepShell("server.sh");

describe("progress", () => {
    it("is a line every 15 s while a stage of the start is waited for", async () => {
        const { text } = await server(`${CLOCK}
            sleep() { :; }; crash_loop() { false; }
            start_time=1000 wait_seconds=300 deadline=1300
            tries=0; fourth() { tries=$((tries + 1)); [ "$tries" -gt 8 ]; }
            stage_wait "etcd voter" fourth`);
        const waiting = text.split("\n").filter((line) => line.includes("still waiting"));
        assert.ok(waiting.length >= 3, text);
        for (const line of waiting)
            assert.match(line, /^master-1: still waiting for: etcd voter \(\d+ s, at most 300 s\)$/);
        const seconds = waiting.map((line) => Number(/\((\d+) s/.exec(line)?.[1]));
        assert.ok(seconds[0]! >= 15 && seconds.every((s, i) => i === 0 || s - seconds[i - 1]! >= 15), text);
        assert.match(text, /^master-1: etcd voter \(\d+ s\)$/m);
    });

    it("is none where the wait is short, and begins again with another wait", async () => {
        const { text } = await server(`${CLOCK}
            progress one 60 1000; progress one 60 1000; progress two 60 1010; progress two 60 1010; progress two 60 1010`);
        assert.equal(text, "master-1: still waiting for: two (15 s, at most 60 s)\n");
    });
});
