/** The settings' schema as JSON Schema: what zod makes of it, and what it cannot know. */
import { z } from "zod";
import { stackSchema } from "../../components/settings";

/** A JSON Schema (draft 7), as far as it is looked at here. */
export interface Schema {
    type?: string | string[];
    description?: string;
    default?: unknown;
    /** The default in words, where it follows from other settings. */
    otherwise?: string;
    /** What the values of a list of words mean. */
    values?: Readonly<Record<string, string>>;
    properties?: Record<string, Schema>;
    required?: string[];
    additionalProperties?: Schema | boolean;
    items?: Schema;
    anyOf?: Schema[];
    pattern?: string;
    enumDescriptions?: string[];
    [keyword: string]: unknown;
}

/** Of input that is preprocessed before it meets its form: numbers for texts, digits for numbers, one value for a list. */
function widen(schema: Schema): void {
    if (schema.type === "string") schema.type = ["string", "number"];
    else if (schema.type === "integer") Object.assign(schema, { type: ["integer", "string"], pattern: "^[0-9]+$" });
    else if (schema.type === "array") {
        const list = { ...schema };
        delete schema.type;
        delete schema.items;
        schema.anyOf = [list, list.items!];
    }
}

/** JSON Schema of what a stack file may hold, by the names of its settings without `k3s-ha:`. */
export function settingsSchema(schema: z.ZodType = stackSchema): Schema {
    return z.toJSONSchema(schema, {
        io: "input",
        target: "draft-7",
        unrepresentable: "any",
        override: ({ zodSchema, jsonSchema }) => {
            const json = jsonSchema as Schema;
            const inner = json["orFalse"] as z.ZodType | undefined;
            if (inner !== undefined) {
                const { $schema: _, ...whole } = settingsSchema(inner);
                delete json["orFalse"];
                json.anyOf = [{ const: false }, whole];
            }
            if (zodSchema instanceof z.ZodPipe && zodSchema.in instanceof z.ZodTransform) widen(json);
        },
    }) as Schema;
}

/** Markdown as plain text: links, which are relative to docs/, with their target behind them. */
export function plain(markdown: string): string {
    return markdown
        .replace(/\[([^\]]*)\]\(#([^)]*)\)/g, "$1 (docs/settings.md#$2)")
        .replace(/\[([^\]]*)\]\(([^)]*)\)/g, "$1 (docs/$2)");
}

/** Whether an object's settings are described one by one; those of others' languages (haproxy's, Kubernetes') are not. */
export function described(schema: Schema): schema is Schema & { properties: Record<string, Schema> } {
    return Object.values(schema.properties ?? {}).some((property) => property.description !== undefined);
}
