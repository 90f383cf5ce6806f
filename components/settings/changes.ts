/** Settings of how changes go through a cluster, and which are allowed. */
import { z } from "zod";
import { bool, count, duration, generation } from "../values/forms";

/** Changes that are refused unless the stack file allows them, and what each of them is. */
const ALLOWABLE = {
    lessTolerance: "fewer than three servers",
    downgrade: "an older `version`",
    skipMinor: "a `version` more than one minor release ahead",
    adopt: "[take over a running cluster](operations.md#take-over-a-running-cluster)",
    podNetwork: "[change the pods' network](operations.md#settings-of-k3s-on-a-running-cluster)",
} as const;
const allowable = Object.keys(ALLOWABLE) as (keyof typeof ALLOWABLE)[];

export const rollout = z
    .strictObject({
        agents: count.default(3).describe("agents that restart at the same time"),
        drain: bool.default(false).describe("pods leave a node before k3s restarts there"),
        drainTimeout: duration.default("5m").describe("how long the pods may take to leave"),
    })
    .prefault({})
    .describe("how restarts of k3s go through the cluster; servers restart one at a time");

export const allow = z
    .array(z.enum(allowable, { error: `must be ${allowable.join(", ")}` }))
    .default([])
    .meta({
        description: "a list of changes that are refused otherwise",
        otherwise: "none",
        values: ALLOWABLE,
    });

export const rotate = z
    .strictObject({
        token: generation.default(0).describe("a counter: raise it to generate a new server token"),
        agentToken: generation.default(0).describe("a counter: raise it to generate a new agent token"),
        statsPassword: generation.default(0).describe("a counter: raise it to generate a new password of user `admin`"),
        metricsPassword: generation
            .default(0)
            .describe("a counter: raise it to generate a new password of user `prometheus`"),
        certificates: generation
            .default(0)
            .describe("a counter: raise it to [renew k3s's certificates](runbooks/certificates-end.md) on all nodes"),
        secretsEncryption: generation
            .default(0)
            .describe(
                "a counter: raise it to [encrypt Secrets with a new key](operations.md#encrypt-secrets), with `secrets-encryption`",
            ),
    })
    .prefault({})
    .describe("counters: raise one to make a generated secret, or k3s's certificates, again");
