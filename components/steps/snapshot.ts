/** Step snapshot: the one that the stack file asks for. */
import type * as pulumi from "@pulumi/pulumi";
import type { Bundle } from "../remote/bundle";
import { clusterStep, type Place, type StepContext } from "./context";

/** Takes an etcd snapshot; another name takes another one. Gives its path and host. */
export function snapshot(context: StepContext, name: string, place: Place): pulumi.Output<string> {
    const { cluster } = context.spec;
    const data = (): Bundle => ({ settings: { node: place.on.name, name }, files: [] });
    const taken = clusterStep(context, "snapshot", place, data, {
        component: ["k3s-ha:k3s:Snapshot", `${cluster}-snapshot`],
        name: `${cluster}-snapshot-taken`,
    });
    return taken.stdout.apply((out) => /^snapshot: (.*)$/m.exec(out ?? "")?.[1] ?? "");
}
