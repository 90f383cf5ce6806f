/**
 * npm run review on the engine: the previews that the unit tests have recorded (review-record.ts) still have the engine's form, and the
 * command itself runs one. The hosts answer at once and do nothing.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { review } from "../../commands/review/markdown";
import { readPreview } from "../../commands/review/preview";
import { ROOT } from "./engine";
import { CASES, type Case } from "./review-cases";
import { ReviewStack, type Run } from "./review-stack";

const golden = (name: string): string => readFileSync(join(__dirname, "reviews", `${name}.md`), "utf8");
const caseOf = (name: string): Case => CASES.find((of) => of.name === name)!;

describe("review: previews of the engine", function () {
    this.timeout(180_000);
    let stack: ReviewStack;
    before(async () => (stack = await ReviewStack.make("review-test")));
    after(() => stack?.end());

    /** The review of what the engine printed, as that of the recorded preview. */
    const reviewed = ({ code, stdout }: Run): string =>
        review(readPreview(JSON.parse(stack.settled(stdout)), code !== 0), "prod");

    it("a new version: the golden of the recorded one", async () => {
        assert.deepEqual(reviewed(await stack.previewOf(caseOf("version"))).split("\n"), golden("version").split("\n"));
    });

    it("a refusal: the golden of the recorded one", async () => {
        const run = await stack.previewOf(caseOf("refused"));
        assert.notEqual(run.code, 0);
        assert.deepEqual(reviewed(run).split("\n"), golden("refused").split("\n"));
    });

    it("the command runs a preview of the stack", async () => {
        stack.use(caseOf("haproxy-line"));
        const child = spawn("npm", ["run", "--silent", "review", "--", "--stack", "review-test"], {
            cwd: ROOT,
            env: stack.environment,
            stdio: ["ignore", "pipe", "inherit"],
        });
        let stdout = "";
        child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
        const code = await new Promise((resolve) => child.on("close", resolve));
        assert.equal(code, 0);
        const was = golden("haproxy-line").replaceAll("prod", "review-test").split("\n");
        // The name of the cluster is in the files, too.
        const told = (lines: readonly string[]): string[] => lines.slice(0, 6);
        assert.deepEqual(told(stdout.split("\n")), told(was));
        assert.match(stdout, /-  maxconn 2000\n\+  maxconn 3000\n/);
    });
});
