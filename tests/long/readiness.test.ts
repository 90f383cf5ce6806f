import { changesReadiness } from "../cluster/readiness";
import { mainCluster } from "../cluster/support";

describe("readiness, the other way round: from each mode to the one that tests/cluster leaves out", function () {
    this.timeout(900_000);
    before(mainCluster);
    changesReadiness(["scoped", "unauthorized", "anonymous"]);
});
