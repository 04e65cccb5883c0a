/** The archive as columns: which elites pass the filter, and which stands for a cell of two measures. */
class Archive {
  constructor(space, table, judge) {
    Object.assign(this, { space, table, judge });
    this.size = table.objective.length;
    this.filter = { group: "", label: "", agreement: "", labelMeasure: -1 };
    this.slices = space.measures.map(() => null);
    [this.low, this.high] = table.objective.reduce(
      ([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  }

  passes(elite) {
    const { group, label, agreement, labelMeasure } = this.filter;
    const { table } = this;
    return (group === "" || table.group[elite] === +group)
      && (label === "" || table.asked[labelMeasure][elite] === +label)
      && (agreement === "" || table.agreement[elite] === +agreement);
  }

  inSlices(elite, except) {
    return this.slices.every((cell, measure) =>
      cell === null || except.includes(measure) || this.table.cell[measure][elite] === cell);
  }

  cells(measure, detail) {
    return measure < 0 ? 1 : Math.min(this.space.measures[measure].cells, detail);
  }

  /** Coarse cell of an elite along a measure. */
  place(elite, measure, cells) {
    if (measure < 0) return 0;
    return Math.floor((this.table.cell[measure][elite] * cells) / this.space.measures[measure].cells);
  }

  /** The best elite of each cell of two measures; a cell without one holds −1. */
  grid(x, y, detail) {
    const columns = this.cells(x, detail);
    const rows = this.cells(y, detail);
    const best = new Int32Array(columns * rows).fill(-1);
    let passing = 0;
    for (let elite = 0; elite < this.size; elite++) {
      if (!this.passes(elite) || !this.inSlices(elite, [x, y])) continue;
      passing++;
      const cell = this.place(elite, y, rows) * columns + this.place(elite, x, columns);
      if (best[cell] < 0 || this.table.objective[elite] > this.table.objective[best[cell]]) best[cell] = elite;
    }
    return { columns, rows, best, passing, x, y };
  }

  /** The best elite at each step along a measure, every other measure as it is for this elite. */
  path(elite, measure, steps) {
    const { cell, objective } = this.table;
    const others = this.space.measures.map((_, index) => index).filter((index) => index !== measure);
    const distance = (other) => others.reduce((sum, index) => {
      const share = (cell[index][other] - cell[index][elite]) / this.space.measures[index].cells;
      return sum + share * share;
    }, 0);
    const near = (1.5 / steps) ** 2 * others.length;
    const count = this.cells(measure, steps);
    const found = new Array(count).fill(-1);
    const cost = new Array(count).fill(Infinity);
    for (let other = 0; other < this.size; other++) {
      if (!this.passes(other)) continue;
      const step = this.place(other, measure, count);
      const off = distance(other);
      if (off > near && off > 0) continue;
      const worse = off > cost[step] || (off === cost[step] && objective[other] <= objective[found[step]]);
      if (!worse) [found[step], cost[step]] = [other, off];
    }
    found[this.place(elite, measure, count)] = elite;
    return found.filter((other) => other >= 0);
  }

  group(elite) {
    const group = this.table.group[elite];
    return group < 0 ? "between groups" : words(this.space.groups[group]);
  }

  agreement(elite) {
    return this.space.agreements[this.table.agreement[elite]];
  }

  /** What the judge reads: the value of every measure that it audits. */
  reading(elite) {
    if (!this.table.read) return null;
    return this.space.grouped
      .map((grouped, index) => grouped.audited && (grouped.values[this.table.read[index][elite]] ?? "?"))
      .filter(Boolean)
      .join(" · ");
  }

  verdict(elite) {
    const reading = this.reading(elite);
    const blank = !reading?.replaceAll("?", "").replaceAll("·", "").trim();
    const said = {
      agrees: `reads ${reading}: agrees`,
      disagrees: `reads ${reading}: disagrees`,
      unreadable: blank ? "cannot tell" : `reads ${reading}: cannot tell all`,
      untold: blank ? "cannot tell" : `reads ${reading}`,
    };
    return said[this.agreement(elite)];
  }

  sentence(elite) {
    const { measures } = this.space;
    const placed = measures.map(({ name, cells }, index) => `${name} ${this.table.cell[index][elite] + 1} of ${cells}`);
    const judge = this.table.read ? `; judge ${this.verdict(elite)}` : "";
    return `${this.group(elite)}; ${placed.join(", ")}; objective ${number(this.table.objective[elite])}${judge}`;
  }
}
