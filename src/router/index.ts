/**
 * What a router offers to the command line and to tests that start a cluster in one process.
 * The rest of this folder is its inside: controller/ decides about leaders, proxy.ts forwards requests.
 */
export { type RouterFigures, type RouterOptions, type RunningRouter, startRouter } from './router.ts';
