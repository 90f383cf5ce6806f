import pulumi from "@pulumi/eslint-plugin";
import tseslint from "typescript-eslint";

/** The floors of components/, from the ground up: what each part may import beside itself. Nothing else of this tree is allowed. */
const FLOORS = {
    values: [],
    haproxy: ["values"],
    settings: ["values", "haproxy"],
    model: ["values", "haproxy", "settings"],
    config: ["values", "haproxy", "settings", "model"],
    plan: ["model"],
    remote: ["model", "plan"],
    secrets: ["model"],
    steps: ["values", "model", "plan", "remote", "secrets"],
    hooks: ["model", "plan", "config"],
    cluster: ["values", "model", "plan", "config", "secrets", "steps", "hooks"],
    "k3s-cluster": ["settings", "model", "plan", "config", "hooks", "cluster"],
};

/** Parts that are values and functions of them: no I/O, and of Pulumi and zod no more than their types. */
const PURE = {
    haproxy: "^(@pulumi/|node:)",
    model: "^(@pulumi/|zod|node:(?!(net|crypto)$))",
};

/** The rule for the files of a part; `up` is how their imports begin to leave it. */
function floor(part, files, up) {
    const allowed = FLOORS[part];
    const message = `components/${part} may import ${allowed.join(", ") || "nothing else of this tree"}: see FLOORS in eslint.config.mjs.`;
    const others = allowed.length === 0 ? "" : `(?!(${allowed.join("|")})(/|$))`;
    const patterns = [{ regex: `^${up}${others}`, message }];
    if (part in PURE)
        patterns.push({
            regex: PURE[part],
            allowTypeImports: true,
            message: `components/${part} is made of values: see PURE in eslint.config.mjs.`,
        });
    return { files: [files], rules: { "@typescript-eslint/no-restricted-imports": ["error", { patterns }] } };
}

const floors = Object.keys(FLOORS).flatMap((part) => [
    floor(part, `components/${part}.ts`, String.raw`\.{1,2}/`),
    floor(part, `components/${part}/*.ts`, String.raw`\.\./`),
    floor(part, `components/${part}/*/*.ts`, String.raw`\.\./\.\./`),
]);

export default tseslint.config(
    { ignores: ["node_modules/", ".lab*/", ".package/"] },
    ...tseslint.configs.strict,
    {
        files: ["**/*.ts"],
        plugins: { "@pulumi": pulumi },
        rules: {
            "@typescript-eslint/no-non-null-assertion": "off",
            "@typescript-eslint/no-extraneous-class": "off",
            "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
        },
    },
    ...floors,
    {
        // A file has one purpose, and a function is read at a glance. haproxy's texts are long literals.
        files: ["components/**/*.ts", "commands/**/*.ts"],
        rules: {
            "max-lines": ["error", 400],
            "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
        },
    },
    {
        files: ["components/haproxy/presets/*.ts", "components/haproxy/render.ts"],
        rules: { "max-lines-per-function": "off" },
    },
    {
        // CommonJS, since it runs before anything can be compiled; its table of modules is Node's.
        files: ["load/*.cjs", "policy/*.cjs"],
        rules: {
            "@typescript-eslint/no-dynamic-delete": "off",
            "@typescript-eslint/no-require-imports": "off",
        },
    },
);
