// The page at /: whom for, what is listed, why, and how the server fares. What the server says is text, never markup.

const POLL = 2000; // ms between two looks at the figures
const POINTS = 60; // looks in a curve
const PAUSE = 120; // ms of silence before a search or a list is asked for
const SHOWN = 12; // events of a history before "all"
const MOST_HISTORY = 1000; // items that a request may carry
const KEY = "genrec.key";
const DECODED = ["/recommend", "/recommend/batch", "/explain"];
const SVG = "http://www.w3.org/2000/svg";

const state = {
  user: null, // id, or null where a history is put together here
  history: [], // {id, title}, oldest first
  events: 0, // of the user; more than the history where that was cut
  edited: false, // the history is no longer the user's
  denied: [], // {id, title}
  whole: false, // all of the history is shown
};

const at = (id) => document.getElementById(id);

// Elements

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// Signs that steer a terminal or turn the writing are seen as such; <bdi> keeps a right-to-left title to itself.
function showText(text) {
  return make("bdi", {}, text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd"));
}

function soft(text, more = "") {
  return make("span", { class: `soft ${more}` }, text);
}

function showProblem(sentence) {
  at("problem").textContent = sentence;
  at("problem").hidden = !sentence;
}

// Requests

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, body, signal) {
  const key = sessionStorage.getItem(KEY);
  const headers = key ? { "X-API-Key": key } : {};
  const options = { headers, signal, cache: "no-store", credentials: "omit" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForKey(said.detail);
  throw new Refused(answer.status, said.detail ?? `the server answered ${answer.status}`);
}

async function askJson(path, body, signal) {
  return (await ask(path, body, signal)).json();
}

function tellFailure(error) {
  if (error.name === "AbortError" || error.status === 401) return;
  showProblem(error instanceof Refused ? error.message : "the server does not answer");
}

// The key: of this tab only

function askForKey(sentence) {
  const tried = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  at("main").hidden = true;
  at("key-form").hidden = false;
  showProblem(tried ? (sentence ?? "") : "");
  at("key").focus();
}

function takeKey(event) {
  event.preventDefault();
  sessionStorage.setItem(KEY, at("key").value.trim());
  at("key").value = "";
  begin();
}

function forgetKey() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

// Searching: an input with a list below it, arrows, Enter and Escape

function attachSearch(input, list, find, choose) {
  let found = [];
  let marked = -1;
  let turn = 0;

  function mark(number) {
    marked = number;
    [...list.children].forEach((row, each) => row.setAttribute("aria-selected", each === number));
    if (number < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[number].id);
      list.children[number].scrollIntoView({ block: "nearest" });
    }
  }

  function close() {
    turn++;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  function take(number) {
    const one = found[number];
    close();
    input.value = "";
    choose(one.value);
  }

  function show(rows) {
    found = rows;
    list.replaceChildren(
      ...rows.map((row, number) =>
        make(
          "li",
          {
            role: "option",
            id: `${list.id}-${number}`,
            mousedown: (event) => event.preventDefault(), // the input keeps the focus
            click: () => take(number),
          },
          showText(row.label),
          soft(row.hint),
        ),
      ),
    );
    list.hidden = rows.length === 0;
    input.setAttribute("aria-expanded", String(rows.length > 0));
    mark(rows.length ? 0 : -1);
  }

  async function search() {
    const own = ++turn;
    await new Promise((done) => setTimeout(done, PAUSE));
    if (own !== turn) return;
    try {
      const rows = await find(input.value.trim());
      if (own === turn) show(rows);
      showProblem("");
    } catch (error) {
      tellFailure(error);
    }
  }

  input.addEventListener("input", search);
  input.addEventListener("focus", search);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length && !list.hidden) {
      event.preventDefault();
      mark((marked + step + found.length) % found.length);
    } else if (step) search();
    else if (event.key === "Enter" && !list.hidden && marked >= 0) {
      event.preventDefault();
      take(marked);
    } else if (event.key === "Escape") close();
  });
}

async function findUsers(query) {
  const { users } = await askJson(`users?query=${encodeURIComponent(query)}`);
  if (query && !users.includes(query)) users.push(query); // a user of later events is known by the whole id only
  return users.map((user) => ({ label: user, hint: "", value: user }));
}

async function findItems(query) {
  if (!query) return [];
  const { items } = await askJson(`items?limit=20&query=${encodeURIComponent(query)}`);
  return items.map((item) => ({
    label: item.title,
    hint: `${item.id} · ${item.count.toLocaleString("en")} events`,
    value: { id: item.id, title: item.title },
  }));
}

// Whom for

async function chooseUser(user) {
  try {
    const past = await askJson(`history?user=${encodeURIComponent(user)}&limit=${MOST_HISTORY}`);
    Object.assign(state, { user, history: past.items, events: past.events, edited: false, whole: false });
    showProblem("");
    update();
  } catch (error) {
    tellFailure(error);
  }
}

function editHistory(history) {
  Object.assign(state, { history, edited: true });
  update();
}

function describeHistory() {
  const count = state.history.length;
  if (state.user !== null && state.edited) return `User ${state.user}'s history, changed here; the server keeps its own.`;
  if (state.user !== null) return `User ${state.user}: ${state.events.toLocaleString("en")} events, oldest first.`;
  return count ? `${count} item${count > 1 ? "s" : ""}, oldest first.` : "Choose a user above, or add items.";
}

function showHistory() {
  const first = state.whole ? 0 : Math.max(0, state.history.length - SHOWN);
  at("history-note").replaceChildren(showText(describeHistory()));
  at("history").replaceChildren(
    ...state.history.slice(first).map((item, number) =>
      makeChip(item, "Take out of the history", () => editHistory(state.history.toSpliced(first + number, 1))),
    ),
  );
  at("earlier").hidden = first === 0;
  at("earlier").textContent = `${first.toLocaleString("en")} earlier`;
  at("denied-part").hidden = state.denied.length === 0;
  at("denied").replaceChildren(
    ...state.denied.map((item, number) =>
      makeChip(item, "Allow again", () => {
        state.denied.splice(number, 1);
        update();
      }),
    ),
  );
}

function makeChip(item, act, click) {
  const button = make("button", { type: "button", title: act, "aria-label": `${act}: ${item.title}`, click }, "×");
  return make("li", { title: item.id }, showText(item.title), button);
}

function update() {
  showHistory();
  askLists();
  askMissed();
}

// Lists: all of one call, so all of one version

let underWay = null;

function nameAsker() {
  if (state.user !== null && !state.edited) return { user: state.user };
  return { history: state.history.slice(-MOST_HISTORY).map((item) => item.id) };
}

function planRequests() {
  const asker = nameAsker();
  const k = at("k").valueAsNumber;
  const models = [at("model").value, at("other").value].filter((model) => model);
  const rules = { exclude_seen: at("exclude-seen").checked, deny: state.denied.map((item) => item.id) };
  const open = { exclude_seen: false, deny: [] };
  const every = at("show-left-out").checked ? [rules, open] : [rules];
  return models.flatMap((model) => every.map((rule) => ({ ...asker, ...rule, k, model })));
}

async function askLists() {
  underWay?.abort();
  const own = (underWay = new AbortController());
  if (!at("settings").checkValidity() || (state.user === null && !state.history.length && !state.edited)) return;
  at("lists").classList.add("waiting");
  try {
    await new Promise((done) => setTimeout(done, PAUSE));
    if (own.signal.aborted) return;
    const requests = planRequests();
    const begun = performance.now();
    const { answers } = await askJson("recommend/batch", { requests }, own.signal);
    showLists(requests, answers);
    at("said").textContent = `Answered in ${(performance.now() - begun).toFixed(0)} ms by version ${answers[0].version}.`;
    at("served").textContent = at("served").textContent.replace(/version \S+/, `version ${answers[0].version}`);
    showProblem("");
  } catch (error) {
    if (own.signal.aborted) return;
    at("lists").replaceChildren();
    at("said").textContent = "";
    tellFailure(error);
  } finally {
    if (own === underWay) at("lists").classList.remove("waiting");
  }
}

function showLists(requests, answers) {
  const step = at("show-left-out").checked ? 2 : 1;
  const lists = [];
  for (let first = 0; first < answers.length; first += step) {
    const list = answers[first];
    const rows = list.items.map((item, number) => ({ ...item, rank: number + 1 }));
    lists.push({ ...list, ask: requests[first], rows: step === 2 ? placeLeftOut(rows, answers[first + 1].items) : rows });
  }
  at("lists").classList.toggle("pair", lists.length === 2);
  at("lists").replaceChildren(...lists.map((list, number) => makeList(list, lists[1 - number], number)));
}

// Seen and denied items among the listed, where their scores put them; none below the last that is listed.
function placeLeftOut(rows, open) {
  const listed = new Set(rows.map((row) => row.id));
  const lowest = rows.length ? rows.at(-1).score : -Infinity;
  const left = open.filter((item) => !listed.has(item.id) && item.score >= lowest && reasonsFor(item.id).length);
  return [...rows, ...left.map((item) => ({ ...item, rank: null }))].sort((a, b) => b.score - a.score);
}

function reasonsFor(id) {
  const reasons = [];
  if (state.history.some((item) => item.id === id)) reasons.push("seen");
  if (state.denied.some((item) => item.id === id)) reasons.push("denied");
  return reasons;
}

function makeList(list, other, number) {
  const heading = make("h2", {}, list.model, makeProof(list));
  const rows = list.rows.map((row) => makeRow(row, list, other, number));
  const parts = [heading, make("ol", { class: "rows" }, ...rows)];
  if (!rows.length) parts.push(make("p", { class: "soft" }, "Nothing is left to list."));
  if (other) parts.splice(1, 0, make("p", { class: "soft" }, compareLists(list, other)));
  return make("div", { class: "list", "data-model": list.model }, ...parts);
}

function makeProof(list) {
  if (list.cold) return soft("nothing is known of the user: the popular items");
  if (list.exact) return make("span", { class: "soft exact", title: "No other item that may be listed scores higher." }, "exact");
  return make("span", { class: "soft", title: "Another item may score higher: the search ended before that was proven." }, "not proven");
}

function compareLists(list, other) {
  const both = list.items.filter((item) => other.items.some((each) => each.id === item.id)).length;
  return `${both} of ${list.items.length} also in ${other.model}`;
}

function makeRow(row, list, other, number) {
  const name = make("span", { class: "name" }, showText(row.title), soft(row.id, "id"));
  for (const reason of reasonsFor(row.id)) name.append(make("span", { class: "tag cause" }, reason));
  const score = make("span", { class: "score", title: "score" }, row.score.toFixed(3));
  if (other && row.rank !== null) score.append(describeMove(row, other, number));
  const line = make("div", { class: "row" }, make("span", { class: "rank" }, row.rank === null ? "–" : String(row.rank)));
  const item = make("li", { class: row.rank === null ? "left-out" : "", "data-id": row.id }, line);
  line.append(name, score, makeActs(row, list, item));
  return item;
}

// The second list says what moved against the first, the first what the second lacks.
function describeMove(row, other, number) {
  const there = other.items.findIndex((item) => item.id === row.id) + 1;
  if (!there) return make("span", { class: `moved ${number ? "up" : "down"}` }, number ? "new" : "not there");
  const by = number ? there - row.rank : 0;
  if (!number) return make("span", { class: "moved" }, `there ${there}`);
  if (!by) return make("span", { class: "moved" }, "same place");
  return make("span", { class: `moved ${by > 0 ? "up" : "down"}` }, `${by > 0 ? "↑" : "↓"} ${Math.abs(by)}`);
}

function makeActs(row, list, item) {
  const why = make("button", { type: "button", "aria-expanded": "false", "aria-label": `Why ${row.title}` }, "why");
  why.addEventListener("click", () => toggleWhy(why, row, list, item));
  const denied = state.denied.some((each) => each.id === row.id);
  const deny = make("button", { type: "button", "aria-label": `Deny ${row.title}`, disabled: denied }, "deny");
  deny.addEventListener("click", () => {
    state.denied.push({ id: row.id, title: row.title });
    update();
  });
  return make("span", { class: "acts" }, why, deny);
}

// Why

async function toggleWhy(button, row, list, item) {
  const open = item.querySelector(".why");
  button.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const panel = make("div", { class: "why", role: "region", "aria-label": `Why ${row.title}` }, soft("…"));
  item.append(panel);
  const { user, history, model } = list.ask;
  const asker = user === undefined ? { history } : { user };
  try {
    const said = await askJson("explain", { ...asker, model, item: row.id });
    panel.replaceChildren(make("ol", {}, ...said.levels.map(makeLevel)), describeProduct(said));
  } catch (error) {
    panel.replaceChildren(make("p", { class: "soft" }, showText(error.message)));
    if (error.status === 401) tellFailure(error);
  }
}

function makeLevel(level) {
  const share = `${(100 * level.probability).toPrecision(3)}%`;
  const stands = make("span", { class: "stands" }, showText(level.words || level.categories || "–"));
  if (level.words && level.categories) stands.append(make("span", { class: "soft" }, " · ", showText(level.categories)));
  stands.append(soft(` · ${level.items.toLocaleString("en")} item${level.items > 1 ? "s" : ""}`));
  const meter = make("meter", { min: 0, max: 1, value: level.probability, "aria-label": `probability of ${level.code}` });
  return make("li", {}, make("code", {}, level.code), make("span", { class: "number" }, share, meter), stands);
}

function describeProduct(said) {
  const chance = Math.exp(said.item.score);
  return make("p", { class: "soft" }, `Together ${(100 * chance).toPrecision(3)}%, log-probability ${said.item.score.toFixed(3)}.`);
}

// What was held out of a user, and why a model missed it

let missedTurn = 0;

async function askMissed() {
  const turn = ++missedTurn;
  const part = at("held-out");
  if (state.user === null || state.edited) {
    part.hidden = true;
    return;
  }
  const models = [...new Set([at("model").value, at("other").value])].filter((model) => model);
  const user = encodeURIComponent(state.user);
  try {
    const said = await Promise.all(models.map((model) => askJson(`missed?user=${user}&model=${encodeURIComponent(model)}`)));
    if (turn !== missedTurn) return;
    part.replaceChildren(make("h2", {}, "Held out"), ...said.map(makeMissed));
    part.hidden = false;
  } catch (error) {
    if (turn === missedTurn) part.hidden = true;
    tellFailure(error);
  }
}

function makeMissed(said) {
  if (!said.rows.length) return make("p", { class: "soft" }, `${said.model}: `, showText(said.none_because));
  const rows = said.rows.map((row) => {
    const line = make("li", { "data-id": row.item.id }, showText(row.item.title), describePlace(row, said.top_k));
    if (row.causes.length) line.append(make("ul", {}, ...row.causes.map((each) => make("li", {}, each.says))));
    return line;
  });
  const note = make("p", { class: "soft" }, `${said.model}, ${said.split} rows: what the user took and the model did not see.`);
  return make("div", { class: "missed", "data-model": said.model }, note, make("ol", {}, ...rows));
}

function describePlace(row, topK) {
  const place = row.rank === null ? "not listed" : `place ${row.rank}`;
  return make("span", { class: `tag ${row.missed ? "cause" : ""}` }, row.missed ? `missed: ${place}, not in ${topK}` : place);
}

// The server's figures

function readFigures(text) {
  const rows = [];
  for (const line of text.split("\n")) {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!parts) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    rows.push({ name: parts[1], labels, value: Number(parts[3].replace("Inf", "Infinity")) });
  }
  return rows;
}

function sumUp(rows, name, keep = () => true) {
  return rows.filter((row) => row.name === name && keep(row.labels)).reduce((sum, row) => sum + row.value, 0);
}

function takeBuckets(rows) {
  const buckets = new Map();
  for (const row of rows) {
    if (row.name !== "genrec_request_seconds_bucket" || !DECODED.includes(row.labels.route)) continue;
    const bound = Number(row.labels.le.replace("+Inf", "Infinity"));
    buckets.set(bound, (buckets.get(bound) ?? 0) + row.value);
  }
  return buckets;
}

function takeFigures(rows) {
  const decoded = (labels) => DECODED.includes(labels.route);
  return {
    at: performance.now() / 1000,
    requests: sumUp(rows, "genrec_request_seconds_count", decoded),
    buckets: takeBuckets(rows),
    queue: sumUp(rows, "genrec_queue_length"),
    batches: sumUp(rows, "genrec_batch_size_count"),
    batched: sumUp(rows, "genrec_batch_size_sum"),
    refused: sumUp(rows, "genrec_refused_total"),
  };
}

// Seconds below which a share of the requests between two looks ended; evenly spread within a bucket, null without any.
function findQuantile(share, before, now) {
  const bounds = [...now.buckets.keys()].sort((a, b) => a - b);
  const counts = bounds.map((bound) => now.buckets.get(bound) - (before.buckets.get(bound) ?? 0));
  const total = counts.at(-1);
  if (!total) return null;
  const place = counts.findIndex((count) => count >= share * total);
  const low = place ? bounds[place - 1] : 0;
  const below = place ? counts[place - 1] : 0;
  if (bounds[place] === Infinity) return low;
  return low + ((bounds[place] - low) * (share * total - below)) / (counts[place] - below);
}

const looks = []; // {p50, p99, queue, ...}, the newest last
let lastFigures = null;

function compareFigures(before, now) {
  const milliseconds = (share) => {
    const seconds = findQuantile(share, before, now);
    return seconds === null ? null : 1000 * seconds;
  };
  const batches = now.batches - before.batches;
  return {
    p50: milliseconds(0.5),
    p99: milliseconds(0.99),
    queue: now.queue,
    rate: (now.requests - before.requests) / (now.at - before.at),
    batch: batches > 0 ? (now.batched - before.batched) / batches : null,
    refused: now.refused - before.refused,
  };
}

async function lookAtFigures() {
  if (!document.hidden && !at("main").hidden) {
    try {
      const now = takeFigures(readFigures(await (await ask("metrics")).text()));
      if (lastFigures && now.requests < lastFigures.requests) lastFigures = null; // the server was started anew
      if (lastFigures) looks.push(compareFigures(lastFigures, now));
      if (looks.length > POINTS) looks.shift();
      lastFigures = now;
      showFigures();
    } catch (error) {
      tellFailure(error);
    }
  }
  setTimeout(lookAtFigures, POLL);
}

function showFigures() {
  const last = looks.at(-1);
  if (!last) return;
  const write = (value, unit = "", digits = 0) => (value === null ? "–" : `${value.toFixed(digits)}${unit}`);
  const numbers = [
    [write(last.rate, "/s", 1), "requests decoded"],
    [write(last.p50, " ms"), "half within"],
    [write(last.p99, " ms"), "99% within"],
    [write(last.queue), "wait in the queue"],
    [write(last.batch, "", 1), "requests a batch"],
    [write(last.refused), "refused"],
  ];
  at("live").replaceChildren(...numbers.map(([value, name]) => make("div", {}, make("strong", {}, value), name)));
  const width = (POINTS * POLL) / 60000;
  at("curves").replaceChildren(
    makeCurve(["p50", "p99"], ["half within", "99% within"], "ms", width),
    makeCurve(["queue"], ["queue"], "requests", width),
  );
}

function makeCurve(series, names, unit, minutes) {
  const top = Math.max(1, ...looks.flatMap((look) => series.map((name) => look[name] ?? 0)));
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", `0 0 ${POINTS - 1} 100`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true"); // the numbers above say it
  series.forEach((name, number) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", number ? "second" : "first");
    path.setAttribute("d", drawPath(looks.map((look) => look[name]), top));
    picture.append(path);
  });
  const legend = names.flatMap((name, number) => [make("span", { class: `swatch ${number ? "second" : "first"}` }), name]);
  const caption = make("figcaption", {}, ...legend, ` · top ${top.toFixed(0)} ${unit}, last ${minutes} minutes`);
  return make("figure", {}, picture, caption);
}

// Looks without requests leave a gap; one alone is a dot.
function drawPath(values, top) {
  const start = POINTS - values.length;
  return values
    .map((value, number) => {
      if (value === null) return "";
      const alone = (values[number - 1] ?? null) === null;
      return `${alone ? "M" : "L"}${start + number} ${96 - (90 * value) / top}${alone ? "h0.01" : ""}`;
    })
    .join("");
}

// The requests

async function showRoutes() {
  if (!at("requests").open || at("routes").childElementCount) return;
  try {
    const { paths } = await askJson("openapi.json");
    const rows = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, route]) =>
        make(
          "tr",
          {},
          make("td", {}, make("code", {}, `${method.toUpperCase()} ${path}`)),
          make("td", {}, route.description ?? route.summary),
        ),
      ),
    );
    at("routes").replaceChildren(...rows);
  } catch (error) {
    tellFailure(error);
  }
}

// Begin

async function begin() {
  try {
    const { current } = await askJson("catalog/status");
    showProblem("");
    at("key-form").hidden = true;
    at("main").hidden = false;
    at("forget").hidden = sessionStorage.getItem(KEY) === null;
    const size = current.items.toLocaleString("en");
    at("served").textContent = `${current.models.join(", ")} · ${size} items · version ${current.version}`;
    at("model").replaceChildren(...current.models.map((model) => make("option", {}, model)));
    const others = current.models.map((model) => make("option", { value: model }, model));
    at("other").replaceChildren(make("option", { value: "" }, "none"), ...others);
    update();
  } catch (error) {
    tellFailure(error);
  }
}

attachSearch(at("user"), at("user-found"), findUsers, chooseUser);
attachSearch(at("item"), at("item-found"), findItems, (item) => editHistory([...state.history, item]));
at("key-form").addEventListener("submit", takeKey);
at("forget").addEventListener("click", forgetKey);
at("settings").addEventListener("submit", (event) => event.preventDefault());
at("settings").addEventListener("input", askLists);
at("settings").addEventListener("input", askMissed);
at("requests").addEventListener("toggle", showRoutes);
at("earlier").addEventListener("click", () => {
  state.whole = true;
  showHistory();
});
begin();
lookAtFigures();
