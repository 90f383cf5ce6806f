/**
 * What `node --require ./load/register.cjs` does before a program: lets it require TypeScript, and leaves unloaded what it does not use.
 * Pulumi.yaml, mocha and the npm scripts name this file. Plain JavaScript, since it runs before anything can be compiled.
 */
"use strict";
const { enableCompileCache } = require("node:module");
const { join } = require("node:path");
const { requireLater } = require("./later.cjs");
const { requireTypeScript } = require("./typescript.cjs");

const root = join(__dirname, "..");
// Below node_modules, so that only those write it who may write the code itself, and `npm ci` empties it.
const cache = join(root, "node_modules/.cache/k3s-ha");

// Node 22 and later keep compiled bytecode themselves, by content and version; Node 20 cannot.
enableCompileCache?.(join(cache, "bytecode"));
requireTypeScript(root, join(cache, "typescript"));
requireLater(root);
