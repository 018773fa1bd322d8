// SPDX-License-Identifier: MIT
// send.js CHANNEL HOST BODY: sends what is in the file BODY; with argv, BODY is the text itself.
"use strict";
const fs = require("fs");
const [channel, host, body] = process.argv.slice(2);
const content = channel === "argv" ? Buffer.from(body) : fs.readFileSync(body);
const tagged = Buffer.concat([Buffer.from(host + " "), content]);

switch (channel) {
  case "argv":
  case "tls":
    require("https").request({ host, method: "POST" }, (reply) => reply.resume()).end(content);
    break;
  case "http":
    require("http").request({ host, method: "POST" }, (reply) => reply.resume()).end(content);
    break;
  case "h2": {
    const session = require("http2").connect(`https://${host}:2443`);
    const headers = { ":method": "POST", "x-token": content.toString() };
    const stream = session.request(headers, { endStream: true });
    stream.on("close", () => session.close());
    stream.resume();
    break;
  }
  case "tcp":
    require("net").connect(8443, host).end(tagged);
    break;
  case "udp": {
    const socket = require("dgram").createSocket("udp6");
    socket.send(tagged, 9999, host, () => socket.close());
    break;
  }
  case "dns":
    require("dns").lookup(content.toString().trim(), () => {});
    break;
}
