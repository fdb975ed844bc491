// The linear algebra of the figures: an SVD for matrices up to photographs, and rank and determinant, both in floating
// point and exactly. Matrices are lists of rows.

const EPSILON = 2 ** -52;

// One-sided Jacobi: turn pairs of columns until all are at right angles; their lengths are then the singular values.
// It works on the columns themselves and never forms their Gram matrix, which would square the small values away.
// Takes the columns, no more of them than they have entries. Returns the singular values, largest first, and the left
// singular vectors in that order; a direction of length zero stays a zero vector.
export function svd(columns) {
  const scale = Math.max(...columns.map((column) => column.reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
  const work = columns.map((column) => Float64Array.from(column, (x) => (scale > 0 ? x / scale : 0)));
  work.sort((a, b) => dot(b, b) - dot(a, a)); // from long to short takes fewer rounds
  for (let round = 0, turned = true; turned && round < 40; round++) turned = turnAllPairs(work);
  const pairs = work.map((column) => ({ column, length: Math.sqrt(dot(column, column)) }));
  pairs.sort((a, b) => b.length - a.length);
  return {
    s: pairs.map(({ length }) => scale * length),
    U: pairs.map(({ column, length }) => column.map((x) => (length > 0 ? x / length : 0))),
  };
}

// Turn every pair of columns within its plane so that it is perpendicular. Says whether there was anything to turn.
// Squared lengths are carried along, which is quick and a little inexact; they are fresh in a round that turns nothing.
function turnAllPairs(work) {
  const squares = work.map((column) => dot(column, column));
  const small = work[0].length * EPSILON;
  let turned = false;
  for (let p = 0; p < work.length - 1; p++) {
    for (let q = p + 1; q < work.length; q++) {
      const product = dot(work[p], work[q]);
      if (Math.abs(product) <= small * Math.sqrt(squares[p]) * Math.sqrt(squares[q])) continue;
      const zeta = (squares[q] - squares[p]) / (2 * product);
      const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
      turn(work[p], work[q], tangent);
      squares[p] = Math.max(0, squares[p] - tangent * product);
      squares[q] = Math.max(0, squares[q] + tangent * product);
      turned = true;
    }
  }
  return turned;
}

function turn(a, b, tangent) {
  const cosine = 1 / Math.sqrt(1 + tangent * tangent);
  const sine = cosine * tangent;
  for (let i = 0; i < a.length; i++) {
    const x = a[i];
    a[i] = cosine * x - sine * b[i];
    b[i] = sine * x + cosine * b[i];
  }
}

// Four sums at once: one alone would wait for each addition before it starts the next.
export function dot(a, b) {
  let i = 0;
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (; i + 3 < a.length; i += 4) {
    s0 += a[i] * b[i];
    s1 += a[i + 1] * b[i + 1];
    s2 += a[i + 2] * b[i + 2];
    s3 += a[i + 3] * b[i + 3];
  }
  for (; i < a.length; i++) s0 += a[i] * b[i];
  return s0 + s1 + (s2 + s3);
}

export function transpose(matrix) {
  return matrix[0].map((_, j) => matrix.map((row) => row[j]));
}

// What numpy.linalg.matrix_rank counts against: the error that rounding the entries may cause.
export function roundingTolerance(s, rows, columns) {
  return s[0] * Math.max(rows, columns) * EPSILON;
}

// The determinant as a computer takes it: elimination with the largest pivot, in floating point.
export function determinant(matrix) {
  const rows = matrix.map((row) => [...row]);
  let product = 1;
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows.slice(k).reduce((best, row, i) => (Math.abs(row[k]) > Math.abs(rows[best][k]) ? k + i : best), k);
    if (rows[pivot][k] === 0) return 0;
    if (pivot !== k) {
      [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
      product = -product;
    }
    product *= rows[k][k];
    for (const row of rows.slice(k + 1)) {
      const factor = row[k] / rows[k][k];
      for (let j = k; j < row.length; j++) row[j] -= factor * rows[k][j];
    }
  }
  return product;
}

// Exactly: every stored number is an integer times a power of two, so integers of any length decide rank and
// determinant of a 3 x 3 matrix with nothing rounded.
export function exactly(matrix) {
  const parts = matrix.flat().map(integerAndExponent);
  const lowest = Math.min(...parts.map((part) => part.exponent));
  const [a, b, c, d, e, f, g, h, i] = parts.map((part) => part.integer << BigInt(part.exponent - lowest));
  const whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const minors = [a * e - b * d, a * f - c * d, b * f - c * e, a * h - b * g, a * i - c * g, b * i - c * h];
  minors.push(d * h - e * g, d * i - f * g, e * i - f * h);
  let rank = 0;
  if (whole !== 0n) rank = 3;
  else if (minors.some((minor) => minor !== 0n)) rank = 2;
  else if (parts.some((part) => part.integer !== 0n)) rank = 1;
  return { rank, determinant: toNumber(whole, 3 * lowest) };
}

function integerAndExponent(x) {
  let exponent = 0;
  while (!Number.isInteger(x)) {
    x *= 2; // exact, as long as nothing overflows
    exponent--;
  }
  return { integer: BigInt(x), exponent };
}

// integer * 2^exponent as the nearest floating-point number, also where the integer alone would be too large for one.
function toNumber(integer, exponent) {
  const size = (integer < 0n ? -integer : integer).toString(2).length;
  const cut = Math.max(0, size - 64);
  return Number(integer >> BigInt(cut)) * 2 ** (exponent + cut);
}
