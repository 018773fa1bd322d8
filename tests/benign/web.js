// SPDX-License-Identifier: MIT
// web.js 1|2 HOST: sends $API_TOKEN in a header and a body, over HTTP/1 or HTTP/2.
"use strict";
const [version, host] = process.argv.slice(2);
const token = process.env.API_TOKEN;
const authorization = `Bearer ${token}`;
if (version === "1") {
  const options = { host, method: "POST", headers: { authorization } };
  require("https").request(options, (reply) => reply.resume()).end(JSON.stringify({ token }));
} else {
  const session = require("http2").connect(`https://${host}:2443`);
  const stream = session.request({ ":method": "POST", authorization });
  stream.on("close", () => session.close());
  stream.end(JSON.stringify({ token }));
  stream.resume();
}
