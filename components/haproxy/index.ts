/** haproxy on every node: its configuration as typed data, the presets, and the text. */
export { listenPlaces, type Place } from "./listen";
export { checkReferences, haproxyConfigSchema, inlineSecrets, type HaproxyConfig, type Problem } from "./model";
export {
    backendName,
    caFilePath,
    caVerify,
    merge,
    placeholders,
    recommended,
    seed,
    type CheckParams,
    type Master,
    type PresetParams,
    type ProxyParams,
    type StatsSettings,
} from "./presets";
export { header, hostPort, quote, renderHaproxy, since, type GroupMember, type RenderOptions } from "./render";
export { explain, explainedParts } from "./remarks";
export { proxySettings, type ProxySettings } from "./settings";
