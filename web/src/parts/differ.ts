// Which words of two texts differ: the longest common run of words stays, the rest is marked.
export interface Piece {
  text: string;
  same: boolean;
}

const MOST = 1500;
const WORDS = /\s*\S+(?:\s+$)?|^\s+$/g;

/** Both texts in pieces; beyond 1,500 words nothing is compared. */
export function differ(one: string, other: string): [Piece[], Piece[]] {
  const left = one.match(WORDS) ?? [];
  const right = other.match(WORDS) ?? [];
  if (left.length > MOST || right.length > MOST) return [[{ text: one, same: true }], [{ text: other, same: true }]];
  const width = right.length + 1;
  const table = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      const below = table[(i + 1) * width + j] ?? 0;
      const beside = table[i * width + j + 1] ?? 0;
      const met = left[i]?.trim() === right[j]?.trim();
      table[i * width + j] = met ? (table[(i + 1) * width + j + 1] ?? 0) + 1 : Math.max(below, beside);
    }
  }
  const pieces: [Piece[], Piece[]] = [[], []];
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i]?.trim() === right[j]?.trim()) {
      put(pieces[0], left[i++] ?? "", true);
      put(pieces[1], right[j++] ?? "", true);
    } else if (i < left.length && (table[(i + 1) * width + j] ?? 0) >= (table[i * width + j + 1] ?? 0)) {
      put(pieces[0], left[i++] ?? "", false);
    } else if (j < right.length) {
      put(pieces[1], right[j++] ?? "", false);
    } else {
      put(pieces[0], left[i++] ?? "", false);
    }
  }
  return pieces;
}

function put(pieces: Piece[], text: string, same: boolean): void {
  const last = pieces.at(-1);
  if (last?.same === same) last.text += text;
  else pieces.push({ text, same });
}
