/** haproxy on every node: its configuration as typed data, the presets, and the text. */
export { listenPlaces, type Place } from "./listen";
export { merge } from "./merge";
export { ansibleRole } from "./presets/ansible-role";
export {
    backendName,
    caFilePath,
    caVerify,
    placeholders,
    type CheckParams,
    type ApiServer,
    type PresetParams,
    type ProxyParams,
    type StatsSettings,
} from "./presets/params";
export { recommended } from "./presets/recommended";
export type { Problem } from "./problem";
export { checkReferences, inlineSecrets } from "./references";
export { header, hostPort, quote, renderHaproxy, since, type GroupMember, type RenderOptions } from "./render";
export { explain, explainedParts } from "./remarks";
export { haproxyConfigSchema, type HaproxyConfig } from "./schema";
export { proxySettings, type ProxySettings } from "./settings";
