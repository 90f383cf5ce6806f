import { changesReadiness } from "../cluster/readiness";
import { mainCluster } from "../cluster/support";

describe("readiness: to each mode and from each, every change", function () {
    this.timeout(900_000);
    before(mainCluster);
    changesReadiness(["unauthorized", "scoped", "unauthorized", "anonymous"]);
});
