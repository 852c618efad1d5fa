// Where the heatmaps of an EqGAN lie: 21 numbers, as the server packs them, as centres that can be dragged.
// centre (2), two deltas (4), four deltas (8), widths of all three levels (1 + 2 + 4); (y, x) in [-1, 1].

export const CENTRES = [1, 2, 4];
const DELTAS = [0, 2, 6]; // first number of each level's (y, x)
const WIDTHS = [14, 15, 17];
export const LIMITS = [[0.5, 1.0], [0.0714, 0.786], [0.05, 0.55]];

export function centre(place, level, index) {
  if (!level) return [place[0], place[1]];
  const first = DELTAS[level] + 2 * index;
  return [place[0] + place[first], place[1] + place[first + 1]];
}

export function width(place, level, index) {
  return place[WIDTHS[level] + index];
}

export function moved(place, level, index, [y, x], linked) {
  const next = [...place];
  const inside = (v) => Math.max(-1, Math.min(1, v));
  [y, x] = [inside(y), inside(x)];
  if (level) {
    const first = DELTAS[level] + 2 * index;
    next[first] = y - place[0];
    next[first + 1] = x - place[1];
    return next;
  }
  if (!linked) {
    for (let i = 2; i < 14; i += 2) {
      next[i] -= y - place[0];
      next[i + 1] -= x - place[1];
    }
  }
  [next[0], next[1]] = [y, x];
  return next.map((v, i) => (i < 14 ? Math.max(-2, Math.min(2, v)) : v));
}

export function widened(place, level, index, factor) {
  const next = [...place];
  const at = WIDTHS[level] + index;
  next[at] = Math.max(LIMITS[level][0], Math.min(LIMITS[level][1], place[at] * factor));
  return next;
}
