/** The tables of docs/settings.md, each between two comments; the text around them is written by hand. */
import { durationMs } from "../../components/values";
import { described, type Schema } from "./schema";

/** One row: a setting's path, its schema, and whether it must be set. */
interface Row {
    readonly path: string;
    readonly schema: Schema;
    readonly required: boolean;
}

function rows(path: string, schema: Schema, required: boolean): Row[] {
    const list = schema.items !== undefined && described(schema.items);
    const object = list ? schema.items! : schema;
    if (!described(object)) return [{ path, schema, required }];
    return Object.entries(object.properties).flatMap(([key, inner]) =>
        rows(`${path}${list ? "[]" : ""}.${key}`, inner, object.required?.includes(key) === true),
    );
}

/** A default as the stack file would have it. */
function standard({ schema, required }: Row): string {
    if (schema.otherwise !== undefined) return schema.otherwise;
    if (schema.default === undefined) return required ? "required" : "none";
    const text = String(schema.default);
    return typeof schema.default === "string" && durationMs(text) === undefined ? `\`${text}\`` : text;
}

/** The table of one section, and lists of what the words of its settings mean. */
function section(settings: Schema, keys: readonly string[]): string {
    const all = keys.flatMap((key) => rows(key, settings.properties![key]!, settings.required?.includes(key) === true));
    for (const { path, schema } of all)
        if (schema.description === undefined) throw new Error(`${path} has no description: add .describe("…")`);
    const cells = all.map((row) => `| \`${row.path}\` | ${standard(row)} | ${row.schema.description} |`);
    const lists = all.flatMap(({ path, schema: { values } }) =>
        values === undefined
            ? []
            : [
                  `\nValues of \`${path}\`:\n`,
                  ...Object.entries(values).map(
                      ([word, what], i, { length }) => `- \`${word}\`: ${what}${i < length - 1 ? ";" : "."}`,
                  ),
              ],
    );
    return ["| setting | default | meaning |", "| --- | --- | --- |", ...cells, ...lists].join("\n");
}

const BEGIN = (name: string): string => `<!-- generated from components/settings by npm run settings: ${name} -->`;
const END = "<!-- end -->";

/**
 * The page with the tables of these settings.
 * @param sections the settings of each section
 * @throws Error when the page has no place for a section, or for one that is not there
 */
export function settingsPage(page: string, settings: Schema, sections: Readonly<Record<string, object>>): string {
    const places = [...page.matchAll(new RegExp(BEGIN("(\\w+)"), "g"))].map((m) => m[1]!);
    for (const name of Object.keys(sections))
        if (!places.includes(name)) throw new Error(`docs/settings.md has no line ${BEGIN(name)}`);
    return places.reduce((text, name) => {
        if (!Object.hasOwn(sections, name))
            throw new Error(`docs/settings.md has a section ${name}, which is not there`);
        const from = text.indexOf(BEGIN(name)) + BEGIN(name).length;
        const to = text.indexOf(END, from);
        if (to < 0) throw new Error(`docs/settings.md: ${BEGIN(name)} has no ${END}`);
        return `${text.slice(0, from)}\n\n${section(settings, Object.keys(sections[name]!))}\n\n${text.slice(to)}`;
    }, page);
}
