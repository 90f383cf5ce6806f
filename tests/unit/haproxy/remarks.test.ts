import assert from "node:assert/strict";
import {
    explain,
    explainedParts,
    proxySettings,
    recommended,
    renderHaproxy,
    type ProxyParams,
} from "../../../components/haproxy";
import { assertGolden } from "../helpers/golden";

const { check, ...defaults } = proxySettings.parse({});
const params: ProxyParams = {
    ...defaults,
    check: { ...check, verify: undefined },
    cluster: "k8s-de1",
    apiServers: [1, 2, 3].map((n) => ({ name: `master-${n}`, address: `10.90.0.1${n}`, port: 6443 })),
    frontend: { port: 16443, ipv6: true },
    stats: {
        address: "10.90.0.21",
        port: 1936,
        allowedNetworks: ["10.90.0.0/24"],
        metricsPassword: true,
        admin: false,
    },
    expect: [200],
};
const plain = renderHaproxy(recommended(params));
const explained = explain(plain);
const isRemark = (line: string): boolean => /^ +#/.test(line);

describe("haproxy: remarks in haproxy.cfg", () => {
    it("stand over every part that is not plain, once", () => {
        assertGolden(explained, "haproxy-explained.cfg");
        const lines = explained.split("\n");
        const blocks = lines.filter((line, i) => isRemark(line) && !isRemark(lines[i - 1] ?? ""));
        assert.equal(blocks.length, explainedParts.length);
        for (const about of [
            /^ {2}server-state-file /,
            /^ {2}timeout tunnel /,
            /^ {2}use_backend \S+-unchecked /,
            /^ {2}http-check disable-on-404/,
            /^ {2}acl by_probe /,
            /^ {2}use-server /,
            /^ {2}default-server .*on-marked-down/,
        ]) {
            const at = lines.findIndex((line) => about.test(line));
            assert.ok(at > 0 && isRemark(lines[at - 1] as string), String(about));
        }
        for (const section of ["backend k8s-de1-kube-api-probe", "backend k8s-de1-kube-api-unchecked", "listen stats"])
            assert.ok(isRemark(lines[lines.indexOf(section) + 1] as string), section);
    });

    it("change nothing but add comments that fit a terminal", () => {
        const without = explained.split("\n").filter((line) => !isRemark(line));
        assert.equal(without.join("\n"), plain);
        for (const line of explained.split("\n").filter(isRemark)) assert.ok(line.length <= 120, line);
    });

    it("stand where their line is in a backend of another name too", () => {
        const other = explain(renderHaproxy(recommended({ ...params, backend: "api" })));
        assert.match(other, /backend api\n(?: {2}.*\n)*? {2}# Each check asks twice/);
    });
});
