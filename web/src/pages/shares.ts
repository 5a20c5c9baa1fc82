// Weights of variants, as shares of the traffic.

/** A weight as it is typed; null for what is no number from 0. */
export const weightOf = (word: string): number | null => (/^\d{1,6}(\.\d*)?$|^\.\d+$/.test(word.trim()) ? Number(word) : null);

/** What part of the traffic each gets; where all weigh nothing, all get the same. */
export function sharesOf(weights: number[]): number[] {
  const total = weights.reduce((sum, each) => sum + each, 0);
  return weights.map((each) => (total ? each / total : 1 / weights.length));
}
