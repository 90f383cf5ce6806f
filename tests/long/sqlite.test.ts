/** The move from SQLite to etcd with servers that join after it; without them it is in tests/cluster. */
import { movesToEtcd } from "../cluster/sqlite";

describe("sqlite: one master on SQLite becomes three on etcd", function () {
    this.timeout(900_000);
    movesToEtcd(["master-5", "agent-3"]);
});
