/** The block `config:` of Pulumi.yaml: it declares the settings to Pulumi, which shows their descriptions. */
import { parseDocument } from "yaml";
import { SECRET_SETTINGS } from "../../components/settings";
import { described, plain, type Schema } from "./schema";

/** The names in an object, with those in its objects: `port, stats {port, address}`. */
function names(schema: Schema): string {
    const object = schema.items ?? schema;
    if (!described(object)) return "";
    return Object.entries(object.properties)
        .map(([key, inner]) => `${key}${described(inner.items ?? inner) ? ` {${names(inner)}}` : ""}`)
        .join(", ");
}

/** A setting with a default may be left out; Pulumi itself requires all others. */
function standard(schema: Schema): unknown {
    return schema.default ?? { string: "", object: {}, array: [] }[String(schema.type)];
}

function declaration(key: string, schema: Schema, required: boolean): object {
    const secret = SECRET_SETTINGS.has(key) ? `Secret (pulumi config set --secret k3s-ha:${key}): ` : "";
    const keys = names(schema);
    const otherwise =
        schema.otherwise === undefined || schema.otherwise === "none" ? "" : `; default: ${schema.otherwise}`;
    const text = `${secret}${schema.description}${otherwise}${keys && `. Keys: ${keys}`}`;
    return {
        type: schema.type,
        ...(schema.items === undefined ? {} : { items: { type: schema.items.type } }),
        ...(required ? {} : { default: standard(schema) }),
        description: plain(text),
    };
}

/** Pulumi.yaml with the block of these settings. */
export function projectFile(text: string, settings: Schema): string {
    const document = parseDocument(text);
    const block = Object.entries(settings.properties!).map(([key, schema]) => [
        key,
        declaration(key, schema, settings.required!.includes(key)),
    ]);
    const node = document.createNode(Object.fromEntries(block));
    node.commentBefore = " Generated from components/settings: npm run settings. docs/settings.md has more.";
    document.set("config", node);
    return document.toString({ lineWidth: 0, indent: 4 });
}
