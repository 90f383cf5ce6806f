/** An `up` that is cut off while a step runs on a host. */
import assert from "node:assert/strict";
import { eventually, lab, mainStack, on } from "./support";

/** `up` waits on this host in its step stage, whose lock is held; then the fault; how `up` ends. */
export async function cutInStage(host: string, fault: () => void): Promise<{ text: string; seconds: number }> {
    on(host, "systemd-run -q --unit=holder flock /var/lib/k3s-ha/stage.lock sleep 600");
    try {
        const child = mainStack().start(["up", "--yes", "--skip-preview"]);
        let text = "";
        child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        child.stderr?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
        await eventually("the step stage runs", 60, () =>
            assert.match(on(host, "ps -eo args").stdout, /k3s-ha\/stage\.sh apply/),
        );
        const started = Date.now();
        fault();
        assert.notEqual(await ended, 0, text);
        return { text, seconds: (Date.now() - started) / 1000 };
    } finally {
        lab(["fault", host, "heal"]);
        on(host, "systemctl stop holder", { check: false });
        // It runs on without its session, and would be taken for the next one.
        await eventually("the step has ended", 60, () =>
            assert.doesNotMatch(on(host, "ps -eo args").stdout, /k3s-ha\/stage\.sh apply/),
        );
    }
}
