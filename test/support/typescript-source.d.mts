/** Types of typescript-source.mjs, which has to be plain JavaScript: the TypeScript loader imports it. */

interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export declare const mutated: readonly string[];
export declare function mutate(source: string, path: string, patches?: readonly Change[]): string;
export declare function transpile(source: string): Promise<string>;
