/** Colours told apart under every common colour blindness (Okabe and Ito), then shades of them. */
const GROUP_COLORS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#7a5195"];
const AGREEMENT_COLORS = ["--dataset", "--random", "--faint", "--between"];
const PATH_STEPS = 20;
const MOST_PINS = 12;

/** The map of the archive, what the chosen cell holds, and what was kept of it. */
class Explorer {
  constructor(data, sprites) {
    this.archive = new Archive(data.space, data.elites, data.judge);
    this.sprites = sprites;
    this.palette = data.palette;
    this.map = byId("map");
    this.canvas = byId("map-canvas");
    this.cursor = byId("map-cursor");
    this.at = null;
    this.pins = [];
    this.walk = null;
    this.countFilters();
    this.readTools();
    this.buildSlices();
    this.listen();
    this.refresh();
  }

  readTools() {
    const tools = new FormData(byId("tools"));
    const filters = new FormData(byId("filters"));
    this.x = +tools.get("x");
    this.y = +tools.get("y");
    this.show = tools.get("show");
    this.click = tools.get("click");
    this.detail = +tools.get("detail");
    const label = byId("filters").elements.label;
    this.archive.filter = {
      group: filters.get("group") ?? "",
      label: filters.get("label") ?? "",
      agreement: filters.get("agreement") ?? "",
      labelMeasure: label ? +label.dataset.measure : -1,
    };
  }

  /** How many pass each choice of a filter; what nothing passes cannot be chosen. */
  countFilters() {
    const { agreement, group, label } = byId("filters").elements;
    const { table } = this.archive;
    const codes = [[agreement, table.agreement], [group, table.group], [label, table.asked[label?.dataset.measure]]];
    for (const [select, column] of codes) {
      for (const option of [...(select?.options ?? [])].slice(1)) {
        const count = column.filter((code) => code === +option.value).length;
        option.text += ` (${count.toLocaleString("en")})`;
        option.disabled = count === 0;
      }
    }
  }

  /** Show one group alone, as pictures where there are some. */
  showGroup(group) {
    byId("filters").reset();
    byId("filters").elements.group.value = group;
    this.readTools();
    this.refresh();
  }

  listen() {
    byId("tools").addEventListener("change", (event) => {
      const { name } = event.target;
      if (name === "x" || name === "y") this.swapAxes(name);
      this.readTools();
      if (name === "x" || name === "y") this.buildSlices();
      this.refresh();
    });
    byId("filters").addEventListener("change", () => { this.readTools(); this.refresh(); });
    for (const link of document.querySelectorAll("a[data-group]")) link.addEventListener("click", () => this.showGroup(link.dataset.group));
    for (const id of ["tools", "filters"]) byId(id).addEventListener("submit", (event) => event.preventDefault());
    this.map.addEventListener("pointermove", (event) => this.hover(event));
    this.map.addEventListener("pointerleave", () => this.moveTo(this.at));
    this.map.addEventListener("click", (event) => this.choose(this.cellAt(event)));
    this.map.addEventListener("keydown", (event) => this.key(event));
    this.map.addEventListener("focus", () => { if (!this.at) this.moveTo(this.firstFilled(), true); });
    new ResizeObserver(() => this.draw()).observe(this.map);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.refresh());
  }

  /** Choosing the other axis' measure swaps the two. */
  swapAxes(name) {
    const { x, y } = byId("tools").elements;
    if (x.value !== y.value) return;
    if (name === "x") y.value = this.x;
    else x.value = this.y >= 0 ? this.y : this.x;
  }

  get automaticDetail() {
    if (this.show !== "pictures") return 1000;
    return Math.max(6, Math.min(20, Math.floor(this.map.clientWidth / 34)));
  }

  refresh() {
    this.grid = null;
    if (this.show === "pictures") this.sprites.loadAll().then(() => this.draw());
    this.draw();
    this.describe();
  }

  draw() {
    const width = this.map.clientWidth;
    if (!width) return;
    this.grid = this.archive.grid(this.x, this.y, this.detail || this.automaticDetail);
    const { columns, rows, best } = this.grid;
    const height = Math.round(width * Math.min(1, Math.max(rows === 1 ? 0.06 : 0.5, rows / columns)));
    const scale = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    context.imageSmoothingQuality = "high";
    this.colors = getComputedStyle(document.documentElement);
    this.step = [width / columns, height / rows];
    best.forEach((elite, cell) => this.drawCell(context, elite, cell % columns, rows - 1 - Math.floor(cell / columns)));
    if (this.show !== "pictures") this.drawCuts(context, width, height);
    this.label();
    this.moveTo(this.at && this.grid.passing && this.at[0] < columns && this.at[1] < rows ? this.at : null);
    byId("filtered").textContent =
      `${this.grid.passing.toLocaleString("en")} of ${this.archive.size.toLocaleString("en")} images pass, in `
      + `${best.filter((elite) => elite >= 0).length.toLocaleString("en")} cells`;
  }

  drawCell(context, elite, column, row) {
    const [width, height] = this.step;
    const gap = width > 9 ? 1 : width > 5 ? 0.5 : 0;
    const box = [column * width, row * height, width - gap, height - gap];
    const pictures = this.show === "pictures";
    if (elite < 0 || !pictures || !this.sprites.ready.has(this.sprites.sheetOf(elite))) {
      context.fillStyle = elite < 0 || pictures ? this.colors.getPropertyValue("--empty") : this.color(elite);
      context.fillRect(...box);
      return;
    }
    const side = Math.min(box[2], box[3]);
    this.sprites.draw(context, elite, box[0] + (box[2] - side) / 2, box[1] + (box[3] - side) / 2, side, side);
  }

  color(elite) {
    const { table, low, high } = this.archive;
    if (this.show === "group") {
      const group = table.group[elite];
      return group < 0 ? this.colors.getPropertyValue("--between") : GROUP_COLORS[group % GROUP_COLORS.length];
    }
    if (this.show === "judge") return this.colors.getPropertyValue(AGREEMENT_COLORS[table.agreement[elite]]);
    const share = high > low ? (table.objective[elite] - low) / (high - low) : 0.5;
    return this.palette[Math.round(share * (this.palette.length - 1))];
  }

  /** Lines where one group ends and the next begins. */
  drawCuts(context, width, height) {
    context.strokeStyle = this.colors.getPropertyValue("--ink");
    context.setLineDash([5, 4]);
    const draw = (measure, place) => {
      for (const cut of measure?.cuts ?? []) {
        const share = (cut - measure.low) / (measure.high - measure.low);
        if (share <= 0 || share >= 1) continue;
        context.beginPath();
        place(share);
        context.stroke();
      }
    };
    const { measures } = this.archive.space;
    draw(measures[this.x], (share) => { context.moveTo(share * width, 0); context.lineTo(share * width, height); });
    draw(measures[this.y], (share) => { context.moveTo(0, (1 - share) * height); context.lineTo(width, (1 - share) * height); });
    context.setLineDash([]);
  }

  /** Names and ends of the axes, and what the colours mean. */
  label() {
    const { measures, groups } = this.archive.space;
    for (const [axis, measure] of [["x", measures[this.x]], ["y", measures[this.y]]]) {
      const frame = document.querySelector(`.axis-${axis}`);
      frame.querySelector("b").textContent = measure?.name ?? "";
      frame.querySelector('[data-end="low"]').textContent = measure?.lowPrompt ?? "";
      frame.querySelector('[data-end="high"]').textContent = measure?.highPrompt ?? "";
    }
    const names = `${measures[this.x].name} across${this.y >= 0 ? `, ${measures[this.y].name} up` : ""}`;
    const upwards = measures[this.y];
    byId("upwards").textContent = upwards ? `${upwards.name}, upwards: ${upwards.lowPrompt} → ${upwards.highPrompt}` : "";
    this.map.setAttribute("aria-label", `Map of the archive, ${names}, showing ${this.show}`);
    byId("legend").replaceChildren(...this.legend(groups));
  }

  legend(groups) {
    const key = (color, text) => {
      const swatch = element("i");
      swatch.style.background = color;
      return element("span", {}, swatch, text);
    };
    const variable = (name) => this.colors.getPropertyValue(name);
    if (this.show === "group") {
      return [...groups.map((group, index) => key(GROUP_COLORS[index % GROUP_COLORS.length], words(group))), key(variable("--between"), "between groups"), key(variable("--empty"), "nothing found")];
    }
    if (this.show === "judge") {
      const said = ["agrees", "disagrees", "cannot tell", "between groups"];
      return [...said.map((text, index) => key(variable(AGREEMENT_COLORS[index]), text)), key(variable("--empty"), "nothing found")];
    }
    if (this.show === "pictures") return [key(variable("--empty"), "nothing found"), "each picture is the best of its cell"];
    const ramp = element("span", { className: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${this.palette.join(", ")})`;
    return [element("span", {}, number(this.archive.low)), ramp, element("span", {}, `${number(this.archive.high)} objective, as the guide sees it`), key(variable("--empty"), "nothing found")];
  }

  /** A slider for each measure that is no axis. */
  buildSlices() {
    const { measures } = this.archive.space;
    this.archive.slices.fill(null);
    const made = measures.flatMap((measure, index) => {
      if (index === this.x || index === this.y) return [];
      const slider = element("input", { type: "range", min: -1, max: measure.cells - 1, value: -1, id: `slice-${index}` });
      const told = element("output", { htmlFor: slider.id });
      const tell = () => {
        const cell = +slider.value;
        this.archive.slices[index] = cell < 0 ? null : cell;
        told.textContent = cell < 0 ? "all, the best shown" : `cell ${cell + 1} of ${measure.cells}`;
        slider.setAttribute("aria-valuetext", told.textContent);
      };
      slider.addEventListener("input", () => { tell(); this.draw(); this.describe(); });
      tell();
      return [element("div", { className: "slice" }, element("label", { htmlFor: slider.id }, measure.name), slider, told)];
    });
    byId("slices").replaceChildren(...made);
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const { columns, rows } = this.grid;
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const row = rows - 1 - Math.floor(((event.clientY - box.top) / box.height) * rows);
    return column >= 0 && column < columns && row >= 0 && row < rows ? [column, row] : null;
  }

  eliteIn(cell) {
    return cell ? this.grid.best[cell[1] * this.grid.columns + cell[0]] : -1;
  }

  hover(event) {
    const cell = this.cellAt(event);
    this.outline(cell);
    if (this.eliteIn(cell) >= 0) this.describe(this.eliteIn(cell));
  }

  /** Make a cell the chosen one; `speak` it to those who cannot see. */
  moveTo(cell, speak = false) {
    this.at = cell;
    this.outline(cell);
    this.describe();
    if (speak) {
      const elite = this.eliteIn(cell);
      byId("map-status").textContent = elite < 0 ? "nothing found here" : this.archive.sentence(elite);
    }
  }

  outline(cell) {
    this.cursor.hidden = !cell;
    if (!cell) return;
    const [width, height] = this.step;
    const size = [Math.max(width, 8), Math.max(height, 8)];
    const centre = [(cell[0] + 0.5) * width, (this.grid.rows - 0.5 - cell[1]) * height];
    Object.assign(this.cursor.style, {
      width: `${size[0]}px`, height: `${size[1]}px`,
      left: `${centre[0] - size[0] / 2}px`, top: `${centre[1] - size[1] / 2}px`,
    });
  }

  /** The filled cell nearest to a place, at most two cells away: fingers are wider than cells. */
  near(cell) {
    const reach = [-2, -1, 0, 1, 2];
    const around = cell ? reach.flatMap((right) => reach.map((up) => [right, up])) : [];
    const { columns, rows } = this.grid;
    return around
      .sort((one, other) => Math.hypot(...one) - Math.hypot(...other))
      .map(([right, up]) => [cell[0] + right, cell[1] + up])
      .filter(([column, row]) => column >= 0 && row >= 0 && column < columns && row < rows)
      .find((other) => this.eliteIn(other) >= 0);
  }

  /** What a click, or Enter, does. */
  choose(place) {
    const cell = this.near(place);
    const elite = this.eliteIn(cell);
    if (elite < 0) return;
    this.moveTo(cell);
    if (this.click === "pin") this.pin(elite);
    else this.showPath(elite, this.click === "x" ? this.x : this.y);
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const elite = this.eliteIn(this.at);
    if (steps[event.key]) {
      this.moveTo(this.nextFilled(...steps[event.key]), true);
      this.uncover();
    }
    else if (event.key === "PageUp" || event.key === "PageDown") this.turn(event.key === "PageUp" ? 1 : -1);
    else if (event.key === "Enter" || event.key === " ") this.choose(this.at);
    else if (event.key === "Escape") this.closePath();
    else if (elite >= 0 && event.key.toLowerCase() === "p") this.pin(elite);
    else if (elite >= 0 && event.key.toLowerCase() === "x") this.showPath(elite, this.x);
    else if (elite >= 0 && event.key.toLowerCase() === "y" && this.y >= 0) this.showPath(elite, this.y);
    else return;
    event.preventDefault();
  }

  /** Scroll as far as the chosen cell needs to stand above the trays. */
  uncover() {
    this.cursor.style.scrollMarginBottom = `${byId("path").parentElement.offsetHeight + 16}px`;
    this.cursor.scrollIntoView({ block: "nearest" });
  }

  /** The nearest filled cell in a direction, or where we are. */
  nextFilled(right, up) {
    let cell = this.at ?? this.firstFilled();
    while (cell) {
      cell = [cell[0] + right, cell[1] + up];
      if (cell[0] < 0 || cell[1] < 0 || cell[0] >= this.grid.columns || cell[1] >= this.grid.rows) return this.at;
      if (this.eliteIn(cell) >= 0) return cell;
    }
    return this.at;
  }

  firstFilled() {
    const { best, columns, rows } = this.grid;
    let found = null;
    let nearest = Infinity;
    best.forEach((elite, cell) => {
      const [column, row] = [cell % columns, Math.floor(cell / columns)];
      const off = Math.hypot(column - columns / 2, row - rows / 2);
      if (elite >= 0 && off < nearest) [found, nearest] = [[column, row], off];
    });
    return found;
  }

  /** Page Up and Page Down: the next cell of the first measure that is no axis. */
  turn(by) {
    const slider = byId("slices").querySelector("input");
    if (!slider) return;
    slider.value = +slider.value + by;
    slider.dispatchEvent(new Event("input"));
    this.moveTo(this.at, true);
  }

  describe(elite = this.eliteIn(this.at)) {
    if (elite < 0 || !this.grid) {
      const told = this.grid?.passing === 0
        ? "No image passes: choose less in the filters, or another place of a slider."
        : "Point at a cell, or move there with the arrow keys: its image, its scores and the judge's opinion show here.";
      byId("detail").replaceChildren(element("p", { className: "hint" }, told));
      return;
    }
    const { archive } = this;
    const { table, space } = archive;
    const rows = [];
    if (table.read) {
      const verdict = element("span", { className: "verdict" }, archive.verdict(elite));
      verdict.dataset.agreement = archive.agreement(elite);
      rows.push(["judge", verdict]);
    }
    rows.push(["objective", number(table.objective[elite])], ...this.gauges(elite));
    if (table.lineage) rows.push(["lineage", String(table.lineage[elite])]);
    const list = element("dl", {}, ...rows.map(([term, told]) => element("div", {}, element("dt", {}, term), element("dd", {}, told))));
    const pinned = this.pins.includes(elite);
    const buttons = element("div", { className: "actions" },
      this.button(pinned ? "Unpin" : "Pin", () => this.pin(elite)),
      ...space.measures.map((measure, index) => this.button(`Path along ${measure.name}`, () => this.showPath(elite, index))));
    byId("detail").replaceChildren(...this.picture(elite), element("h3", {}, archive.group(elite)), list, buttons);
  }

  gauges(elite) {
    const { table, space } = this.archive;
    return space.measures.map((measure, index) => {
      const value = table.measure[index][elite];
      const dot = element("i");
      dot.style.left = `${100 * Math.min(1, Math.max(0, (value - measure.low) / (measure.high - measure.low)))}%`;
      const cuts = measure.cuts.map((cut) => {
        const tick = element("u");
        tick.style.left = `${100 * (cut - measure.low) / (measure.high - measure.low)}%`;
        return tick;
      });
      return [measure.name, element("div", { className: "gauged" }, element("div", { className: "gauge" }, ...cuts, dot), number(value))];
    });
  }

  picture(elite) {
    return this.sprites ? [this.sprites.picture(elite, this.archive.sentence(elite))] : [];
  }

  button(text, act) {
    const made = element("button", { type: "button", className: "button quiet small" }, text);
    made.addEventListener("click", act);
    return made;
  }

  /** A picture as a button that makes it the chosen one. */
  tile(elite, caption) {
    const tile = element("button", { type: "button", className: "tile" }, ...this.picture(elite), element("span", {}, caption));
    tile.addEventListener("click", () => { this.describe(elite); this.outline(this.cellOf(elite)); });
    return tile;
  }

  cellOf(elite) {
    const { columns, rows } = this.grid;
    return [this.archive.place(elite, this.x, columns), this.archive.place(elite, this.y, rows)];
  }

  pin(elite) {
    const pinned = this.pins.includes(elite);
    this.pins = pinned ? this.pins.filter((other) => other !== elite) : [...this.pins, elite].slice(-MOST_PINS);
    byId("map-status").textContent = pinned ? "unpinned" : `pinned, ${this.pins.length} side by side`;
    const items = this.pins.map((one) => element("li", {},
      this.tile(one, `${this.archive.group(one)}, ${number(this.archive.table.objective[one])}`),
      this.remover(one)));
    const clear = this.button("Remove all", () => { this.pins = []; byId("pins").hidden = true; this.describe(); });
    this.tray("pins", `Pinned: ${this.pins.length}`, items, clear);
    this.describe(elite);
  }

  remover(elite) {
    const made = element("button", { type: "button", className: "remove", title: "Remove" }, "×");
    made.setAttribute("aria-label", `Remove ${this.archive.sentence(elite)}`);
    made.addEventListener("click", () => this.pin(elite));
    return made;
  }

  showPath(elite, measure) {
    if (measure < 0) return;
    const { name, lowPrompt, highPrompt } = this.archive.space.measures[measure];
    const found = this.archive.path(elite, measure, PATH_STEPS);
    const items = found.map((one) => {
      const item = element("li", {}, this.tile(one, this.archive.group(one)));
      if (one === elite) item.setAttribute("aria-current", "true");
      return item;
    });
    const heading = `Along ${name}: ${lowPrompt} → ${highPrompt}`;
    this.tray("path", heading, items, this.button("Close", () => this.closePath()));
    byId("path").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    byId("map-status").textContent = `path along ${name}, ${found.length} pictures`;
  }

  closePath() {
    byId("path").hidden = true;
  }

  tray(id, heading, items, button) {
    const list = element("ol", {}, ...items);
    byId(id).replaceChildren(element("header", {}, element("h3", {}, heading), button), list);
    byId(id).hidden = items.length === 0;
  }
}
