/** The engine and command line that this stands in for; the build metadata says that it is not the real one. */
export const VERSION = "3.248.0+lab.stand.in";
