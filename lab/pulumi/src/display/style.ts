/** Colours, prefixes and words for operations, as the official display has them. */
import type { Op } from "../events";

const ESC = "\u001b[";
export const RESET = `${ESC}0m`;
export const BOLD = `${ESC}1m`;
export const RED = `${ESC}31m`;
export const BRIGHT_BLUE = `${ESC}94m`;
export const HEADLINE = `${ESC}95m${ESC}1m`;
const GREEN = `${ESC}32m`;
const YELLOW = `${ESC}33m`;
const BRIGHT_RED = `${ESC}91m`;
const BRIGHT_GREEN = `${ESC}92m`;
const BRIGHT_MAGENTA = `${ESC}95m`;
const BRIGHT_CYAN = `${ESC}96m`;

/** Texts are made with colour codes; this takes them out again. */
export function plain(s: string): string {
    return s.replace(/\u001b\[[0-9;]*m/g, "");
}

export function opColor(op: Op): string {
    switch (op) {
        case "create":
            return GREEN;
        case "delete":
        case "discard":
            return RED;
        case "update":
        case "refresh":
            return YELLOW;
        case "replace":
            return BRIGHT_MAGENTA;
        case "create-replacement":
            return BRIGHT_GREEN;
        case "delete-replaced":
            return BRIGHT_RED;
        case "read":
            return BRIGHT_CYAN;
        default:
            return "";
    }
}

const PREFIX: Record<Op, string> = {
    same: "  ",
    create: "+ ",
    update: "~ ",
    delete: "- ",
    replace: "+-",
    "create-replacement": "++",
    "delete-replaced": "--",
    read: "> ",
    refresh: "~ ",
    "remove-pending-replace": "~ ",
    discard: "< ",
};
export const rawPrefix = (op: Op): string => PREFIX[op];

export const PAST: Record<Op, string> = {
    same: "samed",
    create: "created",
    update: "updated",
    delete: "deleted",
    replace: "replaced",
    "create-replacement": "create-replacementd",
    "delete-replaced": "deleted",
    read: "read",
    refresh: "refreshed",
    "remove-pending-replace": "remove-pending-replaced",
    discard: "discarded",
};
