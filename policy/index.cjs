/** The policy pack's entry for the engine: lets Node.js read TypeScript, as the program's does, then starts the pack. */
"use strict";
require("../load/register.cjs");
require("./pack.ts");
