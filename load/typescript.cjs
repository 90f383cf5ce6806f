/**
 * Compiles the project's .ts files when they are required, each once: what is compiled is kept under a key that holds the whole source,
 * so an edited file never runs stale. No types are checked here, and requires of other files stay as Node does them: that is why this
 * starts in a third of tsx's time, which hooks into each of the SDK's requires and reads a source map with it.
 */
"use strict";
const { createHash } = require("node:crypto");
const { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } = require("node:fs");
const { createRequire, Module } = require("node:module");
const { dirname, isAbsolute, join, relative } = require("node:path");

const OPTIONS = {
    loader: "ts",
    format: "cjs",
    platform: "node",
    target: "node20",
    // Strict mode, as every module of TypeScript's: a write to a frozen object fails.
    tsconfigRaw: { compilerOptions: { alwaysStrict: true } },
    // `import()` becomes a require too: Node's own knows neither .ts nor names without an ending.
    supported: { "dynamic-import": false },
    sourcemap: "inline",
    sourcesContent: false,
};

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

/** One file for each source: `<key> <sum of the code>`, then the code. Two programs side by side may write it: each renames a whole one. */
class Cache {
    constructor(root, folder) {
        this.root = root;
        this.folder = folder;
    }

    /** Where a source's code is kept; nowhere for one outside of the project. */
    place(file) {
        const path = relative(this.root, file);
        return path.startsWith("..") || isAbsolute(path) ? undefined : join(this.folder, `${path}.js`);
    }

    /** @returns undefined unless it is of this key and whole */
    read(file, key) {
        const place = this.place(file);
        if (place === undefined) return undefined;
        let text;
        try {
            text = readFileSync(place, "utf8");
        } catch {
            return undefined;
        }
        const end = text.indexOf("\n");
        const code = text.slice(end + 1);
        return text.slice(0, end) === `${key} ${sha256(code)}` ? code : undefined;
    }

    /** Where it cannot be written, the file is compiled the next time too. */
    write(file, key, code) {
        const place = this.place(file);
        if (place === undefined) return;
        const fresh = `${place}.${process.pid}`;
        try {
            mkdirSync(dirname(place), { recursive: true });
            writeFileSync(fresh, `${key} ${sha256(code)}\n${code}`);
            renameSync(fresh, place);
        } catch {
            try {
                rmSync(fresh, { force: true });
            } catch {
                // The folder is not ours to write.
            }
        }
    }
}

/**
 * From now on .ts files can be required.
 * @param root the project's folder
 * @param folder where compiled code is kept
 */
exports.requireTypeScript = function (root, folder) {
    const cache = new Cache(root, folder);
    const compiler = require("esbuild/package.json").version;
    /** Code of what was loaded, for the source map at its end. */
    const loaded = new Map();

    Module._extensions[".ts"] = (module, file) => {
        const source = readFileSync(file, "utf8");
        const key = sha256(JSON.stringify([compiler, OPTIONS, file, source]));
        let code = cache.read(file, key);
        if (code === undefined) {
            code = require("esbuild").transformSync(source, { ...OPTIONS, sourcefile: file }).code;
            cache.write(file, key, code);
        }
        loaded.set(file, code);
        module._compile(code, file);
    };

    // The SDK's own copy: its cmd/run installs it again, and what is told to another copy would be lost.
    const sdk = createRequire(require.resolve("@pulumi/pulumi/package.json"));
    sdk("source-map-support").install({
        environment: "node",
        handleUncaughtExceptions: false,
        // The SDK's own maps name files that are not there (node_modules/@pulumi/config.ts); Node 20 takes 40 seconds for each such line
        // when it prints an error in colours, and fails then.
        overrideRetrieveSourceMap: true,
        retrieveSourceMap: (file) => {
            const map = /\n\/\/# sourceMappingURL=data:application\/json;base64,(\S+)\s*$/.exec(loaded.get(file) ?? "");
            return map && { url: file, map: Buffer.from(map[1], "base64").toString("utf8") };
        },
    });

    // The SDK reads a stack trace for each of its promises, many for each resource. Where no frame is of a compiled file there is
    // nothing to map, and this takes a quarter of the time.
    const mapped = Error.prepareStackTrace;
    Error.prepareStackTrace = (error, frames) =>
        frames.some((frame) => loaded.has(frame.getFileName()))
            ? mapped(error, frames)
            : [error, ...frames].join("\n    at ");
};
