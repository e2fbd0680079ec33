// An SMSC on node-smpp, a library that is not ours: `node smsc_server.js PORT`, with `smpp` in NODE_PATH.
//
// It takes every submit_sm, answers it, and sends the receipt that the number asks for (tests/crash/fates.py:
// two digits behind the operator's prefix). Receipts wait until a bind acknowledges them. On standard input it
// is told "die" (drop everything, listen no more) and "listen"; on standard output it writes a line of JSON for
// each bind (its port) and for each copy it takes (port, number, part, state of the receipt, "" for a refusal).

"use strict";
const readline = require("readline");
const smpp = require("smpp");

const STATES = {
  11: ["UNDELIV", 5], 12: ["EXPIRED", 3], 13: ["REJECTD", 8], 22: ["UNDELIV", 5], ok: ["DELIVRD", 2],
}; // stat and message_state, SMPP v3.4 section 5.2.28
const NAMES = { 2: "DELIVERED", 3: "EXPIRED", 5: "UNDELIVERABLE", 8: "REJECTED" };
const INVALID = "14", EARLY = ["20", "22"], TWICE = "21";
const FIRST_TRY = { 15: smpp.ESME_RTHROTTLED, 16: smpp.ESME_RMSGQFUL };
const RECEIPT_MS = 50, AGAIN_MS = 1000;

const port = Number(process.argv[2]);
const sessions = new Set();
const tried = new Set();
let server = null;
let lastId = Date.now();

function tell(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}

// Offers a receipt until it is acknowledged; at least once, as an operator does.
function deliver(fields) {
  let done = false;
  const again = () => done || deliver(fields);
  const session = [...sessions].pop();
  if (session === undefined) {
    setTimeout(again, AGAIN_MS);
    return;
  }
  session.deliver_sm({ ...fields }, (answer) => { done = answer.command_status === 0; });
  setTimeout(again, AGAIN_MS);
}

function receipt(submit, id, [stat, state]) {
  const dlvrd = stat === "DELIVRD" ? "001" : "000";
  const dates = "submit date:2611280000 done date:2611280000";
  return {
    source_addr_ton: 1, source_addr_npi: 1, source_addr: submit.destination_addr,
    dest_addr_ton: submit.source_addr_ton, dest_addr_npi: submit.source_addr_npi,
    destination_addr: submit.source_addr, esm_class: 4,
    short_message: { message: `id:${id} sub:001 dlvrd:${dlvrd} ${dates} stat:${stat} err:000 text:` },
    receipted_message_id: id, message_state: state,
  };
}

// Which part of a long message this is, from 0: 3GPP TS 23.040 section 9.2.3.24.1.
function part(submit) {
  const elements = (submit.short_message && submit.short_message.udh) || [];
  const found = elements.find((one) => one[0] === 0 && one.length === 5);
  return found === undefined ? 0 : found[4] - 1;
}

function take(session, submit) {
  const number = submit.destination_addr, code = number.slice(4, 6), place = part(submit);
  const first = !tried.has(`${number}/${place}`);
  tried.add(`${number}/${place}`);
  const refusal = code === INVALID ? smpp.ESME_RINVDSTADR : first ? FIRST_TRY[code] : undefined;
  if (refusal !== undefined) {
    if (code === INVALID) tell({ port: session.peer, number, part: place, state: "" });
    session.send(submit.response({ command_status: refusal }));
    return;
  }
  const id = (++lastId).toString(16), state = STATES[code] || STATES.ok;
  tell({ port: session.peer, number, part: place, state: NAMES[state[1]] });
  const answer = () => session.send(submit.response({ message_id: id }));
  const pdu = receipt(submit, id, state);
  if (EARLY.includes(code)) {
    deliver(pdu);
    setTimeout(answer, RECEIPT_MS);
    return;
  }
  answer();
  for (let count = code === TWICE ? 2 : 1; count > 0; count--) setTimeout(() => deliver(pdu), RECEIPT_MS);
}

function listen() {
  server = smpp.createServer((session) => {
    session.peer = session.socket.remotePort;
    session.on("bind_transceiver", (pdu) => {
      tell({ bind: session.peer });
      session.send(pdu.response());
      sessions.add(session);
    });
    session.on("submit_sm", (pdu) => take(session, pdu));
    session.on("enquire_link", (pdu) => session.send(pdu.response()));
    session.on("unbind", (pdu) => {
      sessions.delete(session);
      session.send(pdu.response());
      session.close();
    });
    session.on("close", () => sessions.delete(session));
    session.on("error", () => { sessions.delete(session); session.destroy(); });
  });
  server.listen(port, "127.0.0.1", () => tell({ listening: port }));
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "listen") {
    listen();
    return;
  }
  server.close();
  for (const session of server.sessions) session.destroy();
  sessions.clear();
}).on("close", () => process.exit(0));
