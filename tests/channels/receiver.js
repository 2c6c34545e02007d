// A merchant's receiver, written the way that the contract's own example verifies a webhook: parse
// the body, serialise it again with JSON.stringify, and compare the HMAC-SHA512 with `signature`.
// Usage: node receiver.js SECRET. It prints its port, and ends by itself after
// a minute in case that nobody ends it.
"use strict";

const crypto = require("node:crypto");
const http = require("node:http");

const secret = process.argv[2];

function verify(payload, signature) {
  const computed = crypto
    .createHmac("sha512", secret)
    .update(JSON.stringify(payload))
    .digest("hex");
  return computed === signature;
}

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const payload = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    const isGenuine = verify(payload, request.headers["signature"]);
    response.statusCode = isGenuine ? 200 : 401;
    response.end(isGenuine ? `yes: ${payload.event} of ${payload.invoice_id}` : "no");
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
setTimeout(() => process.exit(1), 60_000);
