/** How many nodes are changed at the same time, where they need not wait for each other when they are made. */
import * as pulumi from "@pulumi/pulumi";

/**
 * Lets at most `width` updates of resources be under way. Making them is not held up: a hundred agents join side by side, and are
 * restarted a few at a time. After the first failure no other update begins. The engine asks before an update by a hook and
 * waits for the answer as long as it takes.
 */
export class Rollout {
    public readonly hooks: pulumi.ResourceHookBinding;
    private readonly waiting: (() => void)[] = [];
    private underWay = 0;
    private failed: string | undefined;

    /** `name` is unique in the program. `width` is 1 or more. */
    public constructor(
        name: string,
        private readonly width: number,
    ) {
        this.hooks = {
            beforeUpdate: [new pulumi.ResourceHook(`${name}-begin`, async () => await this.begin())],
            afterUpdate: [new pulumi.ResourceHook(`${name}-end`, () => this.end())],
            onError: [
                new pulumi.ErrorHook(`${name}-failed`, (args) => {
                    this.fail(args.name);
                    return false;
                }),
            ],
        };
    }

    /** Resolves when the resource's turn has come; rejects when the roll has stopped. */
    public async begin(): Promise<void> {
        while (this.failed === undefined && this.underWay >= this.width)
            await new Promise<void>((resolve) => this.waiting.push(resolve));
        if (this.failed !== undefined) {
            throw new Error(
                `not begun: ${this.failed} failed, and the roll stopped there. Correct that and run pulumi up again; it carries on from here.`,
            );
        }
        this.underWay++;
    }

    public end(): void {
        this.underWay--;
        this.waiting.shift()?.();
    }

    public fail(resource: string): void {
        this.failed ??= resource;
        this.waiting.splice(0).forEach((go) => go());
    }
}
