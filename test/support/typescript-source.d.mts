/** Types of typescript-source.mjs, which has to be plain JavaScript: the TypeScript loader imports it. */

interface Change {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export declare const mutant: Change | null;
export declare function isMutated(path: string): boolean;
export declare function mutate(source: string, change?: Change): string;
export declare function transpile(source: string): Promise<string>;
