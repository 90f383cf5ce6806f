/** The name of the resource that a URN is of: its last part. */
export const nameOfUrn = (urn: string): string => urn.slice(urn.lastIndexOf("::") + 2);
