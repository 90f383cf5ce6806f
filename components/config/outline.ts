/** A description whose addresses other resources will give: what can be said and checked of it before. Pure. */
import type { Problem } from "../haproxy/problem";
import { stackSchema, type WrittenSettings } from "../settings";
import { checkSpec, filled, type CheckedSpec } from "./check";
import { nodeSpec, type Surroundings } from "./fill";
import { SpecError } from "./problems";

/** What of a node can come later. */
export interface NodeInputs {
    readonly address: string;
    readonly host?: string;
    readonly hostKey?: string;
    readonly externalAddress?: string;
}

/** Stand-ins for the inputs of the node at this place: none is anybody's (RFC 2544, RFC 6761). */
export function standIns(i: number): Required<NodeInputs> {
    const place = `${Math.floor(i / 250)}.${(i % 250) + 1}`;
    return {
        address: `198.18.${place}`,
        host: `node-${i}.k3s-ha.invalid`,
        hostKey: `ssh-ed25519 ${"A".repeat(68)}`,
        externalAddress: `198.19.${place}`,
    };
}

const STAND_IN = /\b198\.1[89]\.\d+\.\d+|\.k3s-ha\.invalid/;

/** What is wrong whatever the addresses will be. */
const isSure = ({ path, value = "", message }: Problem): boolean => !STAND_IN.test(`${path} ${value} ${message}`);

/**
 * The description with stand-ins in it.
 * @throws SpecError with the mistakes that no address can fix
 */
export function outline(written: WrittenSettings, around: Surroundings): CheckedSpec {
    try {
        return checkSpec(written, around);
    } catch (error) {
        if (!(error instanceof SpecError)) throw error;
        const sure = error.problems.filter(isSure);
        if (sure.length > 0) throw new SpecError(sure);
    }
    // All that is well formed is here: what else is wrong follows from stand-ins.
    const settings = stackSchema.parse(written);
    const nodes = settings.nodes.map((node, i) => nodeSpec(node, i, settings, around, () => undefined));
    return { spec: filled(settings, nodes, around), warnings: [] };
}
