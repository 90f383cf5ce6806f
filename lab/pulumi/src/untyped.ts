/**
 * Data whose shape is not known to the compiler: what came out of JSON or YAML, or out of a generated protobuf class
 * without declarations. To be checked or converted where it comes in.
 */

export type Untyped = any;
