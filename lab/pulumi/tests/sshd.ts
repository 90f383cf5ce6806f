/** A real sshd on a port of loopback, as the user who runs the tests. Needs openssh-server and openssh-client. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";

const SSHD = "/usr/sbin/sshd";

export function freePort(): Promise<number> {
    return new Promise((resolve) => {
        const s = createServer().listen(0, "127.0.0.1", () => {
            const { port } = s.address() as { port: number };
            s.close(() => resolve(port));
        });
    });
}

export class Sshd {
    private constructor(
        readonly dir: string,
        readonly port: number,
        private readonly child: ChildProcess,
        readonly privateKey: string,
        readonly hostKey: string,
    ) {}

    static async start(extra = ""): Promise<Sshd> {
        if (!existsSync(SSHD)) throw new Error(`${SSHD} is missing: install openssh-server`);
        const dir = mkdtempSync(path.join(tmpdir(), "pulumi-sshd-"));
        for (const f of ["host", "user"])
            execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", f, "-f", path.join(dir, f)]);
        if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true });
        writeFileSync(path.join(dir, "authorized"), readFileSync(path.join(dir, "user.pub")));
        const port = await freePort();
        writeFileSync(
            path.join(dir, "config"),
            [
                `Port ${port}`,
                "ListenAddress 127.0.0.1",
                `HostKey ${dir}/host`,
                `PidFile ${dir}/pid`,
                `AuthorizedKeysFile ${dir}/authorized`,
                "StrictModes no",
                "UsePAM no",
                "PermitRootLogin prohibit-password",
                "PasswordAuthentication no",
                "Subsystem sftp internal-sftp",
                extra,
                "",
            ].join("\n"),
        );
        const child = spawn(SSHD, ["-D", "-e", "-f", path.join(dir, "config")], {
            stdio: ["ignore", "ignore", "pipe"],
        });
        let log = "";
        child.stderr.on("data", (b: Buffer) => (log += b.toString()));
        for (let i = 0; ; i++) {
            const up = await new Promise<boolean>((resolve) => {
                const s = connect(port, "127.0.0.1");
                s.once("connect", () => {
                    s.destroy();
                    resolve(true);
                });
                s.once("error", () => resolve(false));
            });
            if (up) break;
            if (i > 100 || child.exitCode !== null) throw new Error(`sshd did not start:\n${log}`);
            await new Promise((r) => setTimeout(r, 50));
        }
        return new Sshd(
            dir,
            port,
            child,
            readFileSync(path.join(dir, "user"), "utf8"),
            readFileSync(path.join(dir, "host.pub"), "utf8").trim(),
        );
    }

    get user(): string {
        return userInfo().username;
    }

    async stop(): Promise<void> {
        const gone = new Promise((r) => this.child.once("exit", r));
        this.child.kill();
        await gone;
        rmSync(this.dir, { recursive: true, force: true });
    }
}
