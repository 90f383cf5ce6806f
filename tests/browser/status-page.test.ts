/** The page of `npm run status -- --html` in Debian's chromium: what it shows, what a screen reader gets, on a phone, light and dark. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium, type Browser, type Page } from "playwright-core";
import { findings } from "../../commands/status/findings";
import { page as html } from "../../commands/status/html";
import { NOW, answers, down } from "../unit/helpers/host-answers";
import { spec } from "../unit/helpers/settings";

const FOLDER = join(__dirname, "../../.browser");
const SCHEMES = ["light", "dark"] as const;
const SIZES = { desk: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };

/** Contrast of two colours, of WCAG 2.2: 1 to 21. */
function contrast(one: readonly number[], other: readonly number[]): number {
    const [low, high] = [one, other]
        .map((colour) =>
            colour
                .map((value) => value / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
                .reduce((sum, v, i) => sum + v * ([0.2126, 0.7152, 0.0722][i] as number), 0),
        )
        .sort((a, b) => a - b) as [number, number];
    return (high + 0.05) / (low + 0.05);
}

describe("status page: in a browser", function () {
    this.timeout(120_000);
    let browser: Browser;
    const cluster = spec();
    const file = join(FOLDER, "status.html");

    /** One proxy does not reach one server, and agent-2 answers with this error. */
    function write(error: string): void {
        const all = answers({ "agent-1": down("master-2"), "agent-2": error });
        writeFileSync(file, html(cluster, all, findings(cluster, all, "prod", NOW), NOW));
    }

    before(async () => {
        mkdirSync(FOLDER, { recursive: true });
        write("<script>document.title = 'mine'</script>");
        const executablePath = execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim();
        // Root has no sandbox; the page comes from this repository.
        browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    });
    after(() => (browser as Browser | undefined)?.close());

    /** The page, opened without scripts; every request but the page's own and every complaint of the browser is a failure. */
    async function opened(size: keyof typeof SIZES, colorScheme: (typeof SCHEMES)[number]): Promise<Page> {
        const context = await browser.newContext({ viewport: SIZES[size], colorScheme, javaScriptEnabled: false });
        const page = await context.newPage();
        const asked: string[] = [];
        page.on("request", (request) => asked.push(request.url()));
        page.on("console", (message) => asked.push(message.text()));
        await page.goto(pathToFileURL(file).href);
        assert.deepEqual(asked, [pathToFileURL(file).href]);
        return page;
    }

    it("says what is wrong first, then each proxy's view", async () => {
        const page = await opened("desk", "light");
        assert.equal(await page.title(), "dev: 2 need care");
        const shown = await page.locator("main").innerText();
        const places = ["Cluster dev", "agent-2: ", "next: ", "Servers as each node's proxy sees them"].map((t) => [
            t,
            shown.indexOf(t),
        ]);
        assert.ok(
            places.every(
                ([, at], i) => (at as number) >= 0 && (i === 0 || (at as number) > (places[i - 1]?.[1] as number)),
            ),
            JSON.stringify(places),
        );
        const row = page.getByRole("row", { name: /^agent-1 / }).first();
        assert.match(await row.innerText(), /up 3 ms\s+.*DOWN, L4TOUT for 60 s\s+.*up 3 ms/s);
        // Markup that a host answers with is text.
        assert.equal(await page.getByText("<script>document.title").count(), 1);
    });

    it("has a tree that a screen reader can walk: headings, named tables, headers of rows and columns, no symbols", async () => {
        const page = await opened("desk", "light");
        const tree = await page.locator("main").ariaSnapshot();
        assert.match(tree, /- heading "Cluster dev" \[level=1\]/);
        for (const name of ["Servers as each node's proxy sees them", "Nodes", "Servers"]) {
            assert.match(tree, new RegExp(`- heading "${name}" \\[level=2\\]`));
            assert.equal(await page.getByRole("region", { name, exact: true }).getByRole("table").count(), 1);
        }
        for (const name of ["master-1", "API", "proxy"])
            assert.ok((await page.getByRole("columnheader", { name, exact: true }).count()) > 0, name);
        assert.ok((await page.getByRole("rowheader", { name: "agent-2", exact: true }).count()) > 0);
        assert.doesNotMatch(tree, /[✓▲✕]/u);
    });

    for (const scheme of SCHEMES)
        it(`${scheme}: every text has a contrast of 4.5 or more to what is behind it`, async () => {
            const context = await browser.newContext({ colorScheme: scheme });
            const page = await context.newPage();
            await page.goto(pathToFileURL(file).href);
            // Drawn on a canvas, since colours are computed in the notation that they were written in.
            const seen = await page.evaluate(() => {
                const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!;
                const rgb = (colour: string): number[] => {
                    pen.clearRect(0, 0, 1, 1);
                    pen.fillStyle = colour;
                    pen.fillRect(0, 0, 1, 1);
                    return [...pen.getImageData(0, 0, 1, 1).data];
                };
                const base = rgb(getComputedStyle(document.documentElement).colorScheme ? "Canvas" : "white");
                const behind = (element: Element | null): number[] => {
                    for (let e = element; e; e = e.parentElement) {
                        const colour = rgb(getComputedStyle(e).backgroundColor);
                        if (colour[3] === 255) return colour;
                    }
                    return base;
                };
                pen.canvas.style.colorScheme = getComputedStyle(document.documentElement).colorScheme;
                const dark = matchMedia("(prefers-color-scheme: dark)").matches;
                return [...document.querySelectorAll("main *")]
                    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent?.trim()))
                    .map((e) => {
                        const back = behind(e);
                        // "Canvas" on a canvas is the light one: Chromium's dark one is #121212.
                        const ground = back === base && dark ? [18, 18, 18, 255] : back;
                        return { text: e.textContent ?? "", fore: rgb(getComputedStyle(e).color), ground };
                    });
            });
            assert.ok(seen.length > 40);
            for (const { text, fore, ground } of seen)
                assert.ok(contrast(fore.slice(0, 3), ground.slice(0, 3)) >= 4.5, `${text}: ${fore} on ${ground}`);
        });

    for (const size of ["desk", "phone"] as const)
        for (const scheme of SCHEMES)
            it(`${size}, ${scheme}: nothing but the tables scrolls sideways; ${FOLDER} has a picture`, async () => {
                // As the README shows it.
                write("ssh: connect to host 10.90.0.22 port 22: Connection timed out");
                const page = await opened(size, scheme);
                await page.screenshot({ path: join(FOLDER, `${size}-${scheme}.png`), fullPage: true });
                const box = await page.locator("main").boundingBox();
                assert.ok(box && box.x >= 0 && box.x + box.width <= SIZES[size].width, JSON.stringify(box));
                for (const paragraph of await page.locator("p, li, h1, h2").all()) {
                    const own = await paragraph.boundingBox();
                    assert.ok(own && own.x + own.width <= SIZES[size].width, await paragraph.innerText());
                }
            });
});
