import { readFileSync } from "node:fs";
import { parse } from "yaml";

/** What node:tls takes, from the first cluster and the first user of a kubeconfig. */
export function credentials(file) {
    const config = parse(readFileSync(file, "utf8"));
    const data = (text) => Buffer.from(text, "base64");
    return {
        ca: data(config.clusters[0].cluster["certificate-authority-data"]),
        cert: data(config.users[0].user["client-certificate-data"]),
        key: data(config.users[0].user["client-key-data"]),
    };
}
