/** Where a `bind` or `server` line listens or connects: haproxy's forms of address and port. */

/** One address and its ports. */
export interface Place {
    /** Without brackets; `*` for every address of IPv4, `::` for those of IPv6 and, in haproxy, of IPv4 with `v4v6`. */
    readonly address: string;
    readonly from: number;
    readonly to: number;
    readonly udp: boolean;
}

/** Prefixes of what is no port: sockets in files, inherited ones, those inside of haproxy. */
const NO_PORT = /^(\/|(unix|uxst|uxdg|abns|abnsz|fd|sockpair|rhttp|ring|log|mptcp-fd)@)/;

/**
 * The places of a text such as `*:80`, `:443`, `10.0.0.1:80,10.0.0.2:80`, `[::]:6443`, `ipv4@*:8000-8010`. What has no port, or a
 * form that only haproxy understands, is left out.
 */
export function listenPlaces(text: string): Place[] {
    return text.split(",").flatMap((part): Place[] => {
        if (NO_PORT.test(part)) return [];
        const [, prefix = "", rest = ""] = /^(?:([a-z0-9]+)@)?(.*)$/.exec(part) ?? [];
        const m = /^(.*):(\d{1,5})(?:-(\d{1,5}))?$/.exec(rest);
        if (!m) return [];
        const [, host = "", from = "", to = from] = m;
        const address = host.replace(/^\[(.*)\]$/, "$1");
        const everywhere = address === "" || address === "*" ? (/6$/.test(prefix) ? "::" : "*") : address;
        return [
            {
                address: everywhere === "0.0.0.0" ? "*" : everywhere,
                from: Number(from),
                to: Number(to),
                udp: /^(udp|quic)/.test(prefix),
            },
        ];
    });
}
