import assert from "node:assert/strict";
import {
    haproxyConfigSchema,
    checkReferences,
    inlineSecrets,
    quote,
    renderHaproxy,
    since,
} from "../../../components/haproxy";
import { assertGolden } from "../helpers/golden";

/** `path: message` of every mistake. */
function mistakes(config: unknown): string[] {
    const result = haproxyConfigSchema.safeParse(config);
    return result.success ? [] : result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
}
const backend = (extra: object) => ({ backend: [{ name: "b", balance: "roundrobin", ...extra }] });

/** Every key of the role that haproxy still has, once. */
const everything = {
    global: {
        log: [{ address: "/dev/log", facility: "local0", level: "info", minlevel: "err", length: 4096 }],
        chroot: "/var/lib/haproxy",
        stats: { sockets: [{ listen: "/run/haproxy/admin.sock", param: ["level admin"] }], timeout: "30s" },
        user: "haproxy",
        group: "haproxy",
        daemon: true,
        master_worker: true,
        maxconn: "4000",
        ca_base: "/etc/ssl/certs",
        crt_base: "/etc/ssl/private",
        ssl_default_bind_curves: "X25519",
        ssl_default_bind_ciphers: "ECDHE+AESGCM",
        ssl_default_bind_ciphersuites: "TLS_AES_128_GCM_SHA256",
        ssl_default_bind_options: "ssl-min-ver TLSv1.2",
        ssl_default_server_curves: "X25519",
        ssl_default_server_ciphers: "ECDHE+AESGCM",
        ssl_default_server_ciphersuites: "TLS_AES_128_GCM_SHA256",
        ssl_default_server_options: "ssl-min-ver TLSv1.2",
        ssl_engines: [{ name: "rdrand", algos: ["RSA", "DSA"] }],
        ssl_mode_async: true,
        nbthread: 2,
        tune: [{ key: "ssl.default-dh-param", value: 2048 }],
        option: ["spread-checks 5"],
        peers: [{ name: "p", peers: [{ name: "a", listen: "10.0.0.1:1024" }] }],
        raw_options: ["hard-stop-after 10m"],
    },
    defaults: {
        log: "global",
        logformat: '"%ci:%cp [%t]"',
        mode: "http",
        source: "10.0.0.1",
        option: ["httplog"],
        no_option: ["dontlognull"],
        retries: 3,
        timeout: [{ type: "connect", timeout: 5000 }],
        errorfile: [{ code: 400, file: "/etc/haproxy/errors/400.http" }],
        compression: [{ name: "algo", value: "gzip" }],
        default_server_params: ["inter 1s"],
        raw_options: ["hash-balance-factor 150"],
    },
    logforwards: [
        {
            name: "syslog",
            bind: "127.0.0.1:1514",
            dgram_bind: "127.0.0.1:1514",
            backlog: 10,
            maxconn: 20,
            timeout: "10s",
            log: [{ address: "ring@logs", param: ["local0"] }],
        },
    ],
    rings: [
        {
            name: "logs",
            description: "my logs",
            format: "rfc5424",
            maxlen: 1200,
            size: 32768,
            timeout: { server: "10s", connect: "5s" },
            server: [{ name: "s", listen: "127.0.0.1:6514", param: ["log-proto octet-count"] }],
        },
    ],
    userlists: [
        {
            name: "people",
            users: [
                { name: "a", password: "$6$salt$hash", groups: ["admins", "users"] },
                { name: "b", insecure_password: "two words # it's", groups: ["users"] },
            ],
        },
    ],
    resolvers: [
        {
            name: "dns",
            nameservers: [{ name: "n1", listen: "10.0.0.53:53" }],
            accepted_payload_size: 8192,
            parse_resolv_conf: true,
            resolve_retries: 3,
            hold: { valid: "10s", nx: "30s" },
            timeout: { retry: "1s", resolve: "2s" },
        },
    ],
    mailers: [
        {
            name: "post",
            servers: [
                { name: "m1", host: "10.0.0.25", port: 587 },
                { name: "m2", host: "10.0.0.26" },
            ],
        },
    ],
    cache: [{ name: "c", total_max_size: 4, max_object_size: 1000, max_age: 60 }],
    listen: [
        {
            name: "l",
            description: "it's a #1 'list'",
            bind: [{ listen: "*:8080", param: ["transparent", "ssl crt /etc/haproxy/x.pem"] }],
            mode: "http",
            balance: "roundrobin",
            hash_type: "consistent",
            maxconn: 10,
            http_check: "expect status 200",
            stick: [{ table: "type ip size 1k", stick_on: "src" }],
            source: "10.0.0.1",
            option: ["httpchk"],
            no_option: ["forwardfor"],
            logformat: "%ci",
            no_log: true,
            tcp_check: ["connect"],
            timeout: [{ type: "http-request", timeout: "5s" }],
            filter: [{ name: "compression", param: [] }],
            acl: [{ string: "office src 10.0.0.0/8" }],
            capture: [{ type: "request header", name: "Host", length: 30 }],
            monitor_uri: "/up",
            monitor_fail: ["if { nbsrv lt 1 }"],
            stats: {
                enable: true,
                refresh: "5s",
                admin: "if LOCALHOST",
                options: ["hide-version"],
                auth: [{ user: "admin", passwd: "it's secret" }],
            },
            tcp_request_inspect_delay: [{ timeout: "5s" }],
            tcp_request_connection: [{ action: "accept", cond: "if office" }],
            tcp_request_content: [{ action: "accept" }],
            tcp_request_session: [{ action: "accept" }],
            http_request: [
                { action: "deny", cond: "unless office" },
                { action: "set-header", param: "X-A b" },
                { action: "allow" },
            ],
            http_response: [{ action: "del-header", param: "Server" }],
            redirect: [{ string: "scheme https", cond: "if !{ ssl_fc }" }],
            compression: [{ name: "type", value: "text/plain" }],
            default_server_params: ["inter 1s", "rise 2"],
            server: [{ name: "s1", listen: "10.0.0.1:80", param: ["check", "weight 10"] }],
            server_template: { name: "t", num: "1-3", fqdn: "web.example", port: 80, param: ["check"] },
            retry_on: ["conn-failure", "empty-response"],
            retries: 2,
            errorfile: [{ code: 503, file: "/etc/haproxy/503.http" }],
            raw_options: ["http-reuse safe"],
        },
    ],
    frontend: [
        {
            name: "f",
            bind: [{ listen: ":80" }, { listen: ":::80", param: ["v6only"] }],
            stick: [{ table: "type ip size 1k" }],
            use_backend: ["b if { path /b }", "%[req.hdr(host)]"],
            default_backend: "b",
        },
    ],
    backend: [
        {
            name: "b",
            balance: "leastconn",
            cookie: "SRV insert",
            http_check: ["send meth GET uri /", "expect status 200"],
            server_dynamic: [{ group: "server", listen_port: 6443, param: ["check"] }],
            email_alert: [{ code: "mailers", value: "post" }],
        },
    ],
    acl_files: [
        {
            dest: "/etc/haproxy/lists/office.acl",
            content: ["10.0.0.0/8", "192.168.0.0/16"],
            mode: "0640",
            group: "haproxy",
        },
    ],
};

describe("haproxy: model", () => {
    it("knows every key of the role and renders it", () => {
        const config = haproxyConfigSchema.parse(everything);
        const groups = {
            server: [
                { name: "m1", address: "10.0.0.11" },
                { name: "m2", address: "fd00::12" },
            ],
        };
        assertGolden(renderHaproxy(config, { groups }), "haproxy-everything.cfg");
        assert.throws(() => renderHaproxy(config), /no group "server"; there are: none/);
    });

    it("names unknown keys with their place, all at once", () => {
        assert.deepEqual(
            mistakes({
                ...backend({ ballance: "x", server: [{ name: "s", listen: "a:1", check: true }] }),
                frontend: [{ name: "f", bind: [] }],
                wat: 1,
            }),
            [
                "frontend.0.bind: needs at least one address",
                'backend.0.server.0: unknown key "check"',
                'backend.0: unknown key "ballance"',
                ': unknown key "wat"',
            ],
        );
    });

    it("looks into values that may also be false", () => {
        assert.deepEqual(
            mistakes({ defaults: { timeout: [{ type: "connect", timeout: "soon" }] }, global: { log: "x" } }),
            [
                "global.log: Invalid input: expected array, received string",
                "defaults.timeout.0.timeout: must be a number with an optional unit us, ms, s, m, h or d",
            ],
        );
        assert.deepEqual(
            mistakes({ defaults: { timeout: false, log: false, mode: false, option: false, errorfile: false } }),
            [],
        );
    });

    it("says what replaces dead settings, and since which version they are dead", () => {
        const rules = [
            "reqadd",
            "rspadd",
            "reqdel",
            "reqidel",
            "rspdel",
            "rspidel",
            "reqrep",
            "reqirep",
            "rsprep",
            "rspirep",
        ];
        for (const key of rules) {
            const [message = ""] = mistakes(backend({ [key]: [{ string: "x" }] }));
            assert.match(message, /removed in haproxy 2\.1: use http_(request|response) with action/);
            assert.ok(
                message.includes(`"${key}"`) &&
                    message.includes(key.startsWith("req") ? "http_request" : "http_response"),
            );
        }
        assert.match(mistakes(backend({ bind_process: ["all"] }))[0] ?? "", /2\.7.*thread/);
        assert.match(mistakes({ global: { nbproc: 2 } })[0] ?? "", /2\.5.*nbthread/);
        assert.match(mistakes({ program: [{ name: "p", command: "x" }] })[0] ?? "", /3\.2.*service of the host/);
        assert.match(mistakes({ ssl_map: [] })[0] ?? "", /setting `files`/);
        assert.match(mistakes({ haproxy_listen: [] })[0] ?? "", /without the prefix haproxy_/);
        assert.match(mistakes({ global_maxconn: 1 })[0] ?? "", /global: \{ maxconn: \.\.\. \}/);
    });

    it("finds dead directives in raw lines too", () => {
        for (const line of ["reqirep ^Host: x", "bind-process 1", "rspidel x", "block if x", "contimeout 5000"])
            assert.match(
                mistakes(backend({ raw_options: [line] }))[0] ?? "",
                /^backend\.0\.raw_options\.0: .*removed in/,
            );
        assert.match(mistakes({ global: { raw_options: ["nbproc 4"] } })[0] ?? "", /nbthread/);
        assert.match(mistakes(backend({ option: ["forceclose"] }))[0] ?? "", /httpclose/);
        assert.deepEqual(mistakes(backend({ option: ["redispatch 1"], raw_options: ["blocker 1"] })), []);
    });

    it("lets no value start a line of its own", () => {
        for (const evil of ["a\nuser root", "a\rb", "a\u0000b", "a\tb", "a\u2028b"]) {
            assert.match(mistakes(backend({ description: evil }))[0] ?? "", /newline or control character/);
            assert.match(mistakes(backend({ raw_options: [evil] }))[0] ?? "", /newline or control character/);
            assert.equal(mistakes(backend({ server: [{ name: evil, listen: "a:1" }] })).length > 0, true);
            assert.equal(mistakes({ acl_files: [{ dest: "/etc/haproxy/x", content: [evil] }] }).length, 1);
        }
        assert.match(mistakes(backend({ name: "b c" }))[0] ?? "", /only letters/);
        assert.match(mistakes({ frontend: [{ name: "f", bind: [{ listen: ":80 ssl" }] }] })[0] ?? "", /one word/);
    });

    it("writes ACL files only below /etc/haproxy", () => {
        for (const dest of ["/etc/passwd", "/etc/haproxy/../passwd", "/etc/haproxy/./x", "x", "/etc/haproxy/"])
            assert.equal(mistakes({ acl_files: [{ dest, content: ["a"] }] }).length > 0, true, dest);
    });

    it("wants one kind of password for a user", () => {
        const users = (user: object) => ({ userlists: [{ name: "u", users: [{ name: "a", ...user }] }] });
        assert.match(mistakes(users({}))[0] ?? "", /either password/);
        assert.match(mistakes(users({ password: "x", insecure_password: "y" }))[0] ?? "", /either password/);
        assert.deepEqual(mistakes(users({ insecure_password: "y" })), []);
    });

    it("finds names used twice and backends that are not there", () => {
        const config = haproxyConfigSchema.parse({
            frontend: [
                { name: "f", bind: [{ listen: ":1" }], default_backend: "nope", use_backend: "gone if { path /x }" },
                { name: "f", bind: [{ listen: ":2" }], default_backend: "b" },
            ],
            backend: [
                {
                    name: "b",
                    balance: "first",
                    server: [
                        { name: "s", listen: "a:1" },
                        { name: "s", listen: "b:1" },
                    ],
                },
            ],
        });
        assert.deepEqual(checkReferences(config), [
            { path: "frontend[1].name", message: '"f" is used twice' },
            { path: "backend[0].server[1].name", message: '"s" is used twice' },
            { path: "frontend[0].default_backend", message: 'there is no backend "nope"; there are: b' },
            { path: "frontend[0].use_backend[0]", message: 'there is no backend "gone"; there are: b' },
        ]);
    });

    it("tells where passwords stand in the text", () => {
        assert.deepEqual(inlineSecrets(haproxyConfigSchema.parse(everything)), [
            "listen[0].stats.auth[0].passwd",
            "userlists[0].users[0].password",
            "userlists[0].users[1].insecure_password",
        ]);
    });

    it("quotes what haproxy would split or cut", () => {
        assert.equal(quote("plain-1.2:3"), "plain-1.2:3");
        assert.equal(quote("two words"), "'two words'");
        assert.equal(quote("a#b"), "'a#b'");
        assert.equal(quote("it's"), "'it'\\''s'");
        assert.equal(since("2.4", "clitcpka-cnt 3"), "clitcpka-cnt 3 # haproxy >= 2.4");
    });
});
