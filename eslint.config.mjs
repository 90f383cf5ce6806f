import pulumi from "@pulumi/eslint-plugin";
import tseslint from "typescript-eslint";

export default tseslint.config(
    { ignores: ["node_modules/", "lab/pulumi/node_modules/", "lab/pulumi/build/", ".lab*/"] },
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
    {
        // CommonJS, since it runs before anything can be compiled; its table of modules is Node's.
        files: ["load/*.cjs"],
        rules: {
            "@typescript-eslint/no-dynamic-delete": "off",
            "@typescript-eslint/no-require-imports": "off",
        },
    },
    {
        // The stand-in passes other people's JSON and generated protobuf messages through: their shape is the program's matter.
        files: ["lab/pulumi/**/*.ts"],
        rules: {
            "@typescript-eslint/no-explicit-any": "off",
            "@typescript-eslint/no-dynamic-delete": "off",
            "@typescript-eslint/no-require-imports": "off",
        },
    },
);
