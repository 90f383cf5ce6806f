import { dies, losesDisk } from "../cluster/deaths";
import { mainCluster } from "../cluster/support";

// The first server's turn is in tests/cluster.
describe("masters die, the other ones", function () {
    this.timeout(600_000);
    before(mainCluster);
    for (const master of ["master-2", "master-3"]) dies(master);
    losesDisk("master-3", "not the first server");
});
