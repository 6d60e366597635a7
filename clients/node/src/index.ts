/** A client of testgate for Node.js. */
export { Client, type ClientOptions, type StartOptions } from "./client.js";
export { TestgateError } from "./errors.js";
export * as v1 from "../gen/testgate/v1/testgate.js";
