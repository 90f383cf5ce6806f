/** A change of the readiness mode of the main cluster, under load. */
import assert from "node:assert/strict";
import { HOSTS, MASTERS, anonymousCode, mainStack, nodeOf, on, underLoad, whole, type Config } from "./support";

/** Of each mode: the code that the check expects, and what an anonymous client gets for /version. */
const EXPECTED = { unauthorized: ["401", "401"], anonymous: ["200", "403"], scoped: ["200", "401"] } as const;

/** The cluster changes to this mode, and what else is changed by the same `up`. */
export async function toReadiness(
    mode: keyof typeof EXPECTED,
    also: (config: Config) => void = () => undefined,
): Promise<void> {
    await underLoad(`to ${mode}`, () => {
        mainStack().upWith((config) => {
            config["k3s-ha:readiness"] = mode;
            also(config);
        });
    });
    await whole();
    for (const host of HOSTS)
        assert.match(
            on(host, "cat /etc/haproxy/haproxy.cfg").stdout,
            new RegExp(`http-check expect status ${EXPECTED[mode][0]}\\n`),
        );
    for (const master of MASTERS) {
        const address = nodeOf(mainStack().config(), master).address;
        const codes = ["/readyz", "/version"].map((path) => anonymousCode(address, path));
        assert.deepEqual(codes, EXPECTED[mode], master);
    }
}

/** Tests of changes to these modes, one after the other. */
export function changesReadiness(modes: readonly (keyof typeof EXPECTED)[]): void {
    for (const mode of modes)
        it(`to ${mode}: no request fails, and at the end the check is strict and the surface is the mode's`, () =>
            toReadiness(mode));
}
