/** The schema of a stack file for editors: `# yaml-language-server: $schema=docs/stack-file.schema.json`. */
import { MAY_BE_ENCRYPTED } from "../../components/config/checks/encrypted";
import { SECRET_SETTINGS } from "../../components/settings";
import { plain, type Schema } from "./schema";

const SECURE = { $ref: "#/definitions/secure" };

/** For editors: descriptions without Markdown's links, the default in words behind them, and no words of ours. */
function forEditors({ otherwise, values, ...schema }: Schema): Schema {
    const each = (inner: Schema): Schema => forEditors(inner);
    const text = [schema.description, otherwise && `default: ${otherwise}`].filter(Boolean).join("; ");
    if (text !== "") schema.description = plain(text);
    if (schema.properties !== undefined)
        schema.properties = Object.fromEntries(Object.entries(schema.properties).map(([k, v]) => [k, each(v)]));
    if (typeof schema.additionalProperties === "object")
        schema.additionalProperties = each(schema.additionalProperties);
    if (schema.items !== undefined) schema.items = each(schema.items);
    if (schema.anyOf !== undefined) schema.anyOf = schema.anyOf.map(each);
    if (values !== undefined) schema.items!.enumDescriptions = Object.values(values).map(plain);
    return schema;
}

/** A schema in which each value may be encrypted, but not the whole. */
function withSecure(schema: Schema): Schema {
    const inner: Schema = { ...schema };
    if (inner.properties !== undefined)
        inner.properties = Object.fromEntries(Object.entries(inner.properties).map(([k, v]) => [k, orSecure(v)]));
    if (typeof inner.additionalProperties === "object" && Object.keys(inner.additionalProperties).length > 0)
        inner.additionalProperties = orSecure(inner.additionalProperties);
    if (inner.items !== undefined) inner.items = orSecure(inner.items);
    if (inner.anyOf !== undefined) inner.anyOf = inner.anyOf.map(withSecure);
    return inner;
}

/** The same, and the whole may be too. */
function orSecure(schema: Schema): Schema {
    const { description, default: standard, ...form } = withSecure(schema);
    return {
        ...(description === undefined ? {} : { description }),
        ...(standard === undefined ? {} : { default: standard }),
        anyOf: [...(form.anyOf ?? [form]), SECURE],
    };
}

/** JSON Schema of a `Pulumi.<stack>.yaml` with these settings. */
export function stackFileSchema(settings: Schema): Schema {
    const properties = Object.entries(settings.properties!).map(([key, schema]): [string, Schema] => {
        const shown = forEditors(schema);
        const form = SECRET_SETTINGS.has(key)
            ? { description: `${shown.description}; pulumi config set --secret k3s-ha:${key}`, ...SECURE }
            : MAY_BE_ENCRYPTED.has(key)
              ? orSecure(shown)
              : shown;
        return [`k3s-ha:${key}`, form];
    });
    const required = settings.required!.map((key) => `k3s-ha:${key}`);
    return {
        $schema: "http://json-schema.org/draft-07/schema#",
        $comment: "Generated from components/settings: npm run settings",
        title: "Stack file of k3s-ha (Pulumi.<stack>.yaml)",
        type: "object",
        properties: {
            config: {
                description: "settings; docs/settings.md has them all",
                type: "object",
                properties: Object.fromEntries(properties),
                // Settings of Pulumi and its providers.
                patternProperties: { "^(?!k3s-ha:).+:.+$": {} },
                additionalProperties: false,
            },
        },
        // What is required may come from an environment (Pulumi ESC).
        if: { required: ["environment"] },
        else: { required: ["config"], properties: { config: { required } } },
        definitions: {
            secure: {
                description: "an encrypted value, as pulumi config set --secret writes it",
                type: "object",
                properties: { secure: { type: "string" } },
                required: ["secure"],
                additionalProperties: false,
            },
        },
    };
}
