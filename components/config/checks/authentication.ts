/** Flags of the kube-apiserver that decide who is who: some belong to `readiness`, and some exclude its file. */
import type { Report } from "../problems";
import type { StackSettings } from "../../settings";
import type { K3sConfig } from "../../model/cluster";
import { READINESS } from "../../model/readiness";

/** Who is anonymous is said by `readiness` alone; the user may say the same. */
export function checkAuthentication(settings: StackSettings, report: Report): void {
    const look = (config: K3sConfig | undefined, path: readonly PropertyKey[]): void => {
        const args = config?.["kube-apiserver-arg"];
        const list = Array.isArray(args) ? args : args === undefined ? [] : [args];
        list.forEach((arg, i) => {
            const reason = contradiction(String(arg), settings.readiness);
            if (reason !== undefined) report([...path, "kube-apiserver-arg", i], arg, reason);
        });
    };
    look(settings.server.config, ["server", "config"]);
    settings.nodes.forEach((node, i) => look(node.config, ["nodes", i, "config"]));
    if (settings.authentication.jwt !== undefined && !READINESS[settings.readiness].authenticationFile)
        report(
            ["authentication", "jwt"],
            undefined,
            `goes into the file of readiness "scoped", and readiness is "${settings.readiness}"; set k3s-ha:readiness: scoped, or use the flags oidc-… in server.config.kube-apiserver-arg`,
        );
}

function contradiction(arg: string, readiness: StackSettings["readiness"]): string | undefined {
    const [, flag = "", append = "", value] = /^-{0,2}([a-z0-9-]+)(\+?)(?:=(.*))?$/.exec(arg) ?? [];
    if (flag === "anonymous-auth" || flag === "authentication-config") {
        const same = READINESS[readiness].anonymousAuth;
        if (flag === "anonymous-auth" && append === "" && same !== undefined && value === same) return undefined;
        return `contradicts readiness "${readiness}", which alone decides who may ask anonymously; change k3s-ha:readiness instead`;
    }
    if (flag.startsWith("oidc-") && READINESS[readiness].authenticationFile)
        return `cannot be set together with readiness "scoped": the kube-apiserver takes either oidc-… flags or an authentication-config, and ends with both. Write the issuer to k3s-ha:authentication.jwt, or take readiness anonymous`;
    return undefined;
}
