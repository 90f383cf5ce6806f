/** One SSH server on loopback that plays every host of a stack: takes any key and file, runs nothing, answers as a node's scripts do. */
import { generateKeyPairSync } from "node:crypto";
import type { AddressInfo } from "node:net";
import library from "ssh2";

interface Channel {
    write(text: string): void;
    exit(code: number): void;
    end(): void;
    resume(): void;
    on(event: "end", listener: () => void): void;
}
type Listener = (...args: never[]) => void;
interface Sftp {
    on(event: string, listener: Listener): void;
    handle(id: number, handle: Buffer): void;
    attrs(id: number, attrs: { mode: number }): void;
    status(id: number, code: number): void;
    end(): void;
}
interface Ssh2 {
    Server: new (
        options: { hostKeys: string[] },
        onConnection: (client: { on(event: string, listener: Listener): void }) => void,
    ) => { listen(port: number, host: string, ready: () => void): void; address(): AddressInfo; close(): void };
    utils: { generateKeyPairSync(type: "ed25519"): { public: string; private: string } };
}

// The part of the library in use, with listeners that may be written as they are read.
const ssh2 = library as unknown as Ssh2;

const KUBECONFIG = `ca-hash: ${"ab".repeat(32)}
clusters: [{name: default, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
`;

const [OK, NO_SUCH_FILE] = [0, 2];

/** An empty home folder that takes every file and keeps none. */
function takeFiles(sftp: Sftp): void {
    const stat = ((id: number, path: string) =>
        path === "." ? sftp.attrs(id, { mode: 0o40755 }) : sftp.status(id, NO_SUCH_FILE)) as Listener;
    for (const event of ["STAT", "LSTAT"]) sftp.on(event, stat);
    sftp.on("OPEN", ((id: number) => sftp.handle(id, Buffer.from("file"))) as Listener);
    sftp.on("FSTAT", ((id: number) => sftp.attrs(id, { mode: 0o100644 })) as Listener);
    for (const event of ["WRITE", "FSETSTAT", "CLOSE"])
        sftp.on(event, ((id: number) => sftp.status(id, OK)) as Listener);
    // As sftp-server does: the client waits for it.
    sftp.on("end", () => sftp.end());
}

/** What the script in a command line prints. */
function answer(command: string): string {
    // It names all other scripts, too.
    if (command.includes("prepare.sh apply")) return "etcd-data: none\n";
    return command.includes("kubeconfig.sh") ? KUBECONFIG : "done\n";
}

export class Hosts {
    public connections = 0;
    private constructor(
        public readonly port: number,
        /** `type base64`, as ssh.hostKey wants it. */
        public readonly hostKey: string,
        private readonly server: InstanceType<Ssh2["Server"]>,
    ) {}

    public static async start(): Promise<Hosts> {
        const key = ssh2.utils.generateKeyPairSync("ed25519");
        const server = new ssh2.Server({ hostKeys: [key.private] }, (client) => {
            hosts.connections++;
            client.on("error", () => undefined);
            client.on("authentication", ((context: { accept(): void }) => context.accept()) as Listener);
            client.on("session", ((accept: () => { on(event: string, listener: Listener): void }) => {
                const session = accept();
                session.on("sftp", ((take: () => Sftp) => takeFiles(take())) as Listener);
                session.on("exec", ((take: () => Channel, _: unknown, info: { command: string }) => {
                    const channel = take();
                    channel.resume();
                    channel.on("end", () => {
                        channel.write(answer(info.command));
                        channel.exit(0);
                        channel.end();
                    });
                }) as Listener);
            }) as Listener);
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const hosts = new Hosts(server.address().port, key.public.split(" ").slice(0, 2).join(" "), server);
        return hosts;
    }

    public stop(): void {
        this.server.close();
    }
}

/** A private key for the stack, `ed25519` or `rsa` (of 2048 bits), which any host here takes. */
export const privateKey = (kind: string): string =>
    kind === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 2048 })
              .privateKey.export({ type: "pkcs1", format: "pem" })
              .toString()
        : ssh2.utils.generateKeyPairSync("ed25519").private;
