// The pay page. The server is the only judge: this shows what it says, and asks where it is silent.

const POLL_S = 3;
const HIDDEN_POLL_S = 15;
const LONGEST_POLL_S = 30;
// The server gives a sign of life every 10 seconds; a stream that is silent for longer is dead.
const SILENCE_S = 25;
const RECONNECT_S = 15;
// A browser opens six connections to a server: a page that nobody sees leaves its own to others.
const HIDDEN_S = 10;
const LAST_CALL_S = 30;
const DONE_MS = 2000;

const ui = window.trustedTypes?.createPolicy("ui", { createHTML: (html) => html }) ?? {
  createHTML: (html) => html,
};
const links = document.body.dataset;
const byId = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;

let main = byId("main");
let endsAt = 0;
let reloadAt = 0;
let wasCalled = false;

// --- showing ------------------------------------------------------------------------------------

/** Put the server's new <main> in the place of the old one, all of it at once. */
function swap(html) {
  const box = document.createElement("template");
  box.innerHTML = ui.createHTML(html);
  const next = box.content.querySelector("main");
  const old = main;
  if (!next || next.dataset.version === old.dataset.version) return;
  if (Number(next.dataset.rev) < Number(old.dataset.rev)) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  // What the payer has opened or chosen stays so.
  for (const each of old.querySelectorAll("details[id], input[type=radio], #txid")) {
    const twin = next.querySelector(`#${CSS.escape(each.id)}`);
    if (twin && "open" in each) twin.open = each.open;
    if (twin && "checked" in each) twin.checked = each.checked;
    if (twin && each.id === "txid") twin.value = each.value;
  }
  old.replaceWith(next);
  main = next;
  mount();
  if (focused) (byId(focused.id) ?? main).focus({ preventScroll: true });
  say("said", old.dataset.said, main.dataset.said);
  say("alarm", old.dataset.alarm, main.dataset.alarm);
}

function say(place, before, now) {
  if (before !== now) byId(place).textContent = now;
}

/** Set up what a new <main> needs. */
function mount() {
  document.title = main.dataset.title;
  const clock = byId("clock");
  endsAt = clock ? seconds() + Number(clock.dataset.left) : 0;
  reloadAt = main.dataset.reload ? seconds() + Number(main.dataset.reload) : 0;
  wasCalled = false;
  if (clock) {
    clock.firstElementChild.hidden = true;
    clock.lastElementChild.hidden = false;
    showClock();
  }
  for (const time of main.querySelectorAll("time[data-local]")) {
    const style = { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Date(time.dateTime).toLocaleString(undefined, style);
  }
}

function showClock() {
  const left = Math.max(0, Math.round(endsAt - seconds()));
  const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  byId("clock").querySelector("span:last-child time").textContent = text;
  if (left <= LAST_CALL_S && !wasCalled) {
    wasCalled = true;
    byId("alarm").textContent = `The price ends in ${LAST_CALL_S} seconds.`;
  }
}

// --- listening ----------------------------------------------------------------------------------

let source = null;
let heardAt = -Infinity;
let connectAt = 0;
let pollAt = 0;
let failures = 0;
let hiddenAt = document.hidden ? -Infinity : null;

const isHearing = () => source !== null && seconds() - heardAt < SILENCE_S;
const withVersion = (link) => `${link}&version=${main.dataset.version}`;

function connect() {
  source = new EventSource(withVersion(links.events));
  connectAt = seconds() + RECONNECT_S;
  const heard = () => {
    heardAt = seconds();
    isReached(true);
  };
  source.addEventListener("beat", heard);
  source.addEventListener("main", (event) => {
    heard();
    swap(event.data);
  });
  source.onerror = () => {
    heardAt = -Infinity;
    pollAt = Math.min(pollAt, seconds());
    // Refused: the browser will not try again, so we do. Else it reconnects by itself.
    if (source?.readyState === EventSource.CLOSED) hangUp();
  };
}

function hangUp() {
  source?.close();
  source = null;
  heardAt = -Infinity;
}

async function poll() {
  // The next one is set at once, so that no two are on their way together.
  pollAt = Infinity;
  try {
    const stop = AbortSignal.timeout(10_000);
    const answer = await fetch(withVersion(links.main), { cache: "no-store", signal: stop });
    if (answer.status === 200) swap(await answer.text());
    else if (answer.status !== 204) throw new Error(`status ${answer.status}`);
    isReached(true);
  } catch {
    failures += 1;
    if (failures > 1) isReached(false);
  }
  const usual = document.hidden ? HIDDEN_POLL_S : POLL_S;
  pollAt = seconds() + Math.min(usual * 2 ** failures, LONGEST_POLL_S);
}

function isReached(yes) {
  if (yes) failures = 0;
  byId("offline").hidden = yes;
}

/** Try at once, whatever was to be waited for. */
function wake() {
  hiddenAt = document.hidden ? (hiddenAt ?? seconds()) : null;
  if (document.hidden) return;
  if (!isHearing()) hangUp();
  connectAt = 0;
  pollAt = Math.min(pollAt, 0);
  tick();
}

function tick() {
  const now = seconds();
  if (endsAt) showClock();
  if (endsAt && now > endsAt + 1) {
    endsAt = 0;
    pollAt = Math.min(pollAt, now);
  }
  if (reloadAt && now > reloadAt && !document.hidden) {
    reloadAt = 0;
    location.reload();
  }
  if (hiddenAt !== null && now - hiddenAt > HIDDEN_S) hangUp();
  else if (source && !isHearing() && now > connectAt) hangUp();
  if (source === null && hiddenAt === null && now >= connectAt) connect();
  if (!isHearing() && now >= pollAt) poll();
}

// --- acting -------------------------------------------------------------------------------------

async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Without https there is no clipboard to write to, but a selection can be copied.
  const box = document.createElement("textarea");
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await copy(button.dataset.copy);
  button.focus();
  byId("said").textContent = button.dataset.said;
  if (button.id === "copy-address") byId("check").hidden = false;
  const label = button.firstChild;
  const before = label.data;
  if (before === button.dataset.done) return;
  label.data = button.dataset.done;
  setTimeout(() => {
    label.data = before;
  }, DONE_MS);
});

document.addEventListener("visibilitychange", wake);
window.addEventListener("pageshow", (event) => event.persisted && wake());
window.addEventListener("online", () => {
  hangUp();
  wake();
});
window.addEventListener("offline", () => isReached(false));
window.addEventListener("pagehide", hangUp);

document.documentElement.classList.add("alive");
// A phone cannot scan its own screen.
if (byId("qr") && matchMedia("(pointer: coarse)").matches) byId("qr").open = false;
// A page that is loaded again does not repeat what came of the last form.
if (/&(problem|claim)=/.test(location.search)) history.replaceState(null, "", links.page);
pollAt = seconds() + POLL_S;
mount();
tick();
setInterval(tick, 1000);
