/**
 * Modules that the SDK and zod require when they are loaded themselves, but that this program never uses: they are loaded when somebody
 * first looks into them. They are two thirds of the time that an unchanged `up` spends on loading.
 */
"use strict";
const { createRequire, Module } = require("node:module");
const { join } = require("node:path");

const LATER = {
    "@pulumi/pulumi": [
        // The TypeScript compiler and npm's resolver: functions written as source text, for dynamic providers.
        "./typescript-shim.js",
        "@npmcli/arborist",
        "fdir",
        "normalize-package-data",
        "upath",
        // pulumi.automation and pulumi.provider: programs that run pulumi, and providers.
        "./automation/index.js",
        "./provider/index.js",
        // A package.yaml in place of package.json.
        "js-yaml",
        // Versions of resources that were handed over as references.
        "semver",
        // Traces, with TRACEPARENT or --tracing only.
        "@opentelemetry/exporter-zipkin",
        "@opentelemetry/instrumentation",
        "@opentelemetry/instrumentation-grpc",
        "@opentelemetry/resources",
        "@opentelemetry/sdk-trace-base",
        "@opentelemetry/sdk-trace-node",
    ],
    // Error texts in 60 languages.
    zod: ["./v4/locales/index.cjs"],
};

/** Stands for a module's exports; whatever is done with it is done with the real ones. */
function standIn(load) {
    return new Proxy(() => undefined, {
        // Compiled `import`s ask this first of all and copy every export where the answer is no.
        get: (_, key) => (key === "__esModule" ? true : key === "default" ? (load().default ?? load()) : load()[key]),
        set: (_, key, value) => Reflect.set(load(), key, value),
        has: (_, key) => Reflect.has(load(), key),
        apply: (_, self, args) => Reflect.apply(load(), self, args),
        construct: (_, args) => Reflect.construct(load(), args),
        getPrototypeOf: () => Reflect.getPrototypeOf(load()),
        ownKeys: () => Reflect.ownKeys(load()),
        getOwnPropertyDescriptor: (_, key) => {
            const own = Reflect.getOwnPropertyDescriptor(load(), key);
            // A proxy may call nothing fixed that its target has not.
            return own && { ...own, configurable: true };
        },
    });
}

/** Puts stand-ins into the cache of modules. What a release of the package has no longer is passed over: it is loaded as ever. */
exports.requireLater = function (root) {
    const project = createRequire(join(root, "package.json"));
    for (const [name, ids] of Object.entries(LATER)) {
        const owner = createRequire(project.resolve(`${name}/package.json`));
        for (const id of ids) {
            let file;
            try {
                file = owner.resolve(id);
            } catch {
                continue;
            }
            if (require.cache[file]) continue;
            const module = new Module(file);
            module.filename = file;
            module.loaded = true;
            let real;
            module.exports = standIn(() => {
                if (require.cache[file] === module) delete require.cache[file];
                return (real ??= owner(file));
            });
            require.cache[file] = module;
        }
    }
};
