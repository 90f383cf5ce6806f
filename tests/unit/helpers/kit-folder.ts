/** The node scripts side by side, as a node has them. */
import { join } from "node:path";

export const kitFolder = (): string => join(__dirname, "../../../components/scripts");
